/**
 * What is in a data directory, read with plain SQLite from a copy of it, and what has to be so in every one.
 */
import { expect } from "@effect/vitest"
import { PathSegment } from "effect-airlock"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as TestHost from "../support/TestHost.js"
import * as Raw from "../support/Raw.js"
import type { Scene } from "./Scene.js"
import * as Scenes from "./Scene.js"

interface Inbound {
  readonly id: string
  readonly seq: number
  readonly status: string
  readonly series: string | null
  readonly attachments: string | null
}

interface Outbound {
  readonly id: string
  readonly seq: number
  readonly content: string
}

export interface View {
  /** The chats of the sessions. */
  readonly sessions: ReadonlyArray<string>
  readonly messagesIn: ReadonlyArray<Inbound>
  readonly direct: ReadonlyArray<Outbound>
  readonly messagesOut: ReadonlyArray<Outbound>
  /** What is settled, and what of it has failed: that keeps its files, because it can be redriven. */
  readonly delivered: ReadonlySet<string>
  readonly failed: ReadonlySet<string>
  readonly acknowledgements: ReadonlyArray<{ readonly id: string; readonly status: string }>
  readonly routing: ReadonlyArray<string>
  readonly destinations: ReadonlyArray<string>
  readonly state: string | undefined
  readonly isComplete: (which: "session" | "incomplete") => boolean
  /** What nobody owns: temporary files, journals, folders of messages that are not there. */
  readonly leftovers: ReadonlyArray<string>
}

const filesBelow = (folder: string): ReadonlyArray<string> =>
  Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })

/** The host's own databases have their log beside them while they are open. */
const isTemporary = (path: string): boolean =>
  !/^(v2\.db|v2-originals\/.*\/inbound\.db)-(wal|shm)$/.test(path) &&
  /(^|\/)(\.new-|\.inbound\.db)|\.new$|-(journal|wal|shm)$/.test(path)

const namesIn = (folder: string): ReadonlyArray<string> =>
  Fs.existsSync(folder) ? Fs.readdirSync(folder) : []

const messageOf = (folder: string): string => {
  const id = PathSegment.messageOf(folder)
  return id._tag === "Some" ? id.value : folder
}

interface Session {
  readonly folder: string
  readonly messagesIn: ReadonlyArray<Inbound>
  readonly direct: ReadonlyArray<Outbound>
  /** What is settled, and what of it has failed: that keeps its files, because it can be redriven. */
  readonly delivered: ReadonlySet<string>
  readonly failed: ReadonlySet<string>
  readonly routing: ReadonlyArray<string>
  readonly destinations: ReadonlyArray<string>
  readonly messagesOut: ReadonlyArray<Outbound>
  readonly acknowledgements: ReadonlyArray<{ readonly id: string; readonly status: string }>
  readonly state: string | undefined
}

type Rows = <A>(sql: string) => ReadonlyArray<A>

/** Asks one database, which has to be sound. */
const ask = <A>(path: string, questions: (rows: Rows) => A): A => {
  const database = Raw.open(path)
  try {
    const rows: Rows = <B>(sql: string) => database.prepare(sql).all() as unknown as ReadonlyArray<B>
    expect([path, rows("PRAGMA integrity_check")]).toEqual([path, [{ integrity_check: "ok" }]])
    return questions(rows)
  } finally {
    database.close()
  }
}

const idsOf = (rows: ReadonlyArray<{ readonly id: string }>) => rows.map(({ id }) => id)

const sessionIn = (folder: string): Session => ({
  folder,
  ...ask(TestHost.originalOf(folder), (rows) => ({
    messagesIn: rows<Inbound>(
      `SELECT id, seq, status, series_id AS series, a.attachments FROM messages_in
        LEFT JOIN airlock_message a ON a.message_id = id ORDER BY seq`
    ),
    direct: rows<Outbound>("SELECT id, seq, content FROM airlock_direct"),
    delivered: new Set(idsOf(rows("SELECT message_out_id AS id FROM delivered"))),
    failed: new Set(idsOf(rows("SELECT message_out_id AS id FROM delivered WHERE status = 'failed'"))),
    routing: idsOf(rows("SELECT platform_id AS id FROM session_routing")),
    destinations: idsOf(rows("SELECT name AS id FROM destinations ORDER BY name"))
  })),
  ...ask(Path.join(folder, "outbound.db"), (rows) => ({
    messagesOut: rows<Outbound>("SELECT id, seq, content FROM messages_out ORDER BY seq"),
    acknowledgements: rows<{ readonly id: string; readonly status: string }>(
      "SELECT message_id AS id, status FROM processing_ack"
    ),
    state: rows<{ readonly value: string }>("SELECT value FROM session_state WHERE key = 'key'")[0]?.value
  }))
})

/** Folders of messages that are not there, and of delivered ones. */
const orphansIn = ({
  delivered,
  failed,
  folder,
  messagesIn,
  messagesOut
}: Session): ReadonlyArray<string> => {
  const known = {
    inbox: new Set(idsOf(messagesIn)),
    outbox: new Set(idsOf(messagesOut).filter((id) => !delivered.has(id) || failed.has(id)))
  }
  return (["inbox", "outbox"] as const).flatMap((name) =>
    namesIn(Path.join(folder, name))
      .filter((entry) => !known[name].has(messageOf(entry)))
      .map((entry) => `${Path.basename(folder)}/${name}/${entry}`)
  )
}

/** The agent's copy of inbound.db, if it is not what the host has. */
const otherCopies = ({ folder }: Session): ReadonlyArray<string> => {
  const copy = Path.join(folder, "inbound.db")
  const isCopy = Fs.existsSync(copy) && Fs.readFileSync(copy).equals(TestHost.publishedOf(folder))
  return isCopy ? [] : [`${Path.basename(folder)}/inbound.db, which is not what the host has`]
}

const isOutbound = (path: string): boolean => /^v2-sessions\/[^/]+\/[^/.][^/]*\/outbound\.db$/.test(path)

/** What nobody owns in a data directory on which nobody is at work now. */
export const leftoversIn = (dataDir: string): ReadonlyArray<string> => {
  const paths = filesBelow(dataDir)
  const sessions = paths.filter(isOutbound).map((path) => sessionIn(Path.dirname(Path.join(dataDir, path))))
  return [...paths.filter(isTemporary), ...sessions.flatMap(orphansIn), ...sessions.flatMap(otherCopies)]
}

/** Looks at a copy, which it leaves at `copy`: looking with SQLite mends what a killed process left. */
export const read = (dataDir: string, copy: string, scene: Scene): View => {
  const paths = filesBelow(dataDir)
  Fs.rmSync(copy, { recursive: true, force: true })
  Fs.cpSync(dataDir, copy, { recursive: true })
  const sessions = paths.filter(isOutbound).map((path) => sessionIn(Path.dirname(Path.join(copy, path))))
  const folder = Scenes.folderOf(copy, scene.session)
  const session = sessions.find((one) => one.folder === folder)
  if (session === undefined) throw new Error("the session is gone")
  return {
    ...session,
    sessions: ask(Path.join(copy, "v2.db"), (rows) =>
      idsOf(rows("SELECT messaging_group_id AS id FROM sessions"))
    ),
    isComplete: (which) =>
      ["inbound.db", "inbox", "outbound.db", "outbox"].every((name) =>
        Fs.existsSync(Path.join(Scenes.folderOf(copy, scene[which]), name))
      ),
    leftovers: [
      ...paths.filter(isTemporary),
      ...sessions.flatMap(orphansIn),
      ...sessions.flatMap(otherCopies)
    ]
  }
}

const isUnique = (values: ReadonlyArray<unknown>) => expect(new Set(values).size).toBe(values.length)

const sha256 = (path: string) => createHash("sha256").update(Fs.readFileSync(path)).digest("hex")

interface Stored {
  readonly localPath: string
  readonly sha256: string
}

/** What every operation leaves as it is, whatever becomes of it. `folder` is the session's. */
export const expectSound = (view: View, folder: string, scene: Scene): void => {
  const ids = view.messagesIn.map(({ id }) => id)
  isUnique(ids)
  for (const id of ["claimed", "answered", "task", "offered"]) expect(ids).toContain(id)
  isUnique(view.direct.map(({ id }) => id))
  expect(view.direct.map(({ id }) => id)).toEqual(expect.arrayContaining(["direct", "refused"]))
  isUnique(view.messagesOut.map(({ id }) => id))
  for (const id of [scene.delivered.id, scene.reply, scene.toAgent]) {
    expect(view.messagesOut.map((row) => row.id)).toContain(id)
  }
  expect(view.delivered).toContain(scene.delivered.id)
  const numbers = [...view.messagesIn, ...view.direct].map(({ seq }) => seq)
  isUnique(numbers)
  expect(numbers.filter((seq) => seq % 2 !== 0)).toEqual([])
  isUnique(view.messagesOut.map(({ seq }) => seq))
  expect(view.messagesOut.map(({ seq }) => seq).filter((seq) => seq % 2 !== 1)).toEqual([])
  for (const { attachments } of view.messagesIn) {
    for (const stored of JSON.parse(attachments ?? "[]") as ReadonlyArray<Stored>) {
      expect(sha256(Path.join(folder, stored.localPath))).toBe(stored.sha256)
    }
  }
  for (const { content, id } of view.messagesOut) {
    if (view.delivered.has(id)) continue
    const { files = [], text = "" } = JSON.parse(content) as {
      readonly text?: string
      readonly files?: ReadonlyArray<string>
    }
    for (const name of files) {
      const bytes = Fs.readFileSync(Path.join(folder, "outbox", id, name))
      expect([id, name, bytes.equals(Scenes.bytesOf(text, name))]).toEqual([id, name, true])
    }
  }
}
