/**
 * How failures of the operating system and of SQLite become the errors that callers see.
 *
 * @since 0.1.0
 */
import { SqlError } from "@effect/sql/SqlError"
import type { Resource, StorageError, UnavailableReason } from "../protocol/AirlockError.js"
import { SessionDbCorrupt, SessionDbUnavailable, UnsafePath } from "../protocol/AirlockError.js"
import type { SystemCallError } from "./SystemCalls.js"

/**
 * What an error has to say besides its reason: the operation that the caller asked for, and the part of the
 * session that it is about.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subject {
  readonly operation: string
  readonly resource: Resource
}

const reasonOfSystemCode: Readonly<Record<string, UnavailableReason>> = {
  ENOENT: "missing",
  EACCES: "not-writable",
  EPERM: "not-writable",
  EROFS: "not-writable",
  ENOSPC: "disk-full",
  EDQUOT: "disk-full",
  EFBIG: "too-large",
  EBUSY: "busy"
}

/**
 * @since 0.1.0
 * @category conversions
 */
export const fromSystemCall =
  (subject: Subject, path: string) =>
  (error: SystemCallError): UnsafePath | SessionDbUnavailable => {
    const { operation } = subject
    if (error.code === "ELOOP") return new UnsafePath({ operation, path, reason: "symbolic-link" })
    if (error.code === "ENOTDIR") return new UnsafePath({ operation, path, reason: "not-a-directory" })
    if (error.code === "EISDIR" || error.code === "ENXIO") {
      return new UnsafePath({ operation, path, reason: "not-a-regular-file" })
    }
    const reason = reasonOfSystemCode[error.code] ?? "io"
    return new SessionDbUnavailable({ ...subject, reason, code: error.code })
  }

/** The code of an error that better-sqlite3 threw, such as `SQLITE_BUSY`, or undefined. */
const sqliteCode = (cause: unknown): string | undefined =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined

const reasonOfSqliteCode: ReadonlyArray<readonly [prefix: string, reason: UnavailableReason]> = [
  ["SQLITE_BUSY", "busy"],
  ["SQLITE_LOCKED", "busy"],
  ["SQLITE_FULL", "disk-full"],
  ["SQLITE_READONLY", "not-writable"],
  ["SQLITE_PERM", "not-writable"],
  ["SQLITE_CANTOPEN", "io"],
  ["SQLITE_TOOBIG", "too-large"],
  ["SQLITE_CONSTRAINT", "constraint"]
]

/**
 * Whether a statement failed because another connection holds a lock.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isBusy = (error: SqlError): boolean =>
  /^SQLITE_(BUSY|LOCKED)/.test(sqliteCode(error.cause) ?? "")

/**
 * @since 0.1.0
 * @category conversions
 */
export const fromSql =
  (subject: Subject) =>
  (error: SqlError): SessionDbUnavailable | SessionDbCorrupt => {
    const code = sqliteCode(error.cause)
    if (code === undefined) return new SessionDbUnavailable({ ...subject, reason: "io" })
    if (code === "SQLITE_NOTADB") return new SessionDbCorrupt({ ...subject, reason: "not-a-database" })
    if (code.startsWith("SQLITE_CORRUPT")) return new SessionDbCorrupt({ ...subject, reason: "damaged" })
    // A statement that the schema does not fit: a table or column is missing from a file that should have it.
    if (code === "SQLITE_ERROR") return new SessionDbCorrupt({ ...subject, reason: "damaged" })
    const known = reasonOfSqliteCode.find(([prefix]) => code.startsWith(prefix))
    return new SessionDbUnavailable({ ...subject, reason: known?.[1] ?? "io", code })
  }

/**
 * Whether an error is what a statement failed with.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isSqlError = <E>(error: E | SqlError): error is SqlError => error instanceof SqlError

/**
 * Whether a file or folder is not there.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isMissing = (error: StorageError): boolean =>
  error._tag === "SessionDbUnavailable" && error.reason === "missing"

/**
 * Whether an error is one of the library's own about its files.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isStorageError = (error: unknown): error is StorageError =>
  error instanceof UnsafePath || error instanceof SessionDbUnavailable || error instanceof SessionDbCorrupt
