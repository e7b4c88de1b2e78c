import { describe, expect, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Exit, FastCheck, Fiber, Layer } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as FilePermit from "../../src/storage/FilePermit.js"
import { OwnDatabases } from "../../src/storage/OwnDatabase.js"
import type { Snapshot, SnapshotOptions } from "../../src/storage/Snapshot.js"
import { Snapshots } from "../../src/storage/Snapshot.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import { pause, readQuietBy, SystemCallError } from "../../src/storage/SystemCalls.js"
import * as Raw from "../support/Raw.js"
import * as Fixtures from "./Fixtures.js"

const { subject } = Fixtures

const views = ["local", "mount"] as const

const optionsFor = (path: string, options: Partial<SnapshotOptions> = {}): SnapshotOptions => ({
  directory: Path.dirname(path),
  name: Path.basename(path),
  view: "local",
  schemaVersion: 1,
  limit: 64 << 20,
  patience: "10 seconds",
  ...options
})

/** Through a mount a journal is waited for, for a thousandth of the time here, and so is everything else. */
const open = (path: string, options?: Partial<SnapshotOptions>) =>
  Effect.flatMap(Snapshots, (snapshots) =>
    options?.view === "mount"
      ? Fixtures.hurried(snapshots.open(optionsFor(path, { patience: "2 hours", ...options }), subject))
      : snapshots.open(optionsFor(path, options), subject)
  )

const stampOf = (path: string, options?: Partial<SnapshotOptions>) =>
  Effect.flatMap(Snapshots, (snapshots) => snapshots.stamp(optionsFor(path, options), subject))

interface Place {
  readonly folder: string
  readonly path: string
}

/** A test with a folder and the database `agent.db` in it, which also holds that nothing stays open. */
const testWith =
  <R>(services: Layer.Layer<R | Snapshots, unknown>) =>
  <A, E>(name: string, body: (place: Place) => Effect.Effect<A, E, Scope.Scope | R | Snapshots>) =>
    it.scopedLive(name, () =>
      Effect.gen(function* () {
        const folder = Path.join(yield* Fixtures.temporaryDirectory, "session")
        Fs.mkdirSync(folder)
        const path = Path.join(folder, "agent.db")
        Fixtures.newTable(path)
        yield* Effect.scoped(Effect.provide(Effect.scoped(body({ folder, path })), services))
        expect(Fixtures.openAt(Path.dirname(folder))).toEqual([])
        expect(yield* FilePermit.count).toBe(0)
      })
    )

const test = testWith(StorageLayer.layer)

const withCalls = (...parameters: Parameters<typeof Fixtures.layerWith>) =>
  testWith(Fixtures.layerWith(...parameters))

/** What a snapshot has, if it is one state that `t` was in. */
const stateOf = ({ client }: Snapshot) =>
  Effect.gen(function* () {
    const rows = yield* client<{ v: number; n: number }>`SELECT v, count(*) AS n FROM t GROUP BY v`
    expect(rows).toEqual([{ v: rows[0]?.v, n: Fixtures.rows }])
    return rows[0]?.v
  })

const read = (path: string, options?: Partial<SnapshotOptions>) =>
  Effect.scoped(Effect.flatMap(open(path, options), stateOf))

const unsafe = (reason: string) => ({ _tag: "UnsafePath", operation: subject.operation, reason })

const unavailable = (reason: string) => ({ _tag: "SessionDbUnavailable", ...subject, reason })

const corrupt = (reason: string) => ({ _tag: "SessionDbCorrupt", ...subject, reason })

for (const view of views) {
  describe(`a snapshot, view "${view}",`, () => {
    test("has what was committed", ({ path }) =>
      Effect.gen(function* () {
        expect(yield* read(path, { view })).toBe(0)
        Raw.exec(path, "UPDATE t SET v = 7")
        expect(yield* read(path, { view })).toBe(7)
      }))

    test("stays as it is when the file changes", ({ path }) =>
      Effect.gen(function* () {
        const snapshot = yield* open(path, { view })
        Raw.exec(path, "UPDATE t SET v = 7")
        expect(yield* stateOf(snapshot)).toBe(0)
      }))

    test("has nothing of a transaction that goes on, and does not disturb it", ({ path }) =>
      Effect.gen(function* () {
        const writer = Raw.open(path)
        for (const lock of ["IMMEDIATE", "EXCLUSIVE"]) {
          writer.exec(`PRAGMA cache_size = 10; BEGIN ${lock}; UPDATE t SET v = 1`)
          const halfWritten = Fixtures.listing(Path.dirname(path))
          expect(yield* read(path, { view })).toBe(0)
          expect(Fixtures.listing(Path.dirname(path))).toEqual(halfWritten)
          writer.exec("ROLLBACK")
        }
        writer.exec("BEGIN IMMEDIATE; UPDATE t SET v = 2")
        expect(yield* read(path, { view })).toBe(0)
        writer.exec("COMMIT")
        writer.close()
        expect(yield* read(path, { view })).toBe(2)
      }))

    test("has nothing of the transaction of a killed writer, and leaves file and journal alone", ({ path }) =>
      Effect.gen(function* () {
        const before = Fs.readFileSync(path)
        Fixtures.killWriter(path)
        const left = Fixtures.listing(Path.dirname(path))
        expect(Object.keys(left)).toEqual(["agent.db", "agent.db-journal"])
        expect(Fs.readFileSync(path).equals(before)).toBe(false)
        expect(yield* read(path, { view })).toBe(0)
        expect(Fixtures.listing(Path.dirname(path))).toEqual(left)
      }))

    test("cannot be written to", ({ path }) =>
      Effect.gen(function* () {
        const { client } = yield* open(path, { view })
        for (const statement of [
          client`INSERT INTO t VALUES (1000, 0, '')`,
          client`CREATE TABLE other (x)`,
          client.withTransaction(client`UPDATE t SET v = 1`)
        ]) {
          expect(yield* Effect.flip(statement)).toMatchObject({ cause: { code: "SQLITE_READONLY" } })
        }
        expect(yield* read(path, { view })).toBe(0)
      }))

    test("can be taken many times at once", ({ path }) =>
      Effect.gen(function* () {
        const first = yield* open(path, { view })
        Raw.exec(path, "UPDATE t SET v = 1")
        const others = yield* Effect.forEach([1, 2, 3], () => open(path, { view }), { concurrency: 3 })
        expect(yield* Effect.forEach([first, ...others], stateOf)).toEqual([0, 1, 1, 1])
      }))
  })
}

describe("a snapshot", () => {
  test("is refused in a fiber that has the file open itself", ({ folder, path }) =>
    Effect.gen(function* () {
      const databases = yield* OwnDatabases
      yield* databases.open(
        { directory: folder, name: "agent.db", schemaVersion: 1, patience: 0, durability: "process" },
        subject
      )
      expect(yield* Effect.flip(open(path))).toMatchObject(unavailable("nested"))
      expect(yield* Effect.flip(stampOf(path))).toMatchObject(unavailable("nested"))
    }))

  test("does not let the file's own schema call functions that do more than compute", ({ path }) =>
    Effect.gen(function* () {
      const { client } = yield* open(path)
      expect(yield* client`PRAGMA trusted_schema`).toEqual([{ trusted_schema: 0 }])
    }))

  const opened: Array<{ readonly path: string; readonly flags: number }> = []
  withCalls((calls) => ({
    open: (path, flags, mode) => {
      opened.push({ path, flags })
      return calls.open(path, flags, mode)
    }
  }))("opens the file for reading only, and never with SQLite", ({ path }) =>
    Effect.gen(function* () {
      Fixtures.killWriter(path)
      for (const view of views) yield* read(path, { view })
      yield* stampOf(path)
      const touched = opened.filter((file) => file.path.includes("agent.db"))
      expect(touched.length).toBeGreaterThan(8)
      const { O_ACCMODE, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = { O_ACCMODE: 3, ...Fs.constants }
      for (const { flags } of touched) {
        expect(flags & O_ACCMODE).toBe(O_RDONLY)
        expect(flags & (O_NOFOLLOW | O_NONBLOCK)).toBe(O_NOFOLLOW | O_NONBLOCK)
      }
      const { client } = yield* open(path)
      const [main] = yield* client<{ file: string }>`PRAGMA database_list`
      expect(Path.dirname(main?.file ?? "")).not.toBe(Path.dirname(path))
    })
  )
})

describe("the copy of a snapshot", () => {
  withCalls((calls) => ({
    open: (path, mode, permission) =>
      path.includes("effect-airlock-") ? Effect.die("a file was made") : calls.open(path, mode, permission)
  }))(
    "is in memory, and cannot be written to, if it is small and nothing has to be rolled back",
    ({ path }) =>
      Effect.gen(function* () {
        const snapshot = yield* open(path)
        expect(yield* stateOf(snapshot)).toBe(0)
        const error = yield* Effect.flip(snapshot.client`UPDATE t SET v = 1`)
        expect(error.cause).toMatchObject({ code: "SQLITE_READONLY" })
      })
  )

  const table = "CREATE TABLE only_read (id INTEGER, text TEXT)"
  const rowsAt = (path: string, options: Partial<SnapshotOptions>) =>
    Effect.map(
      Effect.flatMap(Snapshots, (snapshots) => snapshots.take(optionsFor(path, options), subject)),
      ({ rowsOf }) => rowsOf(table)?.map((row) => row.value(1))
    )

  test("is read without SQLite if it is short, was checked, and has just the table that is asked for", ({
    path
  }) =>
    Effect.gen(function* () {
      Fs.rmSync(path)
      Raw.exec(path, `PRAGMA user_version = 1; ${table}; INSERT INTO only_read VALUES (1, 'a'), (2, 'b')`)
      expect(yield* rowsAt(path, { rows: 10 })).toEqual(["a", "b"])
      expect(yield* rowsAt(path, {})).toBeUndefined()
      Raw.exec(path, "ALTER TABLE only_read ADD COLUMN more TEXT")
      expect(yield* rowsAt(path, { rows: 10 })).toBeUndefined()
    }))

  for (const [what, prepare] of [
    ["is long", "INSERT INTO only_read SELECT 3, printf('%0200000d', 1)"],
    ["has a journal", ""]
  ] as const) {
    test(`is not read without SQLite if it ${what}`, ({ path }) =>
      Effect.gen(function* () {
        Raw.exec(path, `${table}; INSERT INTO only_read VALUES (1, 'a'); ${prepare}`)
        if (prepare === "") Fixtures.killWriter(path)
        expect(yield* rowsAt(path, { rows: 1000 })).toBeUndefined()
      }))
  }

  /** Lets temporary directories be made in this folder only. */
  const temporary = (folder: string) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const before = process.env.TMPDIR
        process.env.TMPDIR = folder
        return before
      }),
      (before) =>
        Effect.sync(() => {
          if (before === undefined) delete process.env.TMPDIR
          else process.env.TMPDIR = before
        })
    )

  const modeOf = (path: string) => Fs.statSync(path).mode & 0o777

  test("is where only this user can go, has no name while it is used, and goes away", ({ folder, path }) =>
    Effect.gen(function* () {
      const temp = Path.join(Path.dirname(folder), "temp")
      Fs.mkdirSync(temp)
      yield* temporary(temp)
      Fixtures.killWriter(path)
      yield* Effect.gen(function* () {
        const home = Path.join(temp, Fs.readdirSync(temp)[0] ?? "")
        expect([Fs.readdirSync(temp).length, modeOf(home)]).toEqual([1, 0o700])
        yield* Effect.gen(function* () {
          const snapshot = yield* open(path)
          expect(yield* stateOf(snapshot)).toBe(0)
          expect(Fs.readdirSync(home)).toEqual([])
          const [copy] = Fixtures.openAt(home)
          expect(copy).toMatch(/\(deleted\)$/)
        }).pipe(Effect.scoped)
        expect(Fixtures.openAt(home)).toEqual([])
      }).pipe(Effect.provide(StorageLayer.layer))
      expect(Fs.readdirSync(temp)).toEqual([])
    }))

  const modes: Array<number | undefined> = []
  withCalls((calls) => ({
    write: (fd, bytes, position) => {
      modes.push(Fs.fstatSync(fd).mode & 0o777)
      return calls.write(fd, bytes, position)
    }
  }))("is a file, and a journal, that only this user can read", ({ path }) =>
    Effect.gen(function* () {
      Fixtures.killWriter(path)
      yield* open(path)
      expect(modes).toEqual([0o600, 0o600])
    })
  )

  test("goes away after success, failure, defect and interruption", ({ folder, path }) =>
    Effect.gen(function* () {
      Fixtures.killWriter(path)
      const temp = Path.join(Path.dirname(folder), "temp")
      Fs.mkdirSync(temp)
      yield* temporary(temp)
      yield* Effect.gen(function* () {
        for (const ending of [Effect.void, Effect.fail("failure"), Effect.die("defect"), Effect.interrupt]) {
          yield* Effect.exit(Effect.scoped(Effect.zipRight(open(path), ending)))
          expect(Fixtures.openAt(temp)).toEqual([])
        }
      }).pipe(Effect.provide(StorageLayer.layer))
    }))

  test("goes away wherever making it is interrupted", ({ folder, path }) =>
    Effect.gen(function* () {
      Fixtures.killWriter(path)
      const temp = Path.join(Path.dirname(folder), "temp")
      Fs.mkdirSync(temp)
      yield* temporary(temp)
      yield* Effect.gen(function* () {
        const home = Path.join(temp, Fs.readdirSync(temp)[0] ?? "")
        yield* Fixtures.interruptedAtEveryOperation(
          Effect.scoped(open(path)),
          Effect.gen(function* () {
            expect(Fixtures.openAt(temp)).toEqual([])
            expect(Fixtures.openAt(folder)).toEqual([])
            expect(Fs.readdirSync(home)).toEqual([])
            expect(yield* FilePermit.count).toBe(0)
          }),
          { stride: 10 }
        )
      }).pipe(Effect.provide(StorageLayer.layer))
    }))

  for (const call of ["open", "write"] as const) {
    withCalls((calls) => ({
      [call]: (...parameters: [never, never, never]) =>
        call === "write" || String(parameters[0]).includes("effect-airlock-")
          ? Effect.fail(new SystemCallError({ call, code: "ENOSPC" }))
          : calls[call](...parameters)
    }))(`that the disk has no room for at ${call} is an error`, ({ path }) =>
      Effect.gen(function* () {
        Fixtures.killWriter(path)
        expect(yield* Effect.flip(open(path))).toMatchObject({ ...unavailable("disk-full"), code: "ENOSPC" })
      })
    )
  }

  it.scopedLive("needs a folder for temporary files, and says so", () =>
    Effect.gen(function* () {
      yield* temporary(Path.join(yield* Fixtures.temporaryDirectory, "missing"))
      const error = yield* Effect.flip(Effect.scoped(Layer.build(StorageLayer.layer)))
      expect(error).toMatchObject({ _tag: "SessionDbUnavailable", reason: "not-writable" })
    })
  )
})

describe("the stamp of a file", () => {
  for (const view of views) {
    test(`is the same for as long as nothing is written, view "${view}"`, ({ path }) =>
      Effect.gen(function* () {
        const { stamp } = yield* open(path, { view })
        expect(yield* stampOf(path, { view })).toBe(stamp)
        Raw.query(path, "SELECT * FROM t")
        Raw.exec(path, "BEGIN; ROLLBACK")
        expect(yield* stampOf(path, { view })).toBe(stamp)
        expect((yield* open(path, { view })).stamp).toBe(stamp)
      }))

    test(`is another after each commit, view "${view}"`, ({ path }) =>
      Effect.gen(function* () {
        const stamps = new Set<string>()
        for (let round = 0; round < 20; round++) {
          Raw.exec(path, "UPDATE t SET v = v + 1 WHERE id = 1")
          stamps.add(yield* stampOf(path, { view }))
        }
        expect(stamps.size).toBe(20)
      }))

    test(`is another after a rollback of what was written already, view "${view}"`, ({ path }) =>
      Effect.gen(function* () {
        const before = yield* stampOf(path, { view })
        const writer = Raw.open(path)
        writer.exec("PRAGMA cache_size = 10; BEGIN; UPDATE t SET v = 1")
        const meanwhile = yield* stampOf(path, { view })
        writer.exec("ROLLBACK")
        writer.close()
        const after = yield* stampOf(path, { view })
        expect(new Set([before, meanwhile, after]).size).toBe(3)
      }))

    test(`is another after the file was replaced, view "${view}"`, ({ path }) =>
      Effect.gen(function* () {
        const before = yield* stampOf(path, { view })
        const { atime, mtime } = Fs.statSync(path)
        Fs.copyFileSync(path, `${path}-copy`)
        Fs.utimesSync(`${path}-copy`, atime, mtime)
        Fs.renameSync(`${path}-copy`, path)
        expect(yield* stampOf(path, { view })).not.toBe(before)
      }))
  }

  test("of what is missing or unsafe is an error", ({ folder, path }) =>
    Effect.gen(function* () {
      Fs.symlinkSync(path, Path.join(folder, "link"))
      yield* Fixtures.plantFifo(Path.join(folder, "fifo"))
      const failure = (name: string) => Fixtures.withoutHanging(Effect.flip(stampOf(Path.join(folder, name))))
      expect(yield* failure("none")).toMatchObject(unavailable("missing"))
      expect(yield* failure("link")).toMatchObject(unsafe("symbolic-link"))
      expect(yield* failure("fifo")).toMatchObject(unsafe("not-a-regular-file"))
    }))
})

describe("a snapshot refuses, and leaves as it was,", () => {
  const refuses = (
    what: string,
    error: object,
    plant: (place: Place) => void | Effect.Effect<unknown, never, Scope.Scope>,
    options: Partial<SnapshotOptions> = {}
  ) =>
    test(what, (here) =>
      Effect.gen(function* () {
        const planted = plant(here)
        if (Effect.isEffect(planted)) yield* planted
        const before = Fixtures.listing(here.folder)
        for (const view of views) {
          const found = yield* Fixtures.withoutHanging(
            Effect.flip(Effect.scoped(open(here.path, { ...options, view })))
          )
          expect(found).toMatchObject(error)
        }
        expect(Fixtures.listing(here.folder)).toEqual(before)
      })
    )

  const elsewhere = ({ folder }: Place) => {
    const path = Path.join(Path.dirname(folder), "elsewhere.db")
    Fixtures.newTable(path)
    return path
  }

  refuses("a file that is not there", unavailable("missing"), ({ path }) => Fs.unlinkSync(path))

  refuses("a folder that is a link", unsafe("symbolic-link"), ({ folder }) => {
    Fs.renameSync(folder, `${folder}-moved`)
    Fs.symlinkSync(`${folder}-moved`, folder)
  })

  refuses("a link", unsafe("symbolic-link"), (here) => {
    Fs.unlinkSync(here.path)
    Fs.symlinkSync(elsewhere(here), here.path)
  })

  refuses("a hard link", unsafe("hard-link"), (here) => {
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

  refuses("a file over the limit", unavailable("too-large"), ({ path }) => Fs.truncateSync(path, 2 ** 40), {
    limit: 1 << 20
  })

  refuses(
    "a journal over the limit",
    unavailable("too-large"),
    ({ path }) => {
      Fixtures.killWriter(path)
      Fs.truncateSync(`${path}-journal`, 2 ** 40)
    },
    { limit: 1 << 20 }
  )

  refuses("a database in write-ahead-log mode", unavailable("wal-mode"), ({ path }) =>
    Raw.exec(path, "PRAGMA journal_mode = WAL; UPDATE t SET v = 1")
  )

  refuses("a file that is no database", corrupt("not-a-database"), ({ path }) =>
    Fs.writeFileSync(path, "no database ".repeat(1000))
  )

  refuses("an empty file", corrupt("not-a-database"), ({ path }) => Fs.writeFileSync(path, ""))

  refuses("a database of a newer schema", unavailable("newer-schema"), ({ path }) =>
    Raw.exec(path, "PRAGMA user_version = 2")
  )

  refuses("a journal that names a super-journal", corrupt("super-journal"), ({ folder, path }) => {
    Fixtures.killWriter(path)
    const victim = Path.join(folder, "victim")
    Fs.writeFileSync(victim, "precious")
    const journal = Fs.readFileSync(`${path}-journal`)
    Fs.writeFileSync(`${path}-journal`, Fixtures.withSuperJournal(journal, victim))
  })

  refuses(
    "a database that is cut off, after it has waited for the rest",
    unavailable("busy"),
    ({ path }) => Fs.truncateSync(path, Fs.statSync(path).size - 1),
    { patience: "20 millis" }
  )

  refuses(
    "a journal that is cut off, after it has waited for the rest",
    unavailable("busy"),
    ({ path }) => {
      Fixtures.killWriter(path)
      Fs.truncateSync(`${path}-journal`, 5_000)
    },
    { patience: "20 millis" }
  )
})

describe("a snapshot through a mount", () => {
  withCalls((calls) => ({
    list: (path) =>
      Effect.map(calls.list(path), (names) => names.filter((name) => !name.includes("-journal")))
  }))("believes the listing that there is no journal, even if one can be opened", ({ path }) =>
    Effect.gen(function* () {
      const committed = Fs.readFileSync(path)
      Fixtures.killWriter(path)
      // The other side has rolled back and removed the journal; what is here is the client's memory of it.
      Fs.writeFileSync(path, committed)
      Raw.exec(Path.join(Path.dirname(path), "agent.db"), "SELECT 1")
      expect(yield* read(path, { view: "mount" })).toBe(0)
    })
  )

  let lists = 0
  withCalls((calls) => ({
    list: (path) =>
      Effect.map(calls.list(path), (names) => (++lists <= 5 ? [...names, "agent.db-journal"] : names))
  }))("tries again while a journal is listed that is not there", ({ path }) =>
    Effect.gen(function* () {
      expect(yield* read(path, { view: "mount" })).toBe(0)
      expect(lists).toBeGreaterThan(5)
    })
  )

  withCalls((calls) => ({
    fstat: (fd) => Effect.map(calls.fstat(fd), (stats) => Object.assign(stats, { size: 4096n }))
  }))("reads to the end, whatever the size is said to be", ({ path }) =>
    Effect.gen(function* () {
      Fixtures.killWriter(path)
      for (const view of views) expect(yield* read(path, { view })).toBe(0)
    })
  )

  const direct = { asked: 0, refused: 0 }
  for (const place of ["open", "read"] as const) {
    withCalls((calls) => {
      const around = new Set<number>()
      const refuse = Effect.suspend(() => {
        direct.refused++
        return Effect.fail(new SystemCallError({ call: place, code: "EINVAL" }))
      })
      return {
        open: (path, flags, mode) => {
          if ((flags & Fs.constants.O_DIRECT) === 0) return calls.open(path, flags, mode)
          direct.asked++
          if (place === "open") return refuse
          return Effect.tap(calls.open(path, flags, mode), (fd) => around.add(fd))
        },
        close: (fd) => Effect.tap(calls.close(fd), () => around.delete(fd)),
        read: (fd, buffer, position) => (around.has(fd) ? refuse : calls.read(fd, buffer, position))
      }
    })(`goes around the page cache, unless the file system refuses it at ${place}`, ({ path }) =>
      Effect.gen(function* () {
        Fixtures.killWriter(path)
        direct.asked = direct.refused = 0
        expect(yield* read(path, { view: "local" })).toBe(0)
        expect(direct).toEqual({ asked: 0, refused: 0 })
        expect(yield* read(path, { view: "mount" })).toBe(0)
        expect(direct.asked).toBeGreaterThan(3)
        expect(direct.refused).toBe(direct.asked)
      })
    )
  }
})

describe("a snapshot of a file that changes meanwhile", () => {
  /** What a writer may do, once, between any two system calls of the copy. */
  const changes: ReadonlyArray<
    readonly [what: string, before: string, meanwhile: string, states: ReadonlyArray<number>]
  > = [
    ["a transaction is committed", "", "UPDATE t SET v = v + 1", [0, 1]],
    ["a transaction begins and writes", "", "BEGIN; UPDATE t SET v = v + 1", [0]],
    ["a transaction commits what it wrote before", "BEGIN; UPDATE t SET v = v + 1", "COMMIT", [0, 1]],
    ["a transaction rolls back what it wrote before", "BEGIN; UPDATE t SET v = v + 1", "ROLLBACK", [0]],
    [
      "a transaction commits and the next one begins",
      "BEGIN; UPDATE t SET v = v + 1",
      "COMMIT; BEGIN; UPDATE t SET v = v + 1",
      [0, 1]
    ],
    [
      "a transaction rolls back and the next one begins",
      "BEGIN; UPDATE t SET v = v + 1",
      "ROLLBACK; BEGIN; UPDATE t SET v = v + 1",
      [0]
    ],
    ["a transaction writes on", "BEGIN; UPDATE t SET v = v + 1 WHERE id < 30", "UPDATE t SET v = 1", [0]],
    ["a transaction writes and is rolled back", "", "BEGIN; UPDATE t SET v = v + 1; ROLLBACK", [0]]
  ]

  const pending = { countdown: 0, change: () => {} }
  const around = <A, E>(call: Effect.Effect<A, E>) =>
    Effect.suspend(() => {
      if (--pending.countdown === 0) pending.change()
      return call
    })
  const interrupting = Fixtures.layerWith((calls) => ({
    open: (...parameters) => around(calls.open(...parameters)),
    fstat: (fd) => around(calls.fstat(fd)),
    read: (...parameters) => around(calls.read(...parameters)),
    list: (path) => around(calls.list(path))
  }))
  const beforeIt = <F extends (...parameters: never) => unknown>(call: F): F =>
    new Proxy(call, {
      apply: (target, self, parameters) => {
        if (--pending.countdown === 0) pending.change()
        return Reflect.apply(target, self, parameters) as unknown
      }
    })
  const inOneGo = { read: 0, not: 0 }
  const interruptingOneGo = Fixtures.layerWith(() => {
    const readQuiet = readQuietBy({
      openSync: beforeIt(Fs.openSync),
      fstatSync: beforeIt(Fs.fstatSync),
      lstatSync: beforeIt(Fs.lstatSync),
      readSync: beforeIt(Fs.readSync),
      closeSync: beforeIt(Fs.closeSync)
    })
    return {
      readQuiet: (...file) => {
        const quiet = readQuiet(...file)
        inOneGo[quiet === undefined ? "not" : "read"]++
        return quiet
      }
    }
  })

  const ways = [
    ...views.map((view) => [`view "${view}"`, view, interrupting] as const),
    ["in one go", "local", interruptingOneGo] as const
  ]
  for (const [way, view, layer] of ways) {
    for (const [what, before, meanwhile, states] of changes) {
      testWith(layer)(`is one state that existed, whenever ${what}, ${way}`, ({ path }) =>
        Effect.gen(function* () {
          Raw.exec(path, "PRAGMA synchronous = OFF; DELETE FROM t WHERE id > 40; VACUUM")
          const whole = Fs.readFileSync(path)
          for (let moment = 1, isOver = false; !isOver; moment++) {
            Fs.writeFileSync(path, whole)
            const writer = Raw.open(path)
            writer.exec(`PRAGMA synchronous = OFF; PRAGMA cache_size = 5; ${before}`)
            pending.countdown = moment
            pending.change = () => writer.exec(meanwhile)
            const rows = yield* open(path, { view }).pipe(
              Effect.flatMap(({ client }) =>
                Effect.zip(
                  client<{ v: number; n: number }>`SELECT v, count(*) AS n FROM t GROUP BY v`,
                  client`PRAGMA integrity_check`
                )
              ),
              Effect.scoped
            )
            isOver = pending.countdown > 0
            writer.close()
            expect(rows).toEqual([[{ v: rows[0][0]?.v, n: 40 }], [{ integrity_check: "ok" }]])
            expect(states).toContain(rows[0][0]?.v)
          }
        })
      )
    }
  }

  it("was read in one go some times, and some not", () => {
    expect(inOneGo.read).toBeGreaterThan(10)
    expect(inOneGo.not).toBeGreaterThan(10)
  })

  withCalls((calls) => ({
    read: (fd, buffer, position) => {
      if (pending.countdown > 0) pending.change()
      return calls.read(fd, buffer, position)
    }
  }))("all the time is given up when patience ends, and can be interrupted", ({ path }) =>
    Effect.gen(function* () {
      const writer = Raw.open(path)
      pending.countdown = 1
      pending.change = () => writer.exec("UPDATE t SET v = v + 1 WHERE id = 1")
      const error = yield* Effect.flip(open(path, { patience: "50 millis" }))
      expect(error).toMatchObject({ ...unavailable("busy"), isRetryable: true })
      const fiber = yield* Effect.fork(open(path, { patience: "1 hour" }))
      yield* Fixtures.untilItWaits(fiber)
      expect(Exit.isInterrupted(yield* Fixtures.atOnce(Fiber.interrupt(fiber)))).toBe(true)
      pending.countdown = 0
      writer.close()
    })
  )

  withCalls((calls) => ({
    fstat: (fd) =>
      Effect.tap(calls.fstat(fd), () => Fs.utimesSync(`/proc/self/fd/${fd}`, 0, performance.now()))
  }))("all the time and is large does not stop the event loop, nor goes on after patience", ({ path }) =>
    Effect.gen(function* () {
      Raw.exec(path, "CREATE TABLE large (x); INSERT INTO large VALUES (zeroblob(40000000))")
      const loop = yield* Fixtures.eventLoop
      const error = yield* Effect.flip(open(path, { patience: "500 millis" }))
      expect(error).toMatchObject(unavailable("busy"))
      // One attempt reads forty pieces.
      expect(loop.turns).toBeGreaterThan(30)
    })
  )

  for (const view of views) {
    test(`a hundred times a second is one state that existed, view "${view}"`, ({ path }) =>
      Effect.gen(function* () {
        const writer = yield* Fixtures.startProcess(
          `const database = new Database(args[0])
           database.exec("CREATE TABLE m (x)")
           console.log("ready")
           let left = 120
           const write = () => {
             const began = Date.now()
             database.exec("BEGIN IMMEDIATE; UPDATE t SET v = v + 1; INSERT INTO m VALUES (zeroblob(9000));" +
               "DELETE FROM m WHERE rowid < (SELECT max(rowid) - 20 FROM m); COMMIT")
             if (--left > 0) setTimeout(write, Math.max(0, 10 - (Date.now() - began)))
           }
           write()`,
          path
        )
        const seen: Array<number | undefined> = []
        while (writer.exitCode === null) seen.push(yield* Effect.zipLeft(read(path, { view }), pause))
        expect(writer.exitCode).toBe(0)
        expect(new Set(seen).size).toBeGreaterThan(10)
        expect(seen).toEqual([...seen].sort((a, b) => Number(a) - Number(b)))
        expect(yield* read(path, { view })).toBe(120)
      }))
  }
})

describe("a snapshot of what a killed writer left is what SQLite makes of it", () => {
  const dump = "SELECT group_concat(id || ':' || v || ':' || hex(pad), ';') AS all_rows FROM t ORDER BY id"
  const check = "PRAGMA integrity_check"

  /** Compares a snapshot of these files with a copy that SQLite itself has recovered. */
  const expectSame = (path: string) =>
    Effect.gen(function* () {
      const left = Fixtures.listing(Path.dirname(path))
      const recovered = Path.join(yield* Fixtures.temporaryDirectory, "recovered.db")
      Fixtures.copyPair(path, recovered)
      const expected = [Raw.query(recovered, dump), Raw.query(recovered, check)]
      for (const view of views) {
        const { client } = yield* open(path, { view })
        expect([yield* client.unsafe(dump), yield* client.unsafe(check)]).toEqual(expected)
      }
      expect(expected[1]).toEqual([{ integrity_check: "ok" }])
      expect(Fixtures.listing(Path.dirname(path))).toEqual(left)
    }).pipe(Effect.scoped)

  const id = FastCheck.integer({ min: 1, max: 60 })
  const statement = FastCheck.oneof(
    FastCheck.tuple(id, id).map(([a, b]) => `UPDATE t SET v = v + ${a} WHERE id % 7 = ${b % 7}`),
    FastCheck.tuple(id, id).map(([a, b]) => `UPDATE t SET pad = zeroblob(${a * 50}) WHERE id < ${b}`),
    id.map((a) => `DELETE FROM t WHERE id > ${a}`),
    id.map((a) => `INSERT INTO t SELECT max(id) + ${a}, 0, zeroblob(${a * 300}) FROM t`),
    FastCheck.constantFrom(
      "INSERT INTO t SELECT id + 1000 * (1 + (SELECT max(id) FROM t) / 1000), v, pad FROM t LIMIT 40",
      "CREATE INDEX IF NOT EXISTS i ON t (pad)",
      "DROP INDEX IF EXISTS i",
      "SAVEPOINT s",
      "ROLLBACK TO s",
      "COMMIT; BEGIN"
    )
  )
  const history = FastCheck.record({
    mode: FastCheck.constantFrom("DELETE", "PERSIST", "TRUNCATE"),
    vacuum: FastCheck.constantFrom("NONE", "FULL", "INCREMENTAL"),
    synchronous: FastCheck.constantFrom("OFF", "NORMAL"),
    cache: FastCheck.constantFrom(1, 5, 20),
    statements: FastCheck.array(statement, { minLength: 1, maxLength: 8 })
  })

  it.live.prop(
    "for any transaction and any moment between its statements",
    [history],
    ([{ cache, mode, statements, synchronous, vacuum }]) =>
      Effect.gen(function* () {
        const folder = yield* Fixtures.temporaryDirectory
        const path = Path.join(folder, "agent.db")
        const writer = Raw.open(path)
        writer.exec(
          `PRAGMA auto_vacuum = ${vacuum}; PRAGMA journal_mode = ${mode}; PRAGMA synchronous = ${synchronous};
           CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER, pad);
           WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
           INSERT INTO t SELECT i, 0, zeroblob(900) FROM n;
           PRAGMA cache_size = ${cache}; BEGIN`
        )
        for (const [index, sql] of statements.entries()) {
          try {
            writer.exec(sql)
          } catch {
            continue // There is no such savepoint.
          }
          const killed = Path.join(folder, String(index), "agent.db")
          Fs.mkdirSync(Path.dirname(killed))
          Fixtures.copyPair(path, killed)
          yield* expectSame(killed)
        }
        writer.close()
      }).pipe(Effect.scoped, Effect.provide(StorageLayer.layer)),
    { fastCheck: { numRuns: 15 } }
  )

  test("for a process that is killed at any moment", ({ path }) =>
    Effect.gen(function* () {
      let hot = 0
      for (let round = 0; round < 8; round++) {
        const writer = yield* Fixtures.startProcess(
          `const database = new Database(args[0])
           database.exec("PRAGMA cache_size = 20")
           console.log("ready")
           for (;;) database.exec("BEGIN IMMEDIATE; UPDATE t SET v = v + 1; COMMIT")`,
          path
        )
        yield* Effect.sleep(`${round} millis`)
        yield* Fixtures.killed(writer)
        if (Fs.existsSync(`${path}-journal`)) hot++
        yield* expectSame(path)
      }
      expect(hot).toBeGreaterThan(0)
    }))
})
