/**
 * The agent of `chat.ts`. It remembers what it is told: `remember tea = green`, then `recall tea`. `slow` shows that it
 * works on one message while others wait, `count` what it has answered so far, in this run and those before it.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Option, Schema } from "effect"
import { Mailbox } from "effect-airlock/guest"

const Text = Schema.parseJson(Schema.Struct({ text: Schema.String }))

const answerTo = Effect.fn("answerTo")(function* (text: string) {
  const { duringTool, state } = yield* Mailbox.Mailbox
  const [, key = "", value = ""] = /^remember (.+?) = (.+)$/.exec(text) ?? []
  if (key !== "") return yield* Effect.as(state.set(`memory ${key}`, value), `I will remember ${key}.`)
  if (text.startsWith("recall ")) {
    const found = yield* state.get(`memory ${text.slice(7)}`)
    return Option.getOrElse(found, () => "Nobody told me.")
  }
  if (text === "slow") {
    return yield* duringTool({ name: "thinking", timeout: "1 minute" })(
      Effect.delay(Effect.succeed("That took five seconds."), "5 seconds")
    )
  }
  if (text === "count") {
    const count = yield* state.get("count")
    return `${Option.getOrElse(count, () => "0")} answers so far.`
  }
  return `You said: ${text}`
})

const agent = Effect.gen(function* () {
  const mailbox = yield* Mailbox.Mailbox
  yield* mailbox.serve(
    (messages) =>
      Effect.forEach(
        messages,
        (message) =>
          Effect.gen(function* () {
            const { text } = yield* Schema.decode(Text)(message.content)
            yield* mailbox.send({
              content: { text: yield* answerTo(text) },
              inReplyTo: message.id,
              completes: [message.id]
            })
            const count = Option.getOrElse(yield* mailbox.state.get("count"), () => "0")
            yield* mailbox.state.set("count", String(Number(count) + 1))
          }).pipe(Effect.catchTag("ParseError", () => mailbox.fail([message.id]))),
        { discard: true }
      ),
    { idle: "1 minute" }
  )
})

agent.pipe(Effect.provide(Mailbox.Mailbox.layer({ directory: process.argv[2] })), NodeRuntime.runMain)
