/**
 * What the tests of this folder share: a session with an agent's mailbox on it, and ways to watch the two.
 */
import { Context, Effect, Layer, TestClock } from "effect"
import { Mailbox, SessionManager } from "effect-airlock"
import type { Message } from "effect-airlock"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

export interface Watch {
  /** How many databases were opened, copies included. */
  opened: number
}

/** A mailbox that counts what it opens, and some of whose file calls may be replaced. */
export const watchedMailbox = (
  options: Mailbox.MailboxOptions,
  replace: (calls: typeof SystemCalls.Service) => Partial<typeof SystemCalls.Service> = () => ({})
) =>
  Effect.gen(function* () {
    const watch: Watch = { opened: 0 }
    const driver = Effect.map(SqliteDriver, (driver) =>
      SqliteDriver.of({
        ...driver,
        connect: (options) =>
          Effect.zipRight(
            Effect.sync(() => watch.opened++),
            driver.connect(options)
          )
      })
    )
    const calls = Effect.map(SystemCalls, (calls) => SystemCalls.of({ ...calls, ...replace(calls) }))
    const layer = Mailbox.layerWithoutStorage(options).pipe(
      Layer.provide(StorageLayer.layerWithoutCalls),
      Layer.provide(Layer.effect(SqliteDriver, driver).pipe(Layer.provide(SqliteDriver.layer))),
      Layer.provide(Layer.effect(SystemCalls, calls).pipe(Layer.provide(SystemCalls.layer)))
    )
    const mailbox = Context.get(yield* Layer.build(layer), Mailbox.Mailbox)
    return { mailbox, watch }
  })

/** A session that the host writes to, and its agent. */
export const program = (
  options: Omit<Mailbox.MailboxOptions, "directory"> = {},
  replace: (calls: typeof SystemCalls.Service) => Partial<typeof SystemCalls.Service> = () => ({})
) =>
  Effect.gen(function* () {
    const manager = yield* SessionManager.SessionManager
    const session = yield* TestHost.newSession()
    const folder = yield* TestHost.folderOf(session)
    const open = TestHost.mailboxAt(folder)
    const { mailbox, watch } = yield* watchedMailbox({ directory: folder, ...options }, replace)
    return {
      manager,
      session,
      folder,
      open,
      mailbox,
      watch,
      write: (id: string, more: Partial<Message.InboundMessage> = {}) =>
        manager.writeMessage(session, { id, kind: "chat", content: id, ...more }),
      due: Effect.map(mailbox.poll, (rows) => rows.map(({ id }) => id)),
      inbound: (sql: string) => Raw.query(`${folder}/inbound.db`, sql),
      outbound: (sql: string) => Raw.query(`${folder}/outbound.db`, sql),
      acknowledgements: () =>
        Object.fromEntries(
          Raw.query(`${folder}/outbound.db`, "SELECT message_id AS id, status FROM processing_ack").map(
            ({ id, status }) => [String(id), String(status)]
          )
        )
    }
  })

/** Lets time go by until something is so. Files are read in real time, so a moment may need many steps. */
export const timeUntil = (condition: () => boolean, step: `${number} millis` = "500 millis") =>
  Effect.gen(function* () {
    for (let steps = 0; !condition(); steps++) {
      if (steps > 3000) return yield* Effect.dieMessage("waited for too long")
      yield* TestClock.adjust(step)
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    }
  })
