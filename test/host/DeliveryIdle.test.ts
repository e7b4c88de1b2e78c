import { describe, expect, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import { ChannelAdapter, Delivery, SessionManager } from "effect-airlock"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { program } from "./DeliveryFixtures.js"
import { Opened, withCountingHost } from "./SweepFixtures.js"

/** How many databases an effect opens. */
const opensOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const opened = yield* Opened
    const before = opened.count
    yield* effect
    return opened.count - before
  })

/** Drains until there is nothing that the last drain changed itself. */
const quiet = <A, E, R>(drain: Effect.Effect<A, E, R>) => Effect.repeatN(drain, 2)

const row = (n: number, text: string) =>
  `INSERT INTO messages_out (id, seq, timestamp, kind, content)
   VALUES ('m${n}', ${n}, '2026-01-01T00:00:00.000Z', 'chat', '{"text":"${text}"}')`

describe("a drain of a session in which nothing changed", () => {
  it.effect("opens no database, until either side writes or a time comes (U17)", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { answer, drain, folder, say, session, texts } = yield* program
        yield* say("hello")
        yield* quiet(drain)
        expect(yield* opensOf(drain)).toBe(0)

        yield* say("again")
        expect(yield* opensOf(drain)).toBeGreaterThan(0)
        yield* quiet(drain)
        expect(yield* opensOf(drain)).toBe(0)

        // A reply that another host on the same directory writes.
        yield* Effect.flatMap(SessionManager.SessionManager, (other) =>
          other.writeOutboundDirect(session, { id: "d", kind: "chat", content: `{"text":"direct"}` })
        ).pipe(Effect.provide(TestHost.layerAt(folder.slice(0, folder.indexOf("/v2-sessions")))))
        yield* drain
        expect(yield* texts).toEqual(["hello", "again", "direct"])
        yield* quiet(drain)

        yield* say("tomorrow", { deliverAfter: 60_000 })
        yield* quiet(drain)
        expect(yield* opensOf(drain)).toBe(0)
        yield* TestClock.adjust("1 minute")
        yield* drain
        expect((yield* texts).at(-1)).toBe("tomorrow")

        yield* quiet(drain)
        yield* answer(() => Effect.succeed(ChannelAdapter.tryLater("1 hour")))
        const waits = yield* say("waits")
        yield* quiet(drain)
        expect(yield* drain).toMatchObject({ waiting: [waits.id] })
        expect(yield* opensOf(drain)).toBe(0)
        yield* TestClock.adjust("1 hour")
        expect(yield* opensOf(drain)).toBeGreaterThan(0)

        // Another program of the host.
        yield* quiet(drain)
        Raw.exec(TestHost.originalOf(folder), "DELETE FROM delivered")
        expect(yield* opensOf(drain)).toBeGreaterThan(0)
      })
    )
  )
})

describe("a drain of a long history", () => {
  /** A session whose messages up to a number are settled. */
  const history = (last: number) =>
    Effect.gen(function* () {
      const its = yield* program
      its.outbound(`INSERT INTO messages_out (id, seq, timestamp, kind, content)
      WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 2 FROM n WHERE x + 2 <= ${last})
      SELECT 'm' || x, x, '2026-01-01T00:00:00.000Z', 'chat', '{"text":"old"}' FROM n`)
      Raw.exec(
        TestHost.originalOf(its.folder),
        `INSERT INTO delivered (message_out_id, delivered_at)
       WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 2 FROM n WHERE x + 2 <= ${last})
       SELECT 'm' || x, '2026-01-01T00:00:00.000Z' FROM n`
      )
      return its
    })

  it.effect("finds what is new, wherever its number is", () =>
    Effect.gen(function* () {
      const { drain, outbound, texts } = yield* history(599)
      yield* Effect.repeatN(drain, 2)
      outbound(row(901, "new"))
      yield* drain
      expect(yield* texts).toEqual(["new"])
      // An agent that counts in a way of its own.
      outbound(row(2, "late"))
      outbound(
        `INSERT INTO messages_out (id, timestamp, kind, content) VALUES ('none', '', 'chat', '{"text":"unnumbered"}')`
      )
      yield* Effect.repeatN(drain, 1)
      expect((yield* texts).sort()).toEqual(["late", "new", "unnumbered"])
      outbound("DELETE FROM messages_out WHERE seq < 500")
      outbound(row(903, "after pruning"))
      yield* drain
      expect((yield* texts).at(-1)).toBe("after pruning")
      yield* drain
      expect((yield* texts).length).toBe(4)
    }).pipe(TestHost.withHost())
  )

  it.effect("gets to what is new behind more than it looks at at once", () =>
    Effect.gen(function* () {
      const { delivery, outbound, texts } = yield* history(12_001)
      outbound(row(12_003, "new"))
      yield* Effect.forkScoped(delivery.run)
      const step = Effect.zipRight(TestClock.adjust(0), texts)
      yield* TestHost.until(() => Effect.map(step, (all) => all.length > 0))
      expect(yield* texts).toEqual(["new"])
    }).pipe(TestHost.withHost())
  )
})

describe("Delivery.failures", () => {
  it.effect("has those, too, that another build has left", () =>
    Effect.gen(function* () {
      const { folder, session } = yield* program
      const delivery = yield* Delivery.Delivery
      yield* SessionManager.SessionManager
      Raw.exec(
        TestHost.originalOf(folder),
        `INSERT INTO delivered (message_out_id, status, delivered_at) VALUES ('old', 'failed', '2026-01-01T00:00:00.000Z')`
      )
      expect(yield* delivery.failures(session)).toEqual([
        { source: "agent", id: "old", reason: "unknown", attempts: 0, at: "2026-01-01T00:00:00.000Z" }
      ])
    }).pipe(TestHost.withHost())
  )
})
