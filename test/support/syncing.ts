/**
 * A process that writes to a session from both sides, and says on its standard output where each write begins and ends.
 *
 *   tsx test/support/syncing.ts DATA_DIR DURABILITY
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Logger, LogLevel } from "effect"
import { AirlockHost, Mailbox, SessionManager, SessionPaths } from "effect-airlock"
import * as Fs from "node:fs"

const [dataDir = "", durability = ""] = process.argv.slice(2)
if (durability !== "process" && durability !== "power")
  throw new Error(`no durability is called ${durability}`)

const say = (line: string) => Effect.sync(() => Fs.writeSync(1, `${line}\n`))

const told = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) =>
  Effect.zipRight(say(name), Effect.zipLeft(effect, say("-")))

const data = Buffer.alloc(1000)

Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const key = { agentGroupId: "agent", messagingGroupId: null, threadId: null, mode: "shared" as const }
  const { session } = yield* told("resolve", manager.resolve(key))
  const write = (id: string, files: ReadonlyArray<string> = []) =>
    manager.writeMessage(session, {
      id,
      kind: "chat",
      content: "x",
      attachments: files.map((name) => ({ name, source: { bytes: data } }))
    })
  yield* write("first")
  yield* told("write", write("second"))
  yield* told("write, with a file", write("third", ["a"]))
  const batch = Effect.forEach(["a", "b", "c", "d"], (id) => write(id), { concurrency: "unbounded" })
  yield* told("write, four together", batch)

  const directory = yield* Effect.flatMap(SessionPaths.SessionPaths, (paths) => paths.session(session))
  yield* Effect.gen(function* () {
    const mailbox = yield* Mailbox.Mailbox
    yield* mailbox.send({ content: {} })
    yield* told("send", mailbox.send({ content: {} }))
    yield* told("send, with a file", mailbox.send({ content: {}, files: [{ name: "a", data }] }))
  }).pipe(Effect.provide(Mailbox.Mailbox.layer({ directory, durability })))
}).pipe(
  Effect.provide(AirlockHost.sessions({ dataDir, durability })),
  Logger.withMinimumLogLevel(LogLevel.None),
  NodeRuntime.runMain
)
