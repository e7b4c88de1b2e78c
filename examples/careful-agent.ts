/**
 * The agent of `approvals.ts`. It asks before it deletes anything (and deletes nothing), and tells its host when it is
 * done.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Option, Schema } from "effect"
import { Mailbox } from "effect-airlock/guest"

const Text = Schema.parseJson(Schema.Struct({ text: Schema.String }))
const isYes = Schema.is(Schema.Struct({ answer: Schema.Literal("yes") }))

const agent = Effect.gen(function* () {
  const mailbox = yield* Mailbox.Mailbox
  yield* mailbox.serve((messages) =>
    Effect.forEach(
      messages,
      (message) =>
        Effect.gen(function* () {
          const { text } = yield* Schema.decode(Text)(message.content)
          for (const [file] of text.matchAll(/\w+\.\w+/g)) {
            const answer = yield* mailbox.ask({
              question: `May I delete ${file}?`,
              options: ["yes", "no"],
              timeout: "1 minute"
            })
            const isAllowed = Option.exists(answer, ({ result }) => isYes(result))
            yield* mailbox.send({ content: { text: isAllowed ? `${file} is gone.` : `I keep ${file}.` } })
          }
          yield* mailbox.send({ kind: "system", content: { action: "finish" } })
        }),
      { discard: true }
    )
  )
})

agent.pipe(
  Effect.provide(Mailbox.Mailbox.layer({ directory: process.argv[2], pollInterval: "100 millis" })),
  NodeRuntime.runMain
)
