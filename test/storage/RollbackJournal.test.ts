import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as RollbackJournal from "../../src/storage/RollbackJournal.js"
import * as Raw from "../support/Raw.js"
import * as Fixtures from "./Fixtures.js"

/** A database whose writer was killed in the middle of a transaction, and the journal that it left. */
const hot = Effect.map(Fixtures.temporaryDirectory, (folder) => {
  const path = Path.join(folder, "test.db")
  Fixtures.newTable(path)
  Fixtures.killWriter(path)
  return { path, journal: Fs.readFileSync(`${path}-journal`) }
})

/**
 * Where each synced part of a journal begins, with its header, and where its records end, by SQLite's description
 * of the format.
 */
const segmentsOf = (journal: Buffer) => {
  const segments: Array<{ readonly begin: number; readonly end: number }> = []
  const isHeader = (at: number) => journal.subarray(at, at + 8).toString("hex") === "d9d505f920a163d7"
  for (let begin = 0; isHeader(begin);) {
    const end = begin + 512 + journal.readUInt32BE(begin + 8) * (4096 + 8)
    segments.push({ begin, end })
    begin = Math.ceil(end / 512) * 512
  }
  return segments
}

describe("RollbackJournal.nonce", () => {
  it.scoped("differs from one transaction to the next", () =>
    Effect.gen(function* () {
      const folder = yield* Fixtures.temporaryDirectory
      const database = Raw.open(Path.join(folder, "test.db"))
      database.exec("PRAGMA cache_size = 1; CREATE TABLE t (x)")
      const nonces = new Set<number | undefined>()
      for (let round = 0; round < 20; round++) {
        database.exec("BEGIN; INSERT INTO t VALUES (zeroblob(20000))")
        nonces.add(RollbackJournal.nonce(Fs.readFileSync(Path.join(folder, "test.db-journal"))))
        database.exec("COMMIT")
      }
      database.close()
      expect(nonces.has(undefined)).toBe(false)
      expect(nonces.size).toBe(20)
    })
  )

  it.scoped("is none while there is no header", () =>
    Effect.gen(function* () {
      const { journal } = yield* hot
      expect(RollbackJournal.nonce(journal)).toBe(journal.readUInt32BE(12))
      for (let length = 0; length < RollbackJournal.headerLength; length++) {
        expect(RollbackJournal.nonce(journal.subarray(0, length))).toBeUndefined()
      }
      expect(RollbackJournal.nonce(Buffer.alloc(1000))).toBeUndefined()
    })
  )

  it.scoped("is none of a journal that a transaction has ended with, in each of the modes that keep it", () =>
    Effect.gen(function* () {
      const folder = yield* Fixtures.temporaryDirectory
      for (const mode of ["PERSIST", "TRUNCATE"]) {
        const path = Path.join(folder, `${mode}.db`)
        Raw.exec(path, `PRAGMA journal_mode = ${mode}; CREATE TABLE t (x); INSERT INTO t VALUES (1)`)
        expect(RollbackJournal.nonce(Fs.readFileSync(`${path}-journal`))).toBeUndefined()
      }
    })
  )
})

describe("RollbackJournal.isWhole", () => {
  it.scoped("is true of what a writer left that was killed after it wrote to the database", () =>
    Effect.gen(function* () {
      const { journal } = yield* hot
      expect(segmentsOf(journal).length).toBeGreaterThan(5)
      expect(RollbackJournal.isWhole(journal)).toBe(true)
    })
  )

  it.scoped("is false of what a writer left that was killed before, and there is no nonce either", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* Fixtures.temporaryDirectory, "test.db")
      Fixtures.newTable(path)
      const database = Fs.readFileSync(path)
      Fixtures.runToDeath(
        `const database = new Database(args[0])
         database.exec("BEGIN IMMEDIATE; UPDATE t SET v = v + 1 WHERE id < 10")
         die()`,
        path
      )
      const journal = Fs.readFileSync(`${path}-journal`)
      expect(journal.length).toBeGreaterThan(4096)
      expect(RollbackJournal.nonce(journal)).toBeUndefined()
      expect(RollbackJournal.isWhole(journal)).toBe(false)
      expect(Fs.readFileSync(path).equals(database)).toBe(true)
    })
  )

  it.scoped("is false of one that ends anywhere but between a part and the next", () =>
    Effect.gen(function* () {
      const { journal } = yield* hot
      const segments = segmentsOf(journal)
      const last = segments.at(-1)?.end ?? 0
      // A header that is cut off counts no records, so a journal that ends in one ends with the part before it.
      const isBetween = (length: number) =>
        segments.some(
          ({ end }, index) =>
            length >= end && length < (segments[index + 1]?.begin ?? Infinity) + RollbackJournal.headerLength
        )
      const step = (length: number) => (length < 40_000 || length > last - 2_000 ? 1 : 97)
      for (let length = 0; length <= journal.length; length += step(length)) {
        if (RollbackJournal.isWhole(journal.subarray(0, length)) !== isBetween(length)) {
          expect({ length, isWhole: !isBetween(length) }).toEqual({ length, isWhole: isBetween(length) })
        }
      }
    })
  )

  it.scoped("is true of one whose records are not synced, or are not counted", () =>
    Effect.gen(function* () {
      const { journal } = yield* hot
      for (const count of [0, 0xffffffff]) {
        const bytes = Buffer.from(journal)
        bytes.writeUInt32BE(count, 8)
        expect(RollbackJournal.isWhole(bytes.subarray(0, 700))).toBe(true)
      }
    })
  )

  it.scoped("is false of sizes that no journal has", () =>
    Effect.gen(function* () {
      const { journal } = yield* hot
      for (const [offset, value] of [
        [20, 0],
        [20, 27],
        [24, 0]
      ] as const) {
        const bytes = Buffer.from(journal)
        bytes.writeUInt32BE(value, offset)
        expect(RollbackJournal.isWhole(bytes)).toBe(false)
      }
    })
  )

  it.scoped("answers about any bytes after a journal's first ones", () =>
    Effect.gen(function* () {
      const { journal } = yield* hot
      FastCheck.assert(
        FastCheck.property(FastCheck.uint8Array({ maxLength: 200 }), (tail) => {
          const bytes = Buffer.concat([journal.subarray(0, 8), tail])
          expect(typeof RollbackJournal.isWhole(bytes)).toBe("boolean")
          expect(typeof RollbackJournal.namesSuperJournal(bytes)).toBe("boolean")
        }),
        { numRuns: 500 }
      )
    })
  )
})

describe("RollbackJournal.namesSuperJournal", () => {
  it.scoped("is true of a record at the end, and SQLite itself would remove the file that it names", () =>
    Effect.gen(function* () {
      const { journal, path } = yield* hot
      expect(RollbackJournal.namesSuperJournal(journal)).toBe(false)
      // From 3.54 on SQLite removes only what has a super-journal's name and names the journal.
      const victim = Path.join(yield* Fixtures.temporaryDirectory, "victim-mj0123459AB")
      Fs.writeFileSync(victim, `${path}-journal\0`)
      const planted = Fixtures.withSuperJournal(journal, victim)
      expect(RollbackJournal.namesSuperJournal(planted)).toBe(true)
      Fs.writeFileSync(`${path}-journal`, planted)
      Raw.query(path, "SELECT count(*) FROM t")
      expect(Fs.existsSync(victim)).toBe(false)
    })
  )

  it.scopedLive(
    "is true of the journals of a writer that was killed as it committed two databases at once",
    () =>
      Effect.gen(function* () {
        const folder = yield* Fixtures.temporaryDirectory
        const [first, second] = [Path.join(folder, "first.db"), Path.join(folder, "second.db")]
        Fixtures.newTable(first)
        Fixtures.newTable(second)
        const isNamed = () =>
          [first, second].some((path) => {
            const journal = `${path}-journal`
            try {
              return RollbackJournal.namesSuperJournal(Fs.readFileSync(journal))
            } catch {
              return false // There is no transaction at this moment.
            }
          })
        const attempt = Effect.gen(function* () {
          const writer = yield* Fixtures.startProcess(
            `const database = new Database(args[0])
           database.exec("ATTACH '" + args[1] + "' AS second")
           console.log("ready")
           for (;;) database.exec("BEGIN; UPDATE main.t SET v = v + 1; UPDATE second.t SET v = v + 1; COMMIT")`,
            first,
            second
          )
          yield* Fixtures.eventually(isNamed)
          yield* Fixtures.killed(writer)
          return isNamed()
        }).pipe(Effect.scoped)
        // The moment is short, and the process may have gone past it.
        expect(yield* Effect.repeat(attempt, { until: (found) => found, times: 20 })).toBe(true)
      })
  )
})
