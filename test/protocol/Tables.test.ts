import { describe, expect, it } from "@effect/vitest"
import { Tables } from "effect-airlock/protocol"
import * as Raw from "../support/Raw.js"

type Database = ReturnType<typeof Raw.open>

/** Runs a test on a database that has been through these statements. */
const withTables = <A>(statements: ReadonlyArray<string>, test: (database: Database) => A): A => {
  const database = Raw.open(":memory:")
  try {
    for (const statement of statements) database.exec(statement)
    return test(database)
  } finally {
    database.close()
  }
}

const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value))

const column = (row: Record<string, unknown>): string =>
  [
    text(row["name"]),
    text(row["type"]),
    ...(row["notnull"] === 1 ? ["not null"] : []),
    ...(row["dflt_value"] === null ? [] : [`default ${text(row["dflt_value"])}`]),
    ...(row["pk"] === 1 ? ["primary key"] : [])
  ].join(" ")

const columnsOf = (database: Database, table: string): ReadonlyArray<string> =>
  database.prepare(`SELECT * FROM pragma_table_xinfo(?)`).all(table).map(column)

/** Every unique constraint and index of a table, with its columns. */
const indexesOf = (database: Database, table: string): ReadonlyArray<string> =>
  database
    .prepare(`SELECT * FROM pragma_index_list(?) WHERE name NOT LIKE 'airlock\\_%' ESCAPE '\\'`)
    .all(table)
    .map((index) => {
      const columns = database
        .prepare(`SELECT name FROM pragma_index_info(?)`)
        .all(index["name"])
        .map(({ name }) => name)
        .join(", ")
      const title = index["origin"] === "c" ? `${text(index["name"])} on` : ""
      return `${index["unique"] === 1 ? "unique " : ""}${title}(${columns})`
    })
    .sort()

const schemaOf = (database: Database) =>
  Object.fromEntries(
    database
      .prepare(`SELECT type, name FROM sqlite_schema WHERE tbl_name NOT LIKE 'airlock\\_%' ESCAPE '\\'`)
      .all()
      .filter(({ type }) => type !== "index")
      .map(({ name, type }) => [
        `${text(type)} ${text(name)}`,
        { columns: columnsOf(database, text(name)), indexes: indexesOf(database, text(name)) }
      ])
  )

const newInbound = [...Tables.inbound, ...Tables.inboundUpgrade.afterwards]

const contract = {
  inbound: {
    "table messages_in": {
      columns: [
        "id TEXT primary key",
        "seq INTEGER",
        "kind TEXT not null",
        "timestamp TEXT not null",
        "status TEXT default 'pending'",
        "process_after TEXT",
        "recurrence TEXT",
        "series_id TEXT",
        "tries INTEGER default 0",
        "trigger INTEGER not null default 1",
        "platform_id TEXT",
        "channel_type TEXT",
        "thread_id TEXT",
        "content TEXT not null",
        "source_session_id TEXT",
        "on_wake INTEGER not null default 0"
      ],
      indexes: ["idx_messages_in_series on(series_id)", "unique (id)", "unique (seq)"]
    },
    "table delivered": {
      columns: [
        "message_out_id TEXT primary key",
        "platform_message_id TEXT",
        "status TEXT not null default 'delivered'",
        "delivered_at TEXT not null"
      ],
      indexes: ["unique (message_out_id)"]
    },
    "table destinations": {
      columns: [
        "name TEXT primary key",
        "display_name TEXT",
        "type TEXT not null",
        "channel_type TEXT",
        "platform_id TEXT",
        "agent_group_id TEXT"
      ],
      indexes: ["unique (name)"]
    },
    "table session_routing": {
      columns: ["id INTEGER primary key", "channel_type TEXT", "platform_id TEXT", "thread_id TEXT"],
      indexes: []
    }
  },
  outbound: {
    "table messages_out": {
      columns: [
        "id TEXT primary key",
        "seq INTEGER",
        "in_reply_to TEXT",
        "timestamp TEXT not null",
        "deliver_after TEXT",
        "recurrence TEXT",
        "kind TEXT not null",
        "platform_id TEXT",
        "channel_type TEXT",
        "thread_id TEXT",
        "content TEXT not null"
      ],
      indexes: ["unique (id)", "unique (seq)"]
    },
    "table processing_ack": {
      columns: ["message_id TEXT primary key", "status TEXT not null", "status_changed TEXT not null"],
      indexes: ["unique (message_id)"]
    },
    "table session_state": {
      columns: ["key TEXT primary key", "value TEXT not null", "updated_at TEXT not null"],
      indexes: ["unique (key)"]
    },
    "table container_state": {
      columns: [
        "id INTEGER primary key",
        "current_tool TEXT",
        "tool_declared_timeout_ms INTEGER",
        "tool_started_at TEXT",
        "updated_at TEXT not null"
      ],
      indexes: []
    }
  }
}

/** The oldest inbound.db that is still hosted: none of the columns that came later. */
const oldInbound = [
  `CREATE TABLE messages_in (
    id TEXT PRIMARY KEY,
    seq INTEGER UNIQUE,
    kind TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    status TEXT DEFAULT 'pending',
    process_after TEXT,
    recurrence TEXT,
    tries INTEGER DEFAULT 0,
    platform_id TEXT,
    channel_type TEXT,
    thread_id TEXT,
    content TEXT NOT NULL
  )`,
  `CREATE TABLE delivered (message_out_id TEXT PRIMARY KEY, delivered_at TEXT NOT NULL)`,
  `INSERT INTO messages_in (id, seq, kind, timestamp, content)
    VALUES ('a', 2, 'chat', '2026-05-01 12:00:00', '{}'), ('b', 4, 'chat', '2026-05-01 12:00:01', '{}')`,
  `INSERT INTO delivered (message_out_id, delivered_at) VALUES ('x', '2026-05-01 12:00:02')`
]

const upgrade = [
  ...Tables.inbound,
  ...Tables.inboundUpgrade.columns.map(
    ({ definition, name, table }) => `ALTER TABLE ${table} ADD COLUMN ${name} ${definition}`
  ),
  ...Tables.inboundUpgrade.afterwards
]

const sorted = (schema: ReturnType<typeof schemaOf>) =>
  Object.fromEntries(
    Object.entries(schema).map(([name, { columns, indexes }]) => [
      name,
      { columns: [...columns].sort(), indexes }
    ])
  )

describe("Tables", () => {
  it("gives inbound.db exactly the tables of the contract", () => {
    expect(withTables(newInbound, schemaOf)).toEqual(contract.inbound)
  })

  it("gives outbound.db exactly the tables of the contract", () => {
    expect(withTables(Tables.outbound, schemaOf)).toEqual(contract.outbound)
  })

  it("gives outbound.db no table of our own, because it is the agent's", () => {
    const own = withTables(Tables.outbound, (database) =>
      database.prepare(`SELECT name FROM sqlite_schema WHERE name LIKE 'airlock%'`).all()
    )
    expect(own).toEqual([])
  })

  it("can be created again without harm", () => {
    expect(withTables([...newInbound, ...newInbound], schemaOf)).toEqual(contract.inbound)
    expect(withTables([...Tables.outbound, ...Tables.outbound], schemaOf)).toEqual(contract.outbound)
  })

  it.each([
    ["session_routing", newInbound, "id"],
    ["container_state", Tables.outbound, "id, updated_at"]
  ])("holds one row in %s", (table, statements, columns) => {
    withTables(statements, (database) => {
      const values = columns.includes(",") ? `, ''` : ""
      database.exec(`INSERT INTO ${table} (${columns}) VALUES (1${values})`)
      expect(() => database.exec(`INSERT INTO ${table} (${columns}) VALUES (2${values})`)).toThrow(
        /CHECK constraint failed/
      )
      expect(() => database.exec(`INSERT INTO ${table} (${columns}) VALUES (1${values})`)).toThrow(
        /UNIQUE constraint failed/
      )
    })
  })

  it("makes a message pending, awaited and untried unless it says otherwise", () => {
    const rows = withTables(newInbound, (database) => {
      database.exec(`INSERT INTO messages_in (id, kind, timestamp, content) VALUES ('a', 'chat', 't', '{}')`)
      return database.prepare(`SELECT status, tries, trigger, on_wake FROM messages_in`).all()
    })
    expect(rows).toEqual([{ status: "pending", tries: 0, trigger: 1, on_wake: 0 }])
  })

  it.each([
    ["messages_in", newInbound],
    ["messages_out", Tables.outbound]
  ])("gives no number twice in %s", (table, statements) => {
    withTables(statements, (database) => {
      const insert = (id: string) =>
        database.exec(
          `INSERT INTO ${table} (id, seq, kind, timestamp, content) VALUES ('${id}', 8, 'chat', 't', '{}')`
        )
      insert("a")
      expect(() => insert("b")).toThrow(/UNIQUE constraint failed/)
    })
  })

  describe("upgrading the inbound.db of an older build", () => {
    it("makes it what a new one is", () => {
      expect(withTables([...oldInbound, ...upgrade], (database) => sorted(schemaOf(database)))).toEqual(
        sorted(contract.inbound)
      )
    })

    it("keeps its rows, and makes each message the first of its series", () => {
      withTables([...oldInbound, ...upgrade], (database) => {
        expect(
          database
            .prepare(
              `SELECT id, seq, series_id, trigger, source_session_id, on_wake FROM messages_in ORDER BY seq`
            )
            .all()
        ).toEqual([
          { id: "a", seq: 2, series_id: "a", trigger: 1, source_session_id: null, on_wake: 0 },
          { id: "b", seq: 4, series_id: "b", trigger: 1, source_session_id: null, on_wake: 0 }
        ])
        expect(database.prepare(`SELECT * FROM delivered`).all()).toEqual([
          {
            message_out_id: "x",
            delivered_at: "2026-05-01 12:00:02",
            platform_message_id: null,
            status: "delivered"
          }
        ])
      })
    })

    it("leaves a series that is already known alone", () => {
      const rows = withTables(
        [
          ...newInbound,
          `INSERT INTO messages_in (id, kind, timestamp, content, series_id) VALUES ('b', 'task', 't', '{}', 'a')`,
          ...Tables.inboundUpgrade.afterwards
        ],
        (database) => database.prepare(`SELECT series_id FROM messages_in`).all()
      )
      expect(rows).toEqual([{ series_id: "a" }])
    })
  })
})
