/**
 * Reading the file that is the other side's.
 *
 * Locks and caches do not cross a mount, so reading the other side's file with SQLite gives torn pages, or
 * errors, or (opened for writing) destroys it. Instead the file and its rollback journal are copied to where
 * only we can reach them, and the copy is opened there; a journal that a killed writer left is rolled back
 * in the copy. `QuietCopy` says when a copy is good.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import { SessionDbCorrupt, SessionDbUnavailable } from "../protocol/AirlockError.js"
import * as BTreePages from "./BTreePages.js"
import * as Closing from "./Closing.js"
import * as DatabaseFile from "./DatabaseFile.js"
import * as DatabaseHeader from "./DatabaseHeader.js"
import type * as FileLook from "./FileLook.js"
import * as FilePermit from "./FilePermit.js"
import { OwnedNames } from "./OwnedNames.js"
import * as QuietCopy from "./QuietCopy.js"
import { SafeDirectories } from "./SafeDirectory.js"
import type { Database } from "./SqliteDriver.js"
import { SqliteDriver } from "./SqliteDriver.js"
import type { Subject } from "./StorageFailure.js"
import { fromSql, fromSystemCall } from "./StorageFailure.js"
import type { StoredRecord } from "./StoredRecord.js"
import { flags, pause, pieceBytes, SystemCalls } from "./SystemCalls.js"
import * as Tracing from "./Tracing.js"

export type { ChangeStamp } from "./FileLook.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface SnapshotOptions extends QuietCopy.QuietCopyOptions {
  /**
   * For a file that somebody may have made up: the most rows of one table. Its pages and its schema are checked before
   * SQLite reads them (see `BTreePages`), and one that SQLite would not have written is refused. Left out, the
   * file is trusted.
   */
  readonly rows?: number | undefined
}

/**
 * A private copy of the file as it was at one moment, open for reading.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  readonly client: Database
  readonly stamp: FileLook.ChangeStamp
}

/**
 * A private copy of the file as it was at one moment.
 *
 * - `client`: opens it for reading
 * - `rowsOf`: the rows of the table that is defined by just this text, if the file is short and was checked, so that it can
 *   be read without SQLite; see `BTreePages.rowsOf`
 *
 * @since 0.1.0
 * @category models
 */
export interface Copy {
  readonly stamp: FileLook.ChangeStamp
  readonly client: Effect.Effect<Database, StorageError, Scope.Scope>
  readonly rowsOf: (definition: string) => ReadonlyArray<StoredRecord> | undefined
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
    /** Takes a snapshot, and leaves it to the caller to open it. */
    readonly take: (options: SnapshotOptions, subject: Subject) => Effect.Effect<Copy, StorageError>
    /** What the file looks like now. Costs a few microseconds, and opens no database. */
    readonly stamp: (
      options: SnapshotOptions,
      subject: Subject
    ) => Effect.Effect<FileLook.ChangeStamp, StorageError>
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

/** A copy of at most so many bytes is not written to a file, unless there is a journal to be rolled back in it. */
const mostInMemory = 16 * 1024 * 1024

/** A copy of at most so many bytes is read whole, rather than opened. */
const mostRead = 128 * 1024

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
  const quiet = yield* QuietCopy.make
  let copies = 0

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
    return yield* directories.readFile(directory, Path.basename(path), options.limit, subject)
  }, Effect.scoped)

  /** SQLite cannot be interrupted, so what it would not come to the end of must not get there. */
  const inspect = Effect.fnUntraced(function* (bytes: Uint8Array, rows: number, subject: Subject) {
    const header = yield* DatabaseFile.check(bytes, Number.POSITIVE_INFINITY, subject)
    const flaw = BTreePages.flawOf(bytes, header, rows)
    if (flaw === "damaged") return yield* new SessionDbCorrupt({ ...subject, reason: "damaged" })
    if (flaw === "too-many-rows") return yield* new SessionDbUnavailable({ ...subject, reason: "too-large" })
  })

  const discard = (path: string) =>
    Effect.forEach([path, DatabaseFile.journalName(path)], (name) => Effect.ignore(calls.unlink(name)), {
      discard: true
    })

  const take = Effect.fnUntraced(function* (options: SnapshotOptions, subject: Subject) {
    const file = Path.join(options.directory, options.name)
    const copied = yield* FilePermit.during(file, subject, quiet.copy(options, subject))
    const { database, journal, stamp } = copied
    const size = database.reduce((sum, { byteLength }) => sum + byteLength, 0)
    if (journal !== undefined || size > mostInMemory) {
      const opened: Copy = { stamp, client: inFile(copied, options, subject), rowsOf: () => undefined }
      return opened
    }
    const bytes = joined(database)
    if (options.rows !== undefined) yield* inspect(bytes, options.rows, subject)
    const copy: Copy = {
      stamp,
      client: inMemory(bytes, subject),
      rowsOf: (definition) =>
        options.rows === undefined || size > mostRead
          ? undefined
          : Option.getOrUndefined(
              Option.flatMapNullable(DatabaseHeader.parse(bytes), (header) =>
                BTreePages.rowsOf(bytes, header, definition)
              )
            )
    }
    return copy
  })

  const open = (options: SnapshotOptions, subject: Subject) =>
    Effect.flatMap(take(options, subject), ({ client, stamp }) =>
      Effect.map(client, (client): Snapshot => ({ client, stamp }))
    )

  const inMemory = (bytes: Uint8Array, subject: Subject) =>
    Effect.gen(function* () {
      const client = yield* driver.connect({ filename: bytes, patience: 0 })
      yield* client`PRAGMA trusted_schema = OFF`
      return client
    }).pipe(Effect.mapError(fromSql(subject)), Tracing.without)

  const inFile = Effect.fnUntraced(function* (
    copied: QuietCopy.QuietCopy,
    options: SnapshotOptions,
    subject: Subject
  ) {
    const path = Path.join(home, `${copies++}.db`)
    yield* Closing.add(() => discard(path))
    yield* place(path, copied.database).pipe(
      Effect.zipRight(
        copied.journal === undefined ? Effect.void : place(DatabaseFile.journalName(path), copied.journal)
      ),
      Effect.mapError(fromSystemCall(subject, path))
    )
    if (options.rows !== undefined) {
      const bytes =
        copied.journal === undefined ? joined(copied.database) : yield* rolledBack(path, options, subject)
      yield* inspect(bytes, options.rows, subject)
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
    return client
  })

  const stamp = (options: SnapshotOptions, subject: Subject) =>
    FilePermit.during(Path.join(options.directory, options.name), subject, quiet.stamp(options, subject))

  return Snapshots.of({
    open: (options, subject) => Tracing.without(open(options, subject)),
    take,
    stamp
  })
})

const joined = (pieces: ReadonlyArray<Uint8Array>): Uint8Array =>
  pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces)
