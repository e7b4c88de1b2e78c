/**
 * What writing and draining ask of the databases: counted, because the time that it takes is another one everywhere.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { Session } from "effect-airlock"
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

type Counting = Effect.Effect.Success<typeof counting>
type Host = Layer.Layer.Success<Counting["host"]>
type During = Counting["during"]

/** A test on such a host, with a session that has one message. */
const test = <A, E>(
  name: string,
  body: (during: During, session: Session.Session) => Effect.Effect<A, E, Host>
) =>
  it.scoped(name, () =>
    Effect.flatMap(counting, ({ during, host }) =>
      Effect.gen(function* () {
        const session = yield* TestHost.newSession()
        yield* write(session, ["first"])
        yield* body(during, session)
      }).pipe(Effect.provide(host))
    )
  )

const write = (session: Session.Session, ids: ReadonlyArray<string>) =>
  Effect.flatMap(SessionManager.SessionManager, (manager) =>
    Effect.forEach(ids, (id) => manager.writeMessage(session, message(id)), { concurrency: "unbounded" })
  )

const inserts = (statements: number) => ({
  ...once,
  "INSERT messages_in": statements,
  "INSERT airlock_message": statements,
  "INSERT airlock_sequence": 1
})

describe("the statements of a write", () => {
  test("are four, besides those that find the session and note that it was used", (during, session) =>
    Effect.gen(function* () {
      expect(yield* during(write(session, ["m"]))).toEqual(inserts(1))
    }))

  test("are shared by those that come together, ten rows by ten", (during, session) =>
    Effect.gen(function* () {
      expect(yield* during(write(session, names(100)))).toEqual(inserts(10))
      expect(yield* during(write(session, names(123).slice(100)))).toEqual(inserts(5))
    }))

  test("only look if the messages are there already", (during, session) =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const messages = names(30).map((id) => message(id))
      yield* manager.writeMessages(session, messages)
      expect(yield* during(manager.writeMessages(session, messages))).toEqual(looking)
    }))
})

describe("the statements of a drain", () => {
  test("of one message are eight, however many came before, and nothing is copied for the agent", (during, session) =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const mailbox = yield* Effect.flatMap(TestHost.folderOf(session), TestHost.mailboxAt)
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
    }).pipe(Effect.scoped))
})
