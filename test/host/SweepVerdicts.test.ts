/**
 * What becomes of messages by what the agent says of them, and of answers that nobody took.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Option, TestClock } from "effect"
import * as TestHost from "../support/TestHost.js"
import { program } from "./SweepFixtures.js"

describe("the agent's word", () => {
  it.effect("settles a message if it is one that there is, and nothing otherwise", () =>
    Effect.gen(function* () {
      const { agent, host, say, statuses, sweep, write } = yield* program
      const words: Record<string, readonly [sql: string, becomes: string]> = {
        completed: ["'completed'", "completed"],
        failed: ["'failed'", "failed"],
        skipped: ["'script-skip:error'", "failed"],
        working: ["'processing'", "pending"],
        unheard: ["'finished'", "pending"],
        shouted: ["'COMPLETED'", "pending"],
        blob: ["CAST('completed' AS BLOB)", "pending"],
        number: ["1", "pending"],
        none: ["NULL", "pending"],
        long: ["'completed' || printf('%1000s', '')", "pending"]
      }
      agent("DROP TABLE processing_ack")
      agent("CREATE TABLE processing_ack (message_id PRIMARY KEY, status, status_changed)")
      for (const [id, [sql]] of Object.entries(words)) {
        yield* write(id)
        say(id, sql)
      }
      agent("INSERT INTO processing_ack VALUES (NULL, 'completed', ''), (x'00', 'completed', '')")
      agent("INSERT INTO processing_ack VALUES ('nobody knows it', 'completed', ''), (7, 'failed', '')")
      host("UPDATE messages_in SET status = 'pending' WHERE id = 'working'")
      yield* sweep
      expect(statuses()).toEqual(
        Object.fromEntries(Object.entries(words).map(([id, [, becomes]]) => [id, becomes]))
      )
    }).pipe(TestHost.withHost())
  )

  it.effect("is the last one while a message is pending, and nothing after that", () =>
    Effect.gen(function* () {
      const { agent, say, statuses, sweep, write } = yield* program
      for (const id of ["a", "b", "c"]) yield* write(id)
      say("a", "'completed'")
      say("b", "'failed'")
      yield* sweep
      for (const word of ["'processing'", "'failed'", "'completed'"]) {
        for (const id of ["a", "b"]) say(id, word)
        yield* sweep
      }
      agent("DELETE FROM processing_ack")
      expect(yield* sweep).toMatchObject({ retried: [], failed: [] })
      expect(statuses()).toEqual({ a: "completed", b: "failed", c: "pending" })
    }).pipe(TestHost.withHost())
  )

  it.effect("does not touch a message that is paused or cancelled, until it is resumed", () =>
    Effect.gen(function* () {
      const { containers, host, rows, say, session, statuses, sweep, write } = yield* program
      for (const id of ["paused", "cancelled"]) yield* write(id, { recurrence: "0 9 * * *" })
      host("UPDATE messages_in SET status = id")
      const before = rows("*")
      for (const word of ["'processing'", "'completed'", "'failed'"]) {
        for (const id of ["paused", "cancelled"]) say(id, word)
        expect(yield* sweep).toMatchObject({ woken: false, retried: [], failed: [], recurred: [] })
        yield* containers.end(session)
        yield* TestClock.adjust("1 day")
      }
      expect(rows("*")).toEqual(before)
      host("UPDATE messages_in SET status = 'pending' WHERE id = 'paused'")
      expect((yield* sweep).recurred.length).toBe(1)
      expect(statuses()).toMatchObject({ paused: "failed", cancelled: "cancelled" })
    }).pipe(TestHost.withHost())
  )

  it.effect("is nothing if the table is missing, or is not one", () =>
    Effect.gen(function* () {
      const { agent, mailbox, statuses, sweep, write } = yield* program
      yield* write("hello")
      yield* mailbox.complete(["hello"])
      agent("DROP TABLE processing_ack; DROP TABLE container_state")
      expect(yield* sweep).toMatchObject({ woken: true })
      const forever = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
      agent(`CREATE VIEW processing_ack AS ${forever} SELECT x AS message_id, x AS status, x AS status_changed FROM n;
        CREATE VIEW container_state AS ${forever} SELECT x AS id, x AS current_tool, x AS tool_declared_timeout_ms FROM n`)
      yield* sweep
      expect(statuses()).toEqual({ hello: "pending" })
    }).pipe(TestHost.withHost())
  )

  it.effect("leaves rows alone that somebody else put into the host's file, and that are no messages", () =>
    Effect.gen(function* () {
      const { host, mailbox, rows, sweep, write } = yield* program
      host(`INSERT INTO messages_in (id, kind, timestamp, process_after, recurrence, content) VALUES
        (NULL, 'chat', '', NULL, NULL, ''), ('blob', x'00', x'00', x'00', NULL, ''),
        (x'0102', 'chat', '', NULL, NULL, '')`)
      host("UPDATE messages_in SET status = 'completed', recurrence = x'00' WHERE id = 'blob'")
      yield* write("hello")
      yield* mailbox.complete(["hello"])
      expect(yield* sweep).toMatchObject({ woken: false, recurred: [] })
      expect(rows("id, status").filter(({ id }) => id === "hello")).toEqual([
        { id: "hello", status: "completed" }
      ])
    }).pipe(TestHost.withHost())
  )
})

describe("an answer that nobody took", () => {
  const answer = { questionId: "q", status: "answered", result: { value: "yes" } }

  it.effect("expires after ten minutes, when its time has come and not before", () =>
    Effect.gen(function* () {
      const { manager, session, statuses, sweep } = yield* program
      const { id } = yield* manager.writeSystemResponse(session, answer)
      expect(yield* sweep).toMatchObject({ expired: [], nextAt: 600_000 })
      yield* TestClock.adjust("599999 millis")
      expect(yield* sweep).toMatchObject({ expired: [] })
      yield* TestClock.adjust("1 millis")
      expect(yield* sweep).toMatchObject({ expired: [id], nextAt: Number.POSITIVE_INFINITY })
      expect(yield* sweep).toMatchObject({ expired: [] })
      expect(statuses()).toEqual({ [id]: "cancelled" })
    }).pipe(TestHost.withHost())
  )

  it.effect("is not one that the agent took, or has in hand, however late the host looks", () =>
    Effect.gen(function* () {
      const { mailbox, manager, say, session, statuses, sweep } = yield* program
      const taken = yield* manager.writeSystemResponse(session, answer)
      const other = yield* manager.writeSystemResponse(session, { ...answer, questionId: "other" })
      const asking = yield* Effect.fork(mailbox.ask({ question: "?", questionId: "q", timeout: "1 minute" }))
      expect(Option.isSome(yield* asking)).toBe(true)
      say(other.id, "'processing'")
      yield* TestClock.adjust("1 day")
      expect(yield* sweep).toMatchObject({ expired: [], nextAt: 86_400_000 })
      expect(statuses()).toEqual({ [taken.id]: "completed", [other.id]: "pending" })
      // Nothing runs, so the claim is a dead agent's.
      expect(yield* sweep).toMatchObject({ expired: [other.id] })
    }).pipe(TestHost.withHost())
  )
})
