import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as DatabaseFile from "../../src/storage/DatabaseFile.js"
import * as Raw from "../support/Raw.js"
import { subject, temporaryDirectory } from "./Fixtures.js"

/** The bytes of a database after these statements. */
const bytesAfter = (sql: string) =>
  Effect.map(temporaryDirectory, (folder) => {
    const path = Path.join(folder, "test.db")
    Raw.exec(path, `CREATE TABLE t (x); ${sql}`)
    return Fs.readFileSync(path)
  })

const check = (bytes: Uint8Array) => DatabaseFile.check(bytes, 3, subject)

describe("DatabaseFile", () => {
  for (const version of [0, 2, 3]) {
    it.scoped(`accepts a database of schema ${version} where 3 is known`, () =>
      Effect.gen(function* () {
        const header = yield* Effect.flatMap(bytesAfter(`PRAGMA user_version = ${version}`), check)
        expect(header.userVersion).toBe(version)
      })
    )
  }

  for (const version of [4, -1]) {
    it.scoped(`refuses a database of schema ${version} where 3 is known`, () =>
      Effect.gen(function* () {
        const error = yield* bytesAfter(`PRAGMA user_version = ${version}`).pipe(
          Effect.flatMap(check),
          Effect.flip
        )
        expect(error).toMatchObject({ _tag: "SessionDbUnavailable", reason: "newer-schema", ...subject })
      })
    )
  }

  it.scoped("refuses a database in write-ahead-log mode", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.flatMap(bytesAfter("PRAGMA journal_mode = WAL"), check))
      expect(error).toMatchObject({ _tag: "SessionDbUnavailable", reason: "wal-mode", ...subject })
    })
  )

  it.effect("refuses what is not a database", () =>
    Effect.gen(function* () {
      for (const bytes of [new Uint8Array(), new Uint8Array(4096), Buffer.from("hello ".repeat(50))]) {
        const error = yield* Effect.flip(check(bytes))
        expect(error).toMatchObject({ _tag: "SessionDbCorrupt", reason: "not-a-database", ...subject })
      }
    })
  )

  it.scoped("knows what SQLite calls a journal", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryDirectory
      const database = Raw.open(Path.join(folder, "test.db"))
      database.exec("CREATE TABLE t (x); BEGIN; INSERT INTO t VALUES (1)")
      expect(Fs.readdirSync(folder)).toEqual(["test.db", DatabaseFile.journalName("test.db")])
      database.close()
    })
  )
})
