/**
 * Databases that only processes of this user on this machine can reach: no mount, and nobody hostile.
 *
 * So they may do what a session's own databases must not. They are in write-ahead-log mode, where a commit is one append
 * and one fsync (https://www.sqlite.org/wal.html), and the connection stays open for a while after its use, because
 * the next use is likely to come soon. Who opens one gets a handle that ends with its scope all the same.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { StorageError } from "../protocol/AirlockError.js"
import { SessionDbCorrupt, SessionDbUnavailable, UnsafePath } from "../protocol/AirlockError.js"
import * as DatabaseFile from "./DatabaseFile.js"
import * as FilePermit from "./FilePermit.js"
import * as LentClient from "./LentClient.js"
import type { Database } from "./SqliteDriver.js"
import { SqliteDriver } from "./SqliteDriver.js"
import type { Subject } from "./StorageFailure.js"
import { fromSql, fromSystemCall } from "./StorageFailure.js"
import { pause, SystemCalls } from "./SystemCalls.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface PrivateOptions {
  /** The absolute path of the file. */
  readonly path: string
  /** The newest schema that the caller knows; see `Tables.inboundVersion`. */
  readonly schemaVersion: number
  /** How long to go on trying while another process holds a lock. */
  readonly patience: Duration.DurationInput
  /** What a new connection begins with: bringing a file of an older schema (`version`) up to date. */
  readonly prepare: (client: SqlClient, version: number) => Effect.Effect<void, SqlError>
}

/**
 * `bytes` is what the file would be if it were in rollback-journal mode and its log were in it, as the last transaction
 * left it. `version` is as in `PrivateDatabases`.
 *
 * @since 0.1.0
 * @category models
 */
export interface PrivateHandle {
  readonly client: SqlClient
  readonly bytes: Effect.Effect<Uint8Array, StorageError>
  readonly version: Effect.Effect<number, StorageError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class PrivateDatabases extends Context.Tag("effect-airlock/PrivateDatabases")<
  PrivateDatabases,
  {
    /**
     * Opens an existing file, and has it alone in this process until the scope closes. A missing one fails with the
     * reason `missing`. Transactions of other processes are waited for as long as `patience` says.
     */
    readonly open: (
      options: PrivateOptions,
      subject: Subject
    ) => Effect.Effect<PrivateHandle, StorageError, Scope.Scope>
    /**
     * A number that is another one after each commit, whoever made it. It opens nothing, but waits for who has the file
     * in this process. Numbers of two processes have nothing to do with each other.
     */
    readonly version: (path: string, subject: Subject) => Effect.Effect<number, StorageError>
  }
>() {
  /**
   * Closes all connections with the layer.
   *
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<PrivateDatabases, never, SystemCalls | SqliteDriver> = Layer.scoped(
    PrivateDatabases,
    Effect.suspend(() => make)
  )
}

/** A connection that nobody uses is closed after this time, at the latest after twice. */
const idleTime = Duration.seconds(30)

/** How many connections stay open that nobody uses. Each has three descriptors, and a cache of its pages. */
const mostKept = 128

interface Kept {
  readonly database: Database
  readonly scope: Scope.CloseableScope
  /** Which file it is. The path may have another one by now. */
  readonly inode: bigint
  usedAt: number
}

/** What the files of a database looked like, and the number that was given to that. */
interface Seen {
  readonly looks: string
  readonly version: number
}

const make = Effect.gen(function* () {
  const calls = yield* SystemCalls
  const driver = yield* SqliteDriver
  /** The connections that nobody uses, the longest unused first. */
  const kept = new Map<string, Kept>()
  const seen = new Map<string, Seen>()
  const someKept = yield* Effect.makeLatch()
  let versions = 0

  /** An empty log is as good as none. */
  const looksOf = (path: string, subject: Subject) =>
    Effect.gen(function* () {
      const file = yield* calls.lstat(path)
      const log = yield* calls.lstat(DatabaseFile.logName(path)).pipe(
        Effect.map(({ ino, mtimeNs, size }) => (size === 0n ? "" : `${ino}.${size}.${mtimeNs}`)),
        Effect.catchIf(
          ({ code }) => code === "ENOENT",
          () => Effect.succeed("")
        )
      )
      return `${file.ino}.${file.size}.${file.mtimeNs} ${log}`
    }).pipe(Effect.mapError(fromSystemCall(subject, path)))

  const versionOf = Effect.fnUntraced(function* (path: string, subject: Subject) {
    const looks = yield* looksOf(path, subject)
    const before = seen.get(path)
    if (before?.looks === looks) return before.version
    seen.set(path, { looks, version: ++versions })
    return versions
  })

  /** Closing writes the log into the file, which then looks different and is not. */
  const close = (path: string, { scope }: Kept) =>
    Effect.gen(function* () {
      const subject: Subject = { operation: "PrivateDatabases.close", resource: "inbound" }
      const before = yield* Effect.option(looksOf(path, subject))
      yield* Scope.close(scope, Exit.void)
      const known = seen.get(path)
      if (before._tag === "None" || known?.looks !== before.value) return
      const after = yield* Effect.option(looksOf(path, subject))
      if (after._tag === "Some") seen.set(path, { looks: after.value, version: known.version })
    }).pipe(Effect.uninterruptible)

  const connect = Effect.fnUntraced(function* (
    { path, patience, prepare, schemaVersion }: PrivateOptions,
    size: bigint,
    subject: Subject
  ) {
    const asFailure = Effect.mapError(fromSql(subject))
    const database = yield* asFailure(driver.connect({ filename: path, patience }))
    const [mode] = yield* asFailure(database<{ readonly journal_mode: string }>`PRAGMA journal_mode = WAL`)
    if (mode?.journal_mode !== "wal") return yield* new SessionDbUnavailable({ ...subject, reason: "busy" })
    yield* asFailure(database`PRAGMA synchronous = FULL`)
    const [about] = yield* asFailure(
      database<{ readonly version: number; readonly bytes: number }>`
        SELECT user_version AS version, page_count * page_size AS bytes
        FROM pragma_user_version, pragma_page_count, pragma_page_size`
    )
    const { bytes = 0, version = 0 } = about ?? {}
    // SQLite takes what lacks of the last page for zeros. What the log has may not be in the file yet.
    if (size < bytes && !(yield* hasLog(path, subject))) {
      return yield* new SessionDbCorrupt({ ...subject, reason: "damaged" })
    }
    if (version > schemaVersion) {
      return yield* new SessionDbUnavailable({ ...subject, reason: "newer-schema" })
    }
    yield* asFailure(prepare(database, version))
    return database
  })

  const hasLog = (path: string, subject: Subject) =>
    Effect.map(looksOf(path, subject), (looks) => !looks.endsWith(" "))

  const closeKept = (path: string) =>
    Effect.suspend(() => {
      const known = kept.get(path)
      return known !== undefined && kept.delete(path) ? close(path, known) : Effect.void
    })

  /** A connection that may be used: a kept one, if it is on the file that the path has now. */
  const take = Effect.fnUntraced(function* (options: PrivateOptions, subject: Subject) {
    const { path } = options
    const stats = yield* calls.lstat(path).pipe(
      Effect.mapError(fromSystemCall(subject, path)),
      // What is written to a file without a name is lost.
      Effect.tapError(() => closeKept(path))
    )
    if (!stats.isFile()) {
      return yield* new UnsafePath({ operation: subject.operation, path, reason: "not-a-regular-file" })
    }
    const known = kept.get(path)
    // As long as it is open, no other file can have its number.
    if (known?.inode === stats.ino) {
      kept.delete(path)
      return known
    }
    yield* closeKept(path)
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const database = yield* restore(Scope.extend(connect(options, stats.size, subject), scope)).pipe(
          Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
        )
        const taken: Kept = { database, scope, inode: stats.ino, usedAt: 0 }
        return taken
      })
    )
  })

  const giveBack = Effect.fnUntraced(function* (path: string, taken: Kept) {
    taken.usedAt = yield* Clock.currentTimeMillis
    kept.set(path, taken)
    yield* someKept.open
    const [longestUnused] = kept.keys()
    if (kept.size > mostKept && longestUnused !== undefined) yield* closeKept(longestUnused)
  })

  const open = (options: PrivateOptions, subject: Subject) =>
    Effect.zipRight(
      FilePermit.hold(options.path, subject),
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const taken = yield* restore(take(options, subject))
          const lent = LentClient.make(taken.database)
          yield* Effect.addFinalizer(() => {
            lent.end()
            return lent.isAsBefore() ? giveBack(options.path, taken) : close(options.path, taken)
          })
          const handle: PrivateHandle = {
            client: lent.client,
            bytes: Effect.map(
              Effect.mapError(taken.database.bytes, fromSql(subject)),
              DatabaseFile.inRollbackMode
            ),
            version: versionOf(options.path, subject)
          }
          return handle
        })
      )
    )

  const closeUnused = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    for (const [path, { usedAt }] of kept) {
      if (Math.abs(now - usedAt) < Duration.toMillis(idleTime)) continue
      yield* closeKept(path)
      yield* pause
    }
    if (kept.size === 0) yield* someKept.close
  })
  yield* Effect.forkScoped(
    Effect.forever(Effect.zipRight(someKept.await, Effect.delay(closeUnused, idleTime)))
  )
  yield* Effect.addFinalizer(() => Effect.forEach(Array.from(kept.keys()), closeKept, { discard: true }))

  return PrivateDatabases.of({
    open: (options, subject) => Effect.withTracerEnabled(open(options, subject), false),
    version: (path, subject) =>
      FilePermit.hold(path, subject).pipe(
        Effect.zipRight(versionOf(path, subject)),
        Effect.scoped,
        Effect.withTracerEnabled(false)
      )
  })
})
