/**
 * The tables of the central database that sessions need, compatible with an existing NanoClaw v2 `v2.db`.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"

const tables = [
  `CREATE TABLE IF NOT EXISTS agent_groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    folder TEXT NOT NULL UNIQUE,
    agent_provider TEXT,
    created_at TEXT NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS messaging_groups (
    id TEXT PRIMARY KEY,
    channel_type TEXT NOT NULL,
    platform_id TEXT NOT NULL,
    instance TEXT NOT NULL,
    name TEXT,
    is_group INTEGER DEFAULT 0,
    unknown_sender_policy TEXT NOT NULL DEFAULT 'strict',
    created_at TEXT NOT NULL,
    UNIQUE (channel_type, platform_id, instance)
  )`,
  `CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY,
    agent_group_id TEXT NOT NULL,
    messaging_group_id TEXT,
    thread_id TEXT,
    agent_provider TEXT,
    status TEXT DEFAULT 'active',
    container_status TEXT DEFAULT 'stopped',
    last_active TEXT,
    created_at TEXT NOT NULL,
    session_mode TEXT
  )`,
  `CREATE TABLE IF NOT EXISTS airlock_destinations (
    agent_group_id TEXT PRIMARY KEY,
    destinations TEXT NOT NULL
  )`
]

/**
 * One active session for each key. Two callers that miss at the same moment, in one process or two, both
 * insert, and the second finds the first's row. Sessions without a messaging group have no key, unless they
 * are agent-shared.
 */
const indexes = [
  `CREATE INDEX IF NOT EXISTS idx_sessions_agent_group ON sessions (agent_group_id)`,
  `CREATE INDEX IF NOT EXISTS idx_sessions_lookup ON sessions (messaging_group_id, thread_id)`,
  `CREATE UNIQUE INDEX IF NOT EXISTS airlock_sessions_chat ON sessions (agent_group_id, messaging_group_id)
    WHERE status = 'active' AND session_mode IN ('shared', 'per-thread')
      AND messaging_group_id IS NOT NULL AND thread_id IS NULL`,
  `CREATE UNIQUE INDEX IF NOT EXISTS airlock_sessions_thread ON sessions (agent_group_id, messaging_group_id, thread_id)
    WHERE status = 'active' AND session_mode IN ('shared', 'per-thread')
      AND messaging_group_id IS NOT NULL AND thread_id IS NOT NULL`,
  `CREATE UNIQUE INDEX IF NOT EXISTS airlock_sessions_agent ON sessions (agent_group_id)
    WHERE status = 'active' AND session_mode = 'agent-shared'`
]

/**
 * Gives a mode to the rows of a database that had none: to the most recently active session of each chat and
 * thread. Others of the same key stay without one; they are still served, but not found.
 */
const adoptSessions = `UPDATE sessions
  SET session_mode = CASE WHEN thread_id IS NULL THEN 'shared' ELSE 'per-thread' END
  WHERE messaging_group_id IS NOT NULL AND status = 'active' AND id = (
    SELECT other.id FROM sessions other
    WHERE other.status = 'active'
      AND other.agent_group_id = sessions.agent_group_id
      AND other.messaging_group_id = sessions.messaging_group_id
      AND coalesce(other.thread_id, '') = coalesce(sessions.thread_id, '')
    ORDER BY coalesce(other.last_active, other.created_at) DESC, other.id DESC LIMIT 1
  )`

const hasColumn = (table: string, column: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql.onDialectOrElse({
      sqlite: () => sql`SELECT name FROM pragma_table_info(${table}) WHERE name = ${column}`,
      orElse: () =>
        sql`SELECT column_name FROM information_schema.columns WHERE table_name = ${table} AND column_name = ${column}`
    })
    return rows.length > 0
  })

/**
 * Creates the tables that are missing, and adds the columns that an older database lacks.
 *
 * @since 0.1.0
 * @category schema
 */
export const migrate: Effect.Effect<void, SqlError, SqlClient.SqlClient> = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* Effect.gen(function* () {
    for (const statement of tables) yield* sql.unsafe(statement)
    if (!(yield* hasColumn("messaging_groups", "instance"))) {
      yield* sql`ALTER TABLE messaging_groups ADD COLUMN instance TEXT`
      yield* sql`UPDATE messaging_groups SET instance = channel_type WHERE instance IS NULL`
    }
    if (!(yield* hasColumn("sessions", "session_mode"))) {
      yield* sql`ALTER TABLE sessions ADD COLUMN session_mode TEXT`
      yield* sql.unsafe(adoptSessions)
    }
    for (const statement of indexes) yield* sql.unsafe(statement)
  }).pipe(sql.withTransaction)
})
