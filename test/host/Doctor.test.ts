import { NodeContext } from "@effect/platform-node"
import { afterAll, describe, expect, it } from "@effect/vitest"
import type { Clock } from "effect"
import { Duration, Effect, Layer, Schema } from "effect"
import type { Session } from "effect-airlock"
import { Doctor, SessionManager } from "effect-airlock"
import * as ChildProcess from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Fixtures from "../storage/Fixtures.js"
import * as DoctorText from "../../src/host/DoctorText.js"
import * as DatabaseFile from "../../src/storage/DatabaseFile.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

/** Everything that can be seen of a directory from outside, but for when it was last read. */
const seen = (directory: string): ReadonlyArray<string> => {
  const all: Array<string> = []
  const visit = (path: string) => {
    const { ino, isDirectory, mode, mtimeNs, nlink, size, what } = at(path)
    all.push(`${path} ${ino} ${mode} ${nlink} ${size} ${mtimeNs} ${what}`)
    if (isDirectory) for (const name of Fs.readdirSync(path).sort()) visit(Path.join(path, name))
  }
  visit(directory)
  return all
}

const at = (path: string) => {
  const stats = Fs.lstatSync(path, { bigint: true })
  const what = stats.isSymbolicLink()
    ? Fs.readlinkSync(path)
    : stats.isFile() && stats.size < 100_000_000n
      ? createHash("sha256").update(Fs.readFileSync(path)).digest("hex")
      : "-"
  const { ino, mode, mtimeNs, nlink, size } = stats
  return { ino, mode, mtimeNs, nlink, size, what, isDirectory: stats.isDirectory() }
}

/** Does not wait for short times, such as the one between two looks. */
const hasty = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.clockWith((clock) =>
    Effect.withClock(
      effect,
      Object.assign(Object.create(clock) as Clock.Clock, {
        sleep: (time: Duration.Duration) =>
          Duration.greaterThan(time, "500 millis") ? clock.sleep(time) : Effect.yieldNow()
      })
    )
  )

/** Examines, and sees to it that nothing in the directory is another than before. */
const examine = (dataDir: string) =>
  Effect.gen(function* () {
    const before = seen(dataDir)
    const doctor = yield* Doctor.Doctor
    const exit = yield* Effect.exit(hasty(doctor.examine(dataDir)))
    expect(seen(dataDir)).toEqual(before)
    return yield* exit
  }).pipe(Effect.provide(Doctor.Doctor.layer))

const told = (findings: ReadonlyArray<Doctor.Finding>) =>
  findings.map(({ check, message, severity }) => `${severity}: ${check}: ${message}`)

interface Place {
  readonly dataDir: string
  readonly ref: Session.SessionRef
  readonly folder: string
  /** The folder of the host's own inbound.db. */
  readonly original: string
}

const placeOf = (dataDir: string, { agentGroupId, sessionId }: Session.SessionRef): Place => ({
  dataDir,
  ref: { agentGroupId, sessionId },
  folder: Path.join(dataDir, "v2-sessions", agentGroupId, sessionId),
  original: Path.join(dataDir, "v2-originals", agentGroupId, sessionId)
})

/** A session with a message each way, and a file with each. */
const fill = (name: string) =>
  Effect.gen(function* () {
    const manager = yield* SessionManager.SessionManager
    const session = yield* TestHost.newSession(name)
    yield* manager.writeMessage(session, {
      id: "question",
      kind: "chat",
      content: "What is in it?",
      attachments: [{ name: "in.txt", source: { bytes: new TextEncoder().encode("hello") } }]
    })
    const mailbox = yield* TestHost.mailboxAt(yield* TestHost.folderOf(session))
    const sent = yield* mailbox.send({
      content: { text: "Here" },
      files: [{ name: "out.txt", data: new TextEncoder().encode("world") }]
    })
    return { session, sent: sent.id }
  }).pipe(Effect.scoped)

const made = Effect.gen(function* () {
  const dataDir = Fs.mkdtempSync(Path.join(Os.tmpdir(), "airlock-test-"))
  const sessions = yield* Effect.all({ one: fill("chat"), other: fill("other") }).pipe(
    Effect.provide(TestHost.layerAt(dataDir))
  )
  return { dataDir, ...sessions }
})

/** Made once, and copied for each test. */
const template = Effect.runSync(Effect.cached(made))

afterAll(() =>
  Effect.runPromise(Effect.map(template, ({ dataDir }) => Fs.rmSync(dataDir, { recursive: true })))
)

/** A data directory with two sessions, which its host has left in order. */
const directory = Effect.gen(function* () {
  const { dataDir: from, one, other } = yield* template
  const dataDir = yield* TestHost.temporaryDirectory
  Fs.cpSync(from, dataDir, { recursive: true, preserveTimestamps: true })
  return { ...placeOf(dataDir, one.session), sent: one.sent, other: placeOf(dataDir, other.session) }
})

type Directory = Effect.Effect.Success<typeof directory>

/** What is found after something was planted, in that session or about the whole; in the other one nothing is. */
const foundAfter = (plant: (directory: Directory) => void) =>
  Effect.gen(function* () {
    const planted = yield* directory
    plant(planted)
    const report = yield* examine(planted.dataDir)
    expect(
      report.findings.filter(({ session }) => session?.sessionId === planted.other.ref.sessionId)
    ).toEqual([])
    for (const { session } of report.findings) if (session !== undefined) expect(session).toEqual(planted.ref)
    return told(report.findings)
  }).pipe(Effect.scoped)

/** Gives the agent what the host has. No host has it open, so there is no log. */
const publish = ({ folder, original }: Place) => {
  const bytes = Fs.readFileSync(Path.join(original, "inbound.db"))
  Fs.rmSync(Path.join(folder, "inbound.db"))
  Fs.writeFileSync(Path.join(folder, "inbound.db"), DatabaseFile.inRollbackMode(bytes))
}

/** Changes what the host has, and publishes it. */
const inInbound = (sql: string) => (place: Place) => {
  Raw.exec(Path.join(place.original, "inbound.db"), sql)
  publish(place)
}

/** The same by a host that is killed: what changed is in the log only. */
const inLog =
  (sql: string) =>
  ({ folder, original }: Place) => {
    const copy = Path.join(folder, "inbound.db")
    Fixtures.runToDeath(
      `const database = new Database(args[0])
       database.exec("PRAGMA wal_autocheckpoint = 0; " + args[1])
       Fs.writeFileSync(args[2], database.serialize())
       die()`,
      Path.join(original, "inbound.db"),
      sql,
      copy
    )
    Fs.writeFileSync(copy, DatabaseFile.inRollbackMode(Fs.readFileSync(copy)))
  }

/** As the host of an older build left it, and published it. */
const asBefore = ({ folder, original }: Place) => {
  Raw.exec(Path.join(original, "inbound.db"), "PRAGMA journal_mode = DELETE")
  Fs.copyFileSync(Path.join(original, "inbound.db"), Path.join(folder, "inbound.db"))
}

const inOutbound =
  (sql: string) =>
  ({ folder }: Place) =>
    Raw.exec(Path.join(folder, "outbound.db"), sql)

/** Writes nonsense over the second page and all after it. */
const damage = (path: string) => {
  const bytes = Fs.readFileSync(path)
  Fs.writeFileSync(path, bytes.fill(0x5a, 4096 + 8))
}

const message = (id: string, seq: number | string, status = "pending") =>
  `INSERT INTO messages_in (id, seq, kind, timestamp, status, content) VALUES ('${id}', ${seq}, 'chat', '2026-01-01T00:00:00.000Z', '${status}', '')`

const reply = (id: string, seq: number | string, content = "{}") =>
  `INSERT INTO messages_out (id, seq, kind, timestamp, content) VALUES (${id}, ${seq}, 'chat', '2026-01-01T00:00:00.000Z', '${content}')`

/** What is in order. */
const harmless: ReadonlyArray<readonly [name: string, plant: (directory: Directory) => void]> = [
  ["a host was killed that had its inbound.db open", inLog(message("late", 100))],
  [
    "a host has just opened its inbound.db",
    ({ original }) => Fs.writeFileSync(Path.join(original, "inbound.db-wal"), "")
  ],
  ["no host of this build has opened its inbound.db yet", asBefore]
]

/** One planted thing, and what is said of it. */
const cases: ReadonlyArray<
  readonly [name: string, plant: (directory: Directory) => void, findings: ReadonlyArray<unknown>]
> = [
  [
    "the host's inbound.db is damaged",
    (place) => {
      damage(Path.join(place.original, "inbound.db"))
      publish(place)
    },
    [expect.stringMatching(/^problem: integrity: the host's inbound.db is (damaged|corrupt)/)]
  ],
  [
    "an index of the host's inbound.db is of other values",
    (place) => {
      // Another column in the schema, of the same length, so that the index has not what it should have.
      const path = Path.join(place.original, "inbound.db")
      const whole = Fs.readFileSync(path, "latin1")
      const changed = whole.replace(
        "idx_messages_in_series ON messages_in (series_id)",
        "idx_messages_in_series ON messages_in (timestamp)"
      )
      expect(changed).not.toBe(whole)
      Fs.writeFileSync(path, changed, "latin1")
      publish(place)
    },
    [expect.stringMatching(/^problem: integrity: the host's inbound.db is damaged/)]
  ],
  [
    "the host's inbound.db lacks its end",
    ({ original }) => {
      const path = Path.join(original, "inbound.db")
      Fs.truncateSync(path, Fs.statSync(path).size - 100)
    },
    ["problem: integrity: the host's inbound.db is corrupt (damaged)"]
  ],
  [
    "the host's inbound.db has a second name",
    ({ dataDir, original }) => Fs.linkSync(Path.join(original, "inbound.db"), Path.join(dataDir, "else.db")),
    ["problem: integrity: the host's inbound.db is not safe to read (hard-link)"]
  ],
  [
    "the host's inbound.db is of a tebibyte",
    ({ original }) => Fs.truncateSync(Path.join(original, "inbound.db"), 2 ** 40),
    ["problem: integrity: the host's inbound.db cannot be read (too-large)"]
  ],
  [
    "the copy of inbound.db has another byte",
    ({ folder }) => {
      const bytes = Fs.readFileSync(Path.join(folder, "inbound.db"))
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
      Fs.writeFileSync(Path.join(folder, "inbound.db"), bytes)
    },
    ["problem: copy: the copy of inbound.db is not what the host wrote; the host replaces it"]
  ],
  [
    "the copy of inbound.db is longer",
    ({ folder }) => Fs.appendFileSync(Path.join(folder, "inbound.db"), "x"),
    ["problem: copy: the copy of inbound.db is not what the host wrote; the host replaces it"]
  ],
  [
    "the copy of inbound.db is gone",
    ({ folder }) => Fs.rmSync(Path.join(folder, "inbound.db")),
    [expect.stringMatching(/^problem: copy: the copy of inbound.db cannot be read \(missing/)]
  ],
  [
    "the host has no inbound.db of its own",
    ({ original }) => Fs.rmSync(original, { recursive: true }),
    [expect.stringMatching(/^note: copy: the host has no inbound.db of its own yet/)]
  ],
  [
    "the host has no inbound.db at all",
    ({ folder, original }) => {
      Fs.rmSync(original, { recursive: true })
      Fs.rmSync(Path.join(folder, "inbound.db"))
    },
    [
      expect.stringMatching(/^problem: folder: inbound.db cannot be read \(missing/),
      expect.stringMatching(/^note: copy/)
    ]
  ],
  [
    "inbound.db is of a newer version",
    inInbound("PRAGMA user_version = 99"),
    ["problem: schema: the host's inbound.db is of version 99, newer than 2"]
  ],
  [
    "inbound.db is of an older version",
    inInbound("PRAGMA user_version = 1"),
    ["note: schema: the host's inbound.db is of version 1, and becomes 2 when the host next opens it"]
  ],
  [
    "outbound.db is damaged",
    ({ folder }) => damage(Path.join(folder, "outbound.db")),
    [expect.stringMatching(/^problem: integrity: outbound.db is (damaged|corrupt)/)]
  ],
  [
    "outbound.db is no database",
    ({ folder }) => Fs.writeFileSync(Path.join(folder, "outbound.db"), "nonsense".repeat(1000)),
    ["problem: integrity: outbound.db is corrupt (not-a-database)"]
  ],
  [
    "outbound.db is gone",
    ({ folder }) => Fs.rmSync(Path.join(folder, "outbound.db")),
    [expect.stringMatching(/^problem: folder: outbound.db cannot be read \(missing/)]
  ],
  [
    "outbound.db is in write-ahead-log mode",
    inOutbound("PRAGMA journal_mode = WAL"),
    [expect.stringMatching(/^problem: integrity: outbound.db cannot be read \(wal-mode\)/)]
  ],
  [
    "outbound.db lacks a table",
    inOutbound("DROP TABLE processing_ack"),
    ["problem: integrity: outbound.db has no plain table processing_ack, and is not examined further"]
  ],
  [
    "outbound.db has a view for a table",
    inOutbound("ALTER TABLE messages_out RENAME TO hidden; CREATE VIEW messages_out AS SELECT * FROM hidden"),
    ["problem: integrity: outbound.db has no plain table messages_out, and is not examined further"]
  ],
  [
    "outbound.db computes a column when it is read",
    inOutbound("ALTER TABLE messages_out ADD COLUMN slow TEXT AS (hex(zeroblob(1000000))) VIRTUAL"),
    ["problem: integrity: outbound.db has no plain table messages_out, and is not examined further"]
  ],
  [
    "a message for the agent has an odd number",
    inInbound(message("odd", 99)),
    ["problem: parity: message odd in messages_in has the number 99, which is the agent's to give"]
  ],
  [
    "a message for the agent and a direct reply have one number",
    inInbound(
      `INSERT INTO airlock_direct (id, seq, timestamp, kind, content, status) SELECT 'twin', seq, '', 'chat', '', 'delivered' FROM messages_in`
    ),
    [expect.stringMatching(/^problem: parity: the number \d+ is there twice$/)]
  ],
  [
    "a message from the agent has an even number",
    inOutbound(reply("'even'", 98)),
    ["problem: parity: message even in messages_out has the number 98, which is the host's to give"]
  ],
  [
    "a message from the agent has a number of the host's",
    (place) => {
      const [row] = Raw.query(Path.join(place.original, "inbound.db"), "SELECT seq FROM messages_in")
      inOutbound(reply("'thief'", String(row?.["seq"])))(place)
    },
    [
      expect.stringMatching(
        /^problem: parity: message thief in messages_out has the number \d+, which is the host's/
      ),
      expect.stringMatching(/^problem: parity: the number \d+ is there twice$/)
    ]
  ],
  [
    "a message from the agent has the smallest number that there is",
    inOutbound(reply("'small'", "-9223372036854775808")),
    [`problem: parity: message small in messages_out has "-9223372036854775808" for a number`]
  ],
  [
    "a transaction on the host's inbound.db was cut off by an older build",
    (place) => {
      const path = Path.join(place.original, "inbound.db")
      Raw.exec(
        path,
        `WITH RECURSIVE n (i) AS (SELECT 100 UNION ALL SELECT i + 2 FROM n WHERE i < 500)
         INSERT INTO messages_in (id, seq, kind, timestamp, content) SELECT i, i, 'chat', '', hex(zeroblob(500)) FROM n`
      )
      asBefore(place)
      const before = at(path).what
      Fixtures.runToDeath(
        `const database = new Database(args[0])
         database.exec("PRAGMA cache_size = 10; BEGIN IMMEDIATE; UPDATE messages_in SET kind = 'task'")
         die()`,
        path
      )
      expect(at(path).what).not.toBe(before)
    },
    [expect.stringMatching(/^note: leftover: inbound.db-journal in the host's own folder/)]
  ],
  [
    "a transaction on outbound.db was cut off",
    ({ folder }) => Fs.writeFileSync(Path.join(folder, "outbound.db-journal"), ""),
    [expect.stringMatching(/^note: leftover: outbound.db-journal in the session's folder/)]
  ],
  ...["inbound.db-journal", "inbound.db-wal", "inbound.db-shm", "outbound.db-wal", "outbound.db-shm"].map(
    (name) =>
      [
        `somebody put ${name} into the session's folder`,
        ({ folder }: Place) => Fs.writeFileSync(Path.join(folder, name), ""),
        [expect.stringContaining(`problem: leftover: ${name} in the session's folder`)]
      ] as const
  ),
  [
    "the log of the host's inbound.db has something wrong",
    inLog(message("odd", 99)),
    ["problem: parity: message odd in messages_in has the number 99, which is the agent's to give"]
  ],
  [
    "temporary files are left over",
    ({ folder, original }) => {
      Fs.writeFileSync(Path.join(folder, ".inbound.db.new"), "")
      Fs.writeFileSync(Path.join(original, ".new-abc"), "")
    },
    [
      `note: leftover: ".inbound.db.new" in the session's folder: a temporary file`,
      `note: leftover: ".new-abc" in the host's own folder: a temporary file`
    ]
  ],
  [
    "a folder was not made to the end",
    ({ dataDir }) => Fs.mkdirSync(Path.join(dataDir, "v2-sessions", "agent", ".new-abc")),
    [expect.stringMatching(/^note: leftover: "v2-sessions\/agent\/\.new-abc" is what is left of a folder/)]
  ],
  [
    "inbox/ has a folder of no message",
    ({ folder }) => Fs.mkdirSync(Path.join(folder, "inbox", "stranger")),
    ["note: attachments: inbox/stranger belongs to no message"]
  ],
  [
    "inbox/ has a folder that no message can have",
    ({ folder }) => Fs.mkdirSync(Path.join(folder, "inbox", "100%")),
    [`note: attachments: inbox/"100%" belongs to no message`]
  ],
  [
    "an attachment of a message that waits is gone",
    ({ folder }) => Fs.rmSync(Path.join(folder, "inbox", "question", "in.txt")),
    [
      expect.stringMatching(
        /^problem: attachments: attachment "in.txt" of message question cannot be read \(missing/
      )
    ]
  ],
  [
    "an attachment of a message that waits is shorter",
    ({ folder }) => Fs.truncateSync(Path.join(folder, "inbox", "question", "in.txt"), 3),
    [`problem: attachments: attachment "in.txt" of message question has 3 bytes instead of 5`]
  ],
  [
    "an attachment of a finished message is gone",
    (place) => {
      inInbound("UPDATE messages_in SET status = 'completed'")(place)
      Fs.rmSync(Path.join(place.folder, "inbox", "question"), { recursive: true })
    },
    [expect.stringMatching(/^note: attachments: attachment "in.txt" of message question cannot be read/)]
  ],
  [
    "outbox/ has a folder of no message",
    ({ folder }) => Fs.mkdirSync(Path.join(folder, "outbox", "stranger")),
    ["note: attachments: outbox/stranger belongs to no message"]
  ],
  [
    "outbox/ has the files of a message that is delivered",
    (place) =>
      inInbound(
        `INSERT INTO delivered (message_out_id, status, delivered_at) VALUES ('${place.sent}', 'delivered', '')`
      )(place),
    [expect.stringMatching(/^note: attachments: outbox\/.* is of a message that is delivered$/)]
  ],
  [
    "a file of a message that is to be delivered is gone",
    ({ folder, sent }) => Fs.rmSync(Path.join(folder, "outbox", sent, "out.txt")),
    [
      expect.stringMatching(
        /^problem: attachments: file "out.txt" of the agent's message \S+ cannot be read \(missing/
      )
    ]
  ],
  [
    "a message names a file outside of its folder",
    inOutbound(reply("'spy'", 99, `{"files":["../../outbound.db"]}`)),
    [expect.stringMatching(/^problem: attachments: file "..\/..\/outbound.db" of the agent's message spy/)]
  ],
  [
    "an agent that does not run has taken a message, and the host has not noticed",
    inOutbound("INSERT INTO processing_ack VALUES ('question', 'processing', 'then')"),
    [
      `problem: claims: the agent has taken message question ("then") and does not run, and the host has not noticed`
    ]
  ],
  [
    "an agent that does not run has taken a message, and the host knows",
    (place) => {
      inOutbound("INSERT INTO processing_ack VALUES ('question', 'processing', 'then')")(place)
      inInbound("INSERT INTO airlock_claim VALUES ('question', 'then')")(place)
    },
    [
      `note: claims: the agent has taken message question ("then") and does not run; the message is offered again`
    ]
  ],
  [
    "an agent that runs has taken a message",
    (place) => {
      inOutbound("INSERT INTO processing_ack VALUES ('question', 'processing', 'then')")(place)
      Raw.exec(
        Path.join(place.dataDir, "v2.db"),
        `UPDATE sessions SET container_status = 'running' WHERE id = '${place.ref.sessionId}'`
      )
    },
    []
  ],
  [
    "an agent has taken what is no message",
    inOutbound("INSERT INTO processing_ack VALUES ('stranger', 'processing', 'then')"),
    ["note: claims: the agent has taken stranger, which is not a message of the host"]
  ],
  [
    "a message of the agent was not delivered",
    inInbound(
      `INSERT INTO airlock_delivery (source, message_id, state, attempts, reason) VALUES ('agent', 'lost', 'failed', 3, 'nobody lives there')`
    ),
    [`note: set-aside: the agent's message lost was not delivered: "nobody lives there"`]
  ],
  [
    "a message for the agent has failed",
    inInbound(message("hard", 98, "failed")),
    ["note: set-aside: message hard for the agent has failed, after 0 tries"]
  ],
  [
    "a row of the agent is no message",
    inOutbound(reply("x'00'", 97)),
    [expect.stringMatching(/^problem: set-aside: the agent's row ".*" in messages_out is not a message$/)]
  ],
  [
    "a session has no folder",
    ({ folder, original }) => {
      Fs.rmSync(folder, { recursive: true })
      Fs.rmSync(original, { recursive: true })
    },
    ["problem: registry: the session is active in the registry, and has no folder"]
  ],
  [
    "a folder belongs to no session",
    ({ dataDir, ref }) =>
      Raw.exec(Path.join(dataDir, "v2.db"), `DELETE FROM sessions WHERE id = '${ref.sessionId}'`),
    ["problem: registry: the folder belongs to no session of the registry, so nobody looks after it"]
  ],
  [
    "the host keeps an inbound.db of no session",
    ({ dataDir, folder, ref }) => {
      Fs.rmSync(folder, { recursive: true })
      Raw.exec(Path.join(dataDir, "v2.db"), `DELETE FROM sessions WHERE id = '${ref.sessionId}'`)
    },
    [expect.stringMatching(/^note: registry: the host keeps an inbound.db for a session that is neither/)]
  ],
  [
    "a row of the registry is no session",
    ({ dataDir }) =>
      Raw.exec(
        Path.join(dataDir, "v2.db"),
        `INSERT INTO sessions (id, agent_group_id, status, created_at) VALUES (x'00', 'agent', 'active', '')`
      ),
    ["problem: registry: 1 rows of the registry are not sessions"]
  ],
  [
    "the central database is damaged",
    ({ dataDir }) => damage(Path.join(dataDir, "v2.db")),
    [expect.stringMatching(/^problem: registry: the central database, v2.db, is corrupt/)]
  ],
  [
    "there is no central database",
    ({ dataDir }) => Fs.rmSync(Path.join(dataDir, "v2.db")),
    [expect.stringMatching(/^note: registry: there is no central database, v2.db/)]
  ]
]

describe("the Doctor", () => {
  it.live("finds nothing in a data directory that its host has left in order", () =>
    Effect.gen(function* () {
      const { dataDir } = yield* directory
      const report = yield* examine(dataDir)
      expect(report).toMatchObject({ dataDir, sessions: 2, centralMode: "wal", findings: [] })
      expect(report.sqliteVersion).toMatch(/^3\.\d+\.\d+$/)
      expect(Doctor.isHealthy(report)).toBe(true)
      expect(Fixtures.openAt(Path.join(dataDir, "v2-originals"))).toEqual([])
    }).pipe(Effect.scoped)
  )

  for (const [name, plant] of harmless) {
    it.live(`finds nothing when ${name}, and changes nothing`, () =>
      Effect.map(foundAfter(plant), (found) => expect(found).toEqual([]))
    )
  }

  for (const [name, plant, findings] of cases) {
    it.live(`says so when ${name}, and changes nothing`, () =>
      Effect.map(foundAfter(plant), (found) => expect(found).toEqual(findings))
    )
  }

  const hostile: ReadonlyArray<
    readonly [name: string, plant: (directory: Directory) => void, finding: RegExp]
  > = [
    [
      "a FIFO for outbound.db",
      ({ folder }) => {
        Fs.rmSync(Path.join(folder, "outbound.db"))
        ChildProcess.execFileSync("mkfifo", [Path.join(folder, "outbound.db")])
      },
      /^problem: integrity: outbound.db is not safe to read \(not-a-regular-file\)/
    ],
    [
      "a FIFO for inbound.db",
      ({ folder }) => {
        Fs.rmSync(Path.join(folder, "inbound.db"))
        ChildProcess.execFileSync("mkfifo", [Path.join(folder, "inbound.db")])
      },
      /^problem: copy: the copy of inbound.db is not safe to read \(not-a-regular-file\)/
    ],
    [
      "a FIFO for an attachment",
      ({ folder }) => {
        Fs.rmSync(Path.join(folder, "inbox", "question", "in.txt"))
        ChildProcess.execFileSync("mkfifo", [Path.join(folder, "inbox", "question", "in.txt")])
      },
      /^problem: attachments: attachment "in.txt" .* is not safe to read \(not-a-regular-file\)/
    ],
    [
      "a link for outbound.db",
      ({ folder }) => {
        Fs.renameSync(Path.join(folder, "outbound.db"), Path.join(folder, "else.db"))
        Fs.symlinkSync("else.db", Path.join(folder, "outbound.db"))
      },
      /^problem: integrity: outbound.db is not safe to read \(symbolic-link\)/
    ],
    [
      "a link for the outbox",
      ({ folder }) => {
        Fs.rmSync(Path.join(folder, "outbox"), { recursive: true })
        Fs.symlinkSync("/etc", Path.join(folder, "outbox"))
      },
      /^problem: attachments: outbox\/ is not safe to read \(symbolic-link\)/
    ],
    [
      "a link for the session's folder",
      ({ folder }) => {
        Fs.renameSync(folder, `${folder}-else`)
        Fs.symlinkSync(`${folder}-else`, folder)
        Fs.rmSync(`${folder}-else`, { recursive: true })
      },
      /^problem: folder: the session's folder is not safe to read \(symbolic-link\)/
    ],
    [
      "an outbound.db of a tebibyte",
      ({ folder }) => Fs.truncateSync(Path.join(folder, "outbound.db"), 2 ** 40),
      /^problem: integrity: outbound.db cannot be read \(too-large\)/
    ],
    [
      "an inbound.db of a tebibyte",
      ({ folder }) => Fs.truncateSync(Path.join(folder, "inbound.db"), 2 ** 40),
      /^problem: copy: the copy of inbound.db cannot be read|^problem: copy: the copy of inbound.db is not what/
    ],
    [
      "a rule that is slow to check",
      inOutbound(
        `ALTER TABLE messages_out RENAME TO old;
         CREATE TABLE messages_out (id TEXT PRIMARY KEY, seq INTEGER, in_reply_to TEXT, timestamp TEXT NOT NULL, deliver_after TEXT,
           recurrence TEXT, kind TEXT NOT NULL, platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL,
           CHECK (kind = 'chat' OR replace(hex(zeroblob(90000000)), '0', '00') <> id));
         INSERT INTO messages_out SELECT * FROM old;
         PRAGMA ignore_check_constraints = ON;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 2 FROM n WHERE i < 401)
         INSERT INTO messages_out (id, seq, timestamp, kind, content) SELECT 'm' || i, 1000 + i, '', 'task', '' FROM n;
         INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('even', 2000, '', 'task', '')`
      ),
      /^problem: parity: message even in messages_out has the number 2000/
    ],
    [
      "more folders than anybody has",
      ({ folder }) => {
        for (let i = 0; i <= 10_000; i++) Fs.mkdirSync(Path.join(folder, "outbox", `x${i}`))
      },
      /^problem: attachments: outbox\/ has more than 10000 folders/
    ]
  ]

  for (const [name, plant, finding] of hostile) {
    it.live(`is not kept up by ${name}, and examines the other session as well`, () =>
      Effect.gen(function* () {
        const [duration, found] = yield* Effect.timed(foundAfter(plant))
        expect(found).toContainEqual(expect.stringMatching(finding))
        expect(Number(duration.value._tag === "Millis" ? duration.value.millis : 0)).toBeLessThan(15_000)
      })
    )
  }

  it.live("lists twenty of a kind, and says how many more there are", () =>
    Effect.gen(function* () {
      const found = yield* foundAfter(({ folder }) => {
        for (let i = 100; i < 140; i++) Fs.mkdirSync(Path.join(folder, "outbox", `x${i}`))
      })
      expect(found.length).toBe(21)
      expect(found[0]).toBe("note: attachments: outbox/x100 belongs to no message")
      expect(found[20]).toBe("note: attachments: and 20 more of this kind")
    })
  )

  it.live("says that there is no data directory, rather than that it is healthy", () =>
    Effect.gen(function* () {
      const { dataDir } = yield* directory
      for (const path of ["/nowhere", dataDir + "/v2.db", dataDir + "/v2-sessions/agent"]) {
        const doctor = yield* Doctor.Doctor
        expect((yield* Effect.flip(doctor.examine(path)))._tag).toMatch(/^(SessionDbUnavailable|UnsafePath)$/)
      }
    }).pipe(Effect.provide(Doctor.Doctor.layer), Effect.scoped)
  )

  it.live("prints nothing that somebody else chose as it is", () =>
    Effect.gen(function* () {
      const { dataDir, folder } = yield* directory
      Fs.mkdirSync(Path.join(folder, "outbox", "\u001b[2J\u009b\u202e"))
      Fs.mkdirSync(Path.join(dataDir, "v2-sessions", "agent", "\u001b]0;x\u0007\u009b"))
      inOutbound(`INSERT INTO processing_ack VALUES ('\u001b[31m\u009b', 'processing', 'then')`)({
        folder,
        dataDir,
        original: "",
        ref: { agentGroupId: "", sessionId: "" }
      })
      const report = yield* examine(dataDir)
      expect(report.findings.length).toBeGreaterThan(3)
      expect(DoctorText.toText(report)).toMatch(/^[\n -~]+$/)
      expect(DoctorText.toJson(report)).toMatch(/^[\n -~]+$/)
      expect(Schema.decodeUnknownSync(Doctor.Report)(JSON.parse(DoctorText.toJson(report)))).toEqual(report)
    }).pipe(Effect.scoped)
  )

  it.live("leaves a host in the same process its locks on its own databases", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const session = yield* TestHost.newSession()
        yield* manager.writeMessage(session, { id: "question", kind: "chat", content: "" })
        const own = [
          Path.join(dataDir, "v2.db"),
          Path.join(placeOf(dataDir, session).original, "inbound.db")
        ].map((path) => Fs.statSync(path).ino)
        const locks = () =>
          own.map((ino) =>
            Fs.readFileSync("/proc/locks", "utf8")
              .split("\n")
              .filter((line) => line.includes(` ${process.pid} `) && line.includes(`:${ino} `))
              .map((line) => line.replace(/^\d+: /, ""))
          )
        const before = locks()
        for (const held of before) expect(held.length).toBeGreaterThan(0)
        const doctor = yield* Doctor.Doctor
        expect((yield* doctor.examine(dataDir)).findings).toEqual([])
        yield* doctor.examine(dataDir)
        expect(locks()).toEqual(before)
      }).pipe(Effect.provide(Layer.merge(Doctor.Doctor.layer, TestHost.layerAt(dataDir))))
    }).pipe(Effect.scoped)
  )

  for (const [how, changes] of [
    ["a few times", 5],
    ["each time", Number.POSITIVE_INFINITY]
  ] as const) {
    it.live(`does not take a copy for wrong that the host replaces ${how} when it is looked at`, () =>
      Effect.gen(function* () {
        const { dataDir, ...place } = yield* directory
        let count = 0
        const isCopy = (path: string) =>
          path.endsWith("/inbound.db") &&
          Fs.realpathSync(Path.dirname(path)) === Fs.realpathSync(place.folder)
        const storage = Fixtures.layerWith((calls) => ({
          open: (path, flags, mode) => {
            if (isCopy(path) && count < changes) {
              inInbound(`UPDATE messages_in SET content = '${++count}'`)({ dataDir, ...place })
            }
            return calls.open(path, flags, mode)
          }
        }))
        const { findings } = yield* Effect.flatMap(Doctor.Doctor, (doctor) => doctor.examine(dataDir)).pipe(
          Effect.provide(Doctor.layerWithoutStorage),
          Effect.provide(Layer.merge(storage, NodeContext.layer))
        )
        expect(count).toBe(Math.min(changes, 10))
        expect(findings).toEqual([])
      }).pipe(Effect.scoped)
    )
  }

  it.live("says nothing of what is gone a moment later", () =>
    Effect.gen(function* () {
      const { dataDir, folder } = yield* directory
      const temporary = Path.join(folder, ".inbound.db.new")
      Fs.writeFileSync(temporary, "")
      let wasSeen = false
      const storage = Fixtures.layerWith((calls) => ({
        list: (path, atMost) =>
          Effect.tap(calls.list(path, atMost), (names) => {
            if (!names.includes(".inbound.db.new")) return
            wasSeen = true
            Fs.rmSync(temporary)
          })
      }))
      const { findings } = yield* Effect.flatMap(Doctor.Doctor, (doctor) => doctor.examine(dataDir)).pipe(
        Effect.provide(Doctor.layerWithoutStorage),
        Effect.provide(Layer.merge(storage, NodeContext.layer))
      )
      expect(wasSeen).toBe(true)
      expect(findings).toEqual([])
    }).pipe(Effect.scoped)
  )

  it.live("finds no problem while a host and an agent are at work", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const session = yield* TestHost.newSession()
        const mailbox = yield* TestHost.mailboxAt(yield* TestHost.folderOf(session))
        let count = 0
        const bytes = new Uint8Array(1000)
        const working = Effect.gen(function* () {
          const id = `m${count++}`
          yield* manager.writeMessage(session, {
            id,
            kind: "chat",
            content: id,
            attachments: [{ name: "a", source: { bytes } }]
          })
          yield* mailbox.send({ content: { text: id }, files: [{ name: "b", data: bytes }] })
          if (count % 10 === 0) yield* TestHost.newSession(id)
        })
        yield* Effect.forkScoped(Effect.forever(working))
        yield* TestHost.until(() => count > 3)
        const doctor = yield* Doctor.Doctor
        for (let round = 0; round < 3; round++) {
          const before = count
          const { findings } = yield* doctor.examine(dataDir)
          expect(findings.filter(({ severity }) => severity === "problem")).toEqual([])
          expect(count).toBeGreaterThan(before)
        }
      }).pipe(Effect.scoped, Effect.provide(Layer.merge(Doctor.Doctor.layer, TestHost.layerAt(dataDir))))
    }).pipe(Effect.scoped)
  )
})
