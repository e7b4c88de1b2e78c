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
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import { SessionDbCorrupt, SessionDbUnavailable, UnsafePath } from "../protocol/AirlockError.js"
import * as Closing from "./Closing.js"
import * as DatabaseFile from "./DatabaseFile.js"
import * as Durability from "./Durability.js"
import * as FilePermit from "./FilePermit.js"
import * as LentClient from "./LentClient.js"
import { whyUnsafe } from "./SafeDirectory.js"
import type { Database } from "./SqliteDriver.js"
import { SqliteDriver } from "./SqliteDriver.js"
import type { Subject } from "./StorageFailure.js"
import { fromSql, fromSystemCall, isMissing } from "./StorageFailure.js"
import type { Glance } from "./SystemCalls.js"
import { nothing, pause, SystemCalls } from "./SystemCalls.js"
import * as Tracing from "./Tracing.js"

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
  readonly durability: Durability.Durability
  /** What a new connection begins with: bringing a file of an older schema (`version`) up to date. */
  readonly prepare: (client: SqlClient, version: number) => Effect.Effect<void, SqlError>
}

/**
 * `bytes` is what the file would be if it were in rollback-journal mode and its log were in it, as the last transaction
 * left it. `version` is as in `PrivateDatabases`, and `openedAt` what it was when the handle was opened.
 *
 * @since 0.1.0
 * @category models
 */
export interface PrivateHandle {
  readonly client: SqlClient
  readonly openedAt: number
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
    /** The same, for as long as `use` takes. */
    readonly during: <A, E>(
      options: PrivateOptions,
      subject: Subject,
      use: (handle: PrivateHandle) => Effect.Effect<A, E>
    ) => Effect.Effect<A, E | StorageError>
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

/**
 * How long the log gets, in pages, before what it has is moved to the file. From then on it is written over in place, where
 * an fsync takes two thirds of what it takes where a file grows. Longer ones take longer to get there, shorter ones are moved
 * too often.
 */
const logPages = 64

interface Connected {
  readonly database: Database
  readonly scope: Scope.CloseableScope
}

/** `round`: of closing what nobody uses, in which it was used last. */
interface Kept extends Connected {
  readonly looks: Looks
  readonly round: number
}

interface Taken extends Connected {
  readonly looks: Looks
}

/** What there is of a database: which file, how long, and all that shows that it was written to. An empty log is none. */
interface Looks {
  readonly inode: number
  readonly size: number
  readonly log: string
  readonly all: string
}

const looksOf = (file: Glance, log: Glance): Looks => {
  const logged = log.size === 0 ? "" : `${log.ino}.${log.size}.${log.mtimeMs}`
  const all = `${file.ino}.${file.size}.${file.mtimeMs} ${logged}`
  return { inode: file.ino, size: file.size, log: logged, all }
}

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** What a database looked like, and the number that was given to that. */
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
  let round = 0

  const lookNow = (path: string): Looks | undefined => {
    const file = calls.glance(path)
    const log = calls.glance(DatabaseFile.logName(path))
    return file === undefined || log === undefined || file.size === 0 ? undefined : looksOf(file, log)
  }

  /** A glance, or if that tells nothing, the reason why. */
  const statsOf = (path: string, subject: Subject): Effect.Effect<Glance, StorageError> =>
    Effect.mapBoth(calls.lstat(path), {
      onFailure: fromSystemCall(subject, path),
      onSuccess: ({ ctimeMs, ino, mode, mtimeMs, size }) => ({
        ino: Number(ino),
        mode: Number(mode),
        size: Number(size),
        mtimeMs: Number(mtimeMs),
        ctimeMs: Number(ctimeMs)
      })
    })

  const lookAt = (path: string, subject: Subject): Effect.Effect<Looks, StorageError> =>
    Effect.suspend(() => {
      const looks = lookNow(path)
      if (looks !== undefined) return Effect.succeed(looks)
      return Effect.gen(function* () {
        const file = yield* statsOf(path, subject)
        // SQLite would make a database of an empty file, and a file of nothing.
        if (file.size === 0) return yield* new SessionDbCorrupt({ ...subject, reason: "not-a-database" })
        const noLog = Effect.catchIf(statsOf(DatabaseFile.logName(path), subject), isMissing, () =>
          Effect.succeed(nothing)
        )
        return looksOf(file, yield* noLog)
      })
    })

  const versionAs = (path: string, { all }: Looks): number => {
    const before = seen.get(path)
    if (before?.looks === all) return before.version
    seen.set(path, { looks: all, version: ++versions })
    return versions
  }

  const versionOf = (path: string, subject: Subject) =>
    Effect.map(lookAt(path, subject), (looks) => versionAs(path, looks))

  /** Closing writes the log into the file, which then looks different and is not. */
  const close = (path: string, { scope }: Connected) =>
    Effect.gen(function* () {
      const before = lookNow(path)
      yield* Scope.close(scope, Exit.void)
      const after = lookNow(path)
      const known = seen.get(path)
      if (after !== undefined && known !== undefined && known.looks === before?.all) {
        seen.set(path, { looks: after.all, version: known.version })
      }
    }).pipe(Effect.uninterruptible)

  /** Whether it is a database that this build can write, and brings it up to date. */
  const check = Effect.fnUntraced(function* (
    { path, prepare, schemaVersion }: PrivateOptions,
    database: Database,
    subject: Subject
  ) {
    const asFailure = Effect.mapError(fromSql(subject))
    const [about] = yield* asFailure(
      database<{ readonly version: number; readonly bytes: number }>`
        SELECT user_version AS version, page_count * page_size AS bytes
        FROM pragma_user_version, pragma_page_count, pragma_page_size`
    )
    const { bytes = 0, version = 0 } = about ?? {}
    const { log, size } = yield* lookAt(path, subject)
    // SQLite takes what lacks of the last page for zeros. What the log has may not be in the file yet.
    if (size < bytes && log === "") return yield* new SessionDbCorrupt({ ...subject, reason: "damaged" })
    if (version > schemaVersion) {
      return yield* new SessionDbUnavailable({ ...subject, reason: "newer-schema" })
    }
    yield* asFailure(prepare(database, version))
  })

  const connect = Effect.fnUntraced(function* (options: PrivateOptions, subject: Subject) {
    const { durability, path, patience } = options
    const asFailure = Effect.mapError(fromSql(subject))
    const reason = whyUnsafe(yield* Effect.mapError(calls.lstat(path), fromSystemCall(subject, path)))
    if (reason !== undefined) {
      return yield* new UnsafePath({ operation: subject.operation, path, reason })
    }
    const database = yield* asFailure(driver.connect({ filename: path, patience }))
    yield* check(options, database, subject).pipe(
      // SQLite makes files beside it, and does not say why it could not.
      Effect.tapError(() =>
        Effect.mapError(calls.checkWritable(Path.dirname(path)), fromSystemCall(subject, path))
      )
    )
    const [mode] = yield* asFailure(database<{ readonly journal_mode: string }>`PRAGMA journal_mode = WAL`)
    if (mode?.journal_mode !== "wal") return yield* new SessionDbUnavailable({ ...subject, reason: "busy" })
    yield* asFailure(database.unsafe(`PRAGMA synchronous = ${Durability.synchronous(durability)}`))
    yield* asFailure(database.unsafe(`PRAGMA wal_autocheckpoint = ${logPages}`))
    return database
  })

  const closeKept = (path: string) =>
    Effect.suspend(() => {
      const known = kept.get(path)
      return known !== undefined && kept.delete(path) ? close(path, known) : Effect.void
    })

  /** A kept connection to a file at which nobody else has been meanwhile. */
  const takeUnchanged = (path: string): Taken | undefined => {
    const known = kept.get(path)
    if (known === undefined || known.looks.all !== lookNow(path)?.all) return undefined
    kept.delete(path)
    return known
  }

  /**
   * A connection that may be used: a kept one, if it is on the file that the path has now. It can be interrupted where
   * `restore` says so, and never between having a connection and answering it.
   */
  const takeChanged = Effect.fnUntraced(function* (
    options: PrivateOptions,
    subject: Subject,
    restore: Restore
  ) {
    const { path } = options
    // What is written to a file without a name is lost.
    const looks = yield* Effect.tapError(lookAt(path, subject), () => closeKept(path))
    const known = kept.get(path)
    // As long as it is open, no other file can have its number.
    if (known?.looks.inode === looks.inode) {
      yield* restore(check(options, known.database, subject))
      kept.delete(path)
      const changed: Taken = { ...known, looks }
      return changed
    }
    yield* closeKept(path)
    const scope = yield* Scope.make()
    const database = yield* restore(Scope.extend(connect(options, subject), scope)).pipe(
      Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
    )
    // Connecting may have changed how it looks.
    const taken: Taken = { database, scope, looks: lookNow(path) ?? looks }
    return taken
  })

  /** Keeps a connection, and answers that it did; or not, if it cannot be told what it is to. */
  const keep = (path: string, { database, scope }: Connected): boolean => {
    const looks = lookNow(path)
    if (looks === undefined) return false
    kept.set(path, { database, scope, looks, round })
    someKept.unsafeOpen()
    return true
  }

  const closeTooMany = Effect.suspend(() => {
    const [longestUnused] = kept.keys()
    return kept.size > mostKept && longestUnused !== undefined ? closeKept(longestUnused) : Effect.void
  })

  /** A handle, and how it ends. */
  const lend = (path: string, subject: Subject, taken: Taken, leave: () => void) => {
    const lent = LentClient.make(taken.database)
    // A log that is written over in place may look as it did, within a tick of the clock.
    const noteChanges = () => void (lent.takeChanges() && seen.delete(path))
    const handle: PrivateHandle = {
      client: lent.client,
      openedAt: versionAs(path, taken.looks),
      bytes: Effect.map(Effect.mapError(taken.database.bytes, fromSql(subject)), DatabaseFile.inRollbackMode),
      version: Effect.suspend(() => {
        noteChanges()
        return versionOf(path, subject)
      })
    }
    const end = Effect.suspend(() => {
      lent.end()
      noteChanges()
      if (!lent.isAsBefore() || !keep(path, taken)) {
        return Effect.ensuring(close(path, taken), Effect.sync(leave))
      }
      leave()
      return closeTooMany
    })
    return { handle, end }
  }

  /** Belongs where nothing can be interrupted but what `restore` says. */
  const borrow = (options: PrivateOptions, subject: Subject, restore: Restore) =>
    Effect.flatMap(FilePermit.take(options.path, subject, restore), (leave) => {
      const { path } = options
      const unchanged = takeUnchanged(path)
      if (unchanged !== undefined) return Effect.succeed(lend(path, subject, unchanged, leave))
      return Tracing.without(takeChanged(options, subject, restore)).pipe(
        // What a failed attempt holds is let go at once, so that it can be tried again in the same scope.
        Effect.onError(() => Effect.sync(leave)),
        Effect.map((taken) => lend(path, subject, taken, leave))
      )
    })

  const open = (options: PrivateOptions, subject: Subject) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(borrow(options, subject, restore), ({ end, handle }) =>
        Effect.as(
          Closing.add(() => end),
          handle
        )
      )
    )

  const during = <A, E>(
    options: PrivateOptions,
    subject: Subject,
    use: (handle: PrivateHandle) => Effect.Effect<A, E>
  ) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(borrow(options, subject, restore), ({ end, handle }) =>
        Effect.ensuring(restore(use(handle)), end)
      )
    )

  const closeUnused = Effect.gen(function* () {
    for (const [path, one] of kept) {
      if (one.round === round) continue
      yield* closeKept(path)
      yield* pause
    }
    round++
    if (kept.size === 0) yield* someKept.close
  })
  yield* Effect.forkScoped(
    Effect.forever(Effect.zipRight(someKept.await, Effect.delay(closeUnused, idleTime)))
  )
  yield* Effect.addFinalizer(() => Effect.forEach(Array.from(kept.keys()), closeKept, { discard: true }))

  return PrivateDatabases.of({
    open,
    during,
    version: (path, subject) => FilePermit.during(path, subject, versionOf(path, subject))
  })
})
