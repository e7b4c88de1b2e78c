/**
 * What the tests of the sweep share: a session, and an agent that does what the test says.
 */
import { Context, Effect, HashMap, Layer, Logger } from "effect"
import {
  AirlockConfig,
  AirlockHost,
  SessionManager,
  SessionPaths,
  SessionRegistry,
  Sweep
} from "effect-airlock"
import type { Message, Session } from "effect-airlock"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import type { Glance } from "../../src/storage/SystemCalls.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

/** The sweep of a session, and both sides of its folder. */
export const on = (session: Session.Session) =>
  Effect.gen(function* () {
    const manager = yield* SessionManager.SessionManager
    const registry = yield* SessionRegistry.SessionRegistry
    const sweep = yield* Sweep.Sweep
    const containers = yield* TestHost.Containers
    const folder = yield* TestHost.folderOf(session)
    const mailbox = yield* TestHost.mailboxAt(folder)
    const agent = (sql: string) => Raw.exec(`${folder}/outbound.db`, sql)
    const rows = (columns = "id, status") =>
      Raw.query(TestHost.originalOf(folder), `SELECT ${columns} FROM messages_in ORDER BY seq`)
    return {
      manager,
      session,
      folder,
      mailbox,
      containers,
      sweep: sweep.sweep(session),
      write: (id: string, more: Partial<Message.InboundMessage> = {}) =>
        manager.writeMessage(session, { id, kind: "chat", content: `{"text":"${id}"}`, ...more }),
      rows,
      statuses: () => Object.fromEntries(rows().map(({ id, status }) => [String(id), status])),
      /** Statements of the agent on its own file, and of somebody else on the host's. */
      agent,
      host: (sql: string) => Raw.exec(TestHost.originalOf(folder), sql),
      /** The agent's word on a message, as it stands in the file: SQL values. */
      say: (id: string, status: string, at = "'2026-01-01T00:00:00.000Z'") =>
        agent(`INSERT OR REPLACE INTO processing_ack VALUES ('${id}', ${status}, ${at})`),
      /** A new agent takes everything that is due, and ends. */
      takeAndEnd: Effect.gen(function* () {
        const fresh = yield* TestHost.mailboxAt(folder)
        const due = (yield* fresh.poll).map(({ id }) => id)
        yield* fresh.claim(due)
        yield* containers.end(session)
        return due
      }),
      containerStatus: Effect.map(registry.getSession(session.sessionId), (found) =>
        found._tag === "Some" ? found.value.containerStatus : undefined
      )
    }
  })

/** A session, its sweep, and both sides of its folder. */
export const program = Effect.flatMap(TestHost.newSession(), on)

/** What was asked of the containers, without the sessions. */
export const asked = (containers: TestHost.Containers["Type"]) =>
  containers.asked.map((line) => line.split(" ")[0])

/** Runs a program, and gives the messages that it logged, each with its annotations. */
export const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.make<unknown, void>(({ annotations, message }) => {
      const notes = Array.from(HashMap.entries(annotations), ([key, value]) => `${key}=${String(value)}`)
      lines.push([String(Array.isArray(message) ? message[0] : message), ...notes.sort()].join(" "))
    })
    return effect.pipe(
      Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
      Effect.map((value) => ({ value, lines }))
    )
  })

/** What a host asked of the system. */
export interface Asked {
  /** How many databases were opened, copies included. */
  count: number
  /** How many files and folders were opened by other means. */
  files: number
  glances: number
  /** By how much the system's clock is ahead, in milliseconds. It stands still otherwise. */
  later: number
  /** What names look like, if not like what they are. */
  seenAs: (path: string, seen: Glance | undefined) => Glance | undefined
}

export class Opened extends Context.Tag("test/Opened")<Opened, Asked>() {}

/** Runs a test on a host of which it is counted what it asks of the system. */
export const withCountingHost = <A, E, R>(test: Effect.Effect<A, E, R>) => {
  const opened: Asked = { count: 0, files: 0, glances: 0, later: 0, seenAs: (_, seen) => seen }
  const driver = Layer.effect(
    SqliteDriver,
    Effect.map(SqliteDriver, (driver) =>
      SqliteDriver.of({
        ...driver,
        connect: (options) =>
          Effect.zipRight(
            Effect.sync(() => opened.count++),
            driver.connect(options)
          )
      })
    )
  ).pipe(Layer.provide(SqliteDriver.layer))
  const calls = Layer.effect(
    SystemCalls,
    Effect.map(SystemCalls, (calls) =>
      SystemCalls.of({
        ...calls,
        open: (...parameters) =>
          Effect.zipRight(
            Effect.sync(() => opened.files++),
            calls.open(...parameters)
          ),
        readQuiet: (...file) => {
          opened.count++
          opened.files += 2
          return calls.readQuiet(...file)
        },
        glance: (path) => {
          opened.glances++
          return opened.seenAs(path, calls.glance(path))
        },
        uptime: () => opened.later
      })
    )
  ).pipe(Layer.provide(SystemCalls.layer))
  const host = Layer.unwrapScoped(
    Effect.map(TestHost.temporaryDirectory, (dataDir) =>
      AirlockHost.loops.pipe(
        Layer.provideMerge(TestHost.ports),
        Layer.provideMerge(AirlockHost.sessionsWithoutStorage),
        Layer.provideMerge(SessionRegistry.SessionRegistry.layerSqlite),
        Layer.provideMerge(SessionPaths.SessionPaths.layer),
        Layer.provideMerge(AirlockConfig.AirlockConfig.layer({ dataDir })),
        Layer.provideMerge(StorageLayer.layerWithoutCalls),
        Layer.provideMerge(Layer.merge(calls, driver)),
        Layer.provideMerge(Layer.succeed(Opened, opened))
      )
    )
  )
  return Effect.provide(Effect.scoped(test), host)
}
