/**
 * The contract on disk: what a folder that this library made looks like to an agent that somebody else wrote.
 * The expectations are written out here, and not taken from the source.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { SessionDb, SessionManager } from "effect-airlock"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

type Column = readonly [name: string, type: string, notNull: 0 | 1, fallback: string | null, key: 0 | 1]

const inbound: Record<string, ReadonlyArray<Column>> = {
  messages_in: [
    ["id", "TEXT", 0, null, 1],
    ["seq", "INTEGER", 0, null, 0],
    ["kind", "TEXT", 1, null, 0],
    ["timestamp", "TEXT", 1, null, 0],
    ["status", "TEXT", 0, "'pending'", 0],
    ["process_after", "TEXT", 0, null, 0],
    ["recurrence", "TEXT", 0, null, 0],
    ["series_id", "TEXT", 0, null, 0],
    ["tries", "INTEGER", 0, "0", 0],
    ["trigger", "INTEGER", 1, "1", 0],
    ["platform_id", "TEXT", 0, null, 0],
    ["channel_type", "TEXT", 0, null, 0],
    ["thread_id", "TEXT", 0, null, 0],
    ["content", "TEXT", 1, null, 0],
    ["source_session_id", "TEXT", 0, null, 0],
    ["on_wake", "INTEGER", 1, "0", 0]
  ],
  delivered: [
    ["message_out_id", "TEXT", 0, null, 1],
    ["platform_message_id", "TEXT", 0, null, 0],
    ["status", "TEXT", 1, "'delivered'", 0],
    ["delivered_at", "TEXT", 1, null, 0]
  ],
  destinations: [
    ["name", "TEXT", 0, null, 1],
    ["display_name", "TEXT", 0, null, 0],
    ["type", "TEXT", 1, null, 0],
    ["channel_type", "TEXT", 0, null, 0],
    ["platform_id", "TEXT", 0, null, 0],
    ["agent_group_id", "TEXT", 0, null, 0]
  ],
  session_routing: [
    ["id", "INTEGER", 0, null, 1],
    ["channel_type", "TEXT", 0, null, 0],
    ["platform_id", "TEXT", 0, null, 0],
    ["thread_id", "TEXT", 0, null, 0]
  ]
}

const outbound: Record<string, ReadonlyArray<Column>> = {
  messages_out: [
    ["id", "TEXT", 0, null, 1],
    ["seq", "INTEGER", 0, null, 0],
    ["in_reply_to", "TEXT", 0, null, 0],
    ["timestamp", "TEXT", 1, null, 0],
    ["deliver_after", "TEXT", 0, null, 0],
    ["recurrence", "TEXT", 0, null, 0],
    ["kind", "TEXT", 1, null, 0],
    ["platform_id", "TEXT", 0, null, 0],
    ["channel_type", "TEXT", 0, null, 0],
    ["thread_id", "TEXT", 0, null, 0],
    ["content", "TEXT", 1, null, 0]
  ],
  processing_ack: [
    ["message_id", "TEXT", 0, null, 1],
    ["status", "TEXT", 1, null, 0],
    ["status_changed", "TEXT", 1, null, 0]
  ],
  session_state: [
    ["key", "TEXT", 0, null, 1],
    ["value", "TEXT", 1, null, 0],
    ["updated_at", "TEXT", 1, null, 0]
  ],
  container_state: [
    ["id", "INTEGER", 0, null, 1],
    ["current_tool", "TEXT", 0, null, 0],
    ["tool_declared_timeout_ms", "INTEGER", 0, null, 0],
    ["tool_started_at", "TEXT", 0, null, 0],
    ["updated_at", "TEXT", 1, null, 0]
  ]
}

/** Every index, by the columns that it covers. */
const indexes = {
  inbound: {
    messages_in: ["id unique", "seq unique", "series_id"],
    delivered: ["message_out_id unique"],
    destinations: ["name unique"],
    session_routing: []
  },
  outbound: {
    messages_out: ["id unique", "seq unique"],
    processing_ack: ["message_id unique"],
    session_state: ["key unique"],
    container_state: []
  }
}

const tablesOf = (path: string) =>
  Raw.query(path, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    .map(({ name }) => String(name))
    .filter((name) => !name.startsWith("airlock_") && !name.startsWith("sqlite_"))

const columnsOf = (path: string, table: string) =>
  Raw.query(path, "SELECT name, type, [notnull], dflt_value, pk FROM pragma_table_info(?)", table).map(
    Object.values
  )

const indexesOf = (path: string, table: string) =>
  Raw.query(
    path,
    `SELECT (SELECT group_concat(name) FROM pragma_index_info(l.name)) || iif(l.[unique], ' unique', '') AS covered
      FROM pragma_index_list(?) l WHERE l.name NOT LIKE 'airlock~_%' ESCAPE '~' ORDER BY covered`,
    table
  ).map(({ covered }) => covered)

const expectContract = (folder: string) => {
  for (const [name, tables, covered] of [
    ["inbound", inbound, indexes.inbound],
    ["outbound", outbound, indexes.outbound]
  ] as const) {
    const path = `${folder}/${name}.db`
    expect(tablesOf(path)).toEqual(Object.keys(tables).sort())
    for (const [table, columns] of Object.entries(tables)) {
      const byName = (a: ReadonlyArray<unknown>, b: ReadonlyArray<unknown>) =>
        String(a[0]).localeCompare(String(b[0]))
      expect([table, columnsOf(path, table).sort(byName)]).toEqual([table, [...columns].sort(byName)])
    }
    for (const [table, expected] of Object.entries(covered)) {
      expect([table, indexesOf(path, table)]).toEqual([table, expected])
    }
    expect(Raw.query(path, "PRAGMA journal_mode")).toEqual([{ journal_mode: "delete" }])
    expect(Raw.query(path, "PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }])
  }
}

describe("the contract on disk", () => {
  it.effect("holds for a new session folder: files, tables, columns, defaults and indexes", () =>
    Effect.gen(function* () {
      const folder = yield* TestHost.folderOf(yield* TestHost.newSession())
      expect(Fs.readdirSync(folder).sort()).toEqual(["inbound.db", "inbox", "outbound.db", "outbox"])
      expectContract(folder)
      const routing = "INSERT INTO session_routing (id) VALUES (2)"
      expect(() => Raw.exec(`${folder}/inbound.db`, routing)).toThrow("CHECK")
      const state = "INSERT INTO container_state (id, updated_at) VALUES (2, '')"
      expect(() => Raw.exec(`${folder}/outbound.db`, state)).toThrow("CHECK")
    }).pipe(TestHost.withHost())
  )

  it.effect("holds for the folder of an older build once it was opened, and keeps what was in it", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const session = yield* TestHost.newSession()
      const folder = yield* TestHost.folderOf(session)
      Fs.rmSync(`${folder}/inbound.db`)
      TestHost.forgetOriginal(folder)
      Raw.exec(
        `${folder}/inbound.db`,
        `CREATE TABLE messages_in (id TEXT PRIMARY KEY, seq INTEGER UNIQUE, kind TEXT NOT NULL,
           timestamp TEXT NOT NULL, status TEXT DEFAULT 'pending', process_after TEXT, recurrence TEXT,
           tries INTEGER DEFAULT 0, platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL);
         CREATE TABLE delivered (message_out_id TEXT PRIMARY KEY, delivered_at TEXT NOT NULL);
         CREATE TABLE destinations (name TEXT PRIMARY KEY, display_name TEXT, type TEXT NOT NULL,
           channel_type TEXT, platform_id TEXT, agent_group_id TEXT);
         CREATE TABLE session_routing (id INTEGER PRIMARY KEY CHECK (id = 1), channel_type TEXT, platform_id TEXT, thread_id TEXT);
         INSERT INTO messages_in (id, seq, kind, timestamp, content) VALUES ('old', 8, 'chat', '2026-01-01 10:00:00', 'kept');
         INSERT INTO delivered VALUES ('out', '2026-01-01 10:00:01')`
      )
      yield* manager.initFolder(session)
      yield* manager.initFolder(session)
      expectContract(folder)
      expect(
        Raw.query(
          `${folder}/inbound.db`,
          "SELECT id, seq, content, series_id, trigger, on_wake FROM messages_in"
        )
      ).toEqual([{ id: "old", seq: 8, content: "kept", series_id: "old", trigger: 1, on_wake: 0 }])
      expect(Raw.query(`${folder}/inbound.db`, "SELECT * FROM delivered")).toEqual([
        {
          message_out_id: "out",
          delivered_at: "2026-01-01 10:00:01",
          platform_message_id: null,
          status: "delivered"
        }
      ])
      const written = yield* manager.writeMessage(session, { id: "new", kind: "chat", content: "x" })
      expect(written.seq).toBe(10)
    }).pipe(TestHost.withHost())
  )

  it.effect("is not disturbed by making the folder again", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const session = yield* TestHost.newSession()
      yield* manager.writeMessage(session, { id: "m", kind: "chat", content: "x" })
      const folder = yield* TestHost.folderOf(session)
      const before = TestHost.contentsOf(folder)
      yield* manager.initFolder(session)
      expect(TestHost.contentsOf(folder)).toEqual(before)
    }).pipe(TestHost.withHost())
  )

  it.effect("appears whole or not at all when many make the same folder at once", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const ref = { agentGroupId: "agent", sessionId: "sess-same" }
      yield* Effect.replicateEffect(manager.initFolder(ref), 20, { concurrency: "unbounded" })
      const folder = yield* TestHost.folderOf(ref)
      expectContract(folder)
      expect(Fs.readdirSync(`${folder}/..`)).toEqual(["sess-same"])
    }).pipe(TestHost.withHost())
  )

  it.runIf(process.getuid?.() === 0)(
    "gives the agent's user what the agent writes, and keeps the rest (U19; as root)",
    () =>
      Effect.gen(function* () {
        const folder = yield* TestHost.folderOf(yield* TestHost.newSession())
        const ownerOf = (name: string) => Fs.statSync(`${folder}/${name}`).uid
        expect([".", "outbox", "outbound.db"].map(ownerOf)).toEqual([12345, 12345, 12345])
        expect(["inbox", "inbound.db"].map(ownerOf)).toEqual([0, 0])
        const othersMayRead = (name: string) => (Fs.statSync(`${folder}/${name}`).mode & 0o004) !== 0
        expect(["inbox", "inbound.db"].map(othersMayRead)).toEqual([true, true])
      }).pipe(TestHost.withHost({ owner: { uid: 12345, gid: 12346 } }), Effect.runPromise)
  )

  it.effect("lets a host write its own SQL with a scoped handle", () =>
    Effect.gen(function* () {
      const db = yield* SessionDb.SessionDb
      const session = yield* TestHost.newSession()
      const count = yield* Effect.gen(function* () {
        const sql = yield* db.inbound(session)
        yield* sql`CREATE TABLE my_own (x TEXT)`
        yield* sql`INSERT INTO my_own VALUES ('a')`
        return yield* sql`SELECT count(*) AS n FROM my_own`
      }).pipe(Effect.scoped)
      expect(count).toEqual([{ n: 1 }])
      const refused = yield* Effect.gen(function* () {
        const sql = yield* db.outbound(session)
        expect(yield* sql`SELECT count(*) AS n FROM messages_out`).toEqual([{ n: 0 }])
        return yield* Effect.flip(sql`DELETE FROM messages_out`)
      }).pipe(Effect.scoped)
      expect(refused._tag).toBe("SqlError")
    }).pipe(TestHost.withHost())
  )
})
