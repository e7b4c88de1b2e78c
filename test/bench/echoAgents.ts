/**
 * The agents of some sessions, all in one process: each answers each message with its content. It prints `ready` once all
 * of them look for messages, and then `answered`, the id of the message, and when the answer was stored, on the clock that
 * all processes of a machine share (nanoseconds). Ends when its standard input does.
 *
 *   node echoAgents.mjs POLL_MILLIS SESSION_FOLDER...
 */
import { NodeRuntime } from "@effect/platform-node"
import { Context, Effect, Layer, Logger, LogLevel } from "effect"
import type { AttachmentContent } from "effect-airlock"
import { Mailbox } from "effect-airlock"

const [pollMillis = "", ...folders] = process.argv.slice(2)

const print = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

const agent = (directory: string) =>
  Effect.map(
    Layer.build(Mailbox.Mailbox.layer({ directory, pollInterval: `${Number(pollMillis)} millis` })),
    Context.get(Mailbox.Mailbox)
  )

const serve = (mailbox: Mailbox.Mailbox["Type"]) =>
  mailbox.serve((messages) =>
    Effect.forEach(
      messages,
      ({ content, id }) =>
        Effect.zipRight(
          mailbox.send({
            inReplyTo: id,
            content: JSON.parse(content) as AttachmentContent.JsonObject,
            completes: [id]
          }),
          print(`answered ${id} ${process.hrtime.bigint()}`)
        ),
      { discard: true }
    )
  )

/** Whoever started this is gone, or wants no more. */
const isLeft = Effect.async<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).resume()
})

Effect.gen(function* () {
  const mailboxes = yield* Effect.forEach(folders, agent)
  yield* print("ready")
  yield* Effect.forEach(mailboxes, serve, { concurrency: "unbounded", discard: true })
}).pipe(
  Effect.raceFirst(isLeft),
  Effect.scoped,
  Logger.withMinimumLogLevel(LogLevel.Warning),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))),
  (program) => NodeRuntime.runMain(program, { disablePrettyLogger: true })
)
