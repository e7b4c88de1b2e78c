/**
 * better-sqlite3 alone, as the baseline uses it, and what has to be in a file before something is measured.
 */
import { createRequire } from "node:module"

type Row = Record<string, unknown>

export interface Statement<A = Row> {
  readonly all: (...parameters: ReadonlyArray<unknown>) => ReadonlyArray<A>
  readonly get: (...parameters: ReadonlyArray<unknown>) => A | undefined
  /** The first column alone. */
  readonly pluck: () => Statement<unknown>
  readonly run: (...parameters: ReadonlyArray<unknown>) => unknown
}

export interface Database {
  readonly pragma: (source: string, options?: { readonly simple: boolean }) => unknown
  readonly exec: (sql: string) => void
  readonly prepare: (sql: string) => Statement
  readonly close: () => void
}

// The driver's own copy: the project depends on it only through the driver.
const fromDriver = createRequire(createRequire(import.meta.url).resolve("@effect/sql-sqlite-node"))

export const Sqlite = fromDriver("better-sqlite3") as new (
  path: string,
  options?: { readonly readonly?: boolean }
) => Database

export const version = (fromDriver("better-sqlite3/package.json") as { readonly version: string }).version

/** Opens a file, uses it, and closes it. */
export const using = <A>(path: string, use: (database: Database) => A): A => {
  const database = new Sqlite(path)
  try {
    return use(database)
  } finally {
    database.close()
  }
}
