/**
 * When an agent is started, and when it is not.
 */
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Exit, TestClock } from "effect"
import { SessionRegistry } from "effect-airlock"
import * as Fs from "node:fs"
import * as TestHost from "../support/TestHost.js"
import { asked, logged, on, Opened, program, withCountingHost } from "./SweepFixtures.js"

const start = Date.UTC(2026, 0, 1, 12)

describe("an agent is started", () => {
  it.effect("by a message, and by neither context nor an answer", () =>
    Effect.gen(function* () {
      const { manager, session, sweep, write } = yield* program
      yield* write("context", { trigger: 0 })
      yield* manager.writeSystemResponse(session, { questionId: "q", status: "approved", result: {} })
      expect(yield* sweep).toMatchObject({ woken: false })
      yield* write("task", { kind: "task" })
      expect(yield* sweep).toMatchObject({ woken: true })
    }).pipe(TestHost.withHost())
  )

  it.effect("when the message is due, in either stored form and not a millisecond earlier (U11)", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(start)
      const { host, sweep, write } = yield* program
      yield* write("iso", { processAfter: "2026-01-01T12:00:10.000Z" })
      yield* write("sqlite")
      host("UPDATE messages_in SET process_after = '2026-01-01 12:00:05' WHERE id = 'sqlite'")
      expect(yield* sweep).toMatchObject({ woken: false, nextAt: start + 5000 })
      yield* TestClock.adjust("4999 millis")
      expect(yield* sweep).toMatchObject({ woken: false, nextAt: start + 5000 })
      yield* TestClock.adjust("1 millis")
      expect(yield* sweep).toMatchObject({ woken: true, nextAt: start + 10_000 })
    }).pipe(TestHost.withHost())
  )

  it.effect("before what its predecessor had is put off (U12)", () =>
    Effect.gen(function* () {
      const { containers, rows, sweep, takeAndEnd, write } = yield* program
      yield* write("hello")
      yield* sweep
      expect(yield* takeAndEnd).toEqual(["hello"])
      let seen: unknown
      containers.onWake = () => Effect.sync(() => (seen = rows("process_after, tries")))
      expect(yield* sweep).toMatchObject({ woken: true, retried: ["hello"] })
      expect(seen).toEqual([{ process_after: null, tries: 0 }])
      expect(rows("process_after, tries")).toEqual([{ process_after: "1970-01-01T00:00:05.000Z", tries: 1 }])
    }).pipe(TestHost.withHost())
  )

  it.effect("at once, if its predecessor got something done", () =>
    Effect.gen(function* () {
      const { containers, mailbox, session, sweep, write } = yield* program
      for (let n = 0; n < 5; n++) {
        yield* write(`m${n}`)
        expect(yield* sweep).toMatchObject({ woken: true })
        yield* mailbox.complete([`m${n}`])
        yield* write(`late ${n}`)
        yield* containers.end(session)
        expect(yield* sweep).toMatchObject({ hasEnded: true, woken: true })
        yield* mailbox.complete([`late ${n}`])
        yield* containers.end(session)
        expect(yield* sweep).toMatchObject({ hasEnded: true, woken: false })
      }
    }).pipe(TestHost.withHost())
  )

  it.effect("later each time, up to ten minutes, if none gets anything done, however much it beats", () =>
    Effect.gen(function* () {
      const { containers, mailbox, session, sweep, write } = yield* program
      yield* write("hello")
      expect(yield* sweep).toMatchObject({ woken: true })
      let now = 0
      for (const seconds of [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]) {
        yield* mailbox.heartbeat
        yield* containers.end(session)
        now += seconds * 1000
        expect(yield* sweep).toMatchObject({ hasEnded: true, woken: false, nextAt: now })
        yield* TestClock.adjust(Duration.seconds(seconds))
        expect(yield* sweep).toMatchObject({ woken: true })
      }
      yield* mailbox.complete(["hello"])
      yield* containers.end(session)
      yield* write("again")
      expect(yield* sweep).toMatchObject({ hasEnded: true, woken: true })
    }).pipe(TestHost.withHost())
  )

  it.effect("not for a session that is closed", () =>
    Effect.gen(function* () {
      const { session, sweep, write } = yield* program
      const registry = yield* SessionRegistry.SessionRegistry
      yield* write("hello")
      yield* registry.updateSession(session, { status: "closed" })
      expect(yield* sweep).toMatchObject({ woken: false, nextAt: Number.POSITIVE_INFINITY })
    }).pipe(TestHost.withHost())
  )
})

describe("a runtime in trouble", () => {
  it.effect("that cannot start an agent is asked again, later each time, and others start", () =>
    Effect.gen(function* () {
      const { containers, containerStatus, session, sweep, write } = yield* program
      const other = yield* on(yield* TestHost.newSession("other"))
      containers.onWake = ({ sessionId }) =>
        sessionId === session.sessionId
          ? Effect.suspend(() => {
              containers.running.delete(sessionId)
              return Effect.fail("no image")
            })
          : Effect.void
      yield* write("hello")
      yield* other.write("hello")
      let now = 0
      for (const seconds of [5, 10, 20]) {
        const { lines, value } = yield* logged(sweep)
        now += seconds * 1000
        expect(value).toMatchObject({ woken: false, nextAt: now })
        expect(lines).toContain("The container runtime failed to start a container")
        expect(yield* sweep).toMatchObject({ woken: false, nextAt: now })
        expect(yield* containerStatus).toBe("stopped")
        yield* TestClock.adjust(Duration.seconds(seconds))
      }
      expect(asked(containers)).toEqual(["wake", "wake", "wake"])
      expect(yield* other.sweep).toMatchObject({ woken: true })
      containers.onWake = () => Effect.void
      expect(yield* sweep).toMatchObject({ woken: true })
      expect(yield* containerStatus).toBe("running")
    }).pipe(TestHost.withHost())
  )

  it.effect("that does not answer is left after a while; others start meanwhile", () =>
    Effect.gen(function* () {
      const { containers, session, sweep, write } = yield* program
      const other = yield* on(yield* TestHost.newSession("other"))
      containers.onWake = ({ sessionId }) => (sessionId === session.sessionId ? Effect.never : Effect.void)
      yield* write("hello")
      yield* other.write("hello")
      const fiber = yield* Effect.fork(sweep)
      yield* TestHost.until(() => containers.asked.length > 0)
      expect(yield* other.sweep).toMatchObject({ woken: true })
      yield* TestClock.adjust("1 minute")
      expect(Exit.getOrElse(yield* fiber.await, () => undefined)).toMatchObject({ woken: false })
    }).pipe(TestHost.withHost())
  )

  it.effect("that started an agent without saying so is believed when it says that it runs", () =>
    Effect.gen(function* () {
      const { containers, containerStatus, sweep, write } = yield* program
      containers.onWake = () => Effect.fail("the answer was lost")
      yield* write("hello")
      expect(yield* sweep).toMatchObject({ woken: false })
      expect(yield* containerStatus).toBe("running")
      yield* TestClock.adjust("10 minutes")
      expect(yield* sweep).toMatchObject({ hasEnded: false, woken: false })
      expect(asked(containers)).toEqual(["wake"])
    }).pipe(TestHost.withHost())
  )

  it.effect("that does not know what runs has nothing started, stopped or given up", () =>
    Effect.gen(function* () {
      const { containers, rows, statuses, sweep, takeAndEnd, write } = yield* program
      yield* write("hello")
      yield* sweep
      yield* takeAndEnd
      yield* write("more")
      containers.onStatus = () => Effect.fail("no daemon")
      for (let n = 0; n < 3; n++) {
        yield* TestClock.adjust("1 hour")
        expect(yield* sweep).toMatchObject({ hasEnded: false, woken: false, retried: [], failed: [] })
      }
      expect(asked(containers)).toEqual(["wake"])
      expect(rows("tries, process_after")).toEqual([
        { tries: 0, process_after: null },
        { tries: 0, process_after: null }
      ])
      containers.onStatus = () => Effect.void
      expect(yield* sweep).toMatchObject({ hasEnded: true, woken: true, retried: ["hello"] })
      expect(statuses()).toEqual({ hello: "pending", more: "pending" })
    }).pipe(TestHost.withHost())
  )
})

describe("a session's own trouble", () => {
  it.effect(
    "stays there: what is corrupt fails its sweep, and its container is still known to have ended",
    () =>
      Effect.gen(function* () {
        const { containers, containerStatus, folder, session, sweep, write } = yield* program
        const other = yield* on(yield* TestHost.newSession("other"))
        yield* write("hello")
        yield* other.write("hello")
        yield* sweep
        Fs.writeFileSync(`${folder}/outbound.db`, "x".repeat(10_000))
        yield* containers.end(session)
        expect(yield* Effect.flip(sweep)).toMatchObject({ _tag: "SessionDbCorrupt" })
        expect(yield* containerStatus).toBe("stopped")
        expect(Fs.readFileSync(`${folder}/outbound.db`, "utf8")).toBe("x".repeat(10_000))
        expect(yield* other.sweep).toMatchObject({ woken: true })
      }).pipe(TestHost.withHost())
  )

  it.effect("does not keep a silent agent from being stopped whose files cannot be read", () =>
    Effect.gen(function* () {
      const { containers, folder, mailbox, session, sweep, write } = yield* program
      yield* write("hello")
      yield* sweep
      Fs.writeFileSync(`${folder}/outbound.db`, "x".repeat(10_000))
      yield* TestClock.adjust("20 minutes")
      yield* mailbox.heartbeat
      yield* Effect.flip(sweep)
      yield* TestClock.adjust("30 minutes")
      yield* Effect.flip(sweep)
      expect(containers.running.has(session.sessionId)).toBe(true)
      yield* TestClock.adjust("1 second")
      yield* Effect.flip(sweep)
      expect(containers.running.has(session.sessionId)).toBe(false)
    }).pipe(TestHost.withHost())
  )

  it.effect("is named: a session that the registry does not have", () =>
    Effect.gen(function* () {
      const { session } = yield* program
      const stranger = yield* on({ ...session, agentGroupId: "somebody" })
      expect(yield* Effect.flip(stranger.sweep)).toMatchObject({ _tag: "SessionNotFound" })
    }).pipe(TestHost.withHost())
  )
})

describe("a sweep of a session in which nothing changed", () => {
  it.effect("opens no database, until something changes or becomes due", () =>
    withCountingHost(
      Effect.gen(function* () {
        const opened = yield* Opened
        const { mailbox, sweep, write } = yield* program
        yield* write("hello")
        yield* write("later", { processAfter: "1970-01-01T01:00:00.000Z" })
        yield* sweep
        yield* sweep
        const opens = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          Effect.suspend(() => {
            opened.count = 0
            return Effect.map(effect, () => opened.count)
          })
        for (let n = 0; n < 5; n++) {
          yield* TestClock.adjust("1 minute")
          yield* mailbox.heartbeat
          expect(yield* opens(sweep)).toBe(0)
        }
        yield* mailbox.claim(["hello"])
        expect(yield* opens(sweep)).toBeGreaterThan(0)
        expect(yield* opens(sweep)).toBe(0)
        yield* mailbox.complete(["hello"])
        yield* sweep
        yield* sweep
        yield* TestClock.adjust("25 minutes")
        yield* mailbox.heartbeat
        expect(yield* opens(sweep)).toBe(0)
        yield* TestClock.adjust("30 minutes")
        expect(yield* opens(sweep)).toBeGreaterThan(0)
      })
    )
  )
})
