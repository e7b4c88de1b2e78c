import { SqlError } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { InvalidMessage } from "../../src/protocol/AirlockError.js"
import * as StorageFailure from "../../src/storage/StorageFailure.js"
import { SystemCallError } from "../../src/storage/SystemCalls.js"
import { subject } from "./Fixtures.js"

const ofSystem = (code: string) =>
  StorageFailure.fromSystemCall(subject, "/path")(new SystemCallError({ call: "open", code }))

const sqlError = (code: string | undefined) =>
  new SqlError.SqlError({
    cause: Object.assign(new Error("the driver's message, with a body"), code === undefined ? {} : { code }),
    message: "failed"
  })

const ofSql = (code: string | undefined) => StorageFailure.fromSql(subject)(sqlError(code))

describe("a failure of the operating system", () => {
  for (const [code, reason, isRetryable] of [
    ["ENOENT", "missing", false],
    ["EACCES", "not-writable", false],
    ["EPERM", "not-writable", false],
    ["EROFS", "not-writable", false],
    ["ENOSPC", "disk-full", true],
    ["EDQUOT", "disk-full", true],
    ["EFBIG", "too-large", false],
    ["EBUSY", "busy", true],
    ["EIO", "io", true],
    ["EMFILE", "io", true],
    ["UNKNOWN", "io", true]
  ] as const) {
    it(`${code} is "${reason}"`, () => {
      const error = ofSystem(code)
      expect(error).toMatchObject({ _tag: "SessionDbUnavailable", ...subject, reason, code, isRetryable })
    })
  }

  for (const [code, reason] of [
    ["ELOOP", "symbolic-link"],
    ["ENOTDIR", "not-a-directory"],
    ["EISDIR", "not-a-regular-file"],
    ["ENXIO", "not-a-regular-file"]
  ] as const) {
    it(`${code} is an unsafe path, "${reason}"`, () => {
      expect(ofSystem(code)).toMatchObject({
        _tag: "UnsafePath",
        operation: subject.operation,
        path: "/path",
        reason
      })
    })
  }
})

describe("a failure of SQLite", () => {
  for (const [code, reason] of [
    ["SQLITE_BUSY", "busy"],
    ["SQLITE_BUSY_SNAPSHOT", "busy"],
    ["SQLITE_LOCKED", "busy"],
    ["SQLITE_FULL", "disk-full"],
    ["SQLITE_READONLY", "not-writable"],
    ["SQLITE_READONLY_ROLLBACK", "not-writable"],
    ["SQLITE_READONLY_DBMOVED", "not-writable"],
    ["SQLITE_PERM", "not-writable"],
    ["SQLITE_CANTOPEN", "io"],
    ["SQLITE_CANTOPEN_ISDIR", "io"],
    ["SQLITE_IOERR_READ", "io"],
    ["SQLITE_NOMEM", "io"],
    ["SQLITE_TOOBIG", "too-large"],
    ["SQLITE_CONSTRAINT_UNIQUE", "constraint"],
    ["SQLITE_CONSTRAINT_TRIGGER", "constraint"]
  ] as const) {
    it(`${code} is "${reason}"`, () => {
      expect(ofSql(code)).toMatchObject({ _tag: "SessionDbUnavailable", ...subject, reason, code })
    })
  }

  for (const [code, reason] of [
    ["SQLITE_NOTADB", "not-a-database"],
    ["SQLITE_CORRUPT", "damaged"],
    ["SQLITE_CORRUPT_INDEX", "damaged"],
    ["SQLITE_ERROR", "damaged"]
  ] as const) {
    it(`${code} is a corrupt database, "${reason}"`, () => {
      expect(ofSql(code)).toMatchObject({ _tag: "SessionDbCorrupt", ...subject, reason })
    })
  }

  it('without a code is "io"', () => {
    expect(ofSql(undefined)).toMatchObject({ _tag: "SessionDbUnavailable", ...subject, reason: "io" })
  })

  it("keeps the driver's words to itself", () => {
    for (const code of ["SQLITE_ERROR", "SQLITE_CONSTRAINT", undefined]) {
      expect(JSON.stringify(ofSql(code)) + ofSql(code).message).not.toContain("body")
    }
  })

  it("is busy if another connection has a lock, and then only", () => {
    for (const code of [
      "SQLITE_BUSY",
      "SQLITE_BUSY_RECOVERY",
      "SQLITE_LOCKED",
      "SQLITE_LOCKED_SHAREDCACHE"
    ]) {
      expect(StorageFailure.isBusy(sqlError(code))).toBe(true)
    }
    for (const code of ["SQLITE_ERROR", "SQLITE_IOERR", "EBUSY", undefined]) {
      expect(StorageFailure.isBusy(sqlError(code))).toBe(false)
    }
  })
})

describe("isStorageError", () => {
  it("is true of the three errors of this folder, and of nothing else", () => {
    for (const error of [ofSystem("ELOOP"), ofSystem("EIO"), ofSql("SQLITE_CORRUPT")]) {
      expect(StorageFailure.isStorageError(error)).toBe(true)
    }
    const invalid = new InvalidMessage({ operation: "test", field: "id", reason: "missing" })
    for (const other of [invalid, sqlError("SQLITE_BUSY"), new Error("x"), "x", undefined, null]) {
      expect(StorageFailure.isStorageError(other)).toBe(false)
    }
  })
})
