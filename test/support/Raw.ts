/**
 * better-sqlite3 without the library, as the other side or a curious person would use it.
 */
import * as Fs from "node:fs"
import { createRequire } from "node:module"

interface RawDatabase {
  readonly exec: (sql: string) => void
  readonly close: () => void
  readonly serialize: () => Buffer
  /** Lets the schema be changed as if it were a table. */
  readonly unsafeMode: () => unknown
  readonly prepare: (sql: string) => {
    readonly all: (...parameters: ReadonlyArray<unknown>) => ReadonlyArray<Record<string, unknown>>
    readonly run: (...parameters: ReadonlyArray<unknown>) => unknown
  }
}

// The driver's own copy: the project depends on it only through the driver.
const fromDriver = createRequire(createRequire(import.meta.url).resolve("@effect/sql-sqlite-node"))
const Database = fromDriver("better-sqlite3") as new (path: string) => RawDatabase

/** Runs statements on a file, which is created if it is missing. */
export const exec = (path: string, sql: string): void => {
  const database = new Database(path)
  try {
    database.exec(sql)
  } finally {
    database.close()
  }
}

/** The rows of a query. */
export const query = (
  path: string,
  sql: string,
  ...parameters: ReadonlyArray<unknown>
): ReadonlyArray<Record<string, unknown>> => {
  const database = new Database(path)
  try {
    return database.prepare(sql).all(...parameters)
  } finally {
    database.close()
  }
}

/** A connection that the test closes itself. */
export const open = (path: string): RawDatabase => new Database(path)

/** The file as it is with its log in it. */
export const bytes = (path: string): Buffer => {
  const database = new Database(path)
  try {
    return database.serialize()
  } finally {
    database.close()
  }
}

/** How many commits the write-ahead log of a database has; see https://www.sqlite.org/fileformat.html, section 4. */
export const commitsInLog = (path: string): number => {
  const log = Fs.existsSync(`${path}-wal`) ? Fs.readFileSync(`${path}-wal`) : Buffer.alloc(0)
  if (log.length === 0) return 0
  const [header, frameHeader] = [32, 24]
  const salts = log.subarray(16, 24)
  let commits = 0
  for (let at = header; at < log.length; at += frameHeader + log.readUInt32BE(8)) {
    const isOfThisLog = log.subarray(at + 8, at + 16).equals(salts)
    if (isOfThisLog && log.readUInt32BE(at + 4) > 0) commits++
  }
  return commits
}
