/**
 * The second of the two primitives: reading the file that is the other side's.
 *
 * Locks and caches do not cross a mount, so reading the other side's file with SQLite gives torn pages, or
 * errors, or (opened for writing) destroys it. Instead the file and its rollback journal are copied to where
 * only we can reach them, and the copy is opened there; a journal that a killed writer left is rolled back
 * in the copy.
 *
 * A copy is good when nothing was written while it was made: before and after, either there was no journal and
 * the header, size and modification time of the file are the same, or the same journal was there throughout.
 * SQLite syncs the journal before it touches the database, so a copy of the database followed by a copy of
 * the journal that was there all along has all that is needed to roll back. Otherwise it is made again. A file whose
 * name was given to another meanwhile is as good as one that was left alone.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { BigIntStats } from "node:fs"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import { SessionDbCorrupt, SessionDbUnavailable } from "../protocol/AirlockError.js"
import * as BTreePages from "./BTreePages.js"
import * as DatabaseFile from "./DatabaseFile.js"
import * as DatabaseHeader from "./DatabaseHeader.js"
import * as FilePermit from "./FilePermit.js"
import { OwnedNames } from "./OwnedNames.js"
import * as RollbackJournal from "./RollbackJournal.js"
import type { SafeDirectory, SafeFile } from "./SafeDirectory.js"
import { SafeDirectories } from "./SafeDirectory.js"
import { SqliteDriver } from "./SqliteDriver.js"
import type { Subject } from "./StorageFailure.js"
import { fromSql, fromSystemCall } from "./StorageFailure.js"
import { flags, pause, pieceBytes, SystemCalls } from "./SystemCalls.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface SnapshotOptions {
  /** The absolute path of the folder that the file is in. */
  readonly directory: string
  readonly name: string
  /**
   * `local`: this side sees the file as it is. `mount`: through a mount whose client caches names, sizes and
   * pages, so the folder is listed and the page cache bypassed.
   */
  readonly view: "local" | "mount"
  /** The newest schema that the caller can read. Left out, it reads any, and decides row by row. */
  readonly schemaVersion?: number | undefined
  /** The largest file that is copied, in bytes; also the largest journal. */
  readonly limit: number
  /**
   * For a file that somebody may have made up: the most rows of one table. Its pages and its schema are checked before
   * SQLite reads them (see `BTreePages`), and one that SQLite would not have written is refused. Left out, the
   * file is trusted.
   */
  readonly rows?: number | undefined
  /** How long to go on trying while the file keeps changing. */
  readonly patience: Duration.DurationInput
}

/**
 * What a file looked like: equal stamps mean an unchanged file.
 *
 * @since 0.1.0
 * @category models
 */
export type ChangeStamp = string

/**
 * A private copy of the file as it was at one moment, open for reading.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  readonly client: SqlClient
  readonly stamp: ChangeStamp
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Snapshots extends Context.Tag("effect-airlock/Snapshots")<
  Snapshots,
  {
    /** Takes a snapshot. It goes away with the scope. */
    readonly open: (
      options: SnapshotOptions,
      subject: Subject
    ) => Effect.Effect<Snapshot, StorageError, Scope.Scope>
    /** What the file looks like now. Costs a few microseconds, and opens no database. */
    readonly stamp: (options: SnapshotOptions, subject: Subject) => Effect.Effect<ChangeStamp, StorageError>
  }
>() {
  /**
   * Keeps the copies in a folder of its own, which only this user can enter and which goes away with the
   * layer. Those that killed processes left are removed first.
   *
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    Snapshots,
    SessionDbUnavailable,
    SystemCalls | SafeDirectories | SqliteDriver | OwnedNames | FileSystem.FileSystem
  > = Layer.scoped(
    Snapshots,
    Effect.suspend(() => make)
  )
}

/** What a file begins with, and what the system says of it. */
interface Head {
  readonly head: Buffer
  readonly stats: BigIntStats
}

interface Observed {
  readonly stamp: ChangeStamp
  readonly head: Buffer
  readonly inode: bigint
  /** Absent when there is no journal, or one that has not been written to. */
  readonly journal: { readonly identity: string; readonly size: bigint } | undefined
}

/** The file changed while it was looked at. */
const changing = (subject: Subject) => new SessionDbUnavailable({ ...subject, reason: "busy" })

const isMissing = (error: StorageError): boolean =>
  error._tag === "SessionDbUnavailable" && error.reason === "missing"

const isGone = (error: StorageError): boolean =>
  isMissing(error) || (error._tag === "SessionDbUnavailable" && error.code === "ESTALE")

const isChanging = (error: StorageError): boolean =>
  error._tag === "SessionDbUnavailable" && error.reason === "busy" && error.code === undefined

/** What a folder of private copies is called, before it says whose it is. */
const homePrefix = "effect-airlock-"

/** Removes the folders of processes that were killed: of this user only, because anybody may write where they lie. */
const removeAbandoned = (home: string) =>
  Effect.gen(function* () {
    const fileSystem = yield* FileSystem.FileSystem
    const names = yield* OwnedNames
    const { uid } = yield* fileSystem.stat(home)
    for (const name of yield* fileSystem.readDirectory(Path.dirname(home))) {
      if (!name.startsWith(homePrefix) || (yield* names.ownerOf(homePrefix, name)) !== "gone") continue
      const path = Path.join(Path.dirname(home), name)
      const isOurs = Effect.map(fileSystem.stat(path), (info) => Equal.equals(info.uid, uid))
      // Another process may be removing it too.
      yield* Effect.ignore(Effect.whenEffect(fileSystem.remove(path, { recursive: true }), isOurs))
    }
  }).pipe(Effect.catchAll((error) => Effect.logWarning("Copies of a killed process may be left over", error)))

const make = Effect.gen(function* () {
  const calls = yield* SystemCalls
  const directories = yield* SafeDirectories
  const driver = yield* SqliteDriver
  const fileSystem = yield* FileSystem.FileSystem
  const names = yield* OwnedNames
  const home = yield* fileSystem.makeTempDirectoryScoped({ prefix: `${homePrefix}${names.mark}` }).pipe(
    Effect.mapError(
      () =>
        new SessionDbUnavailable({
          operation: "Snapshots.layer",
          resource: "folder",
          reason: "not-writable"
        })
    )
  )
  yield* removeAbandoned(home)
  let copies = 0

  /**
   * Uses a file around the page cache, which may be stale, if this is a mount. File systems that want such
   * reads aligned in memory (local disks, whose cache is never stale) answer EINVAL, and are read as usual.
   */
  const withFile = <A>(
    directory: SafeDirectory,
    name: string,
    options: SnapshotOptions,
    subject: Subject,
    use: (file: SafeFile) => Effect.Effect<A, StorageError>
  ) => {
    const attempt = (extraFlags: number) =>
      Effect.scoped(Effect.flatMap(directories.openFile(directory, name, subject, extraFlags), use))
    return options.view === "local" || flags.direct === 0
      ? attempt(0)
      : Effect.catchIf(
          attempt(flags.direct),
          (error) => error._tag === "SessionDbUnavailable" && error.code === "EINVAL",
          () => attempt(0)
        )
  }

  const readAt = (fd: number, buffer: Uint8Array, position: number, name: string, subject: Subject) =>
    calls.read(fd, buffer, position).pipe(Effect.mapError(fromSystemCall(subject, name)))

  /** All of a file, however long its size says it is: sizes are stale through a mount. */
  const readAll = Effect.fnUntraced(function* (
    { fd, stats }: SafeFile,
    name: string,
    options: SnapshotOptions,
    subject: Subject
  ) {
    const pieces: Array<Uint8Array> = []
    let length = 0
    for (;;) {
      if (length > options.limit || stats.size > options.limit) {
        return yield* new SessionDbUnavailable({ ...subject, reason: "too-large" })
      }
      const piece = Buffer.allocUnsafeSlow(pieceBytes)
      const count = yield* readAt(fd, piece, length, name, subject)
      if (count === 0) return { pieces, length, stats }
      pieces.push(piece.subarray(0, count))
      length += count
      if (length >= pieceBytes) yield* pause
    }
  })

  const readHead = ({ fd, stats }: SafeFile, name: string, subject: Subject) => {
    const head = Buffer.allocUnsafeSlow(4096)
    return Effect.map(readAt(fd, head, 0, name, subject), (count) => ({
      head: head.subarray(0, count),
      stats
    }))
  }

  /** The names in the folder. A mount that is asked for one name may answer what it was a second ago; for all, it asks. */
  const namesIn = (directory: SafeDirectory, subject: Subject) =>
    calls.list(directory.at(".")).pipe(Effect.mapError(fromSystemCall(subject, directory.path)))

  const journalOf = Effect.fnUntraced(function* (
    directory: SafeDirectory,
    options: SnapshotOptions,
    subject: Subject
  ) {
    const name = DatabaseFile.journalName(options.name)
    if (options.view === "mount") {
      const names = yield* namesIn(directory, subject)
      if (!names.includes(name)) return undefined
    }
    return yield* withFile(directory, name, options, subject, (file) => readHead(file, name, subject)).pipe(
      Effect.map(({ head, stats }) => {
        const nonce = RollbackJournal.nonce(head)
        return nonce === undefined ? undefined : { identity: `${stats.ino}.${nonce}`, size: stats.size }
      }),
      Effect.catchIf(isMissing, () =>
        options.view === "mount" ? Effect.fail(changing(subject)) : Effect.succeed(undefined)
      )
    )
  })

  const observedOf = ({ head, stats }: Head, journal: Observed["journal"]): Observed => {
    const stamp = `${stats.ino}.${stats.size}.${stats.mtimeNs}.${head.subarray(24, 32).toString("hex")}`
    return {
      stamp: journal === undefined ? stamp : `${stamp}+${journal.identity}.${journal.size}`,
      head,
      inode: stats.ino,
      journal
    }
  }

  const observe = Effect.fnUntraced(function* (
    directory: SafeDirectory,
    options: SnapshotOptions,
    subject: Subject
  ) {
    const journal = yield* journalOf(directory, options, subject)
    const head = yield* withFile(directory, options.name, options, subject, (file) =>
      readHead(file, options.name, subject)
    )
    return observedOf(head, journal)
  })

  /**
   * Reads the file, and looks at it before and after, through one descriptor: that its name is given to another file
   * meanwhile does no harm. Before, the header is read and then the journal, after, the journal and then the header,
   * so that a transaction that begins or ends between the two shows in one of them.
   */
  const readObserved = (
    directory: SafeDirectory,
    file: SafeFile,
    options: SnapshotOptions,
    subject: Subject
  ) =>
    Effect.gen(function* () {
      const { name } = options
      const head = yield* readHead(file, name, subject)
      const before = observedOf(head, yield* journalOf(directory, options, subject))
      const database = yield* readAll(file, name, options, subject)
      const journal = yield* journalOf(directory, options, subject)
      const stats = yield* calls.fstat(file.fd).pipe(Effect.mapError(fromSystemCall(subject, name)))
      const after = observedOf(yield* readHead({ fd: file.fd, stats }, name, subject), journal)
      return { before, database, after }
    }).pipe(
      // Some mounts take a file away from who has it open when its name is given to another.
      Effect.catchIf(isGone, () => Effect.fail(changing(subject)))
    )

  /** Whether the name has another file by now. Asked when the one that was read is closed: 9p takes an open one for it. */
  const isReplaced = (directory: SafeDirectory, inode: bigint, { name }: SnapshotOptions) =>
    calls.lstat(directory.at(name)).pipe(
      Effect.map((stats) => stats.ino !== inode),
      Effect.orElseSucceed(() => false)
    )

  const copy = Effect.fnUntraced(function* (options: SnapshotOptions, subject: Subject) {
    const directory = yield* directories.open(options.directory, subject)
    if (options.view === "mount") yield* namesIn(directory, subject)
    const { after, before, database } = yield* withFile(directory, options.name, options, subject, (file) =>
      readObserved(directory, file, options, subject)
    )
    if (before.journal?.identity !== after.journal?.identity) return yield* changing(subject)
    const head = Buffer.concat(database.pieces, Math.min(database.length, DatabaseHeader.length))
    const header = yield* DatabaseFile.check(head, options.schemaVersion ?? Number.POSITIVE_INFINITY, subject)

    if (after.journal === undefined) {
      const sameHead = before.head.equals(after.head) && head.equals(after.head.subarray(0, head.length))
      if (!sameHead) return yield* changing(subject)
      // Some mounts tell the times of the file that has the name now. The one that was read is then nobody's any more.
      const same = before.stamp === after.stamp || (yield* isReplaced(directory, before.inode, options))
      if (!same) return yield* changing(subject)
      if (database.length < header.pages * header.pageSize) return yield* changing(subject)
      return { database: database.pieces, journal: undefined, stamp: after.stamp }
    }
    const name = DatabaseFile.journalName(options.name)
    const journal = yield* withFile(directory, name, options, subject, (file) =>
      readAll(file, name, options, subject)
    ).pipe(Effect.catchIf(isMissing, () => Effect.fail(changing(subject))))
    const bytes = Buffer.concat(journal.pieces)
    const identity = `${journal.stats.ino}.${RollbackJournal.nonce(bytes)}`
    if (identity !== after.journal.identity || !RollbackJournal.isWhole(bytes)) {
      return yield* changing(subject)
    }
    if (RollbackJournal.namesSuperJournal(bytes)) {
      return yield* new SessionDbCorrupt({ ...subject, reason: "super-journal" })
    }
    return { database: database.pieces, journal: journal.pieces, stamp: after.stamp }
  }, Effect.scoped)

  const place = (path: string, pieces: ReadonlyArray<Uint8Array>) =>
    Effect.acquireUseRelease(
      calls.open(path, flags.create, 0o600),
      (fd) =>
        Effect.reduce(pieces, 0, (position, piece) =>
          calls
            .write(fd, piece, position)
            .pipe(
              Effect.zipLeft(position < pieceBytes ? Effect.void : pause),
              Effect.as(position + piece.byteLength)
            )
        ),
      calls.close
    )

  /** Rolls back what the journal beside a copy is of, without a look at its schema, and reads what it is then. */
  const rolledBack = Effect.fnUntraced(function* (path: string, options: SnapshotOptions, subject: Subject) {
    yield* driver.connect({ filename: path, patience: 0 }).pipe(
      Effect.flatMap((client) => client`PRAGMA user_version`),
      Effect.scoped,
      Effect.mapError(fromSql(subject))
    )
    const directory = yield* directories.open(home, subject)
    const trusted = { ...options, view: "local" as const }
    const name = Path.basename(path)
    const read = (file: SafeFile) => readAll(file, name, trusted, subject)
    return (yield* withFile(directory, name, trusted, subject, read)).pieces
  }, Effect.scoped)

  /** SQLite cannot be interrupted, so what it would not come to the end of must not get there. */
  const inspect = Effect.fnUntraced(function* (
    pieces: ReadonlyArray<Uint8Array>,
    rows: number,
    subject: Subject
  ) {
    const bytes = pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces)
    const header = yield* DatabaseFile.check(bytes, Number.POSITIVE_INFINITY, subject)
    const flaw = BTreePages.flawOf(bytes, header, rows)
    if (flaw === "damaged") return yield* new SessionDbCorrupt({ ...subject, reason: "damaged" })
    if (flaw === "too-many-rows") return yield* new SessionDbUnavailable({ ...subject, reason: "too-large" })
  })

  const discard = (path: string) =>
    Effect.forEach([path, DatabaseFile.journalName(path)], (name) => Effect.ignore(calls.unlink(name)), {
      discard: true
    })

  const open = Effect.fnUntraced(function* (options: SnapshotOptions, subject: Subject) {
    const file = Path.join(options.directory, options.name)
    const copied = yield* FilePermit.hold(file, subject).pipe(
      Effect.zipRight(
        Effect.retry(copy(options, subject), { schedule: untilQuiet(options.patience), while: isChanging })
      ),
      Effect.scoped
    )
    const path = Path.join(home, `${copies++}.db`)
    yield* Effect.addFinalizer(() => discard(path))
    yield* place(path, copied.database).pipe(
      Effect.zipRight(
        copied.journal === undefined ? Effect.void : place(DatabaseFile.journalName(path), copied.journal)
      ),
      Effect.mapError(fromSystemCall(subject, path))
    )
    if (options.rows !== undefined) {
      const pieces =
        copied.journal === undefined ? copied.database : yield* rolledBack(path, options, subject)
      yield* inspect(pieces, options.rows, subject)
    }
    const client = yield* Effect.gen(function* () {
      const client = yield* driver.connect({ filename: path, patience: 0 })
      yield* client`PRAGMA synchronous = OFF`
      yield* client`PRAGMA trusted_schema = OFF`
      // The first read of the file rolls a journal back; after that nothing may change the copy.
      yield* client`SELECT count(*) FROM sqlite_schema`
      yield* client`PRAGMA query_only = ON`
      return client
    }).pipe(Effect.mapError(fromSql(subject)))
    // The open connection keeps the copy; without a name it cannot outlive the process.
    yield* discard(path)
    return { client, stamp: copied.stamp }
  })

  const stamp = Effect.fnUntraced(function* (options: SnapshotOptions, subject: Subject) {
    yield* FilePermit.hold(Path.join(options.directory, options.name), subject)
    const directory = yield* directories.open(options.directory, subject)
    return (yield* observe(directory, options, subject)).stamp
  }, Effect.scoped)

  return Snapshots.of({
    open: (options, subject) => Effect.withTracerEnabled(open(options, subject), false),
    stamp: (options, subject) => Effect.withTracerEnabled(stamp(options, subject), false)
  })
})

/** A few immediate attempts, because a writer's gap may be short, and then one each millisecond. */
const untilQuiet = (patience: Duration.DurationInput) =>
  Schedule.recurs(20).pipe(Schedule.andThen(Schedule.spaced(Duration.millis(1))), Schedule.upTo(patience))
