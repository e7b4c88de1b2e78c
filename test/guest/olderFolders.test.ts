/**
 * Folders that NanoClaw v2 made: with the columns and tables that its first builds had.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { Tables } from "effect-airlock"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { watchedMailbox } from "./Fixtures.js"

const inbound = `
  CREATE TABLE messages_in (
    id TEXT PRIMARY KEY, seq INTEGER UNIQUE, kind TEXT NOT NULL, timestamp TEXT NOT NULL,
    status TEXT DEFAULT 'pending', process_after TEXT, recurrence TEXT, tries INTEGER DEFAULT 0,
    platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL
  );
  CREATE TABLE delivered (message_out_id TEXT PRIMARY KEY, delivered_at TEXT NOT NULL);
  INSERT INTO messages_in (id, seq, kind, timestamp, process_after, content) VALUES
    ('old', 2, 'chat', datetime('now'), NULL, '{"text":"hello"}'),
    ('past', 4, 'task', '2026-01-01T00:00:00.000Z', '1969-12-31 23:59:59', '{}'),
    ('future', 6, 'task', '2026-01-01 00:00:00', '1970-01-01 00:00:01', '{}');`

const outbound = `
  CREATE TABLE messages_out (
    id TEXT PRIMARY KEY, seq INTEGER UNIQUE, in_reply_to TEXT, timestamp TEXT NOT NULL, deliver_after TEXT,
    recurrence TEXT, kind TEXT NOT NULL, platform_id TEXT, channel_type TEXT, thread_id TEXT,
    content TEXT NOT NULL
  );
  CREATE TABLE processing_ack (message_id TEXT PRIMARY KEY, status TEXT NOT NULL, status_changed TEXT NOT NULL);
  INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('mine', 1, 't', 'chat', '{}');
  CREATE TABLE their_own (x);
  PRAGMA application_id = 77;`

const olderFolder = Effect.gen(function* () {
  const directory = yield* TestHost.temporaryDirectory
  Raw.exec(`${directory}/inbound.db`, inbound)
  Raw.exec(`${directory}/outbound.db`, outbound)
  const { mailbox } = yield* watchedMailbox({ directory })
  return {
    mailbox,
    directory,
    query: (sql: string) => Raw.query(`${directory}/outbound.db`, sql)
  }
})

describe("a folder of an older build", () => {
  it.scoped("is polled, with what its columns would say by default", () =>
    Effect.gen(function* () {
      const { directory, mailbox } = yield* olderFolder
      const before = Fs.readFileSync(`${directory}/inbound.db`)
      const due = yield* mailbox.poll
      expect(due.map(({ id, onWake, seriesId, trigger }) => [id, trigger, onWake, seriesId])).toEqual([
        ["old", 1, 0, null],
        ["past", 1, 0, null]
      ])
      expect(yield* mailbox.claim(["old"])).toEqual(["old"])
      expect((yield* mailbox.poll).map(({ id }) => id)).toEqual(["past"])
      expect(Fs.readFileSync(`${directory}/inbound.db`).equals(before)).toBe(true)
    })
  )

  it.scoped("has no routing and no destinations", () =>
    Effect.gen(function* () {
      const { mailbox } = yield* olderFolder
      expect(yield* mailbox.routing).toEqual({ channelType: null, platformId: null, threadId: null })
      expect(yield* mailbox.destinations).toEqual([])
      expect((yield* mailbox.send({ content: {}, inReplyTo: "old" })).seq).toBe(7)
    })
  )

  it.scoped("does not tell what platforms call its messages", () =>
    Effect.gen(function* () {
      const { directory, mailbox } = yield* olderFolder
      Raw.exec(`${directory}/inbound.db`, "INSERT INTO delivered VALUES ('mine', 't')")
      expect(yield* Effect.flip(mailbox.edit(1, "x"))).toMatchObject({ reason: "unknown-message" })
      Raw.exec(
        `${directory}/inbound.db`,
        "ALTER TABLE delivered ADD COLUMN platform_message_id TEXT; UPDATE delivered SET platform_message_id = 'p'"
      )
      yield* mailbox.edit(1, "x")
      expect(yield* mailbox.react(2, "x")).toMatchObject({ seq: 9 })
    })
  )

  it.scoped("gets the tables that its outbound.db lacks, and nothing else", () =>
    Effect.gen(function* () {
      const { directory, mailbox, query } = yield* olderFolder
      const first = "their_own, processing_ack, messages_out".split(", ")
      yield* mailbox.state.set("key", "value")
      expect(yield* mailbox.state.get("key")).toEqual(Option.some("value"))
      yield* mailbox.duringTool({ name: "tool" })(Effect.void)
      const tables = query("SELECT name FROM sqlite_schema WHERE type = 'table'").map(({ name }) => name)
      expect(tables.sort()).toEqual([...first, "container_state", "session_state"].sort())
      expect(query("PRAGMA user_version")).toEqual([{ user_version: Tables.outboundVersion }])
      expect(query("PRAGMA application_id")).toEqual([{ application_id: 77 }])
      expect(query("SELECT id FROM messages_out")).toEqual([{ id: "mine" }])
      const version = () => Fs.readFileSync(`${directory}/outbound.db`).readUInt32BE(40) // The schema cookie.
      const before = version()
      yield* mailbox.state.set("key", "again")
      expect(version()).toBe(before)
    })
  )

  it.scoped("is refused if a newer version of the library made it", () =>
    Effect.gen(function* () {
      const { directory, mailbox, query } = yield* olderFolder
      Raw.exec(`${directory}/outbound.db`, "PRAGMA user_version = 99")
      expect(yield* Effect.flip(mailbox.send({ content: {} }))).toMatchObject({ reason: "newer-schema" })
      expect(query("PRAGMA user_version")).toEqual([{ user_version: 99 }])
    })
  )

  it.scoped("reads the inbound.db of a newer host, which has more in it than the agent knows", () =>
    Effect.gen(function* () {
      const { directory, mailbox } = yield* olderFolder
      const before = yield* mailbox.poll
      Raw.exec(`${directory}/inbound.db`, "PRAGMA user_version = 99")
      Raw.exec(`${directory}/inbound.db`, "CREATE TABLE airlock_later (id)")
      expect(yield* mailbox.poll).toEqual(before)
    })
  )
})
