/**
 * An agent that answers each message with its text and a file of it, until it is killed.
 *
 *   tsx test/support/servingAgent.ts SESSION_FOLDER
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Logger, LogLevel } from "effect"
import { Mailbox } from "effect-airlock"

const [directory = ""] = process.argv.slice(2)

Effect.gen(function* () {
  const mailbox = yield* Mailbox.Mailbox
  yield* mailbox.serve(
    (messages) =>
      Effect.forEach(
        messages,
        ({ content, id }) =>
          Effect.gen(function* () {
            const { attachments } = JSON.parse(content) as {
              readonly attachments: ReadonlyArray<{ readonly localPath: string }>
            }
            const [data = new Uint8Array()] = yield* Effect.forEach(attachments, ({ localPath }) =>
              mailbox.attachment(localPath)
            )
            yield* mailbox.send({ inReplyTo: id, content: { text: id }, files: [{ name: "file", data }] })
            yield* mailbox.complete([id])
          }),
        { discard: true }
      ),
    { heartbeatInterval: "500 millis" }
  )
}).pipe(
  Effect.provide(Mailbox.Mailbox.layer({ directory, pollInterval: "20 millis" })),
  Logger.withMinimumLogLevel(LogLevel.None),
  NodeRuntime.runMain
)
