/**
 * What writing and draining ask of the databases: counted, because the time that it takes is another one everywhere.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Delivery, SessionManager } from "effect-airlock"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Faults from "../support/Faults.js"
import * as Seam from "../support/Seam.js"
import * as TestHost from "../support/TestHost.js"

/** What a statement does to which table. `WITH` is the look for the last number, and for messages that are there. */
const nameOf = (sql: string): string => {
  const [verb, ...rest] = sql.trim().split(/\s+/)
  const table = rest[rest.findIndex((word) => ["FROM", "INTO"].includes(word)) + 1]
  return verb === "SELECT" || verb === "INSERT"
    ? `${verb} ${table}`
    : verb === "UPDATE"
      ? `${verb} ${rest[0]}`
      : String(verb)
}

/** A host, and how often it executes which statement while an effect runs. */
const counting = Effect.gen(function* () {
  const names: Array<string> = []
  const seam = Seam.layer(({ name, of }) => {
    if (of === "database") names.push(nameOf(name))
    return undefined
  }).pipe(Layer.provide(Layer.merge(SystemCalls.layer, SqliteDriver.layer)))
  const host = Faults.hostOver(yield* TestHost.temporaryDirectory, seam)
  const during = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.suspend(() => {
      names.length = 0
      return Effect.map(effect, () => {
        const counts: Record<string, number> = {}
        for (const name of names) counts[name] = (counts[name] ?? 0) + 1
        return counts
      })
    })
  return { during, host }
})

const message = (id: string, content = id) => ({ id, kind: "chat" as const, content })

const names = (count: number) => Array.from({ length: count }, (_, n) => `m${n}`)

/** What does not depend on how many messages there are. */
const looking = { "SELECT sessions": 1, WITH: 1, COMMIT: 1, "UPDATE sessions": 1 }

/** The same, and making the agent's copy. */
const once = { ...looking, COMMIT: 2, serialize: 1 }

describe("the statements of a write", () => {
  it.effect("are four, besides those that find the session and note that it was used", () =>
    Effect.gen(function* () {
      const { during, host } = yield* counting
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const session = yield* TestHost.newSession()
        yield* manager.writeMessage(session, message("first"))
        expect(yield* during(manager.writeMessage(session, message("m")))).toEqual({
          ...once,
          "INSERT messages_in": 1,
          "INSERT airlock_message": 1,
          "INSERT airlock_sequence": 1
        })
      }).pipe(Effect.provide(host))
    }).pipe(Effect.scoped)
  )

  it.effect("are shared by those that come together, ten rows by ten", () =>
    Effect.gen(function* () {
      const { during, host } = yield* counting
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const session = yield* TestHost.newSession()
        yield* manager.writeMessage(session, message("first"))
        const together = (ids: ReadonlyArray<string>) =>
          Effect.forEach(ids, (id) => manager.writeMessage(session, message(id)), {
            concurrency: "unbounded"
          })
        expect(yield* during(together(names(100)))).toEqual({
          ...once,
          "INSERT messages_in": 10,
          "INSERT airlock_message": 10,
          "INSERT airlock_sequence": 1
        })
        expect(yield* during(together(names(123).slice(100)))).toEqual({
          ...once,
          "INSERT messages_in": 5,
          "INSERT airlock_message": 5,
          "INSERT airlock_sequence": 1
        })
      }).pipe(Effect.provide(host))
    }).pipe(Effect.scoped)
  )

  it.effect("only look if the messages are there already", () =>
    Effect.gen(function* () {
      const { during, host } = yield* counting
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const session = yield* TestHost.newSession()
        const messages = names(30).map((id) => message(id))
        yield* manager.writeMessages(session, messages)
        expect(yield* during(manager.writeMessages(session, messages))).toEqual(looking)
      }).pipe(Effect.provide(host))
    }).pipe(Effect.scoped)
  )
})

describe("the statements of a drain", () => {
  it.effect("of one message are eight, however many came before, and nothing is copied for the agent", () =>
    Effect.gen(function* () {
      const { during, host } = yield* counting
      yield* Effect.gen(function* () {
        const delivery = yield* Delivery.Delivery
        const session = yield* TestHost.newSession()
        const mailbox = yield* TestHost.mailboxAt(yield* TestHost.folderOf(session))
        const drained = Effect.gen(function* () {
          yield* mailbox.send({ content: { text: "x" } })
          return yield* during(delivery.drain(session))
        })
        yield* drained
        const first = yield* drained
        expect(first["serialize"]).toBeUndefined()
        expect(Object.values(first).reduce((sum, count) => sum + count, 0)).toBe(8)
        yield* Effect.forEach(names(50), () => mailbox.send({ content: { text: "y" } }))
        yield* delivery.drain(session)
        expect(yield* drained).toEqual(first)
      }).pipe(Effect.provide(host))
    }).pipe(Effect.scoped)
  )
})
