import { NodeFileSystem } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import * as WalCopy from "../../src/storage/WalCopy.js"
import * as Raw from "../support/Raw.js"
import * as Fixtures from "./Fixtures.js"

const at = (path: string): WalCopy.Options => ({
  directory: Path.dirname(path),
  name: Path.basename(path),
  patience: "5 seconds",
  isOurs: true
})

const layerWith = (replace: Parameters<typeof Fixtures.layerWith>[0] = () => ({})) =>
  Layer.merge(Fixtures.layerWith(replace), NodeFileSystem.layer)

/** The value that all rows have, in a copy that is whole. */
const valueIn = (path: string) =>
  Effect.gen(function* () {
    const sql = yield* WalCopy.open(at(path), Fixtures.subject)
    const check = yield* sql`PRAGMA integrity_check`
    expect(check).toEqual([{ integrity_check: "ok" }])
    const values = yield* sql<{
      readonly v: number
      readonly n: number
    }>`SELECT v, count(*) AS n FROM t GROUP BY v`
    expect(values).toEqual([{ v: values[0]?.v, n: Fixtures.rows }])
    return values[0]?.v
  }).pipe(Effect.scoped)

const newDatabase = Effect.gen(function* () {
  const path = Path.join(yield* Fixtures.temporaryDirectory, "central.db")
  Fixtures.newTable(path)
  Raw.exec(path, "PRAGMA journal_mode = WAL")
  return path
})

describe("a copy of a database in write-ahead-log mode", () => {
  it.scoped("has what is only in the log, and leaves both files as they are", () =>
    Effect.gen(function* () {
      const path = yield* newDatabase
      const open = Raw.open(path)
      open.exec("PRAGMA wal_autocheckpoint = 0; UPDATE t SET v = 7")
      const before = Fixtures.listing(Path.dirname(path))
      expect(yield* valueIn(path)).toBe(7)
      expect(Fixtures.listing(Path.dirname(path))).toEqual(before)
      open.close()
    }).pipe(Effect.provide(layerWith()))
  )

  it.scoped("needs no log", () =>
    Effect.gen(function* () {
      const path = yield* newDatabase
      expect(Fs.readdirSync(Path.dirname(path))).toEqual(["central.db"])
      expect(yield* valueIn(path)).toBe(0)
      expect(Fs.readdirSync(Path.dirname(path))).toEqual(["central.db"])
    }).pipe(Effect.provide(layerWith()))
  )

  it.live("is one state that existed, while another process writes and empties the log", () =>
    Effect.gen(function* () {
      const path = yield* newDatabase
      yield* Fixtures.startProcess(
        `const database = new Database(args[0])
         database.exec("PRAGMA wal_autocheckpoint = 20; PRAGMA synchronous = OFF")
         console.log("ready")
         let count = 0
         const turn = () => {
           database.exec("UPDATE t SET v = v + 1")
           if (++count % 5 === 0) database.pragma("wal_checkpoint(TRUNCATE)")
           setTimeout(turn, 2)
         }
         turn()`,
        path
      )
      const values: Array<number> = []
      for (let round = 0; round < 20; round++) values.push((yield* valueIn(path)) ?? -1)
      expect(values).toEqual([...values].sort((a, b) => a - b))
      expect(new Set(values).size).toBeGreaterThan(5)
    }).pipe(Effect.scoped, Effect.provide(layerWith()))
  )

  it.live("is made again when the log was begun anew meanwhile", () =>
    Effect.gen(function* () {
      const path = yield* newDatabase
      const open = Raw.open(path)
      open.exec("PRAGMA wal_autocheckpoint = 0; UPDATE t SET v = 1")
      let reads = 0
      const value = yield* valueIn(path).pipe(
        Effect.provide(
          layerWith((calls) => ({
            // First comes the header of the log, then the database, and then everything changes.
            read: (fd, buffer, position) => {
              if (++reads === 3) {
                open.exec(
                  "PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET v = 2; PRAGMA wal_checkpoint(TRUNCATE); UPDATE t SET pad = '' WHERE id = 1"
                )
              }
              return calls.read(fd, buffer, position)
            }
          }))
        )
      )
      expect(value).toBe(2)
      open.close()
    }).pipe(Effect.scoped)
  )

  it.scoped("is not made of a FIFO, and does not wait for one", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* Fixtures.temporaryDirectory, "central.db")
      yield* Fixtures.plantFifo(path)
      const error = yield* Fixtures.withoutHanging(Effect.flip(WalCopy.header(at(path), Fixtures.subject)))
      expect(error).toMatchObject({ _tag: "UnsafePath", reason: "not-a-regular-file" })
    }).pipe(Effect.provide(layerWith()))
  )
})

/** Another process cannot write. It is ready if that is so, and ends otherwise. */
const expectLocked = (path: string) =>
  Effect.scoped(
    Fixtures.startProcess(
      `const database = new Database(args[0], { timeout: 0 })
       try {
         database.exec("BEGIN IMMEDIATE")
       } catch (error) {
         if (error.code !== "SQLITE_BUSY") throw error
         console.log("ready")
         setInterval(() => {}, 1000)
       }`,
      path
    )
  )

const connect = (path: string) =>
  Effect.flatMap(SqliteDriver, (driver) => driver.connect({ filename: path, patience: "1 second" }))

describe("the descriptor of a database that was copied", () => {
  it.live("is closed when no connection of this process would lose its locks by that", () =>
    Effect.gen(function* () {
      const path = yield* newDatabase
      yield* WalCopy.header(at(path), Fixtures.subject)
      expect(Fixtures.openAt(path)).toEqual([])
      yield* valueIn(path)
      expect(Fixtures.openAt(path)).toEqual([])
    }).pipe(Effect.scoped, Effect.provide(layerWith()))
  )

  it.live("is closed though the copy could not be made", () =>
    Effect.gen(function* () {
      const path = yield* newDatabase
      Fs.writeFileSync(path, "nonsense".repeat(1000))
      yield* Effect.flip(WalCopy.header(at(path), Fixtures.subject))
      yield* Effect.flip(Effect.scoped(WalCopy.open(at(path), Fixtures.subject)))
      expect(Fixtures.openAt(path)).toEqual([])
    }).pipe(Effect.scoped, Effect.provide(layerWith()))
  )

  it.live("stays open while there is a connection", () =>
    Effect.gen(function* () {
      const path = yield* newDatabase
      const other = yield* newDatabase
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sql = yield* connect(path)
          yield* sql`UPDATE t SET v = 1`
          const before = Fixtures.openAt(path).length
          for (let round = 0; round < 3; round++) {
            yield* WalCopy.header(at(path), Fixtures.subject)
            expect(yield* valueIn(path)).toBe(1)
          }
          expect(Fixtures.openAt(path).length).toBe(before + 1)
        })
      )
      // It goes when anything is copied next.
      expect(Fixtures.openAt(path)).toEqual([path])
      yield* valueIn(other)
      expect(Fixtures.openAt(path)).toEqual([])
    }).pipe(Effect.scoped, Effect.provide(layerWith()))
  )

  // In the other mode the locks of a writer are on the file itself, where another process runs into them.
  it.live("does not cost a connection its locks, though another connection was closed", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* Fixtures.temporaryDirectory, "own.db")
      Fixtures.newTable(path)
      const sql = yield* connect(path)
      yield* Effect.gen(function* () {
        yield* sql`UPDATE t SET v = 1`
        yield* WalCopy.header(at(path), Fixtures.subject)
        yield* expectLocked(path)
        yield* Effect.scoped(connect(path))
        yield* WalCopy.header(at(path), Fixtures.subject)
        yield* expectLocked(path)
      }).pipe(sql.withTransaction)
    }).pipe(Effect.scoped, Effect.provide(layerWith()))
  )

  it.live("does not cost another library's connection its locks", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* Fixtures.temporaryDirectory, "central.db")
      Fixtures.newTable(path)
      const open = Raw.open(path)
      open.exec("BEGIN IMMEDIATE; UPDATE t SET v = 1")
      const before = Fixtures.openAt(path).length
      for (let round = 0; round < 3; round++) {
        yield* WalCopy.header({ ...at(path), isOurs: false }, Fixtures.subject)
        yield* expectLocked(path)
      }
      expect(Fixtures.openAt(path).length).toBe(before + 1)
      open.close()
    }).pipe(Effect.scoped, Effect.provide(layerWith()))
  )

  it.live("is not closed by one who used it meanwhile", () =>
    Effect.gen(function* () {
      const path = yield* newDatabase
      let isFirst = true
      const value = yield* valueIn(path).pipe(
        Effect.provide(
          layerWith((calls) => ({
            read: (fd, buffer, position) => {
              if (!isFirst) return calls.read(fd, buffer, position)
              isFirst = false
              return WalCopy.header(at(path), Fixtures.subject).pipe(
                Effect.provide(layerWith()),
                Effect.orDie,
                Effect.zipRight(calls.read(fd, buffer, position))
              )
            }
          }))
        )
      )
      expect({ value, isFirst, open: Fixtures.openAt(path) }).toEqual({ value: 0, isFirst: false, open: [] })
    }).pipe(Effect.scoped)
  )
})
