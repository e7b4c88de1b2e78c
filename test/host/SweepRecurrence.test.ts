/**
 * Messages that recur: each occurrence has one successor, in its series, at the next time that its expression names.
 */
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, TestClock } from "effect"
import { SessionManager, SessionRegistry, Sweep } from "effect-airlock"
import type { Session } from "effect-airlock"
import * as Fs from "node:fs"
import * as Faults from "../support/Faults.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { logged, program } from "./SweepFixtures.js"

const columns = "series_id, status, recurrence, process_after, tries"

/** The times at which the occurrences of a series fall due, when each is finished as soon as it is due. */
const occurrences = (recurrence: string, from: number, count: number) =>
  Effect.gen(function* () {
    yield* TestClock.setTime(from)
    const { mailbox, rows, sweep, write } = yield* program
    yield* write("series", { kind: "task", recurrence })
    for (let n = 0; n < count; n++) {
      const { id, process_after } = rows("id, process_after").at(-1) ?? {}
      if (typeof process_after === "string") yield* TestClock.setTime(Date.parse(process_after))
      yield* mailbox.complete([String(id)])
      expect((yield* sweep).recurred.length).toBe(1)
    }
    return rows("process_after").flatMap(({ process_after }) => process_after ?? [])
  })

describe("a message that recurs", () => {
  it.effect("keeps its hour of the day when the clocks change, and misses no day", () =>
    Effect.gen(function* () {
      expect(yield* occurrences("30 2 * * *", Date.UTC(2026, 2, 27, 12), 4)).toEqual([
        "2026-03-28T01:30:00.000Z",
        "2026-03-29T01:00:00.000Z",
        "2026-03-30T00:30:00.000Z",
        "2026-03-31T00:30:00.000Z"
      ])
    }).pipe(TestHost.withHost({ timeZone: "Europe/Zurich" }))
  )

  it.effect("every hour comes in both of two hours of one name, and not in one that there is not", () =>
    Effect.gen(function* () {
      expect(yield* occurrences("0 * * * *", Date.UTC(2026, 9, 24, 22, 30), 5)).toEqual(
        [23, 24, 25, 26, 27].map((hour) => new Date(Date.UTC(2026, 9, 24, hour)).toISOString())
      )
    }).pipe(TestHost.withHost({ timeZone: "Europe/Zurich" }))
  )

  it.effect("is written once when a host was away for long, and not for each time that was missed", () =>
    Effect.gen(function* () {
      const { mailbox, rows, sweep, write } = yield* program
      yield* write("hourly", { recurrence: "0 * * * *" })
      yield* mailbox.complete(["hourly"])
      yield* TestClock.adjust("30 days")
      yield* sweep
      yield* sweep
      expect(rows("process_after")).toEqual([
        { process_after: null },
        { process_after: "1970-01-31T01:00:00.000Z" }
      ])
    }).pipe(TestHost.withHost())
  )

  it.effect("goes on when one occurrence has failed for good", () =>
    Effect.gen(function* () {
      const { rows, sweep, takeAndEnd, write } = yield* program
      yield* write("daily", { kind: "task", recurrence: "0 9 * * *" })
      yield* sweep
      for (let attempt = 0; attempt < 6; attempt++) {
        yield* TestClock.adjust("5 minutes")
        yield* sweep
        yield* takeAndEnd
        yield* sweep
      }
      yield* sweep
      expect(rows(columns)).toEqual([
        {
          series_id: "daily",
          status: "failed",
          recurrence: null,
          process_after: "1970-01-01T00:26:20.000Z",
          tries: 6
        },
        {
          series_id: "daily",
          status: "pending",
          recurrence: "0 9 * * *",
          process_after: "1970-01-01T09:00:00.000Z",
          tries: 0
        }
      ])
    }).pipe(TestHost.withHost())
  )

  it.effect("goes on when an occurrence is finished before its time", () =>
    Effect.gen(function* () {
      const { mailbox, rows, sweep, write } = yield* program
      yield* write("daily", { recurrence: "0 9 * * *" })
      for (let n = 0; n < 3; n++) {
        yield* mailbox.complete(rows().map(({ id }) => String(id)))
        expect((yield* sweep).recurred.length).toBe(1)
      }
      expect(rows("process_after").slice(1)).toEqual(
        [1, 2, 3].map((day) => ({ process_after: `1970-01-0${day}T09:00:00.000Z` }))
      )
    }).pipe(TestHost.withHost())
  )

  it.effect("takes its content, its address and its number along", () =>
    Effect.gen(function* () {
      const { mailbox, rows, sweep, write } = yield* program
      yield* write("one", {
        kind: "task",
        recurrence: "0 9 * * *",
        trigger: 0,
        threadId: "thread",
        channelType: "test",
        platformId: "elsewhere",
        onWake: true
      })
      yield* write("other")
      yield* mailbox.complete(["one"])
      const [id] = (yield* sweep).recurred
      expect(rows("*").at(-1)).toEqual({
        ...rows("*")[0],
        id,
        seq: 6,
        status: "pending",
        recurrence: "0 9 * * *",
        process_after: "1970-01-01T09:00:00.000Z",
        on_wake: 0
      })
      expect(yield* write("next")).toMatchObject({ seq: 8 })
    }).pipe(TestHost.withHost())
  )

  it.effect("ends with a word in the log if an older folder has an expression that names no instant", () =>
    Effect.gen(function* () {
      const { host, mailbox, rows, sweep, write } = yield* program
      const expressions = ["0 9 31 2 *", "every day", "", "99 * * * *"]
      for (const [index, expression] of expressions.entries()) {
        yield* write(`m${index}`)
        host(`UPDATE messages_in SET recurrence = '${expression}' WHERE id = 'm${index}'`)
      }
      yield* write("good", { recurrence: "0 9 * * *" })
      yield* mailbox.complete(["m0", "m1", "m2", "m3", "good"])
      const { lines, value } = yield* logged(sweep)
      expect(value.recurred.length).toBe(1)
      expect(lines).toEqual(
        expressions.map(
          (expression, index) =>
            `A series ends: its cron expression names no instant messageId=m${index} recurrence=${expression}`
        )
      )
      expect(rows().length).toBe(6)
      expect((yield* logged(sweep)).lines).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it("cannot be read in a time zone that nobody knows", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const exit = yield* Effect.exit(Layer.build(TestHost.layerAt(dataDir, { timeZone: "Europe/Zurch" })))
      expect(Exit.isFailure(exit)).toBe(true)
    }).pipe(Effect.scoped, Effect.runPromise))
})

describe("a successor is written exactly once", () => {
  const sweeps = (session: Session.Session) => Effect.flatMap(Sweep.Sweep, (sweep) => sweep.sweep(session))

  it.effect("however many sweeps of two hosts there are at once", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const [first, second] = yield* Effect.all([
        Layer.build(TestHost.layerAt(dataDir)),
        Layer.build(TestHost.layerAt(dataDir))
      ])
      const { mailbox, rows, session, write } = yield* Effect.provide(program, first)
      yield* Effect.provide(write("series", { recurrence: "0 9 * * *" }), first)
      for (let round = 0; round < 5; round++) {
        yield* mailbox.complete(rows().map(({ id }) => String(id)))
        const all = [first, second, first, second].map((host) => Effect.provide(sweeps(session), host))
        const results = yield* Effect.all(all, { concurrency: "unbounded" })
        expect(results.flatMap(({ recurred }) => recurred).length).toBe(1)
        expect(rows("status").map(({ status }) => status)).toEqual([
          ...Array.from({ length: round + 1 }, () => "completed"),
          "pending"
        ])
      }
    }).pipe(Effect.scoped)
  )

  it.effect("whichever file call fails", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const host = yield* Layer.build(Faults.layerAt(dataDir))
      const faults = Context.get(host, Faults.Faults)
      const manager = Context.get(host, SessionManager.SessionManager)
      const session = yield* Effect.provide(TestHost.newSession(), host)
      const folder = yield* Effect.provide(TestHost.folderOf(session), host)
      const mailbox = yield* TestHost.mailboxAt(folder)
      const rows = () => Raw.query(`${folder}/inbound.db`, "SELECT id, status FROM messages_in ORDER BY seq")
      yield* manager.writeMessage(session, {
        id: "series",
        kind: "task",
        content: "{}",
        recurrence: "0 9 * * *"
      })
      let call = 0
      for (let hasFailed = true; hasFailed;) {
        const before = rows().length
        yield* mailbox.complete(rows().map(({ id }) => String(id)))
        yield* faults.arm(++call, "EIO")
        const exit = yield* Effect.exit(Effect.provide(sweeps(session), host))
        hasFailed = (yield* faults.disarm) !== undefined
        if (Exit.isSuccess(exit)) {
          const original = TestHost.originalOf(folder)
          expect(Raw.query(original, "SELECT id FROM messages_in").length).toBe(before + 1)
        }
        yield* Effect.provide(sweeps(session), host)
        yield* Effect.provide(sweeps(session), host)
        expect(rows().length).toBe(before + 1)
        expect(rows().filter(({ status }) => status === "pending").length).toBe(1)
      }
      expect(call).toBeGreaterThan(10)
      expect(Fs.existsSync(`${TestHost.originalOf(folder)}-journal`)).toBe(false)
      const registry = Context.get(host, SessionRegistry.SessionRegistry)
      expect((yield* registry.listActiveSessions()).map(({ containerStatus }) => containerStatus)).toEqual([
        "stopped"
      ])
    }).pipe(Effect.scoped)
  )

  it.effect("when an older host wrote two messages of one series", () =>
    Effect.gen(function* () {
      const { host, mailbox, rows, sweep, write } = yield* program
      yield* write("a", { recurrence: "0 9 * * *" })
      yield* write("b", { recurrence: "0 9 * * *" })
      host("UPDATE messages_in SET series_id = 'one'")
      yield* mailbox.complete(["a", "b"])
      expect((yield* sweep).recurred.length).toBe(1)
      expect(rows().length).toBe(3)
      expect(yield* write("next")).toMatchObject({ seq: 8 })
    }).pipe(TestHost.withHost())
  )
})
