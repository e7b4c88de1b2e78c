import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck, Option } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as DatabaseHeader from "../../src/storage/DatabaseHeader.js"
import * as Raw from "../support/Raw.js"
import { temporaryDirectory } from "./Fixtures.js"

const headerOf = (path: string) => Option.getOrThrow(DatabaseHeader.parse(Fs.readFileSync(path)))

const numberOf = (path: string, pragma: string) => Raw.query(path, `PRAGMA ${pragma}`)[0]?.[pragma]

describe("DatabaseHeader", () => {
  for (const pageSize of [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]) {
    it.scoped(`says what SQLite says of a file with pages of ${pageSize} bytes`, () =>
      Effect.gen(function* () {
        const path = Path.join(yield* temporaryDirectory, "test.db")
        Raw.exec(
          path,
          `PRAGMA page_size = ${pageSize}; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(5000))`
        )
        Raw.exec(path, "PRAGMA user_version = 7")
        const header = headerOf(path)
        expect(header).toEqual({
          pageSize: numberOf(path, "page_size"),
          pages: numberOf(path, "page_count"),
          changeCounter: header.changeCounter,
          userVersion: 7,
          isWal: false
        })
        expect(header.pageSize).toBe(pageSize)
        expect(header.pages * header.pageSize).toBe(Fs.statSync(path).size)
      })
    )
  }

  it.scoped("has a change counter that grows with each transaction that writes, and with no other", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryDirectory, "test.db")
      Raw.exec(path, "CREATE TABLE t (x)")
      const { changeCounter } = headerOf(path)
      Raw.exec(path, "BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); COMMIT")
      Raw.exec(path, "INSERT INTO t VALUES (3)")
      expect(headerOf(path).changeCounter).toBe(changeCounter + 2)
      Raw.exec(path, "BEGIN; INSERT INTO t VALUES (4); ROLLBACK; SELECT * FROM t")
      expect(headerOf(path).changeCounter).toBe(changeCounter + 2)
    })
  )

  it.scoped("tells a write-ahead-log database, also when it is closed", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryDirectory, "test.db")
      Raw.exec(path, "PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
      expect(headerOf(path).isWal).toBe(true)
      Raw.exec(path, "PRAGMA journal_mode = DELETE")
      expect(headerOf(path).isWal).toBe(false)
      for (const byte of [18, 19]) {
        const bytes = Fs.readFileSync(path)
        bytes[byte] = 2
        expect(Option.map(DatabaseHeader.parse(bytes), ({ isWal }) => isWal)).toEqual(Option.some(true))
      }
    })
  )

  it.scoped("reads the bytes that it is given, wherever these are in memory", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryDirectory, "test.db")
      Raw.exec(path, "CREATE TABLE t (x); PRAGMA user_version = 3")
      const shifted = Buffer.concat([Buffer.alloc(13, 0xff), Fs.readFileSync(path)]).subarray(13)
      expect(DatabaseHeader.parse(shifted)).toEqual(DatabaseHeader.parse(Fs.readFileSync(path)))
    })
  )

  it.scoped("is none of fewer than a hundred bytes, or with another byte in SQLite's signature", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryDirectory, "test.db")
      Raw.exec(path, "CREATE TABLE t (x)")
      const bytes = Fs.readFileSync(path)
      expect(Option.isSome(DatabaseHeader.parse(bytes.subarray(0, 100)))).toBe(true)
      for (let length = 0; length < 100; length++) {
        expect(DatabaseHeader.parse(bytes.subarray(0, length))).toEqual(Option.none())
      }
      for (let index = 0; index < 16; index++) {
        const other = Uint8Array.from(bytes)
        other[index] = (other[index] ?? 0) ^ 1
        expect(DatabaseHeader.parse(other)).toEqual(Option.none())
      }
    })
  )

  it.prop("is none of arbitrary bytes", [FastCheck.uint8Array({ maxLength: 300 })], ([bytes]) => {
    expect(DatabaseHeader.parse(bytes)).toEqual(Option.none())
  })
})
