/**
 * When an agent is stopped, and what becomes of what it had.
 */
import { describe, expect, it } from "@effect/vitest"
import type { Duration, Scope } from "effect"
import { Effect, Option, TestClock } from "effect"
import { SessionRegistry } from "effect-airlock"
import * as Fs from "node:fs"
import * as TestHost from "../support/TestHost.js"
import { asked, logged, on, program } from "./SweepFixtures.js"

/** The agent was started for a message, and has it. */
const claimed = Effect.tap(program, ({ mailbox, sweep, write }) =>
  Effect.gen(function* () {
    yield* write("hello")
    yield* sweep
    yield* mailbox.poll
    yield* mailbox.claim(["hello"])
    yield* sweep
  })
)

const killed = { killed: Option.some("claims") }
const alive = { killed: Option.none() }

describe("an agent is stopped", () => {
  it.effect("when it is silent for too long, also if it has nothing to do", () =>
    Effect.gen(function* () {
      const { mailbox, sweep, write } = yield* program
      yield* write("hello")
      yield* sweep
      yield* mailbox.complete(["hello"])
      yield* TestClock.adjust("30 minutes")
      expect(yield* sweep).toMatchObject(alive)
      yield* TestClock.adjust("1 millis")
      expect(yield* sweep).toMatchObject({ killed: Option.some("silence"), retried: [] })
    }).pipe(TestHost.withHost())
  )

  it.effect("not because of a heartbeat file that it did not touch, or has not made yet (U12)", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 0, 1))
      const { folder, mailbox, sweep, write } = yield* program
      Fs.writeFileSync(`${folder}/.heartbeat`, "")
      for (const seconds of [0, 4e9]) {
        Fs.utimesSync(`${folder}/.heartbeat`, seconds, seconds)
        yield* write(`m${seconds}`)
        expect(yield* sweep).toMatchObject({ woken: true })
        yield* TestClock.adjust("29 minutes")
        expect(yield* sweep).toMatchObject(alive)
        yield* mailbox.complete([`m${seconds}`])
        yield* TestClock.adjust("2 minutes")
        expect(yield* sweep).toMatchObject({ killed: Option.some("silence") })
      }
      Fs.rmSync(`${folder}/.heartbeat`)
      yield* write("none")
      expect(yield* sweep).toMatchObject({ woken: true })
      yield* TestClock.adjust("29 minutes")
      expect(yield* sweep).toMatchObject(alive)
    }).pipe(TestHost.withHost())
  )

  it.effect("a minute after its claim was seen, whatever time the claim names (U11)", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 0, 1, 12))
      const { containers, folder, say, session, sweep, write } = yield* program
      const stamps = [
        "2999-01-01T00:00:00.000Z",
        "2026-01-01 12:00:00",
        "2025-12-31 12:00:00",
        "tomorrow",
        ""
      ]
      for (const [index, stamp] of stamps.entries()) {
        const id = `m${index}`
        yield* write(id)
        expect(yield* sweep).toMatchObject({ woken: true })
        say(id, "'processing'", `'${stamp}'`)
        expect(yield* sweep).toMatchObject(alive)
        yield* TestClock.adjust("1 minute")
        expect(yield* sweep).toMatchObject(alive)
        yield* TestClock.adjust("1 millis")
        expect(yield* sweep).toMatchObject({ ...killed, retried: [id] })
        const fresh = yield* TestHost.mailboxAt(folder)
        yield* fresh.complete([id])
        yield* containers.end(session)
        yield* sweep
      }
    }).pipe(TestHost.withHost())
  )

  it.effect("later if it declares a tool that takes long, but not for ever", () =>
    Effect.gen(function* () {
      const tools: ReadonlyArray<readonly [string, Duration.DurationInput]> = [
        ["300000", "5 minutes"],
        ["1e15", "1 hour"],
        ["9e999", "1 minute"],
        ["-1e15", "1 minute"],
        ["'a long time'", "1 minute"],
        ["x'ffffffff'", "1 minute"],
        ["NULL", "1 minute"]
      ]
      for (const [index, [timeout, limit]] of tools.entries()) {
        const { agent, mailbox, sweep, write } = yield* on(yield* TestHost.newSession(`chat ${index}`))
        yield* write("hello")
        yield* sweep
        yield* mailbox.claim(["hello"])
        agent(`INSERT INTO container_state VALUES (1, 'tool', ${timeout}, NULL, '')`)
        yield* sweep
        yield* TestClock.adjust(limit)
        expect([timeout, yield* sweep]).toMatchObject([timeout, alive])
        yield* TestClock.adjust("1 millis")
        expect([timeout, (yield* sweep).killed]).not.toEqual([timeout, Option.none()])
      }
    }).pipe(TestHost.withHost())
  )

  it.effect("as usual, if the tool that it declared is not in use any more", () =>
    Effect.gen(function* () {
      const { agent, sweep } = yield* claimed
      agent("INSERT INTO container_state VALUES (1, NULL, 3600000, NULL, '')")
      yield* sweep
      yield* TestClock.adjust("61 seconds")
      expect(yield* sweep).toMatchObject(killed)
    }).pipe(TestHost.withHost())
  )

  it.effect("again, if it could not be stopped", () =>
    Effect.gen(function* () {
      const { containers, rows, sweep } = yield* claimed
      containers.onKill = () => Effect.fail("permission denied")
      yield* TestClock.adjust("2 minutes")
      for (let n = 0; n < 2; n++) {
        const { lines, value } = yield* logged(sweep)
        expect(value).toMatchObject({ ...alive, retried: [] })
        expect(lines).toEqual(["The container runtime failed to stop a container"])
      }
      expect(rows("tries")).toEqual([{ tries: 0 }])
      containers.onKill = () => Effect.void
      expect(yield* sweep).toMatchObject({ ...killed, retried: ["hello"] })
      expect(asked(containers)).toEqual(["wake", "kill", "kill", "kill"])
    }).pipe(TestHost.withHost())
  )

  it.effect("and what it finished before it ended is finished, and not tried again", () =>
    Effect.gen(function* () {
      const { containers, mailbox, rows, sweep } = yield* claimed
      containers.onKill = () => mailbox.complete(["hello"])
      yield* TestClock.adjust("2 minutes")
      expect(yield* sweep).toMatchObject({ ...killed, retried: [], failed: [] })
      expect(rows("status, tries")).toEqual([{ status: "completed", tries: 0 }])
    }).pipe(TestHost.withHost())
  )

  it.effect("by policies of the host's own", () =>
    Effect.gen(function* () {
      const { sweep } = yield* claimed
      yield* TestClock.adjust("10 seconds")
      expect(yield* sweep).toMatchObject(alive)
      yield* TestClock.adjust("1 millis")
      expect(yield* sweep).toMatchObject(killed)
    }).pipe(TestHost.withHost({ stuck: { claims: "10 seconds" } }))
  )
})

describe("a claim of an agent that has ended", () => {
  it.effect("is not held against the next one, however long it takes to get going (U12)", () =>
    Effect.gen(function* () {
      const { agent, containers, mailbox, session, sweep } = yield* claimed
      yield* containers.end(session)
      expect(yield* sweep).toMatchObject({ hasEnded: true, woken: true, retried: ["hello"] })
      for (let minute = 0; minute < 30; minute++) {
        yield* TestClock.adjust("1 minute")
        expect(yield* sweep).toMatchObject(alive)
      }
      agent("DELETE FROM processing_ack")
      yield* mailbox.heartbeat
      yield* sweep
      yield* mailbox.claim(["hello"])
      yield* sweep
      yield* TestClock.adjust("61 seconds")
      expect(yield* sweep).toMatchObject({ ...killed, retried: ["hello"] })
    }).pipe(TestHost.withHost())
  )

  it.effect("is not held against a container that the runtime started again by itself", () =>
    Effect.gen(function* () {
      const { containers, session, sweep } = yield* claimed
      yield* TestClock.adjust("50 seconds")
      containers.running.set(session.sessionId, 50_000)
      for (let minute = 0; minute < 30; minute++) {
        expect(yield* sweep).toMatchObject(alive)
        yield* TestClock.adjust("1 minute")
      }
      yield* TestClock.adjust("1 millis")
      expect(yield* sweep).toMatchObject({ killed: Option.some("silence") })
    }).pipe(TestHost.withHost())
  )

  it.effect("counts once, however often the host starts again", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      /** Another run of the host, on the same folders. */
      const run = <A, E>(
        test: (
          host: Effect.Effect.Success<typeof program>
        ) => Effect.Effect<A, E, TestHost.Services | Scope.Scope>
      ) =>
        Effect.gen(function* () {
          const registry = yield* SessionRegistry.SessionRegistry
          const [known] = yield* registry.listActiveSessions()
          return yield* test(yield* on(known ?? (yield* TestHost.newSession())))
        }).pipe(Effect.scoped, Effect.provide(TestHost.layerAt(dataDir)))

      yield* run(({ sweep, takeAndEnd, write }) =>
        Effect.gen(function* () {
          yield* write("hello")
          yield* sweep
          yield* takeAndEnd
          expect(yield* sweep).toMatchObject({ retried: ["hello"] })
        })
      )
      for (let n = 0; n < 3; n++) {
        yield* run(({ sweep }) =>
          Effect.gen(function* () {
            expect(yield* sweep).toMatchObject({ hasEnded: n === 0, retried: [], failed: [] })
          })
        )
      }
      yield* TestClock.adjust("1 hour")
      yield* run(({ rows, say, sweep }) =>
        Effect.gen(function* () {
          expect(yield* sweep).toMatchObject({ woken: true, retried: [] })
          expect(rows("tries")).toEqual([{ tries: 1 }])
          say("hello", "'processing'", "'another claim'")
        })
      )
      yield* run(({ rows, sweep }) =>
        Effect.gen(function* () {
          expect(yield* sweep).toMatchObject({ hasEnded: true, woken: true, retried: ["hello"] })
          expect(rows("tries")).toEqual([{ tries: 2 }])
        })
      )
    }).pipe(Effect.scoped)
  )

  it.effect("does not bring a message forward that is due later", () =>
    Effect.gen(function* () {
      const { containers, rows, say, session, sweep, write } = yield* program
      yield* write("hello")
      yield* write("tomorrow", { processAfter: "1970-01-02T00:00:00.000Z" })
      yield* sweep
      say("tomorrow", "'processing'")
      yield* containers.end(session)
      expect(yield* sweep).toMatchObject({ retried: ["tomorrow"] })
      expect(rows("process_after")).toEqual([
        { process_after: null },
        { process_after: "1970-01-02T00:00:00.000Z" }
      ])
    }).pipe(TestHost.withHost())
  )
})
