import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Option, TestClock } from "effect"
import { SessionRegistry, Sweep } from "effect-airlock"
import * as TestHost from "../support/TestHost.js"
import { asked, program } from "./SweepFixtures.js"

describe("Sweep.sweep", () => {
  it.effect("starts the agent when something is due and nothing runs, and not twice", () =>
    Effect.gen(function* () {
      const { containers, sweep, write } = yield* program
      expect(yield* sweep).toMatchObject({ woken: false, nextAt: Number.POSITIVE_INFINITY })
      yield* write("context", { trigger: 0 })
      expect(yield* sweep).toMatchObject({ woken: false })
      yield* write("hello")
      expect(yield* sweep).toMatchObject({ woken: true })
      expect(yield* sweep).toMatchObject({ woken: false })
      expect(asked(containers)).toEqual(["wake"])
    }).pipe(TestHost.withHost())
  )

  it.effect("takes over verdicts: failed stays failed, and nothing final goes back (U10)", () =>
    Effect.gen(function* () {
      const { mailbox, rows, sweep, write } = yield* program
      for (const id of ["done", "broken", "open"]) yield* write(id)
      yield* mailbox.poll
      yield* mailbox.claim(["done", "broken", "open"])
      yield* mailbox.complete(["done"])
      yield* mailbox.fail(["broken"])
      yield* sweep
      expect(rows()).toEqual([
        { id: "done", status: "completed" },
        { id: "broken", status: "failed" },
        { id: "open", status: "pending" }
      ])
    }).pipe(TestHost.withHost())
  )

  it.effect("writes the next occurrence of a series once, in its time zone", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 9, 24, 12))
      const { mailbox, rows, sweep, write } = yield* program
      yield* write("daily", { kind: "task", recurrence: "0 9 * * *" })
      yield* mailbox.poll
      yield* mailbox.complete(["daily"])
      const { recurred } = yield* sweep
      expect(recurred.length).toBe(1)
      expect((yield* sweep).recurred).toEqual([])
      expect(rows("series_id, status, recurrence, process_after")).toEqual([
        { series_id: "daily", status: "completed", recurrence: null, process_after: null },
        {
          series_id: "daily",
          status: "pending",
          recurrence: "0 9 * * *",
          process_after: "2026-10-25T08:00:00.000Z"
        }
      ])
    }).pipe(TestHost.withHost({ timeZone: "Europe/Zurich" }))
  )

  it.effect("offers again what an agent had when it ended, later each time, and gives up in the end", () =>
    Effect.gen(function* () {
      const { containers, folder, mailbox, rows, session, sweep, write } = yield* program
      /** A new agent takes the message, as soon as it may, and ends. */
      const endWithIt = Effect.gen(function* () {
        const agent = yield* TestHost.mailboxAt(folder)
        expect((yield* agent.poll).map(({ id }) => id)).toEqual(["hard"])
        expect(yield* mailbox.claim(["hard"])).toEqual(["hard"])
        yield* containers.end(session)
      })
      yield* write("hard")
      expect(yield* sweep).toMatchObject({ woken: true })
      for (const [tries, seconds] of [5, 10, 20, 40, 80].entries()) {
        yield* endWithIt
        expect(yield* sweep).toMatchObject({ hasEnded: true, woken: true, retried: ["hard"] })
        expect(yield* sweep).toMatchObject({ woken: false, retried: [] })
        expect(rows("tries")).toEqual([{ tries: tries + 1 }])
        yield* TestClock.adjust(Duration.seconds(seconds - 1))
        expect(yield* (yield* TestHost.mailboxAt(folder)).poll).toEqual([])
        yield* TestClock.adjust("1 second")
      }
      yield* endWithIt
      expect(yield* sweep).toMatchObject({ failed: ["hard"] })
      expect(rows()).toEqual([{ id: "hard", status: "failed" }])
    }).pipe(TestHost.withHost())
  )

  it.effect("stops an agent that holds a claim without a sign of life, and not one that shows any", () =>
    Effect.gen(function* () {
      const { containers, mailbox, sweep, write } = yield* program
      yield* write("long")
      yield* sweep
      yield* mailbox.poll
      yield* mailbox.claim(["long"])
      for (let minute = 0; minute < 5; minute++) {
        yield* TestClock.adjust("50 seconds")
        yield* mailbox.heartbeat
        expect(yield* sweep).toMatchObject({ killed: Option.none() })
      }
      yield* TestClock.adjust("59 seconds")
      expect(yield* sweep).toMatchObject({ killed: Option.none() })
      yield* TestClock.adjust("2 seconds")
      expect(yield* sweep).toMatchObject({ killed: Option.some("claims"), retried: ["long"] })
      expect(asked(containers)).toEqual(["wake", "kill"])
    }).pipe(TestHost.withHost())
  )

  it.effect("writes routing and destinations each time it starts an agent", () =>
    Effect.gen(function* () {
      const { mailbox, session, sweep, write } = yield* program
      const registry = yield* SessionRegistry.SessionRegistry
      yield* registry.putMessagingGroup({ id: "chat", channelType: "test", platformId: "moved" })
      yield* registry.putDestinations(session.agentGroupId, [
        { type: "agent", name: "colleague", agentGroupId: "other" }
      ])
      yield* write("hello")
      yield* sweep
      expect(yield* mailbox.routing).toMatchObject({ platformId: "moved" })
      expect(yield* mailbox.destinations).toMatchObject([{ name: "colleague", agentGroupId: "other" }])
    }).pipe(TestHost.withHost())
  )
})

describe("Sweep.run", () => {
  it.effect("starts an agent as soon as something is written, and when a message's time has come", () =>
    Effect.gen(function* () {
      const { containers, mailbox, rows, session, write } = yield* program
      const statusOf = () => rows().map(({ status }) => status)
      const sweep = yield* Sweep.Sweep
      yield* Effect.forkScoped(sweep.run)
      // The first look is over when the registry has been asked: nothing is to be seen of it.
      yield* TestClock.adjust("1 second")
      yield* write("now")
      yield* TestHost.until(() => containers.running.has(session.sessionId))
      yield* mailbox.poll
      yield* mailbox.complete(["now"])
      yield* containers.end(session)
      yield* write("later", { processAfter: "1970-01-01T01:00:00.000Z" })
      yield* TestHost.until(() => statusOf().join() === "completed,pending")
      yield* TestClock.adjust("59 minutes")
      expect(containers.running.has(session.sessionId)).toBe(false)
      yield* TestClock.adjust("1 minute")
      yield* TestHost.until(() => containers.running.has(session.sessionId))
    }).pipe(TestHost.withHost())
  )
})
