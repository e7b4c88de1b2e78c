import { describe, expect, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Fiber, Ref, Schedule, TestClock } from "effect"
import { ChannelAdapter, Delivery } from "effect-airlock"
import * as Fs from "node:fs"
import * as TestHost from "../support/TestHost.js"
import { byText, program } from "./DeliveryFixtures.js"

const later = (after?: Duration.DurationInput) => Effect.succeed(ChannelAdapter.tryLater(after, "down"))

/** Another host on the folder, as after a restart. */
const restarted =
  (dataDir: string, options: Parameters<typeof TestHost.layerAt>[1] = {}) =>
  <A, E, R>(use: Effect.Effect<A, E, R>) =>
    Effect.provide(use, TestHost.layerAt(dataDir, options))

const dataDirOf = (folder: string) => folder.slice(0, folder.indexOf("/v2-sessions"))

describe("a message that is not delivered", () => {
  it.effect("is tried again when its time has come, and not before", () =>
    Effect.gen(function* () {
      const { answer, attempted, drain, say, texts } = yield* program
      yield* answer(() => later())
      const { id } = yield* say("hello")
      const at = [0, 1, 3, 7]
      for (const [n, second] of at.entries()) {
        expect(yield* drain).toMatchObject({ waiting: [id] })
        expect((yield* texts).length).toBe(n + 1)
        expect(yield* attempted).toEqual([
          {
            source: "agent",
            id,
            state: "waiting",
            attempts: n + 1,
            attemptedAt: new Date(second * 1000).toISOString(),
            nextAt: new Date((second + 2 ** n) * 1000).toISOString(),
            reason: "down"
          }
        ])
        yield* TestClock.adjust(Duration.millis(2 ** n * 1000 - 1))
        expect(yield* drain).toMatchObject({ waiting: [id] })
        expect((yield* texts).length).toBe(n + 1)
        yield* TestClock.adjust("1 milli")
      }
      yield* answer(() => Effect.succeed(ChannelAdapter.delivered()))
      expect(yield* drain).toEqual({ delivered: [id], failed: [], waiting: [] })
      expect(yield* attempted).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("waits as long as the adapter says, if that is longer", () =>
    Effect.gen(function* () {
      const { answer, drain, say, texts } = yield* program
      yield* answer(() => later("1 hour"))
      yield* say("hello")
      yield* drain
      yield* TestClock.adjust("59 minutes")
      yield* drain
      expect((yield* texts).length).toBe(1)
      yield* TestClock.adjust("1 minute")
      yield* drain
      expect((yield* texts).length).toBe(2)
    }).pipe(TestHost.withHost())
  )

  it.effect("keeps its attempts, its reason and its time when the host is started again (U3)", () =>
    Effect.gen(function* () {
      const { answer, drain, folder, say, session } = yield* program
      yield* answer(() => later())
      yield* say("hello")
      yield* drain
      yield* TestClock.adjust("1 second")
      yield* drain
      yield* Effect.gen(function* () {
        const delivery = yield* Delivery.Delivery
        const channel = yield* TestHost.Channel
        yield* Ref.set(channel.answer, () => later())
        expect(yield* delivery.attempted(session)).toMatchObject([{ attempts: 2, reason: "down" }])
        expect((yield* delivery.drain(session)).waiting.length).toBe(1)
        expect(yield* Ref.get(channel.envelopes)).toEqual([])
        yield* TestClock.adjust("2 seconds")
        yield* delivery.drain(session)
        expect(yield* delivery.attempted(session)).toMatchObject([{ attempts: 3 }])
      }).pipe(restarted(dataDirOf(folder)))
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "goes to the failures when the schedule ends, lets the next one pass, and can be sent after all",
    () =>
      Effect.gen(function* () {
        const { answer, delivered, drain, failures, say, delivery, session, texts } = yield* program
        yield* answer(byText({ bad: later() }))
        const bad = yield* say("bad")
        const good = yield* say("good")
        yield* drain
        expect(yield* drain).toMatchObject({ delivered: [], waiting: [bad.id, good.id] })
        expect(yield* texts).toEqual(["bad"])
        yield* TestClock.adjust("1 second")
        expect(yield* drain).toMatchObject({ delivered: [], waiting: [bad.id, good.id] })
        yield* TestClock.adjust("1 second")
        expect(yield* drain).toEqual({
          delivered: [good.id],
          failed: [{ id: bad.id, reason: "given up after 3 attempts: down" }],
          waiting: []
        })
        expect(yield* failures).toMatchObject([
          { source: "agent", id: bad.id, attempts: 3, reason: "given up after 3 attempts: down" }
        ])
        expect(delivered()).toContainEqual({ id: bad.id, status: "failed" })

        yield* answer(() => Effect.succeed(ChannelAdapter.delivered()))
        expect(yield* drain).toEqual({ delivered: [], failed: [], waiting: [] })
        expect(yield* delivery.redrive(session, { source: "direct", id: bad.id })).toBe(false)
        expect(yield* delivery.redrive(session, { source: "agent", id: good.id })).toBe(false)
        expect(yield* delivery.redrive(session, { source: "agent", id: bad.id })).toBe(true)
        expect(yield* delivery.redrive(session, { source: "agent", id: bad.id })).toBe(false)
        expect(yield* drain).toEqual({ delivered: [bad.id], failed: [], waiting: [] })
        expect(yield* failures).toEqual([])
        expect(yield* texts).toEqual(["bad", "bad", "bad", "good", "bad"])
      }).pipe(
        TestHost.withHost({
          deliveryRetries: Schedule.spaced("1 second").pipe(Schedule.intersect(Schedule.recurs(2)))
        })
      )
  )

  it.effect("can be redriven by another host than the one that delivers", () =>
    Effect.gen(function* () {
      const { answer, drain, failures, folder, say, session } = yield* program
      yield* answer(() => Effect.succeed(ChannelAdapter.rejected("no")))
      const { id } = yield* say("hello")
      yield* drain
      yield* drain
      yield* Effect.flatMap(Delivery.Delivery, (other) =>
        other.redrive(session, { source: "agent", id })
      ).pipe(restarted(dataDirOf(folder)))
      yield* answer(() => Effect.succeed(ChannelAdapter.delivered()))
      expect(yield* drain).toMatchObject({ delivered: [id] })
      expect(yield* failures).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("is a failure, and not silence, if its agent takes it back", () =>
    Effect.gen(function* () {
      const { answer, drain, failures, outbound, say, delivery, session } = yield* program
      yield* answer(() => later())
      const { id } = yield* say("hello")
      yield* drain
      outbound("DELETE FROM messages_out")
      expect(yield* drain).toMatchObject({ failed: [{ id, reason: "withdrawn by the agent" }] })
      expect(yield* failures).toMatchObject([{ id }])
      expect(yield* delivery.redrive(session, { source: "agent", id })).toBe(false)
    }).pipe(TestHost.withHost())
  )
})

describe("a message that waits", () => {
  for (const after of [Duration.infinity, Duration.days(1e9)]) {
    it.effect(`waits for ever, if the adapter says ${String(after)}, and can be withdrawn`, () =>
      Effect.gen(function* () {
        const { answer, attempted, drain, outbound, say, texts } = yield* program
        yield* answer(() => later(after))
        const { id } = yield* say("hello")
        expect(yield* drain).toMatchObject({ waiting: [id] })
        expect(yield* attempted).toMatchObject([{ nextAt: "9999-12-31T23:59:59.999Z" }])
        yield* TestClock.adjust("3650 days")
        expect(yield* drain).toMatchObject({ waiting: [id] })
        expect((yield* texts).length).toBe(1)
        outbound("DELETE FROM messages_out")
        expect(yield* drain).toMatchObject({ failed: [{ id, reason: "withdrawn by the agent" }] })
      }).pipe(TestHost.withHost())
    )
  }

  it.effect("is not given up when its agent deletes it while it is sent", () =>
    Effect.gen(function* () {
      const { answer, drain, envelopes, failures, outbound, say } = yield* program
      const gate = yield* Deferred.make<ChannelAdapter.Outcome>()
      yield* answer(() => Deferred.await(gate))
      const { id } = yield* say("hello")
      const first = yield* Effect.fork(drain)
      yield* TestHost.until(() => Effect.map(envelopes, (all) => all.length === 1))
      outbound("DELETE FROM messages_out")
      expect(yield* drain).toEqual({ delivered: [], failed: [], waiting: [] })
      yield* Deferred.succeed(gate, ChannelAdapter.delivered())
      expect(yield* Fiber.join(first)).toMatchObject({ delivered: [id] })
      expect(yield* drain).toEqual({ delivered: [], failed: [], waiting: [] })
      expect(yield* failures).toEqual([])
    }).pipe(TestHost.withHost())
  )
})

describe("a direct reply", () => {
  it.effect("can be redriven, also where the agent's file cannot be read", () =>
    Effect.gen(function* () {
      const { answer, delivery, drain, failures, folder, manager, session, texts } = yield* program
      yield* answer(() => Effect.succeed(ChannelAdapter.rejected("no")))
      yield* manager.writeOutboundDirect(session, { id: "d", kind: "chat", content: `{"text":"direct"}` })
      yield* drain
      expect(yield* failures).toMatchObject([{ source: "direct", id: "d", reason: "no", attempts: 1 }])
      expect(yield* delivery.redrive(session, { source: "agent", id: "d" })).toBe(false)
      const outbound = Fs.readFileSync(`${folder}/outbound.db`)
      Fs.writeFileSync(`${folder}/outbound.db`, "no database")
      expect(yield* delivery.redrive(session, { source: "direct", id: "d" })).toBe(true)
      expect(yield* failures).toEqual([])
      Fs.writeFileSync(`${folder}/outbound.db`, outbound)
      yield* answer(() => Effect.succeed(ChannelAdapter.delivered()))
      expect(yield* drain).toMatchObject({ delivered: ["d"] })
      expect(yield* texts).toEqual(["direct", "direct"])
    }).pipe(TestHost.withHost())
  )
})

describe("a message of which nobody knows whether it arrived", () => {
  const hosts = [
    ["the host was ended while it was sent", () => Effect.never],
    ["the adapter failed", () => Effect.fail("offline")],
    ["the adapter died", () => Effect.die("bug")],
    ["the adapter does not know", () => Effect.succeed(ChannelAdapter.unknown())]
  ] as const

  for (const [name, deliver] of hosts) {
    const interrupted = Effect.gen(function* () {
      const { answer, drain, envelopes, folder, say, session } = yield* program
      yield* answer(deliver)
      const sent = yield* say("hello")
      const fiber = yield* Effect.fork(drain)
      yield* TestHost.until(() => Effect.map(envelopes, (all) => all.length === 1))
      yield* name.startsWith("the host") ? Fiber.interrupt(fiber) : Fiber.join(fiber)
      yield* TestClock.adjust("10 seconds")
      const [first] = yield* envelopes
      return { sent, session, key: first?.idempotencyKey, dataDir: dataDirOf(folder) }
    })

    it.effect(`is sent again under the same key: ${name} (U16)`, () =>
      Effect.gen(function* () {
        const { dataDir, key, sent, session } = yield* interrupted
        yield* Effect.gen(function* () {
          const delivery = yield* Delivery.Delivery
          expect(yield* delivery.drain(session)).toMatchObject({ delivered: [sent.id] })
          const envelopes = yield* Ref.get((yield* TestHost.Channel).envelopes)
          expect(envelopes.map(({ idempotencyKey }) => idempotencyKey)).toEqual([key])
        }).pipe(restarted(dataDir))
      }).pipe(TestHost.withHost())
    )

    it.effect(`is held, if the host wants that: ${name}`, () =>
      Effect.gen(function* () {
        const { dataDir, sent, session } = yield* interrupted
        yield* Effect.gen(function* () {
          const delivery = yield* Delivery.Delivery
          yield* delivery.drain(session)
          expect(yield* delivery.failures(session)).toMatchObject([{ id: sent.id }])
          expect(yield* Ref.get((yield* TestHost.Channel).envelopes)).toEqual([])
          expect(yield* delivery.redrive(session, { source: "agent", id: sent.id })).toBe(true)
          expect(yield* delivery.drain(session)).toMatchObject({ delivered: [sent.id] })
        }).pipe(restarted(dataDir, { unknownDeliveries: "hold" }))
      }).pipe(TestHost.withHost({ unknownDeliveries: "hold" }))
    )
  }

  it.effect("is what an adapter leaves behind that never answers, and that is interrupted", () =>
    Effect.gen(function* () {
      const { answer, attempted, drain, envelopes, say } = yield* program
      let interrupted = 0
      yield* answer(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)))
      const { id } = yield* say("hello")
      const later = TestHost.until(() => Effect.map(envelopes, (all) => all.length === 1)).pipe(
        Effect.zipRight(attempted),
        Effect.zipLeft(TestClock.adjust("1 minute"))
      )
      const fiber = yield* Effect.fork(later)
      // In this fiber, which goes on afterwards.
      expect(yield* drain).toMatchObject({ waiting: [id] })
      expect(interrupted).toBe(1)
      expect(yield* Fiber.join(fiber)).toMatchObject([{ id, state: "sending", attempts: 1 }])
      expect(yield* attempted).toMatchObject([{ state: "waiting", reason: "the adapter did not answer" }])
    }).pipe(TestHost.withHost())
  )

  it.effect("is not left running when the one who drains is interrupted", () =>
    Effect.gen(function* () {
      const { answer, drain, envelopes, say } = yield* program
      let interrupted = 0
      yield* answer(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++)))
      yield* say("hello")
      const fiber = yield* Effect.fork(drain)
      yield* TestHost.until(() => Effect.map(envelopes, (all) => all.length === 1))
      yield* Fiber.interrupt(fiber)
      expect(interrupted).toBe(1)
    }).pipe(TestHost.withHost())
  )
})
