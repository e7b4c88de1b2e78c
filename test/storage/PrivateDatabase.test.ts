import { describe, expect, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Exit, Fiber, Layer, TestClock } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as FilePermit from "../../src/storage/FilePermit.js"
import type { PrivateOptions } from "../../src/storage/PrivateDatabase.js"
import { PrivateDatabases } from "../../src/storage/PrivateDatabase.js"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Raw from "../support/Raw.js"
import * as Fixtures from "./Fixtures.js"

const { subject } = Fixtures

/** All of storage, and how many connections were made. */
const counted = () => {
  let connections = 0
  const driver = Layer.effect(
    SqliteDriver,
    Effect.map(SqliteDriver, (driver) =>
      SqliteDriver.of({
        ...driver,
        connect: (options) => {
          connections++
          return driver.connect(options)
        }
      })
    )
  ).pipe(Layer.provide(SqliteDriver.layer))
  const layer = StorageLayer.layerWithoutCalls.pipe(
    Layer.provideMerge(Layer.merge(SystemCalls.layer, driver))
  )
  return { layer, connections: () => connections }
}

const place = Effect.gen(function* () {
  const folder = yield* Fixtures.temporaryDirectory
  const databases = yield* PrivateDatabases
  const newFile = (name: string) => {
    const path = Path.join(folder, name)
    Fixtures.newTable(path)
    return path
  }
  const path = newFile("own.db")
  const open = (options: Partial<PrivateOptions> = {}) =>
    databases.open(
      {
        path,
        schemaVersion: 1,
        patience: "10 seconds",
        durability: "process",
        prepare: () => Effect.void,
        ...options
      },
      subject
    )
  const set = (value: number, options: Partial<PrivateOptions> = {}) =>
    Effect.scoped(
      Effect.flatMap(open(options), ({ client }) => client.withTransaction(client`UPDATE t SET v = ${value}`))
    )
  return { folder, path, newFile, open, set, version: databases.version(path, subject) }
})

const values = (path: string) => Raw.query(path, "SELECT DISTINCT v FROM t").map(({ v }) => v)

/** A test that also holds that nothing is open, and nobody holds a file, when the layer has closed. */
const test = <A, E>(
  name: string,
  body: (
    here: Effect.Effect.Success<typeof place> & { readonly connections: () => number }
  ) => Effect.Effect<A, E, Scope.Scope>
) =>
  it.scoped(name, () =>
    Effect.gen(function* () {
      const { connections, layer } = counted()
      const folder = yield* Effect.gen(function* () {
        const here = yield* place
        yield* Effect.scoped(body({ ...here, connections }))
        expect(yield* FilePermit.count).toBe(0)
        return here.folder
      }).pipe(Effect.provide(layer))
      expect(Fixtures.openAt(folder)).toEqual([])
    })
  )

describe("PrivateDatabases.open", () => {
  test("gives a client in write-ahead-log mode, and its bytes in rollback-journal mode", ({
    open,
    path,
    folder
  }) =>
    Effect.gen(function* () {
      const { bytes, client } = yield* open()
      expect(yield* client`PRAGMA journal_mode`).toEqual([{ journal_mode: "wal" }])
      expect(yield* client`PRAGMA synchronous`).toEqual([{ synchronous: 2 }])
      yield* client.withTransaction(client`UPDATE t SET v = 5`)
      expect(values(path)).toEqual([5])
      const copy = Path.join(folder, "copy.db")
      Fs.writeFileSync(copy, yield* bytes)
      expect(Raw.query(copy, "PRAGMA journal_mode")).toEqual([{ journal_mode: "delete" }])
      expect(values(copy)).toEqual([5])
      expect(Raw.query(copy, "PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }])
    }))

  test("has its bytes carry a change counter of their own, the same for the same contents", ({ open, set }) =>
    Effect.gen(function* () {
      const counter = Effect.scoped(
        Effect.flatMap(open(), ({ bytes }) => Effect.map(bytes, (all) => Buffer.from(all).readUInt32BE(24)))
      )
      const first = yield* counter
      expect(yield* counter).toBe(first)
      yield* set(7)
      expect(yield* counter).not.toBe(first)
    }))

  test("uses one connection for one use after the other, and ends each client with its scope", (here) =>
    Effect.gen(function* () {
      yield* here.set(1)
      const { client } = yield* Effect.scoped(here.open())
      yield* here.set(2)
      expect(here.connections()).toBe(1)
      const error = yield* Effect.flip(client`SELECT 1`)
      expect(error.message).toBe("The handle is closed")
      expect(yield* Effect.flip(client.withTransaction(Effect.void))).toBe(error)
      expect(values(here.path)).toEqual([2])
    }))

  test("closes a connection that nobody uses for a while, and not before", ({ path, set }) =>
    Effect.gen(function* () {
      yield* set(1)
      yield* TestClock.adjust("20 seconds")
      yield* set(2)
      yield* TestClock.adjust("20 seconds")
      expect(Fs.existsSync(`${path}-wal`)).toBe(true)
      yield* TestClock.adjust("40 seconds")
      expect(Fixtures.openAt(path)).toEqual([])
      expect(Fs.existsSync(`${path}-wal`)).toBe(false)
      expect(values(path)).toEqual([2])
      yield* set(3)
      yield* TestClock.adjust("1 minute")
      expect(Fixtures.openAt(path)).toEqual([])
    }))

  test("keeps a limited number of connections, those that were used last", ({ connections, newFile, set }) =>
    Effect.gen(function* () {
      const paths = Array.from({ length: 130 }, (_, n) => newFile(`${n}.db`))
      for (const path of paths) yield* set(1, { path })
      expect(paths.filter((path) => Fixtures.openAt(path).length > 0)).toEqual(paths.slice(2))
      yield* set(2, { path: paths[129] ?? "" })
      expect(connections()).toBe(130)
    }))

  for (const statement of [
    "BEGIN IMMEDIATE",
    "PRAGMA query_only = ON",
    "ATTACH ':memory:' AS other",
    "/* held */ BEGIN IMMEDIATE",
    "CREATE TABLE temp.t (v)"
  ]) {
    test(`does not leave to the next what ${statement} did to a connection`, ({
      connections,
      open,
      set,
      path
    }) =>
      Effect.gen(function* () {
        yield* Effect.scoped(Effect.flatMap(open(), ({ client }) => client.unsafe(statement)))
        expect(Fixtures.openAt(path)).toEqual([])
        yield* set(3)
        expect(connections()).toBe(2)
        expect(values(path)).toEqual([3])
      }))
  }

  test("uses the file that has the name now, when another took its place", ({ newFile, path, set }) =>
    Effect.gen(function* () {
      yield* set(1)
      for (const beside of ["-wal", "-shm"]) Fs.rmSync(path + beside)
      Fs.renameSync(newFile("other.db"), path)
      yield* set(2)
      expect(values(path)).toEqual([2])
      Fs.rmSync(path)
      expect(yield* Effect.flip(set(3))).toMatchObject({ reason: "missing" })
      expect(Fixtures.openAt(path)).toEqual([])
      expect(Fs.existsSync(path)).toBe(false)
    }))

  test("looks anew at what another one wrote meanwhile", ({ connections, path, set }) =>
    Effect.gen(function* () {
      yield* set(1)
      Raw.exec(path, "PRAGMA user_version = 2")
      expect(yield* Effect.flip(set(2))).toMatchObject({ reason: "newer-schema" })
      expect(values(path)).toEqual([1])
      Raw.exec(path, "PRAGMA user_version = 1")
      yield* set(3)
      expect(connections()).toBe(1)
    }))

  test("prepares each connection once, with the version of its schema", ({ open, path }) =>
    Effect.gen(function* () {
      const prepared: Array<number> = []
      const prepare: PrivateOptions["prepare"] = (client, version) =>
        Effect.asVoid(
          Effect.zipRight(
            Effect.sync(() => prepared.push(version)),
            client`UPDATE t SET v = 9`
          )
        )
      yield* Effect.scoped(open({ prepare }))
      yield* Effect.scoped(open({ prepare }))
      expect(prepared).toEqual([0])
      expect(values(path)).toEqual([9])
    }))

  test("can be interrupted while another process holds the lock, and leaves nothing open", ({ open, path }) =>
    Effect.gen(function* () {
      yield* Fixtures.startProcess(
        `const db = new Database(args[0])
         db.exec("BEGIN EXCLUSIVE; UPDATE t SET v = 8")
         console.log("ready")
         setInterval(() => {}, 1000)`,
        path
      )
      const fiber = yield* Effect.fork(Effect.scoped(open()))
      yield* Fixtures.untilItWaits(fiber)
      expect(Exit.isInterrupted(yield* Fiber.interrupt(fiber))).toBe(true)
      expect(Fixtures.openAt(path)).toEqual([])
    }))

  test("leaves nothing open wherever it is interrupted, with a connection that was kept and without", (here) =>
    Effect.gen(function* () {
      // What takes a connection has to give it back, or close it: then the next one to be kept is the only one.
      yield* Fixtures.interruptedAtEveryOperation(
        here.set(1),
        Effect.gen(function* () {
          expect(yield* FilePermit.count).toBe(0)
          expect(Fixtures.openAt(here.path).filter((open) => open === here.path).length).toBeLessThan(2)
          // Every other time there is none that was kept.
          if (here.connections() % 2 === 0) yield* TestClock.adjust("2 minutes")
        })
      )
      yield* TestClock.adjust("2 minutes")
      expect(Fixtures.openAt(here.path)).toEqual([])
    }))

  test("refuses what is not a file with one name", ({ folder, newFile, open }) =>
    Effect.gen(function* () {
      const path = newFile("a.db")
      const at = (name: string) => Path.join(folder, name)
      Fs.linkSync(path, at("linked.db"))
      Fs.symlinkSync(path, at("link.db"))
      Fs.mkdirSync(at("folder.db"))
      for (const [name, reason] of [
        ["a.db", "hard-link"],
        ["link.db", "symbolic-link"],
        ["folder.db", "not-a-regular-file"]
      ] as const) {
        expect(yield* Effect.flip(open({ path: at(name) }))).toMatchObject({ _tag: "UnsafePath", reason })
      }
    }))

  test("is free again at once when it fails, also in the same scope", ({ folder, open }) =>
    Effect.gen(function* () {
      const path = Path.join(folder, "none.db")
      expect(yield* Effect.flip(open({ path }))).toMatchObject({ reason: "missing" })
      expect(yield* Effect.flip(open({ path }))).toMatchObject({ reason: "missing" })
      expect(yield* FilePermit.count).toBe(0)
    }))
})

describe("PrivateDatabases.version", () => {
  it.scoped("is another one after each commit, also where the clock of the file system stands still", () =>
    Effect.gen(function* () {
      const { open, set, version } = yield* place
      const seen = [yield* version]
      yield* set(1)
      seen.push(yield* version)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const handle = yield* open()
          yield* handle.client`SELECT v FROM t`
          seen.push(yield* handle.version)
          yield* handle.client`UPDATE t SET v = 2`
          seen.push(yield* handle.version)
        })
      )
      seen.push(yield* version)
      const [none, first, read, second, kept] = seen
      expect([read, kept]).toEqual([first, second])
      expect(new Set([none, first, second]).size).toBe(3)
    }).pipe(
      Effect.provide(
        StorageLayer.layerWithoutCalls.pipe(
          Layer.provide(
            Layer.merge(
              SqliteDriver.layer,
              Layer.effect(
                SystemCalls,
                Effect.map(SystemCalls, (calls) =>
                  SystemCalls.of({
                    ...calls,
                    // As after the log was written over in place: the same file, as long as before.
                    glance: (path) => {
                      const seen = calls.glance(path)
                      const size = path.endsWith("-wal") ? 1 : seen?.size
                      return seen && { ...seen, size: size ?? 0, mtimeMs: 0, ctimeMs: 0 }
                    }
                  })
                )
              ).pipe(Layer.provide(SystemCalls.layer))
            )
          )
        )
      )
    )
  )

  test("changes with each commit, of this process or another, and with nothing else", ({
    open,
    path,
    set,
    version
  }) =>
    Effect.gen(function* () {
      const seen = [yield* version]
      const expectNew = Effect.map(version, (next) => {
        expect(seen).not.toContain(next)
        seen.push(next)
      })
      yield* set(1)
      yield* expectNew
      yield* set(2)
      yield* expectNew
      Raw.exec(path, "UPDATE t SET v = 3")
      yield* expectNew
      const before = yield* version
      yield* Effect.scoped(Effect.flatMap(open(), ({ client }) => client`SELECT * FROM t`))
      yield* TestClock.adjust("2 minutes")
      expect(Fixtures.openAt(path)).toEqual([])
      expect(yield* version).toBe(before)
      yield* Effect.scoped(Effect.flatMap(open(), ({ client }) => client`SELECT * FROM t`))
      yield* TestClock.adjust("2 minutes")
      expect(yield* version).toBe(before)
      Raw.exec(path, "UPDATE t SET v = 4")
      yield* expectNew
    }))
})
