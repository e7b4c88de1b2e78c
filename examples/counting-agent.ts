/**
 * The agent of the round trip: it counts the lines and bytes of what it is sent, and answers with a file.
 *
 * The host starts it as `tsx examples/counting-agent.ts SESSION_FOLDER`. In a container the folder would be
 * mounted at `/workspace`, and no argument would be needed.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Schema } from "effect"
import type { Message } from "effect-airlock"
import { Mailbox } from "effect-airlock/guest"
import { createHash } from "node:crypto"

const Content = Schema.parseJson(
  Schema.Struct({
    text: Schema.String,
    attachments: Schema.optionalWith(
      Schema.Array(Schema.Struct({ name: Schema.String, localPath: Schema.String })),
      { default: () => [] }
    )
  })
)

const answer = Effect.fn("answer")(function* (message: Message.InboundRow) {
  const mailbox = yield* Mailbox.Mailbox
  const { attachments, text } = yield* Schema.decode(Content)(message.content)
  const counts = yield* Effect.forEach(attachments, ({ localPath, name }) =>
    Effect.map(mailbox.attachment(localPath), (bytes) => ({
      name,
      lines: bytes.filter((byte) => byte === 10).length,
      bytes: bytes.byteLength,
      sha256: createHash("sha256").update(bytes).digest("hex")
    }))
  )
  yield* mailbox.send({
    content: { text: `You said: ${text}`, to: message.id },
    inReplyTo: message.id,
    completes: [message.id],
    threadId: message.threadId ?? undefined,
    files:
      counts.length === 0
        ? []
        : [{ name: "counts.json", data: new TextEncoder().encode(JSON.stringify(counts)) }]
  })
})

const agent = Effect.gen(function* () {
  const mailbox = yield* Mailbox.Mailbox
  yield* mailbox.serve((messages) =>
    Effect.forEach(
      messages,
      (message) => Effect.catchTag(answer(message), "ParseError", () => mailbox.fail([message.id])),
      { discard: true }
    )
  )
})

agent.pipe(
  Effect.provide(Mailbox.Mailbox.layer({ directory: process.argv[2], pollInterval: "100 millis" })),
  NodeRuntime.runMain
)
