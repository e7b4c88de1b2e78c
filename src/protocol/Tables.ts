/**
 * The tables of the two databases, as SQL. They are compatible with the session folders of NanoClaw v2. The
 * tables whose names start with `airlock_` are this library's own; agents do not look at them.
 *
 * @since 0.1.0
 */

/**
 * The version of the schema of inbound.db that this library writes, kept in SQLite's `user_version` (bytes 60 to 63 of the
 * file's header, https://www.sqlite.org/fileformat.html). A host refuses a file with a higher one, and upgrades one with
 * a lower one, by `inboundUpgrade`, when it first opens it for writing. An agent reads any: what a newer host adds is
 * the host's own.
 *
 * @since 0.1.0
 * @category schema
 */
export const inboundVersion = 2

/**
 * The same of outbound.db, which the agent writes. A host of an older version refuses to read it.
 *
 * @since 0.1.0
 * @category schema
 */
export const outboundVersion = 1

/**
 * Creates what is missing in inbound.db, which the host writes.
 *
 * - `messages_in`: one row per message for the agent; `seq` is even
 * - `delivered`: what became of each of the agent's messages
 * - `destinations`: to whom the agent may write, by name
 * - `session_routing`: where a reply goes that names no destination
 * - `airlock_message`: for each message, a digest of what the caller handed over and what became of its
 *   attachments, so that the same message again is known to be the same
 * - `airlock_direct`: replies that the host wrote itself, numbered with `messages_in`, and their delivery
 * - `airlock_sequence`: the highest number that the host gave out, for when its row is gone
 * - `airlock_delivery`: for each outgoing message that is not delivered but was tried, how often, what came of it
 *   and when it is tried again (`waiting`); that an attempt has begun (`sending`); or why it failed (`failed`)
 * - `airlock_claim`: claims of agents that ended without a verdict, each of which counts as one try
 *
 * @since 0.1.0
 * @category schema
 */
export const inbound: ReadonlyArray<string> = [
  `CREATE TABLE IF NOT EXISTS messages_in (
    id TEXT PRIMARY KEY,
    seq INTEGER UNIQUE,
    kind TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    status TEXT DEFAULT 'pending',
    process_after TEXT,
    recurrence TEXT,
    series_id TEXT,
    tries INTEGER DEFAULT 0,
    trigger INTEGER NOT NULL DEFAULT 1,
    platform_id TEXT,
    channel_type TEXT,
    thread_id TEXT,
    content TEXT NOT NULL,
    source_session_id TEXT,
    on_wake INTEGER NOT NULL DEFAULT 0
  )`,
  `CREATE TABLE IF NOT EXISTS delivered (
    message_out_id TEXT PRIMARY KEY,
    platform_message_id TEXT,
    status TEXT NOT NULL DEFAULT 'delivered',
    delivered_at TEXT NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS destinations (
    name TEXT PRIMARY KEY,
    display_name TEXT,
    type TEXT NOT NULL,
    channel_type TEXT,
    platform_id TEXT,
    agent_group_id TEXT
  )`,
  `CREATE TABLE IF NOT EXISTS session_routing (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    channel_type TEXT,
    platform_id TEXT,
    thread_id TEXT
  )`,
  `CREATE TABLE IF NOT EXISTS airlock_message (
    message_id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    attachments TEXT NOT NULL,
    renamed TEXT NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS airlock_direct (
    id TEXT PRIMARY KEY,
    seq INTEGER UNIQUE NOT NULL,
    in_reply_to TEXT,
    timestamp TEXT NOT NULL,
    deliver_after TEXT,
    kind TEXT NOT NULL,
    platform_id TEXT,
    channel_type TEXT,
    thread_id TEXT,
    content TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    platform_message_id TEXT,
    settled_at TEXT
  )`,
  `CREATE TABLE IF NOT EXISTS airlock_sequence (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    last INTEGER NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS airlock_delivery (
    source TEXT NOT NULL,
    message_id TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    attempted_at TEXT,
    next_at TEXT,
    reason TEXT,
    PRIMARY KEY (source, message_id)
  )`,
  `CREATE TABLE IF NOT EXISTS airlock_claim (
    message_id TEXT PRIMARY KEY,
    claimed_at TEXT NOT NULL
  )`
]

/**
 * Columns that files of older builds lack, by table, in the order in which they are added, and statements to
 * run once after that.
 *
 * @since 0.1.0
 * @category schema
 */
export const inboundUpgrade: {
  readonly columns: ReadonlyArray<{
    readonly table: string
    readonly name: string
    readonly definition: string
  }>
  readonly afterwards: ReadonlyArray<string>
} = {
  columns: [
    { table: "messages_in", name: "series_id", definition: "TEXT" },
    { table: "messages_in", name: "trigger", definition: "INTEGER NOT NULL DEFAULT 1" },
    { table: "messages_in", name: "source_session_id", definition: "TEXT" },
    { table: "messages_in", name: "on_wake", definition: "INTEGER NOT NULL DEFAULT 0" },
    { table: "delivered", name: "platform_message_id", definition: "TEXT" },
    { table: "delivered", name: "status", definition: "TEXT NOT NULL DEFAULT 'delivered'" }
  ],
  afterwards: [
    `UPDATE messages_in SET series_id = id WHERE series_id IS NULL`,
    `CREATE INDEX IF NOT EXISTS idx_messages_in_series ON messages_in (series_id)`,
    `CREATE INDEX IF NOT EXISTS airlock_pending ON messages_in (seq) WHERE status = 'pending'`,
    `CREATE INDEX IF NOT EXISTS airlock_recurring ON messages_in (seq) WHERE recurrence IS NOT NULL`,
    `CREATE INDEX IF NOT EXISTS airlock_direct_pending ON airlock_direct (seq) WHERE status = 'pending'`
  ]
}

/**
 * Creates what is missing in outbound.db, which the agent writes.
 *
 * - `messages_out`: one row per message from the agent; `seq` is odd
 * - `processing_ack`: the agent's claim on a message, and later its verdict
 * - `session_state`: the agent's own keys and values
 * - `container_state`: the tool that the agent is using now
 *
 * @since 0.1.0
 * @category schema
 */
export const outbound: ReadonlyArray<string> = [
  `CREATE TABLE IF NOT EXISTS messages_out (
    id TEXT PRIMARY KEY,
    seq INTEGER UNIQUE,
    in_reply_to TEXT,
    timestamp TEXT NOT NULL,
    deliver_after TEXT,
    recurrence TEXT,
    kind TEXT NOT NULL,
    platform_id TEXT,
    channel_type TEXT,
    thread_id TEXT,
    content TEXT NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS processing_ack (
    message_id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    status_changed TEXT NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS session_state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at TEXT NOT NULL
  )`,
  `CREATE TABLE IF NOT EXISTS container_state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    current_tool TEXT,
    tool_declared_timeout_ms INTEGER,
    tool_started_at TEXT,
    updated_at TEXT NOT NULL
  )`
]
