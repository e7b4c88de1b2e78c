import { describe, expect, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Exit, Fiber } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as FilePermit from "../../src/storage/FilePermit.js"
import type { OpenOptions } from "../../src/storage/OwnDatabase.js"
import { OwnDatabases } from "../../src/storage/OwnDatabase.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import * as Raw from "../support/Raw.js"
import * as Fixtures from "./Fixtures.js"

const { subject } = Fixtures

interface Place {
  readonly folder: string
  readonly path: string
  readonly open: Effect.Effect<
    Effect.Effect.Success<ReturnType<typeof OwnDatabases.Service.open>>,
    Effect.Effect.Error<ReturnType<typeof OwnDatabases.Service.open>>,
    Scope.Scope
  >
}

const place = (options: Partial<OpenOptions> = {}) =>
  Effect.gen(function* () {
    const folder = Path.join(yield* Fixtures.temporaryDirectory, "session")
    Fs.mkdirSync(folder)
    const path = Path.join(folder, "own.db")
    Fixtures.newTable(path)
    const databases = yield* OwnDatabases
    const open = databases.open(
      {
        directory: folder,
        name: "own.db",
        schemaVersion: 1,
        patience: "10 seconds",
        durability: "process",
        ...options
      },
      subject
    )
    const here: Place = { folder, path, open }
    return here
  })

/** A test that also holds that nothing stays open and nobody holds the file. */
const testWith =
  (options: Partial<OpenOptions>, services = StorageLayer.layer) =>
  <A, E>(name: string, body: (place: Place) => Effect.Effect<A, E, Scope.Scope>) =>
    it.scopedLive(name, () =>
      Effect.gen(function* () {
        const here = yield* place(options)
        yield* Effect.scoped(body(here))
        expect(Fixtures.openAt(Path.dirname(here.folder))).toEqual([])
        expect(yield* FilePermit.count).toBe(0)
      }).pipe(Effect.provide(services))
    )

const test = testWith({})

const unsafe = (reason: string) => ({ _tag: "UnsafePath", operation: subject.operation, reason })

const unavailable = (reason: string) => ({ _tag: "SessionDbUnavailable", ...subject, reason })

const corrupt = (reason: string) => ({ _tag: "SessionDbCorrupt", ...subject, reason })

const versions = (path: string) => Raw.query(path, "SELECT DISTINCT v FROM t").map(({ v }) => v)

describe("OwnDatabases.open", () => {
  test("gives a client on the file, in DELETE mode, and the version of its schema", ({ open, path }) =>
    Effect.gen(function* () {
      Raw.exec(path, "PRAGMA user_version = 1")
      const { client, schemaVersion } = yield* open
      expect(schemaVersion).toBe(1)
      // SQLite's own, and the one that the file was looked at through.
      expect(Fixtures.openAt(path)).toEqual([path, path])
      expect(yield* client`PRAGMA journal_mode`).toEqual([{ journal_mode: "delete" }])
      yield* client.withTransaction(client`UPDATE t SET v = 5`)
      expect(versions(path)).toEqual([5])
    }))

  for (const mode of ["PERSIST", "TRUNCATE"]) {
    test(`is content with the journal that ${mode} mode leaves`, ({ open, path }) =>
      Effect.gen(function* () {
        Raw.exec(path, `PRAGMA journal_mode = ${mode}; UPDATE t SET v = 1`)
        expect(Fs.existsSync(`${path}-journal`)).toBe(true)
        const { client } = yield* open
        yield* client`UPDATE t SET v = 2`
        expect(versions(path)).toEqual([2])
        expect(Fs.existsSync(`${path}-journal`)).toBe(false)
      }))
  }

  test("works in a folder that is reached through a link", ({ folder, path }) =>
    Effect.gen(function* () {
      const link = Path.join(Path.dirname(folder), "link")
      Fs.mkdirSync(link)
      Fs.symlinkSync(Path.dirname(folder), Path.join(link, "up"))
      const databases = yield* OwnDatabases
      const { client } = yield* databases.open(
        {
          directory: Path.join(link, "up", "session"),
          name: "own.db",
          schemaVersion: 1,
          patience: 0,
          durability: "process"
        },
        subject
      )
      yield* client`UPDATE t SET v = 5`
      expect(versions(path)).toEqual([5])
    }).pipe(Effect.scoped, Effect.provide(StorageLayer.layer)))
})

describe("OwnDatabases.open refuses, and leaves as it was,", () => {
  /** What is in the folder, and by which links. */
  const seen = ({ folder }: Place) => [
    Fixtures.listing(folder),
    Fs.existsSync(folder) && Fs.readdirSync(folder).map((name) => Fs.lstatSync(Path.join(folder, name)).mode)
  ]

  const refuses = (
    what: string,
    error: object,
    plant: (place: Place) => void | Effect.Effect<unknown, never, Scope.Scope>
  ) =>
    test(what, (here) =>
      Effect.gen(function* () {
        const planted = plant(here)
        if (Effect.isEffect(planted)) yield* planted
        const before = seen(here)
        const found = yield* Fixtures.withoutHanging(Effect.flip(Effect.scoped(here.open)))
        expect(found).toMatchObject(error)
        expect(seen(here)).toEqual(before)
      })
    )

  const elsewhere = ({ folder }: Place) => {
    const path = Path.join(Path.dirname(folder), "elsewhere.db")
    Fixtures.newTable(path)
    return path
  }

  refuses("a file that is not there", unavailable("missing"), ({ path }) => Fs.unlinkSync(path))

  refuses("a file whose folder is not there", unavailable("missing"), ({ folder }) =>
    Fs.rmSync(folder, { recursive: true })
  )

  refuses("a link to a database", unsafe("symbolic-link"), (here) => {
    Fs.unlinkSync(here.path)
    Fs.symlinkSync(elsewhere(here), here.path)
  })

  refuses("a link to nowhere", unsafe("symbolic-link"), ({ folder, path }) => {
    Fs.unlinkSync(path)
    Fs.symlinkSync(Path.join(folder, "nowhere"), path)
  })

  refuses("a database that has another name", unsafe("hard-link"), (here) => {
    Fs.unlinkSync(here.path)
    Fs.linkSync(elsewhere(here), here.path)
  })

  refuses("a directory", unsafe("not-a-regular-file"), ({ path }) => {
    Fs.unlinkSync(path)
    Fs.mkdirSync(path)
  })

  refuses("a FIFO", unsafe("not-a-regular-file"), ({ path }) => {
    Fs.unlinkSync(path)
    return Fixtures.plantFifo(path)
  })

  refuses("a folder that is a link", unsafe("symbolic-link"), ({ folder }) => {
    Fs.renameSync(folder, `${folder}-moved`)
    Fs.symlinkSync(`${folder}-moved`, folder)
  })

  refuses("a FIFO as its journal", unsafe("not-a-regular-file"), ({ path }) =>
    Fixtures.plantFifo(`${path}-journal`)
  )

  refuses("a link as its journal", unsafe("symbolic-link"), (here) => {
    const other = elsewhere(here)
    Fixtures.killWriter(other)
    Fs.symlinkSync(`${other}-journal`, `${here.path}-journal`)
  })

  refuses("a hard link as its journal", unsafe("hard-link"), (here) => {
    const other = elsewhere(here)
    Fixtures.killWriter(other)
    Fs.linkSync(`${other}-journal`, `${here.path}-journal`)
  })

  refuses("a directory as its journal", unsafe("not-a-regular-file"), ({ path }) =>
    Fs.mkdirSync(`${path}-journal`)
  )

  refuses("a journal of more than 256 MiB", unavailable("too-large"), ({ path }) => {
    Fs.writeFileSync(`${path}-journal`, "")
    Fs.truncateSync(`${path}-journal`, 2 ** 28 + 1)
  })

  refuses("a database in write-ahead-log mode", unavailable("wal-mode"), ({ path }) =>
    Raw.exec(path, "PRAGMA journal_mode = WAL; UPDATE t SET v = 1")
  )

  refuses(
    "a write-ahead log beside a database that has none",
    unavailable("wal-mode"),
    ({ folder, path }) => {
      const other = Path.join(Path.dirname(folder), "other.db")
      Fs.copyFileSync(path, other)
      const writer = Raw.open(other)
      writer.exec("PRAGMA journal_mode = WAL; UPDATE t SET v = 666")
      Fs.copyFileSync(`${other}-wal`, `${path}-wal`)
      writer.close()
    }
  )

  for (const [what, plant] of [
    ["a link", (path: string) => Fs.symlinkSync("/nowhere", path)],
    ["a FIFO", (path: string) => void ChildProcess.execFileSync("mkfifo", [path])],
    ["a directory", (path: string) => void Fs.mkdirSync(path)]
  ] as const) {
    refuses(`${what} in the place of a write-ahead log`, unavailable("wal-mode"), ({ path }) =>
      plant(`${path}-wal`)
    )
  }

  refuses("a file that is no database", corrupt("not-a-database"), ({ path }) =>
    Fs.writeFileSync(path, "no database ".repeat(1000))
  )

  refuses("an empty file", corrupt("not-a-database"), ({ path }) => Fs.writeFileSync(path, ""))

  for (const length of [50, 100, 4096, 4096 * 20, 4096 * 20 + 1]) {
    refuses(`a database that is cut off after ${length} bytes`, { _tag: "SessionDbCorrupt" }, ({ path }) =>
      Fs.truncateSync(path, length)
    )
  }

  refuses("a database that lacks its last byte", corrupt("damaged"), ({ path }) =>
    Fs.truncateSync(path, Fs.statSync(path).size - 1)
  )

  refuses("a database of a newer schema", unavailable("newer-schema"), ({ path }) =>
    Raw.exec(path, "PRAGMA user_version = 2")
  )

  refuses("a journal that names a super-journal", corrupt("super-journal"), ({ folder, path }) => {
    Fixtures.killWriter(path)
    const journal = Fs.readFileSync(`${path}-journal`)
    const victim = Path.join(folder, "victim")
    Fs.writeFileSync(victim, "precious")
    Fs.writeFileSync(`${path}-journal`, Fixtures.withSuperJournal(journal, victim))
  })

  refuses("a journal that is nothing but the name of a super-journal", corrupt("super-journal"), (here) => {
    const victim = Path.join(here.folder, "victim")
    Fs.writeFileSync(victim, "precious")
    Fs.writeFileSync(`${here.path}-journal`, Fixtures.withSuperJournal(Buffer.from("x".repeat(600)), victim))
  })
})

describe("OwnDatabases.open", () => {
  test("rolls back what a writer of its own left when it was killed", ({ open, path }) =>
    Effect.gen(function* () {
      const before = Fs.readFileSync(path)
      Fixtures.killWriter(path)
      expect(Fs.readFileSync(path).equals(before)).toBe(false)
      const { client } = yield* open
      expect(yield* client`SELECT DISTINCT v FROM t`).toEqual([{ v: 0 }])
      expect(Fs.existsSync(`${path}-journal`)).toBe(false)
      expect(Fs.readFileSync(path).equals(before)).toBe(true)
    }))

  test("rolls back a file that the killed writer had made longer, or meant to", ({ open, path }) =>
    Effect.gen(function* () {
      const before = Fs.readFileSync(path)
      Fixtures.runToDeath(
        `const database = new Database(args[0])
         database.exec("PRAGMA cache_size = 10; BEGIN IMMEDIATE; INSERT INTO t SELECT id + 1000, 0, pad FROM t")
         die()`,
        path
      )
      const longer = Fs.readFileSync(path)
      expect(longer.length).toBeGreaterThan(before.length)
      // What a commit writes first: a header that counts pages which are not there yet.
      longer.writeUInt32BE(longer.length / 4096 + 10, 28)
      Fs.writeFileSync(path, longer)
      const { client } = yield* open
      expect(yield* client`SELECT count(*) AS n FROM t`).toEqual([{ n: Fixtures.rows }])
      expect(Fs.readFileSync(path).equals(before)).toBe(true)
    }))

  for (const [way, ending] of [
    ["success", Effect.void],
    ["failure", Effect.fail("failure")],
    ["defect", Effect.die("defect")],
    ["interruption", Effect.interrupt]
  ] as const) {
    test(`closes the file after ${way}`, ({ open, path }) =>
      Effect.gen(function* () {
        yield* open.pipe(
          Effect.tap(({ client }) => client`SELECT count(*) FROM t`),
          Effect.tap(() => expect(Fixtures.openAt(path)).toEqual([path])),
          Effect.zipRight(ending),
          Effect.scoped,
          Effect.exit
        )
        expect(Fixtures.openAt(path)).toEqual([])
        Raw.exec(path, "PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE; ROLLBACK")
      }))
  }

  test("closes the file and lets go of it wherever it is interrupted", ({ open, path }) =>
    Effect.gen(function* () {
      Fixtures.shrinkTable(path)
      yield* Fixtures.interruptedAtEveryOperation(
        Effect.scoped(open),
        Effect.gen(function* () {
          expect(Fixtures.openAt(path)).toEqual([])
          expect(yield* FilePermit.count).toBe(0)
        })
      )
    }))

  test("fails at once in a fiber that has the file open", ({ open }) =>
    Effect.gen(function* () {
      yield* open
      expect(yield* Effect.flip(Fixtures.atOnce(Effect.scoped(open)))).toMatchObject(unavailable("nested"))
      const child = yield* Effect.fork(Effect.scoped(open))
      expect(yield* Effect.flip(Fixtures.atOnce(Fiber.join(child)))).toMatchObject(unavailable("nested"))
    }))

  test("waits in another fiber until the file is closed, also of another layer", ({ folder, open }) =>
    Effect.gen(function* () {
      const isOpen = yield* Deferred.make<void>()
      const close = yield* Deferred.make<void>()
      const first = yield* open.pipe(
        Effect.zipRight(Deferred.succeed(isOpen, undefined)),
        Effect.zipRight(Deferred.await(close)),
        Effect.scoped,
        Effect.fork
      )
      yield* Deferred.await(isOpen)
      const second = yield* Effect.flatMap(OwnDatabases, (databases) =>
        databases.open(
          { directory: folder, name: "own.db", schemaVersion: 1, patience: 0, durability: "process" },
          subject
        )
      ).pipe(Effect.scoped, Effect.provide(StorageLayer.layer), Effect.fork)
      const third = yield* Effect.fork(Effect.scoped(open))
      yield* Effect.repeatN(Effect.yieldNow(), 100)
      expect([second.unsafePoll(), third.unsafePoll()]).toEqual([null, null])
      yield* Deferred.succeed(close, undefined)
      yield* Effect.all([Fiber.join(first), Fiber.join(second), Fiber.join(third)])
    }))

  testWith({ patience: "50 millis" })(
    "is busy for as long as another process has the file",
    ({ open, path }) =>
      Effect.gen(function* () {
        const holder = yield* Fixtures.startProcess(
          `const database = new Database(args[0])
         database.exec("BEGIN EXCLUSIVE")
         console.log("ready")
         setInterval(() => {}, 1000)`,
          path
        )
        const use = Effect.scoped(Effect.asVoid(open))
        expect(yield* Effect.flip(use)).toMatchObject(unavailable("busy"))
        yield* Fixtures.killed(holder)
        yield* use
      })
  )

  const swapped = (what: string, swap: (path: string) => void, error: object) =>
    testWith(
      {},
      Fixtures.layerWith((calls) => ({
        // The last thing that is asked for before SQLite opens the file.
        realpath: (path) => Effect.tap(calls.realpath(path), (found) => swap(Path.join(found, "own.db")))
      }))
    )(`refuses a file that turned into ${what} after it was looked at`, ({ open }) =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(Effect.scoped(open))
        expect(Exit.isFailure(exit)).toBe(true)
        expect(yield* Effect.flip(exit)).toMatchObject(error)
      })
    )

  swapped(
    "a link",
    (path) => {
      Fs.renameSync(path, `${path}-moved`)
      Fs.symlinkSync(`${path}-moved`, path)
    },
    unsafe("symbolic-link")
  )

  swapped(
    "another file",
    (path) => {
      Fs.copyFileSync(path, `${path}-copy`)
      Fs.renameSync(`${path}-copy`, path)
    },
    unsafe("symbolic-link")
  )

  testWith(
    {},
    Fixtures.layerWith((calls) => ({
      realpath: (path) =>
        Effect.tap(calls.realpath(path), (found) => {
          Fs.renameSync(Path.join(found, "own.db"), Path.join(found, "real.db"))
          Fs.copyFileSync(Path.join(found, "real.db"), Path.join(found, "other.db"))
          Fs.symlinkSync("other.db", Path.join(found, "own.db"))
        }),
      lstat: (path) =>
        Effect.suspend(() => {
          // The second look, after SQLite has opened the file.
          if (Fs.existsSync(path.replace("own.db", "real.db")))
            Fs.renameSync(path.replace("own.db", "real.db"), path)
          return calls.lstat(path)
        })
    }))
  )("refuses a file that was a link only at the moment when it was opened", ({ open }) =>
    Effect.gen(function* () {
      expect(yield* Effect.flip(Effect.scoped(open))).toMatchObject(unsafe("symbolic-link"))
    })
  )
})
