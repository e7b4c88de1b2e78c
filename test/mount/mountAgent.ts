/**
 * The agent's side of the mount tests. It sees the share through the mount, and does what the host asks of it.
 *
 *   node mountAgent.mjs SHARE
 *   node mountAgent.mjs SHARE snapshot|open FOLDER    only reads, again and again
 */
import { NodeRuntime } from "@effect/platform-node"
import { Duration, Effect, Layer, Logger, LogLevel, Schema } from "effect"
import { Mailbox } from "effect-airlock/guest"
import { spawn } from "node:child_process"
import * as Path from "node:path"
import { SessionFiles } from "../../src/guest/SessionFiles.js"
import { pause } from "../../src/storage/SystemCalls.js"
import * as Attempts from "./Attempts.js"
import * as Line from "./Line.js"
import type { Seen } from "./Load.js"
import * as Load from "./Load.js"
import * as Pace from "./Pace.js"
import * as Plain from "./Plain.js"
import { watch } from "./Watch.js"

const [share = "", how = "", folder = ""] = process.argv.slice(2)

const attempts = Attempts.make()

const withFiles =
  (directory: string) =>
  <A, E>(use: Effect.Effect<A, E, SessionFiles>) =>
    Effect.provide(
      use,
      SessionFiles.layer({
        directory,
        patience: Duration.seconds(5),
        durability: "process",
        limit: 64 * 1024 * 1024
      }).pipe(Layer.provide(Attempts.layer(attempts)))
    )

const bySnapshot = Effect.map(SessionFiles, (files) =>
  Effect.map(
    files.inbound("look", (sql) => sql.unsafe<Seen>(Load.look)),
    ([seen]) => seen as Seen
  )
)

/** Another process that reads as this one does, until the scope closes. It has begun when it says so. */
const other = ({ folder, how }: Extract<Line.Question, { ask: "read" }>) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [process.argv[1] ?? "", share, how, folder], {
        stdio: ["ignore", "pipe", "inherit"]
      })
    ),
    (child) =>
      Effect.async<void>((resume) => {
        child.once("exit", () => resume(Effect.void)).kill("SIGTERM")
      })
  ).pipe(
    Effect.flatMap(({ stdout }) =>
      Effect.async<void>((resume) => void stdout.once("data", () => resume(Effect.void)))
    )
  )

const fileIn = (folder: string) => Path.join(share, folder, "inbound.db")

/** What such a process does. */
const readOn = (how: string, folder: string) =>
  withFiles(Path.join(share, folder))(
    Effect.gen(function* () {
      const once = how === "snapshot" ? yield* bySnapshot : Plain.read(fileIn(folder))
      yield* Effect.ignore(once)
      process.stdout.write("begun\n")
      return yield* Effect.forever(Effect.zipRight(Effect.ignore(once), pause))
    })
  )

const read = (question: Extract<Line.Question, { ask: "read" }>) =>
  Effect.gen(function* () {
    const { folder, how, others } = question
    const directory = Path.join(share, folder)
    for (let n = 0; n < others; n++) yield* other(question)
    switch (how) {
      case "snapshot":
        return yield* withFiles(directory)(
          Effect.flatMap(bySnapshot, (look) => watch(look, question, () => attempts.at.get(directory) ?? 0))
        )
      case "open":
        return yield* watch(Plain.read(fileIn(folder)), question)
      case "held":
        return yield* watch(yield* Plain.held(fileIn(folder)), question)
    }
  }).pipe(Effect.scoped)

const write = ({ folder, rate }: Extract<Line.Question, { ask: "write" }>, call: Line.Call) =>
  withFiles(Path.join(share, folder))(
    Effect.gen(function* () {
      const files = yield* SessionFiles
      const run = (statements: ReadonlyArray<string>) =>
        files.outbound("load", (sql) =>
          sql.withTransaction(Effect.forEach(statements, (statement) => sql.unsafe(statement)))
        )
      const isNew = yield* files.outbound("load", (sql) =>
        Effect.map(sql`SELECT 1 FROM sqlite_schema WHERE name = 'load_state'`, (found) => found.length === 0)
      )
      if (isNew) yield* run(Load.create(Date.now()))
      yield* run(Load.advance(Date.now()))
      yield* call.begun
      return yield* Pace.write((at) => run(Load.advance(at)), { isEnough: call.isStopped, rate })
    })
  )

const Content = Schema.parseJson(
  Schema.Struct({
    attachments: Schema.optionalWith(
      Schema.Array(Schema.Struct({ name: Schema.String, localPath: Schema.String })),
      { default: () => [] }
    )
  })
)

/** Answers each message with its content and its files. */
const serve = ({ folder }: Extract<Line.Question, { ask: "serve" }>, call: Line.Call) =>
  Effect.gen(function* () {
    const mailbox = yield* Mailbox.Mailbox
    yield* call.begun
    yield* Effect.raceFirst(
      call.stopped,
      mailbox.serve((messages) =>
        Effect.forEach(
          messages,
          ({ content, id }) =>
            Effect.gen(function* () {
              const { attachments } = yield* Schema.decode(Content)(content)
              const files = yield* Effect.forEach(attachments, ({ localPath, name }) =>
                Effect.map(mailbox.attachment(localPath), (data) => ({ name, data }))
              )
              yield* mailbox.send({
                inReplyTo: id,
                completes: [id],
                content: { text: content },
                files
              })
            }),
          { discard: true }
        )
      )
    )
  }).pipe(
    Effect.provide(Mailbox.Mailbox.layer({ directory: Path.join(share, folder), pollInterval: "20 millis" }))
  )

const answer = Line.pickUp(Path.join(share, "line"), (question, call) => {
  switch (question.ask) {
    case "time":
      return Effect.sync(() => ({ now: Date.now() }))
    case "read":
      return read(question)
    case "write":
      return write(question, call)
    case "serve":
      return serve(question, call)
  }
})

const main = folder === "" ? answer : readOn(how, folder)

main.pipe(Logger.withMinimumLogLevel(LogLevel.Error), NodeRuntime.runMain)
