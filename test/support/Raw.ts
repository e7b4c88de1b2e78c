/**
 * better-sqlite3 without the library, as the other side or a curious person would use it.
 */
import { createRequire } from "node:module"

interface RawDatabase {
  readonly exec: (sql: string) => void
  readonly close: () => void
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
