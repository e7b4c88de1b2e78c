/**
 * An agent that knows nothing of this library: what a NanoClaw container does with its folder, with better-sqlite3
 * alone. It opens inbound.db read-only for each poll and outbound.db for writing, claims, answers under odd numbers,
 * and says when it is done.
 */
import { createRequire } from "node:module"
import * as Fs from "node:fs"

interface Database {
  readonly pragma: (source: string) => unknown
  readonly close: () => void
  readonly prepare: (sql: string) => {
    readonly all: (...parameters: ReadonlyArray<unknown>) => ReadonlyArray<Record<string, unknown>>
    readonly get: (...parameters: ReadonlyArray<unknown>) => Record<string, unknown> | undefined
    readonly run: (...parameters: ReadonlyArray<unknown>) => unknown
  }
}

// The driver's own copy: the project depends on it only through the driver.
const fromDriver = createRequire(createRequire(import.meta.url).resolve("@effect/sql-sqlite-node"))
const Sqlite = fromDriver("better-sqlite3") as new (path: string, options?: object) => Database

export interface Message {
  readonly id: string
  readonly seq: number
  readonly kind: string
  readonly content: string
}

/** `now` is the agent's own clock, in milliseconds since 1970. */
export const start = (folder: string, now: () => number) => {
  const stamp = () => new Date(now()).toISOString()
  let isFirstPoll = true

  const inbound = <A>(use: (database: Database) => A): A => {
    const database = new Sqlite(`${folder}/inbound.db`, { readonly: true })
    try {
      database.pragma("busy_timeout = 5000")
      database.pragma("mmap_size = 0")
      return use(database)
    } finally {
      database.close()
    }
  }

  const outbound = <A>(use: (database: Database) => A): A => {
    const database = new Sqlite(`${folder}/outbound.db`)
    try {
      database.pragma("journal_mode = DELETE")
      database.pragma("busy_timeout = 5000")
      return use(database)
    } finally {
      database.close()
    }
  }

  /** What an earlier run had claimed and not finished is offered again. */
  outbound((own) => own.prepare("DELETE FROM processing_ack WHERE status = 'processing'").run())

  const poll = (): ReadonlyArray<Message> => {
    const taken = outbound((own) =>
      own
        .prepare("SELECT message_id FROM processing_ack")
        .all()
        .map((row) => row["message_id"])
    )
    const rows = inbound((host) =>
      host
        .prepare(
          `SELECT id, seq, kind, content, trigger, on_wake FROM messages_in
           WHERE status = 'pending' AND (process_after IS NULL OR datetime(process_after) <= datetime(?))
             AND (on_wake = 0 OR ? = 1)
           ORDER BY seq DESC LIMIT 10`
        )
        .all(stamp(), isFirstPoll ? 1 : 0)
    )
    isFirstPoll = false
    const due = rows.filter(({ id, kind }) => !taken.includes(id) && kind !== "system").reverse()
    return due.some(({ trigger }) => trigger === 1) ? (due as ReadonlyArray<object> as Array<Message>) : []
  }

  const acknowledge = (id: string, status: string) =>
    outbound((own) =>
      own.prepare("INSERT OR REPLACE INTO processing_ack VALUES (?, ?, ?)").run(id, status, stamp())
    )

  /** The next odd number above both tables. */
  const nextSeq = (own: Database): number => {
    const largest = (database: Database, table: string) =>
      Number(database.prepare(`SELECT coalesce(max(seq), 0) AS seq FROM ${table}`).get()?.["seq"])
    const last = Math.max(
      largest(own, "messages_out"),
      inbound((host) => largest(host, "messages_in"))
    )
    return last % 2 === 0 ? last + 1 : last + 2
  }

  const answer = (message: Message, text: string) =>
    outbound((own) => {
      const seq = nextSeq(own)
      const routing = inbound((host) => host.prepare("SELECT * FROM session_routing WHERE id = 1").get())
      own
        .prepare(
          `INSERT INTO messages_out (id, seq, in_reply_to, timestamp, kind, platform_id, channel_type, thread_id, content)
           VALUES (?, ?, ?, ?, 'chat', ?, ?, ?, ?)`
        )
        .run(
          `msg-${now()}-${seq}`,
          seq,
          message.id,
          stamp(),
          routing?.["platform_id"] ?? null,
          routing?.["channel_type"] ?? null,
          routing?.["thread_id"] ?? null,
          JSON.stringify({ text })
        )
      return seq
    })

  const heartbeat = () => {
    const path = `${folder}/.heartbeat`
    Fs.writeFileSync(path, "")
    Fs.utimesSync(path, now() / 1000, now() / 1000)
  }

  return {
    poll,
    claim: (id: string) => acknowledge(id, "processing"),
    complete: (id: string) => acknowledge(id, "completed"),
    fail: (id: string) => acknowledge(id, "failed"),
    answer,
    heartbeat,
    /** Whether the host has delivered an answer, and what the platform calls it. */
    delivered: () =>
      inbound((host) =>
        host.prepare("SELECT message_out_id, platform_message_id, status FROM delivered").all()
      )
  }
}
