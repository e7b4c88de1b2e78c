import { describe, expect, it } from "@effect/vitest"
import { Effect, Ref, TestClock } from "effect"
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
        const { answer, drain, folder, manager, say, session, texts } = yield* program
        yield* say("hello")
        yield* quiet(drain)
        expect(yield* opensOf(drain)).toBe(0)

        yield* say("again")
        expect(yield* opensOf(drain)).toBeGreaterThan(0)
        yield* quiet(drain)
        expect(yield* opensOf(drain)).toBe(0)

        yield* manager.writeOutboundDirect(session, { id: "d", kind: "chat", content: `{"text":"direct"}` })
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
        Raw.exec(`${folder}/inbound.db`, "DELETE FROM delivered")
        expect(yield* opensOf(drain)).toBeGreaterThan(0)
      })
    )
  )
})

describe("a drain of a long history", () => {
  const history = Effect.gen(function* () {
    const its = yield* program
    const numbers = Array.from({ length: 300 }, (_, n) => 2 * n + 1)
    its.outbound(
      numbers
        .map((n) => row(n, "old"))
        .join(";")
        .replace(/^/, "BEGIN;")
        .concat(";COMMIT")
    )
    yield* Effect.repeatN(its.drain, 3)
    const { envelopes } = yield* TestHost.Channel
    yield* Ref.set(envelopes, [])
    return its
  })

  it.effect("finds what is new, wherever its number is", () =>
    Effect.gen(function* () {
      const { drain, outbound, texts } = yield* history
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
    }).pipe(TestHost.withHost({ limits: { drainMessages: 1000 } }))
  )
})

describe("Delivery.failures", () => {
  it.effect("has those, too, that another build has left", () =>
    Effect.gen(function* () {
      const { folder, session } = yield* program
      const delivery = yield* Delivery.Delivery
      yield* SessionManager.SessionManager
      Raw.exec(
        `${folder}/inbound.db`,
        `INSERT INTO delivered (message_out_id, status, delivered_at) VALUES ('old', 'failed', '2026-01-01T00:00:00.000Z')`
      )
      expect(yield* delivery.failures(session)).toEqual([
        { source: "agent", id: "old", reason: "unknown", attempts: 0, at: "2026-01-01T00:00:00.000Z" }
      ])
    }).pipe(TestHost.withHost())
  )
})
