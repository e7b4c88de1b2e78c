/**
 * Reading a database that is in write-ahead-log mode, as the central one and the host's inbound.db are, without opening it
 * with SQLite: that would make files beside it. It is copied with its log to where only we can reach them, and the copy is opened there.
 *
 * A copy is good when the same log was there throughout: what is written to the database meanwhile comes out of that
 * log, and the copy of the log, made after that of the database, has it too. Without a log, or with an empty one,
 * the database itself must not have changed. Otherwise it is made again. The log of a file that is not the other side's is
 * seen as it is: this is not for files on the other side of a mount.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import { SessionDbCorrupt, SessionDbUnavailable, UnsafePath } from "../protocol/AirlockError.js"
import * as DatabaseFile from "./DatabaseFile.js"
import * as DatabaseHeader from "./DatabaseHeader.js"
import * as OpenFiles from "./OpenFiles.js"
import type { SafeDirectory } from "./SafeDirectory.js"
import { SafeDirectories } from "./SafeDirectory.js"
import type { Database } from "./SqliteDriver.js"
import { SqliteDriver } from "./SqliteDriver.js"
import type { Subject } from "./StorageFailure.js"
import { fromSql, fromSystemCall } from "./StorageFailure.js"
import { flags, pause, pieceBytes, SystemCalls } from "./SystemCalls.js"
import * as Tracing from "./Tracing.js"

/**
 * `patience` is how long to go on trying while the file keeps changing. `isOurs` says that nothing in this process opens the
 * file with SQLite but this library. `limit` is the largest file that is copied, in bytes; also the largest log.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly directory: string
  readonly name: string
  readonly patience: Duration.DurationInput
  readonly isOurs: boolean
  readonly limit?: number | undefined
}

/**
 * What a copy needs. The file system is asked for a temporary folder.
 *
 * @since 0.1.0
 * @category models
 */
export type Requirements = SystemCalls | SafeDirectories | SqliteDriver | FileSystem.FileSystem

interface Kept {
  readonly key: string
  readonly fd: number
  readonly isOurs: boolean
  users: number
}

/**
 * Descriptors of databases that this process may have open in SQLite as well. To close one would drop the locks of the
 * other connection (see `OpenFiles`). So one of a file of ours is closed when nobody uses it and the file has no
 * connection, and any other never is: another library's connections are not counted.
 */
const kept = globalValue(Symbol.for("effect-airlock/WalCopy/kept"), () => new Set<Kept>())

/** Looks and closes in one step, or somebody could open the file in between. */
const closeUnneeded = Effect.map(SystemCalls, (calls) => {
  for (const file of kept) {
    if (!file.isOurs || file.users > 0 || OpenFiles.has(file.key)) continue
    kept.delete(file)
    Effect.runSync(calls.close(file.fd))
  }
})

const findOrOpen = Effect.fnUntraced(function* (
  directory: SafeDirectory,
  { isOurs, name }: Options,
  subject: Subject
) {
  const calls = yield* SystemCalls
  const path = Path.join(directory.path, name)
  const failure = Effect.mapError(fromSystemCall(subject, path))
  const seen = yield* failure(calls.lstat(directory.at(name)))
  // Who opens it by its other name has another log.
  if (isOurs && seen.nlink > 1n && seen.isFile()) {
    return yield* new UnsafePath({ operation: subject.operation, path, reason: "hard-link" })
  }
  for (const file of kept) if (file.key === OpenFiles.keyOf(seen)) return file
  const fd = yield* failure(calls.open(directory.at(name), flags.read))
  const stats = yield* failure(calls.fstat(fd))
  if (!stats.isFile()) {
    yield* calls.close(fd)
    return yield* new UnsafePath({ operation: subject.operation, path, reason: "not-a-regular-file" })
  }
  const file: Kept = { key: OpenFiles.keyOf(stats), fd, isOurs, users: 0 }
  kept.add(file)
  return file
})

const openKept = (directory: SafeDirectory, options: Options, subject: Subject) =>
  Effect.acquireRelease(
    Effect.tap(findOrOpen(directory, options, subject), (file) => {
      file.users++
    }),
    (file) => {
      file.users--
      return closeUnneeded
    }
  ).pipe(Effect.map(({ fd }) => fd))

/**
 * The header of a database, without the risk that lies in closing it again.
 *
 * @since 0.1.0
 * @category reading
 */
export const header = (options: Options, subject: Subject) =>
  Effect.gen(function* () {
    const calls = yield* SystemCalls
    const directories = yield* SafeDirectories
    const directory = yield* directories.open(options.directory, subject)
    const fd = yield* openKept(directory, options, subject)
    const bytes = new Uint8Array(DatabaseHeader.length)
    const count = yield* calls.read(fd, bytes, 0).pipe(Effect.mapError(fromSystemCall(subject, options.name)))
    return yield* Option.match(DatabaseHeader.parse(bytes.subarray(0, count)), {
      onNone: () => Effect.fail(new SessionDbCorrupt({ ...subject, reason: "not-a-database" })),
      onSome: Effect.succeed
    })
  }).pipe(Effect.scoped)

/** The file changed while it was copied. */
const changing = (subject: Subject) => new SessionDbUnavailable({ ...subject, reason: "busy" })

const isChanging = (error: StorageError): boolean =>
  error._tag === "SessionDbUnavailable" && error.reason === "busy" && error.code === undefined

const untilQuiet = (patience: Duration.DurationInput) =>
  Schedule.spaced(Duration.millis(5)).pipe(Schedule.upTo(patience))

/** The start of a log, which is another one each time that the log is begun anew. */
const logHeaderBytes = 32

const copyAll = Effect.fnUntraced(function* (
  from: number,
  to: string,
  { limit = Number.POSITIVE_INFINITY }: Options,
  subject: Subject
) {
  const calls = yield* SystemCalls
  const { size } = yield* Effect.mapError(calls.fstat(from), fromSystemCall(subject, to))
  if (size > limit) return yield* new SessionDbUnavailable({ ...subject, reason: "too-large" })
  yield* Effect.acquireUseRelease(
    calls.open(to, flags.create, 0o600),
    (fd) =>
      Effect.gen(function* () {
        const piece = Buffer.allocUnsafeSlow(pieceBytes)
        for (let position = 0; ;) {
          const count = yield* calls.read(from, piece, position)
          if (count === 0) return
          yield* calls.write(fd, piece.subarray(0, count), position)
          position += count
          yield* pause
        }
      }),
    calls.close
  ).pipe(Effect.mapError(fromSystemCall(subject, to)))
})

/** Answers whether there was a log. */
const copy = (
  options: Options,
  target: string,
  subject: Subject
): Effect.Effect<boolean, StorageError, SystemCalls | SafeDirectories> =>
  Effect.gen(function* () {
    const calls = yield* SystemCalls
    const directories = yield* SafeDirectories
    const directory = yield* directories.open(options.directory, subject)
    const failure = Effect.mapError(fromSystemCall(subject, Path.join(options.directory, options.name)))
    const database = yield* openKept(directory, options, subject)
    const openLog = directories.openFile(directory, DatabaseFile.logName(options.name), subject).pipe(
      Effect.catchIf(
        (error) => error._tag === "SessionDbUnavailable" && error.reason === "missing",
        () => Effect.succeed(undefined)
      )
    )

    const observe = Effect.gen(function* () {
      const log = yield* openLog
      const head = Buffer.alloc(logHeaderBytes)
      const length = log === undefined ? 0 : yield* failure(calls.read(log.fd, head, 0))
      const stats = yield* failure(calls.fstat(database))
      return {
        state: `${stats.ino}.${stats.size}.${stats.mtimeNs}`,
        log: log === undefined || length === 0 ? undefined : `${log.stats.ino}.${head.toString("hex")}`
      }
    }).pipe(Effect.scoped)

    const before = yield* observe
    yield* copyAll(database, target, options, subject)
    const log = before.log === undefined ? undefined : yield* openLog
    if (log !== undefined) yield* copyAll(log.fd, DatabaseFile.logName(target), options, subject)
    const after = yield* observe
    if (before.log !== after.log) return yield* changing(subject)
    if (after.log === undefined && before.state !== after.state) return yield* changing(subject)
    return log !== undefined
  }).pipe(Effect.scoped)

/**
 * A private copy, open for reading. It goes away with the scope.
 *
 * @since 0.1.0
 * @category reading
 */
export const open = (
  options: Options,
  subject: Subject
): Effect.Effect<Database, StorageError, Requirements | Scope.Scope> =>
  Effect.gen(function* () {
    const calls = yield* SystemCalls
    const driver = yield* SqliteDriver
    const fileSystem = yield* FileSystem.FileSystem
    const home = yield* Effect.mapError(
      fileSystem.makeTempDirectoryScoped({ prefix: "effect-airlock-" }),
      () => new SessionDbUnavailable({ ...subject, reason: "not-writable" })
    )
    const path = Path.join(home, "copy.db")
    const discard = Effect.forEach(
      [path, DatabaseFile.logName(path), `${path}-shm`],
      (name) => Effect.ignore(calls.unlink(name)),
      { discard: true }
    )
    const attempt: Effect.Effect<boolean, StorageError, SystemCalls | SafeDirectories> = Effect.zipRight(
      discard,
      copy(options, path, subject)
    )
    const hasLog = yield* Effect.retry(attempt, {
      schedule: untilQuiet(options.patience),
      while: isChanging
    })
    const { size } = yield* Effect.mapError(calls.lstat(path), fromSystemCall(subject, path))
    const client = yield* Effect.gen(function* () {
      const client = yield* driver.connect({ filename: path, patience: 0 })
      yield* client`PRAGMA synchronous = OFF`
      yield* client`PRAGMA trusted_schema = OFF`
      yield* client`SELECT count(*) FROM sqlite_schema`
      yield* client`PRAGMA query_only = ON`
      return client
    }).pipe(Effect.mapError(fromSql(subject)))
    const [length] = yield* client<{ readonly bytes: number }>`
      SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size`.pipe(
      Effect.mapError(fromSql(subject))
    )
    // SQLite takes what lacks of the last page for zeros. What a log has may not be in the file yet.
    if (!hasLog && size < (length?.bytes ?? 0)) {
      return yield* new SessionDbCorrupt({ ...subject, reason: "damaged" })
    }
    // The open connection keeps the copy; without a name it cannot outlive the process.
    yield* discard
    return client
  }).pipe(Tracing.without)
