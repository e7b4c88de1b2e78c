/**
 * Reading and writing with SQLite alone: what programs do that do not use this library.
 */
import { Effect } from "effect"
import * as Module from "node:module"
import type { Seen } from "./Load.js"
import * as Load from "./Load.js"

interface Database {
  readonly pragma: (source: string) => unknown
  readonly exec: (sql: string) => void
  readonly close: () => void
  readonly prepare: (sql: string) => { readonly get: () => unknown }
}

// The driver's own copy: the project depends on it only through the driver.
const fromDriver = Module.createRequire(
  Module.createRequire(import.meta.url).resolve("@effect/sql-sqlite-node")
)
const Sqlite = fromDriver("better-sqlite3") as new (path: string, options?: object) => Database

const opened = (path: string, options: object) =>
  Effect.acquireRelease(
    Effect.try(() => {
      const database = new Sqlite(path, options)
      database.pragma("busy_timeout = 5000")
      return database
    }).pipe(Effect.mapError(({ error }) => error)),
    (database) => Effect.sync(() => database.close())
  )

const attempt = <A>(run: () => A) => Effect.mapError(Effect.try(run), ({ error }) => error)

const look = (database: Database) =>
  attempt(() => {
    database.pragma("mmap_size = 0")
    return database.prepare(Load.look).get() as Seen
  })

/** Opens the file, reads it, and closes it. */
export const read = (path: string): Effect.Effect<Seen, unknown> =>
  Effect.scoped(Effect.flatMap(opened(path, { readonly: true }), look))

/** Opens the file now, and reads through the same handle from then on. */
export const held = (path: string) => Effect.map(opened(path, { readonly: true }), look)

const advance = (database: Database, at: number) =>
  attempt(() => database.exec(["BEGIN IMMEDIATE", ...Load.advance(at), "COMMIT"].join(";")))

/** Makes the file, and writes it in place from then on, opening and closing it each time. */
export const inPlace = (path: string) =>
  Effect.gen(function* () {
    yield* opened(path, {}).pipe(
      Effect.flatMap((database) => attempt(() => database.exec(Load.create(Date.now()).join(";")))),
      Effect.scoped
    )
    return (at: number) =>
      opened(path, {}).pipe(
        Effect.flatMap((database) => advance(database, at)),
        Effect.scoped
      )
  })

/** Makes the file in write-ahead-log mode, and writes it through one handle from then on. */
export const withLog = (path: string) =>
  Effect.gen(function* () {
    const database = yield* opened(path, {})
    yield* attempt(() => {
      database.pragma("journal_mode = WAL")
      database.exec(Load.create(Date.now()).join(";"))
    })
    return (at: number) => advance(database, at)
  })
