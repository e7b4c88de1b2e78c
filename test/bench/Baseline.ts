/**
 * The same work done plainly: one file of better-sqlite3 calls, as a host without this library does it. Each session database
 * is opened for each operation, set up, checked for the columns of older files, used and closed; the central one stays
 * open, in write-ahead-log mode, with its statements prepared.
 *
 * Nothing is here that such a host could do without: a session's files have the tables that it needs and no others. Durability
 * is SQLite's own: `synchronous = FULL` for the files of a session, and what better-sqlite3 sets for a
 * write-ahead log (NORMAL) for the central database, as on the other side.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Database } from "./Sqlite.js"
import { Sqlite, using } from "./Sqlite.js"

/** What a new session's files, and the central database, begin as. */
export interface Template {
  readonly central: string
  readonly inbound: string
  readonly outbound: string
}

const inboundName = "inbound.db"
const outboundName = "outbound.db"

/** Makes the files of a template from a data directory of the library, whose own tables and indexes are left out. */
export const template = (dataDir: string, sessionFolder: string, target: string): Template => {
  Fs.mkdirSync(target, { recursive: true })
  const copied = (from: string, mode: "DELETE" | "WAL", more: ReadonlyArray<string> = []) => {
    const path = Path.join(target, Path.basename(from))
    Fs.copyFileSync(from, path)
    using(path, (database) => {
      const own = database
        .prepare(`SELECT type, name FROM sqlite_schema WHERE name LIKE 'airlock!_%' ESCAPE '!' ORDER BY type`)
        .all()
      for (const { name, type } of own) database.exec(`DROP ${String(type)} IF EXISTS ${String(name)}`)
      for (const statement of more) database.exec(statement)
      database.exec("VACUUM")
      database.pragma(`journal_mode = ${mode}`)
    })
    return path
  }
  return {
    central: copied(Path.join(dataDir, "v2.db"), "WAL", ["DELETE FROM sessions"]),
    inbound: copied(Path.join(sessionFolder, inboundName), "DELETE"),
    outbound: copied(Path.join(sessionFolder, outboundName), "DELETE")
  }
}

interface Folder {
  readonly folder: string
}

export interface Session extends Folder {
  readonly id: string
}

export interface Message {
  readonly id: string
  readonly kind: string
  readonly content: string
  readonly platformId?: string | null | undefined
  readonly channelType?: string | null | undefined
}

export interface File {
  readonly name: string
  readonly data: Uint8Array
}

const columns = ["series_id", "trigger", "source_session_id", "on_wake"]

/** The host's file of a session, for writing; older ones lack columns. */
export const openInbound = (folder: string): Database => {
  const database = new Sqlite(Path.join(folder, inboundName))
  database.pragma("journal_mode = DELETE")
  database.pragma("busy_timeout = 5000")
  const present = database.pragma("table_info(messages_in)") as ReadonlyArray<{ readonly name: string }>
  const names = new Set(present.map(({ name }) => name))
  for (const column of columns) if (!names.has(column)) throw new Error(`${column} is missing`)
  return database
}

const now = () => new Date().toISOString()

const insertMessage = `INSERT INTO messages_in
    (id, seq, kind, timestamp, status, series_id, trigger, platform_id, channel_type, content, on_wake)
  VALUES (?, (SELECT coalesce(max(seq), 0) / 2 * 2 + 2 FROM messages_in), ?, ?, 'pending', ?, 1, ?, ?, ?, 0)`

const selectDue = `SELECT id FROM messages_out
  WHERE deliver_after IS NULL OR datetime(deliver_after) <= datetime('now') ORDER BY seq`

const countDue = `SELECT count(*) FROM messages_in
  WHERE status = 'pending' AND trigger = 1 AND (process_after IS NULL OR datetime(process_after) <= datetime('now'))`

export const make = (dataDir: string, from: Template) => {
  Fs.mkdirSync(dataDir, { recursive: true })
  Fs.copyFileSync(from.central, Path.join(dataDir, "v2.db"))
  const central = new Sqlite(Path.join(dataDir, "v2.db"))
  central.pragma("journal_mode = WAL")
  central.pragma("busy_timeout = 5000")
  const addSession = central.prepare(
    `INSERT INTO sessions (id, agent_group_id, messaging_group_id, created_at, session_mode)
     VALUES (?, 'agent', ?, ?, 'shared')`
  )
  const noteActivity = central.prepare("UPDATE sessions SET last_active = ? WHERE id = ?")
  const findSession = central.prepare(
    `SELECT * FROM sessions
     WHERE agent_group_id = ? AND messaging_group_id = ? AND thread_id IS NULL AND status = 'active'`
  )
  const listActive = central.prepare("SELECT * FROM sessions WHERE status = 'active'")
  const folderOf = (id: string) => Path.join(dataDir, "v2-sessions", "agent", id)
  let count = 0

  const newSession = (chat: string): Session => {
    const id = `sess-${count++}`
    const folder = folderOf(id)
    for (const child of ["inbox", "outbox"]) Fs.mkdirSync(Path.join(folder, child), { recursive: true })
    Fs.copyFileSync(from.inbound, Path.join(folder, inboundName))
    Fs.copyFileSync(from.outbound, Path.join(folder, outboundName))
    addSession.run(id, chat, now())
    return { id, folder }
  }

  const insert = ({ folder, id }: Session, message: Message): void => {
    const database = openInbound(folder)
    try {
      database
        .prepare(insertMessage)
        .run(
          message.id,
          message.kind,
          now(),
          message.id,
          message.platformId ?? null,
          message.channelType ?? null,
          message.content
        )
    } finally {
      database.close()
    }
    noteActivity.run(now(), id)
  }

  /** The file is on disk before the row names it, as on the other side: one more fsync. */
  const insertWithFile = (session: Session, message: Message, file: File): void => {
    const folder = Path.join(session.folder, "inbox", message.id)
    Fs.mkdirSync(folder, { recursive: true })
    const fd = Fs.openSync(Path.join(folder, file.name), "wx")
    try {
      Fs.writeFileSync(fd, file.data)
      Fs.fsyncSync(fd)
    } finally {
      Fs.closeSync(fd)
    }
    const parsed = JSON.parse(message.content) as object
    const localPath = `inbox/${message.id}/${file.name}`
    insert(session, {
      ...message,
      content: JSON.stringify({ ...parsed, attachments: [{ name: file.name, localPath }] })
    })
  }

  /** Looks for messages of the agent that are due and were not delivered, and delivers them. How many there were. */
  const drain = ({ folder }: Folder, deliver: (row: object) => void): number => {
    const outbound = new Sqlite(Path.join(folder, outboundName), { readonly: true })
    try {
      outbound.pragma("busy_timeout = 5000")
      const due = outbound.prepare(selectDue).pluck().all()
      if (due.length === 0) return 0
      const inbound = openInbound(folder)
      try {
        const delivered = new Set(inbound.prepare("SELECT message_out_id FROM delivered").pluck().all())
        const fresh = due.filter((id) => !delivered.has(id))
        for (const id of fresh) {
          deliver(outbound.prepare("SELECT * FROM messages_out WHERE id = ?").get(id) ?? {})
          inbound
            .prepare(
              "INSERT OR IGNORE INTO delivered (message_out_id, status, delivered_at) VALUES (?, 'delivered', ?)"
            )
            .run(id, now())
        }
        return fresh.length
      } finally {
        inbound.close()
      }
    } finally {
      outbound.close()
    }
  }

  /** Takes over what the agent says of messages, and counts those that are due. */
  const sweep = ({ folder }: Folder): number => {
    const inbound = openInbound(folder)
    try {
      const outbound = new Sqlite(Path.join(folder, outboundName), { readonly: true })
      try {
        outbound.pragma("busy_timeout = 5000")
        const completed = outbound
          .prepare("SELECT message_id FROM processing_ack WHERE status = 'completed'")
          .pluck()
          .all()
        for (const id of completed) {
          inbound.prepare("UPDATE messages_in SET status = 'completed' WHERE id = ?").run(id)
        }
      } finally {
        outbound.close()
      }
      Fs.statSync(Path.join(folder, ".heartbeat"), { throwIfNoEntry: false })
      return Number(inbound.prepare(countDue).pluck().get())
    } finally {
      inbound.close()
    }
  }

  const sessions = (): ReadonlyArray<Folder> =>
    listActive.all().map(({ id }) => ({ folder: folderOf(String(id)) }))

  const resolve = (chat: string): string => {
    const row = findSession.get("agent", chat)
    if (row === undefined) throw new Error(`${chat} has no session`)
    const folder = folderOf(String(row["id"]))
    for (const name of [inboundName, outboundName]) {
      if (!Fs.existsSync(Path.join(folder, name))) throw new Error(`${folder} lacks ${name}`)
    }
    return folder
  }

  return {
    newSession,
    write: insert,
    writeWithFile: insertWithFile,
    drain,
    drainAll: (deliver: (row: object) => void) => {
      for (const session of sessions()) drain(session, deliver)
    },
    sweepAll: () => {
      for (const session of sessions()) sweep(session)
    },
    resolve,
    close: () => central.close()
  }
}

export type Baseline = ReturnType<typeof make>
