/**
 * Rows that are not what they should be, in tables that are. Each is set aside with a reason, and the rest flows.
 */
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Logger, LogLevel, Option, TestClock } from "effect"
import { Sweep } from "effect-airlock"
import * as DeliveryFixtures from "../host/DeliveryFixtures.js"
import * as TestHost from "../support/TestHost.js"
import * as Place from "./Place.js"

const columns = ["id", "seq", "timestamp", "kind", "content", "deliver_after", "channel_type", "platform_id"]

/** What a decent row has, as SQL. */
const decent: Record<string, string> = {
  seq: "1",
  timestamp: "'2026-01-01T00:00:00.000Z'",
  kind: "'chat'",
  content: `'{"text":"odd"}'`,
  deliver_after: "NULL",
  channel_type: "NULL",
  platform_id: "NULL"
}

const long = (bytes: number) => `printf('%.*c', ${bytes}, 'x')`
const deep = `'${"[".repeat(101)}${"]".repeat(101)}'`
const justDeepEnough = `'{"text":${"[".repeat(99)}${"]".repeat(99)}}'`

/** Rows by what is odd about them, and what becomes of each: why it failed, `delivered`, or `waits`. */
const rows: ReadonlyArray<readonly [what: string, row: Record<string, string>, outcome: string]> = [
  ["an id of NULL", { id: "NULL" }, "not a message"],
  ["an id that is a number", { id: "7" }, "not a message"],
  ["an id that is binary", { id: "x'00ff'" }, "not a message"],
  ["an id of a megabyte", { id: long(1 << 20) }, "not a message"],
  ["an id that is no UTF-8", { id: "CAST(x'61ff62' AS TEXT)" }, "not a message"],
  ["an id with NUL and a line break", { id: "'a' || char(0) || char(10) || 'b'" }, "delivered"],
  ["a number that is text", { seq: "'seven'" }, "not a message"],
  ["a number that is binary", { seq: "x'07'" }, "not a message"],
  ["a number larger than any", { seq: "9223372036854775807" }, "delivered"],
  ["a number that is a fraction", { seq: "1e300" }, "delivered"],
  ["no number", { seq: "NULL" }, "delivered"],
  ["a kind of NULL", { kind: "NULL" }, "not a message"],
  ["a kind that is a number", { kind: "1" }, "not a message"],
  ["a kind of a megabyte", { kind: long(1 << 20) }, "not a message"],
  ["a kind that nobody knows", { kind: "'oracle'" }, "delivered"],
  ["a channel that is binary", { channel_type: "x'00'", platform_id: "'chat'" }, "not a message"],
  ["a chat of a megabyte", { channel_type: "'test'", platform_id: long(1 << 20) }, "not a message"],
  [
    "a chat that is not its own",
    { channel_type: "'test'", platform_id: "'other'" },
    "not a destination of this session"
  ],
  ["a time that is a number", { deliver_after: "1e300" }, "not a message"],
  ["a time that is binary", { deliver_after: "x'ff'" }, "not a message"],
  ["a time that is none", { deliver_after: "'tomorrow'" }, "delivered"],
  ["a time of the year 9999", { deliver_after: "'9999-12-31T23:59:59.999Z'" }, "waits"],
  ["a time of the year 10000", { deliver_after: "'10000-01-01T00:00:00.000Z'" }, "delivered"],
  ["a timestamp of NULL", { timestamp: "NULL" }, "not a message"],
  ["a timestamp of 1e300", { timestamp: "1e300" }, "not a message"],
  ["content of NULL", { content: "NULL" }, "not a message"],
  ["content that is a number", { content: "42" }, "not a message"],
  ["content that is binary", { content: "x'7b7d'" }, "not a message"],
  ["content of two megabytes", { content: long(2 << 20) }, "content too long"],
  ["content that is no UTF-8", { content: "CAST(x'7bff7d' AS TEXT)" }, "delivered"],
  ["content that is no JSON", { content: "'{'" }, "delivered"],
  ["content of brackets that are no JSON", { content: `'${"[".repeat(5000)}'` }, "delivered"],
  ["content nested as deep as it may be", { content: justDeepEnough }, "delivered"],
  ["content nested deeper", { content: deep }, "content nested too deep"],
  [
    "files that are no names",
    { content: `'{"files":[1,null,{},"../../secret","/etc/passwd"]}'` },
    "delivered"
  ]
]

const bare = `DROP TABLE messages_out; CREATE TABLE messages_out (id, seq, in_reply_to, timestamp, deliver_after, recurrence, kind,
  platform_id, channel_type, thread_id, content)`

describe("a row of the agent's messages with", () => {
  for (const [what, row, outcome] of rows) {
    it.effect(`${what} is set aside or delivered: ${outcome}`, () =>
      Effect.gen(function* () {
        const { drain, envelopes, failures, outbound } = yield* DeliveryFixtures.program
        const whole = { id: "'odd'", ...decent, ...row }
        outbound(bare)
        outbound(
          `INSERT INTO messages_out (${columns.join()}) VALUES (${columns.map((column) => whole[column as "id"]).join()})`
        )
        outbound(
          `INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('good', 3, '', 'chat', '{"text":"good"}')`
        )
        const { exit, millis } = yield* Place.timed(drain)
        expect(exit._tag).toBe("Success")
        expect(millis).toBeLessThan(1000)
        const { delivered, failed } = yield* exit
        const reasons = failed.map(({ reason }) => reason)
        const odd = delivered.filter((id) => id !== "good")
        expect(delivered).toContain("good")
        expect([...reasons, ...odd.map(() => "delivered")]).toEqual(outcome === "waits" ? [] : [outcome])
        // The reason can be looked up, and nothing is done twice.
        expect((yield* failures).map(({ reason }) => reason)).toEqual(reasons)
        const before = (yield* envelopes).length
        expect(yield* drain).toMatchObject({ delivered: [], failed: [] })
        expect((yield* envelopes).length).toBe(before)
        expect((yield* envelopes).flatMap(({ files }) => files)).toEqual([])
      }).pipe(TestHost.withHost(), Logger.withMinimumLogLevel(LogLevel.None))
    )
  }

  it.effect("nothing right in it is set aside, if there are thousands, within a second each look", () =>
    Effect.gen(function* () {
      const { drain, failures, outbound } = yield* DeliveryFixtures.program
      outbound(`${bare}; WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 12000)
        INSERT INTO messages_out (id, seq, kind) SELECT x'00', x, x FROM n`)
      outbound(
        `INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('good', 20001, '', 'chat', '{"text":"good"}')`
      )
      const seen: Array<string> = []
      // Every other look finds that what it took before is settled.
      for (let look = 0; look < 5; look++) {
        const { exit, millis } = yield* Place.timed(drain)
        expect(millis).toBeLessThan(1000)
        seen.push(...(yield* exit).delivered)
      }
      expect(seen).toEqual(["good"])
      expect((yield* failures).length).toBe(12_000)
    }).pipe(TestHost.withHost({ limits: { failures: 20_000 } }), Logger.withMinimumLogLevel(LogLevel.None))
  )
})

describe("two rows of one id", () => {
  // By one of them the host would decide where the message goes, and the other would go there.
  const allowed = `1, 'chat', NULL, NULL, '{"text":"allowed"}'`
  const action = `1, 'system', 'test', 'other', '{"action":"none"}'`
  const forbidden = (seq: string) => `${seq}, 'chat', 'test', 'other', '{"text":"forbidden"}'`
  const pairs = [allowed, action].flatMap((first) =>
    ["1", "NULL", "1.5", "3"].flatMap((seq) => [
      [first, forbidden(seq)],
      [forbidden(seq), first]
    ])
  )
  const inserts = pairs.flatMap((rows, n) =>
    rows.map(
      (row) => `INSERT INTO messages_out (id, timestamp, seq, kind, channel_type, platform_id, content)
        VALUES ('x${n}', '', ${row});`
    )
  )
  const covering = "id, seq, kind DESC, in_reply_to, deliver_after, channel_type DESC, platform_id, thread_id"

  for (const index of ["", `CREATE INDEX i ON messages_out (${covering});`]) {
    it.effect(`cannot be taken for each other${index === "" ? "" : ", whatever the order of an index"}`, () =>
      Effect.gen(function* () {
        const { drain, envelopes, outbound } = yield* DeliveryFixtures.program
        outbound(`${bare}; ${inserts.join("")} ${index}`)
        yield* drain
        yield* drain
        expect((yield* envelopes).length).toBeGreaterThan(0)
        expect((yield* envelopes).filter(({ platformId }) => platformId === "other")).toEqual([])
        expect((yield* envelopes).filter(({ content }) => content.includes("forbidden"))).toEqual([])
      }).pipe(TestHost.withHost(), Logger.withMinimumLogLevel(LogLevel.None))
    )
  }
})

describe("what an agent says of itself", () => {
  const bareAcks = `DROP TABLE processing_ack; CREATE TABLE processing_ack (message_id, status, status_changed);
    DROP TABLE container_state; CREATE TABLE container_state (id, current_tool, tool_declared_timeout_ms)`

  it.effect("is passed over if it is no acknowledgement, and counts beside that", () =>
    Effect.gen(function* () {
      const { manager, outbound, session } = yield* DeliveryFixtures.program
      const sweep = yield* Sweep.Sweep
      for (const id of ["a", "b", "c"])
        yield* manager.writeMessage(session, { id, kind: "chat", content: "{}" })
      outbound(`${bareAcks}; INSERT INTO processing_ack VALUES
        (NULL, 'completed', ''), (7, 'completed', ''), (x'61', 'completed', ''), (${long(1 << 20)}, 'completed', ''),
        ('a', x'ff', ''), ('a', 7, ''), ('a', ${long(1 << 20)}, ''), ('unknown', 'completed', ''),
        ('b', 'completed', 1e300), ('c', 'completed', '9999-12-31T23:59:59.999Z')`)
      const { exit, millis } = yield* Place.timed(sweep.sweep(session))
      expect(exit._tag).toBe("Success")
      expect(millis).toBeLessThan(1000)
    }).pipe(TestHost.withHost(), Logger.withMinimumLogLevel(LogLevel.None))
  )

  it.effect("does not become more by being said a hundred thousand times", () =>
    Effect.gen(function* () {
      const { manager, outbound, session } = yield* DeliveryFixtures.program
      const sweep = yield* Sweep.Sweep
      yield* manager.writeMessage(session, { id: "a", kind: "chat", content: "{}" })
      outbound(`${bareAcks}; WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200000)
        INSERT INTO processing_ack SELECT 'a', 'processing', ${long(90)} FROM n`)
      const before = process.memoryUsage().heapUsed
      const { exit, millis } = yield* Place.timed(sweep.sweep(session))
      expect(exit._tag).toBe("Success")
      expect(millis).toBeLessThan(1000)
      expect((process.memoryUsage().heapUsed - before) / 2 ** 20).toBeLessThan(60)
    }).pipe(TestHost.withHost(), Logger.withMinimumLogLevel(LogLevel.None))
  )

  // What is no timeout makes nothing longer than the silence that any agent may keep.
  for (const [timeout, minutes] of [
    ["1e15", 60],
    ["9e999", 30],
    ["'1e15'", 30],
    ["x'ff'", 30],
    ["-1", 30]
  ] as const) {
    it.effect(`about a tool that takes ${timeout} milliseconds keeps it for ${minutes} minutes`, () =>
      Effect.gen(function* () {
        const { manager, outbound, session } = yield* DeliveryFixtures.program
        const sweep = yield* Sweep.Sweep
        outbound(`${bareAcks}; INSERT INTO container_state VALUES (1, 'sleep', ${timeout})`)
        yield* manager.writeMessage(session, { id: "m", kind: "chat", content: "{}" })
        expect((yield* sweep.sweep(session)).woken).toBe(true)
        yield* sweep.sweep(session)
        yield* TestClock.adjust(Duration.minutes(minutes - 1))
        expect(Option.isNone((yield* sweep.sweep(session)).killed)).toBe(true)
        yield* TestClock.adjust(Duration.minutes(2))
        expect(Option.isSome((yield* sweep.sweep(session)).killed)).toBe(true)
      }).pipe(TestHost.withHost(), Logger.withMinimumLogLevel(LogLevel.None))
    )
  }
})
