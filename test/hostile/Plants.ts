/**
 * What a hostile agent can put into its session folder, one thing at a time, and what a host then answers.
 */
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Forgery from "./Forgery.js"

/**
 * `folder` is the session's, with a message `m` in outbound.db that declares the file `file`, which is in `outbox/m`.
 * `canary` is a folder outside with things that must not be touched: a file `secret`, a folder `m` with a `file`, and
 * a database `outbound.db` with a message.
 */
export interface Place {
  readonly folder: string
  readonly canary: string
}

/**
 * `drain` and `write` say what becomes of delivering `m`, and of writing a message with an attachment:
 * `delivered`, `delivered without file: …`, `nothing`, `stored`, or an error's name and reason.
 */
export interface Plant {
  readonly name: string
  readonly plant: (place: Place) => void
  readonly drain: string
  readonly write: string
}

const remove = (path: string) => Fs.rmSync(path, { recursive: true, force: true })

/** Things that are no plain file, by what the host says of them. */
const things: ReadonlyArray<
  readonly [name: string, reason: string, make: (path: string, canary: string) => void]
> = [
  ["a FIFO", "not-a-regular-file", (path) => void execFileSync("mkfifo", [path])],
  ["a socket", "not-a-regular-file", (path) => socketAt(path)],
  ["a directory", "not-a-regular-file", (path) => Fs.mkdirSync(path)],
  ["a link to a file outside", "symbolic-link", (path, canary) => Fs.symlinkSync(canary, path)],
  ["a link to nothing", "symbolic-link", (path) => Fs.symlinkSync("/nonexistent/x", path)],
  ["a link to itself", "symbolic-link", (path) => Fs.symlinkSync(Path.basename(path), path)],
  ["a second name of a file outside", "hard-link", (path, canary) => Fs.linkSync(canary, path)]
]

/** A socket is there for as long as nobody removes it, also when nobody listens. Its path must not be long. */
const socketAt = (path: string) => {
  const before = process.cwd()
  process.chdir(Path.dirname(path))
  const server = Net.createServer().listen(Path.basename(path))
  server.unref()
  process.chdir(before)
}

const isRoot = process.getuid?.() === 0

/** Only root can make a device, and only a container with that right has one to plant. */
const devices: typeof things = isRoot
  ? [
      [
        "a device without end",
        "not-a-regular-file",
        (path) => void execFileSync("mknod", [path, "c", "1", "5"])
      ]
    ]
  : []

const sparse = (path: string, head: Buffer) => {
  Fs.writeFileSync(path, head)
  Fs.truncateSync(path, 2 ** 40)
}

/** What becomes of a message of which everything but one file is as it should be. */
const withoutFile = (reason: string) => `delivered without file: ${reason}`

const outbound = ({ folder }: Place) => Path.join(folder, "outbound.db")
const scratch = ({ folder }: Place) => Path.join(folder, "scratch.db")

/** Another database in the place of outbound.db, under the same inode or a new one. */
const database = (name: string, drain: string, make: (place: Place) => Buffer): Plant => ({
  name: `outbound.db: ${name}`,
  plant: (place) => {
    const bytes = make(place)
    Fs.writeFileSync(outbound(place), bytes)
  },
  drain,
  write: "stored"
})

/** The session's own outbound.db, changed by hand. */
const changed = (name: string, drain: string, change: (bytes: Buffer, place: Place) => Buffer): Plant =>
  database(name, drain, (place) => change(Fs.readFileSync(outbound(place)), place))

const ofMessages = (place: Place, forge: (bytes: Buffer, root: number) => Buffer): Buffer => {
  const whole = Forgery.database(scratch(place))
  return forge(whole, Forgery.rootOf(scratch(place), whole, "messages_out"))
}

const patched =
  (at: number, ...values: ReadonlyArray<number>) =>
  (bytes: Buffer): Buffer => {
    for (const [n, value] of values.entries()) bytes[at + n] = value
    return bytes
  }

const damaged = "SessionDbCorrupt damaged"
const tooLarge = "SessionDbUnavailable too-large"

/** A definition that a query would compute for longer than anybody waits, from any row. */
const forever = "(printf('%.*c', 500, 'a') LIKE '%a%a%a%a%a%a%a%a%b')"

const messagesWith = (columns: string) => `DROP TABLE messages_out; CREATE TABLE messages_out (${columns});`
const endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
const columns =
  "id, seq, in_reply_to, timestamp, deliver_after, kind, platform_id, channel_type, thread_id, content"

const contents: ReadonlyArray<Plant> = [
  database("nothing at all", "SessionDbCorrupt not-a-database", () => Buffer.alloc(0)),
  database("noise", "SessionDbCorrupt not-a-database", () => Buffer.alloc(100_000, "noise")),
  changed("write-ahead logging", "SessionDbUnavailable wal-mode", patched(18, 2, 2)),
  changed("a schema of the future", "SessionDbUnavailable newer-schema", patched(60, 0, 0, 0, 99)),
  changed("pages of no size", damaged, patched(16, 0, 0)),
  changed("pages of an odd size", damaged, patched(16, 0x0f, 0xff)),
  changed("pages larger than the file", "SessionDbUnavailable busy", patched(16, 0, 1)),
  changed("pages that are all reserved", damaged, patched(20, 255, 64, 32, 32)),
  changed("text in UTF-16", damaged, patched(56, 0, 0, 0, 2)),
  changed("half of it", "SessionDbUnavailable busy", (bytes) => bytes.subarray(0, bytes.length / 2)),
  changed("half of it, and a header that says so", damaged, (bytes) => {
    const half = Buffer.from(bytes.subarray(0, 4096 * Math.floor(bytes.length / 8192)))
    half.writeUInt32BE(half.length / 4096, 28)
    return half
  }),
  changed("noise after its first page", damaged, (bytes): Buffer => {
    for (let at = 4096; at < bytes.length; at++) bytes[at] = (at * 7919) >> 3
    return bytes
  }),
  database("pages that share their children", damaged, (place) => ofMessages(place, Forgery.sharedPages)),
  database("a schema whose pages do", damaged, (place) =>
    Forgery.sharedSchema(Forgery.database(scratch(place)))
  ),
  database("pages in a circle", damaged, (place) => ofMessages(place, Forgery.cyclicPages)),
  database("pages that are not there", damaged, (place) => ofMessages(place, Forgery.missingPages)),
  database("a text said to be a gigabyte", damaged, (place) => ofMessages(place, Forgery.hugeText)),
  database("texts that all go on at one page", damaged, (place) =>
    ofMessages(place, (bytes, root) => Forgery.sharedOverflow(bytes, root, 30_000_000))
  ),
  database("rows in each other's place", damaged, (place) => ofMessages(place, Forgery.overlappingCells)),
  database("ten million rows", tooLarge, (place) =>
    ofMessages(place, (bytes, root) => Forgery.tinyRows(bytes, root, 16_000))
  ),
  database("as many rows as are read, and none with a key", "nothing", (place) =>
    Forgery.database(
      scratch(place),
      `${messagesWith(columns)} WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 249999)
       INSERT INTO messages_out (kind) SELECT 'task_log' FROM n`
    )
  ),
  database("as many rows as are read, all of them for the year 9999", "nothing", (place) =>
    Forgery.database(
      scratch(place),
      `${messagesWith(columns)} WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 249999)
       INSERT INTO messages_out (id, seq, timestamp, kind, content, deliver_after)
       SELECT 'm' || x, -x, '', 'chat', '{}', '9999-12-31T23:59:59.999Z' FROM n`
    )
  ),
  database("a view that never ends", "nothing", (place) =>
    Forgery.database(
      scratch(place),
      `DROP TABLE messages_out; CREATE VIEW messages_out AS ${endless}
       SELECT ${columns.replaceAll(/\w+/g, (column) => `x AS ${column}`)} FROM n`
    )
  ),
  database("a view behind the name of a table", damaged, (place) =>
    Forgery.withSchema(
      scratch(place),
      `UPDATE sqlite_schema SET sql = replace(sql, 'TABLE messages_out', 'TABLE other') WHERE name = 'messages_out';
       INSERT INTO sqlite_schema VALUES ('view', 'other', 'other', 0, 'CREATE VIEW messages_out AS ${endless} SELECT x AS id FROM n')`
    )
  ),
  database("columns that are computed for ever", "nothing", (place) =>
    Forgery.withSchema(
      scratch(place),
      `UPDATE sqlite_schema SET sql = 'CREATE TABLE messages_out (${columns}, more AS (${forever.replaceAll("'", "''")}))'
       WHERE name = 'messages_out'`,
      `${messagesWith(columns)} INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('m', 1, '', 'chat', '{}')`
    )
  ),
  database("a check, an index and a trigger that would be", "delivered", (place) =>
    Forgery.database(
      scratch(place),
      `${messagesWith(`${columns}, CHECK (seq < 9 OR ${forever})`)}
       INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('m', 1, '', 'chat', '{"files":["file"]}');
       CREATE INDEX e ON messages_out (iif(seq < 9, 1, ${forever}));
       CREATE TRIGGER t AFTER UPDATE ON messages_out BEGIN SELECT ${forever}; END`
    )
  ),
  database("a table of its own where queries mean SQLite's", damaged, (place) =>
    Forgery.database(scratch(place), "CREATE VIRTUAL TABLE json_each USING fts5(value)")
  ),
  database("statistics that are computed", damaged, (place) =>
    Forgery.withSchema(
      scratch(place),
      `UPDATE sqlite_schema SET name = 'sqlite_stat1', tbl_name = 'sqlite_stat1',
         sql = 'CREATE TABLE sqlite_stat1(tbl,idx,stat AS (${forever.replaceAll("'", "''")}))' WHERE name = 'session_state';
       DELETE FROM sqlite_schema WHERE tbl_name = 'session_state'`
    )
  ),
  database("a schema of garbage", damaged, (place) =>
    Forgery.withSchema(
      scratch(place),
      `INSERT INTO sqlite_schema VALUES (x'00ff', NULL, 7, 'page', 'CREATE GARBAGE'), ('table', 'a', 'a', 2, '(((((((((')`
    )
  ),
  database("a schema of ten thousand tables", damaged, (place) =>
    Forgery.withSchema(
      scratch(place),
      `${endless.replace("FROM n)", "FROM n WHERE x < 10000)")} INSERT INTO sqlite_schema
       SELECT 'view', 'v' || x, 'v' || x, 0, 'CREATE VIEW v' || x || ' AS SELECT 1' FROM n`
    )
  ),
  {
    name: "outbound.db: a terabyte of nothing",
    plant: (place) => sparse(outbound(place), Fs.readFileSync(outbound(place))),
    drain: tooLarge,
    write: "stored"
  },
  {
    name: "outbound.db: none",
    plant: (place) => remove(outbound(place)),
    drain: "SessionDbUnavailable missing",
    write: "stored"
  }
]

const inPlaceOf = (
  what: string,
  pathOf: (place: Place) => string,
  outside: string,
  outcome: (reason: string, thing: string) => Pick<Plant, "drain" | "write">
): ReadonlyArray<Plant> =>
  [...things, ...devices].map(([thing, reason, make]) => ({
    name: `${what}: ${thing}`,
    plant: (place) => {
      remove(pathOf(place))
      make(pathOf(place), Path.join(place.canary, outside))
    },
    ...outcome(reason, thing)
  }))

const journalOf = (place: Place) => `${outbound(place)}-journal`

/** A journal beside the session's own outbound.db. */
const journal = (name: string, drain: string, make: (place: Place) => Buffer): Plant => ({
  name: `outbound.db-journal: ${name}`,
  plant: (place) => Fs.writeFileSync(journalOf(place), make(place)),
  drain,
  write: "stored"
})

const superJournalRecord = (name: string): Buffer => {
  const text = Buffer.from(name)
  const record = Buffer.alloc(20 + text.length)
  record.writeUInt32BE(2 ** 30 / 4096 + 1, 0)
  text.copy(record, 4)
  record.writeUInt32BE(text.length, 4 + text.length)
  record.writeInt32BE(
    text.reduce((total, byte) => total + byte, 0),
    8 + text.length
  )
  Buffer.from("d9d505f920a163d7", "hex").copy(record, 12 + text.length)
  return record
}

const journals: ReadonlyArray<Plant> = [
  journal("noise", "delivered", () => Buffer.alloc(100_000, "noise")),
  journal("one that names a file outside for deletion", "SessionDbCorrupt super-journal", (place) =>
    Buffer.concat([
      Forgery.journalTo(Fs.readFileSync(outbound(place))),
      superJournalRecord(Path.join(place.canary, "secret"))
    ])
  ),
  journal("one that brings back pages that share their children", damaged, (place) =>
    Forgery.journalTo(ofMessages(place, Forgery.sharedPages))
  ),
  journal("one that brings back a schema whose pages do", damaged, (place) =>
    Forgery.journalTo(Forgery.sharedSchema(Forgery.database(scratch(place))))
  ),
  journal("one of a database of a terabyte", tooLarge, (place) => {
    const whole = Fs.readFileSync(outbound(place))
    return Forgery.journal(2 ** 28, [[1, whole.subarray(0, 4096)]])
  }),
  journal("one that is cut off", "SessionDbUnavailable busy", (place) =>
    Forgery.journalTo(Fs.readFileSync(outbound(place))).subarray(0, 9000)
  ),
  {
    name: "outbound.db-journal: a terabyte of nothing",
    plant: (place) => sparse(journalOf(place), Forgery.journal(1, [])),
    drain: tooLarge,
    write: "stored"
  }
]

const outbox = ({ folder }: Place) => Path.join(folder, "outbox")
const inbox = ({ folder }: Place) => Path.join(folder, "inbox")

const isDirectory = (thing: string) => thing === "a directory"

const files: ReadonlyArray<Plant> = [
  {
    name: "outbox/<id>/file: a terabyte of nothing",
    plant: (place) => sparse(Path.join(outbox(place), "m", "file"), Buffer.alloc(0)),
    drain: withoutFile("too-large"),
    write: "stored"
  },
  {
    name: "outbox/<id>: names that are no text, and a deep tree",
    plant: (place) => {
      const own = Path.join(outbox(place), "m")
      Fs.writeFileSync(Buffer.concat([Buffer.from(`${own}/`), Buffer.from([0xff, 0xfe])]), "x")
      Fs.mkdirSync(Buffer.concat([Buffer.from(`${own}/`), Buffer.from([0xc3, 0x28])]))
      Fs.mkdirSync(Path.join(own, ...Array.from({ length: 500 }, () => "d")), { recursive: true })
      Fs.symlinkSync(place.canary, Path.join(own, "d", "link"))
    },
    drain: "delivered",
    write: "stored"
  },
  {
    name: "inbox/<id>: names that are no text, and links",
    plant: (place) => {
      const own = Path.join(inbox(place), "w")
      Fs.mkdirSync(own, { recursive: true })
      Fs.writeFileSync(Buffer.concat([Buffer.from(`${own}/`), Buffer.from([0xff, 0xfe])]), "x")
      Fs.symlinkSync(place.canary, Path.join(own, "link"))
      Fs.symlinkSync(Path.join(place.canary, "secret"), Path.join(own, "a.txt"))
    },
    drain: "delivered",
    write: "stored"
  },
  {
    name: "inbox: none",
    plant: (place) => remove(inbox(place)),
    drain: "delivered",
    write: "stored"
  },
  {
    name: ".heartbeat: of the year 2500",
    plant: ({ folder }) => {
      const path = Path.join(folder, ".heartbeat")
      Fs.writeFileSync(path, "")
      Fs.utimesSync(path, 16_725_225_600, 16_725_225_600)
    },
    drain: "delivered",
    write: "stored"
  }
]

/** What is said of something in the place of a directory. */
const asDirectory = (reason: string) => (reason === "symbolic-link" ? reason : "not-a-directory")

export const plants: ReadonlyArray<Plant> = [
  ...contents,
  ...journals,
  ...files,
  ...inPlaceOf("outbound.db", outbound, "outbound.db", (reason) => ({
    drain: `UnsafePath ${reason}`,
    write: "stored"
  })),
  ...inPlaceOf("outbound.db-journal", journalOf, "secret", (reason) => ({
    drain: `UnsafePath ${reason}`,
    write: "stored"
  })),
  ...inPlaceOf(
    ".heartbeat",
    ({ folder }) => Path.join(folder, ".heartbeat"),
    "secret",
    () => ({
      drain: "delivered",
      write: "stored"
    })
  ),
  ...inPlaceOf(
    "outbox/<id>/file",
    (place) => Path.join(outbox(place), "m", "file"),
    "secret",
    (reason) => ({ drain: withoutFile(reason), write: "stored" })
  ),
  ...inPlaceOf(
    "outbox/<id>",
    (place) => Path.join(outbox(place), "m"),
    "secret",
    (reason, thing) => ({
      drain: withoutFile(isDirectory(thing) ? "missing" : asDirectory(reason)),
      write: "stored"
    })
  ),
  ...inPlaceOf("outbox", outbox, "secret", (reason, thing) => ({
    drain: withoutFile(isDirectory(thing) ? "missing" : asDirectory(reason)),
    write: "stored"
  })),
  ...inPlaceOf("inbox", inbox, "secret", (reason, thing) => ({
    drain: "delivered",
    write: isDirectory(thing) ? "stored" : `UnsafePath ${asDirectory(reason)}`
  })),
  ...inPlaceOf(
    "inbox/<id>",
    (place) => Path.join(inbox(place), "w"),
    "secret",
    () => ({ drain: "delivered", write: "stored" })
  ),
  ...["outbox", "outbox/m", "inbox", "inbox/w"].map((name): Plant => ({
    name: `${name.replace(/[mw]$/, "<id>")}: a link to a folder outside`,
    plant: (place) => {
      remove(Path.join(place.folder, name))
      Fs.symlinkSync(
        name.endsWith("m") ? Path.join(place.canary, "m") : place.canary,
        Path.join(place.folder, name)
      )
    },
    drain: name.startsWith("outbox") ? withoutFile("symbolic-link") : "delivered",
    write: name === "inbox" ? "UnsafePath symbolic-link" : "stored"
  })),
  {
    name: "the session folder: a link to a folder outside",
    plant: ({ canary, folder }) => {
      remove(folder)
      Fs.symlinkSync(canary, folder)
    },
    drain: "UnsafePath symbolic-link",
    write: "UnsafePath symbolic-link"
  },
  {
    name: "the session folder: a file",
    plant: ({ folder }) => {
      remove(folder)
      Fs.writeFileSync(folder, "")
    },
    drain: "UnsafePath not-a-directory",
    write: "UnsafePath not-a-directory"
  }
]
