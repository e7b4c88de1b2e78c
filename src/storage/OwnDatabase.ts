/**
 * Writing a file that is ours and lies where somebody else can touch it. For one that nobody else can reach, see
 * `PrivateDatabase`.
 *
 * Acquiring waits for the file's permit, makes sure that the path is the file and not something else that
 * was put there, opens it, and pins DELETE journal mode. Releasing closes it, always. What comes between is an
 * ordinary `SqlClient`.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import { SessionDbCorrupt, SessionDbUnavailable, UnsafePath } from "../protocol/AirlockError.js"
import * as Closing from "./Closing.js"
import * as DatabaseFile from "./DatabaseFile.js"
import * as DatabaseHeader from "./DatabaseHeader.js"
import * as Durability from "./Durability.js"
import * as FilePermit from "./FilePermit.js"
import * as RollbackJournal from "./RollbackJournal.js"
import type { SafeDirectory, SafeFile } from "./SafeDirectory.js"
import { SafeDirectories } from "./SafeDirectory.js"
import { SqliteDriver } from "./SqliteDriver.js"
import type { Subject } from "./StorageFailure.js"
import { fromSql, fromSystemCall, isMissing } from "./StorageFailure.js"
import { SystemCalls } from "./SystemCalls.js"
import * as Tracing from "./Tracing.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface OpenOptions {
  /** The absolute path of the folder that the file is in. */
  readonly directory: string
  readonly name: string
  /** The newest schema that the caller knows; see `Tables.inboundVersion`. */
  readonly schemaVersion: number
  /** How long to go on trying while another process holds a lock. */
  readonly patience: Duration.DurationInput
  readonly durability: Durability.Durability
}

/**
 * An open handle. `schemaVersion` is the file's own when it was opened.
 *
 * @since 0.1.0
 * @category models
 */
export interface OwnHandle {
  readonly client: SqlClient
  readonly schemaVersion: number
}

/**
 * @since 0.1.0
 * @category tags
 */
export class OwnDatabases extends Context.Tag("effect-airlock/OwnDatabases")<
  OwnDatabases,
  {
    /** Opens an existing file. It never creates one: a missing file fails with the reason `missing`. */
    readonly open: (
      options: OpenOptions,
      subject: Subject
    ) => Effect.Effect<OwnHandle, StorageError, Scope.Scope>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<OwnDatabases, never, SystemCalls | SafeDirectories | SqliteDriver> =
    Layer.effect(
      OwnDatabases,
      Effect.suspend(() => make)
    )
}

/** A journal of our own is at most as large as our largest transaction; this is far more. */
const journalLimit = 256 * 1024 * 1024

const make = Effect.gen(function* () {
  const calls = yield* SystemCalls
  const directories = yield* SafeDirectories
  const driver = yield* SqliteDriver

  const openFile = Effect.fnUntraced(function* (options: OpenOptions, subject: Subject) {
    const directory = yield* directories.open(options.directory, subject)
    return { directory, file: yield* directories.openFile(directory, options.name, subject) }
  })

  const readHeader = Effect.fnUntraced(function* (file: SafeFile, options: OpenOptions, subject: Subject) {
    const bytes = new Uint8Array(DatabaseHeader.length)
    yield* calls.read(file.fd, bytes, 0).pipe(Effect.mapError(fromSystemCall(subject, options.name)))
    return yield* DatabaseFile.check(bytes, options.schemaVersion, subject)
  })

  /** Another process may be writing the file meanwhile, so each thing is asked once, and in this order. */
  const inspect = Effect.fnUntraced(function* (
    directory: SafeDirectory,
    file: SafeFile,
    options: OpenOptions,
    subject: Subject
  ) {
    const header = yield* readHeader(file, options, subject)
    // SQLite reads such a file if it is there, whatever the database says of itself.
    if (yield* directories.has(directory, DatabaseFile.logName(options.name), subject)) {
      return yield* new SessionDbUnavailable({ ...subject, reason: "wal-mode" })
    }
    const journal = yield* directories
      .readFile(directory, DatabaseFile.journalName(options.name), journalLimit, subject)
      .pipe(Effect.catchIf(isMissing, () => Effect.succeed(undefined)))
    if (journal !== undefined && RollbackJournal.namesSuperJournal(journal)) {
      return yield* new SessionDbCorrupt({ ...subject, reason: "super-journal" })
    }
    // SQLite takes what lacks of the last page for zeros. With a journal, it first makes the file as long as it was.
    const stats = yield* calls.fstat(file.fd).pipe(Effect.mapError(fromSystemCall(subject, options.name)))
    const isHot = journal !== undefined && RollbackJournal.nonce(journal) !== undefined
    if (!isHot && stats.size < header.pages * header.pageSize) {
      return yield* new SessionDbCorrupt({ ...subject, reason: "damaged" })
    }
    return { header, inode: stats.ino, hasJournal: journal !== undefined }
  })

  const open = Effect.fnUntraced(function* (options: OpenOptions, subject: Subject) {
    const path = Path.join(options.directory, options.name)
    const asFailure = fromSql(subject)
    yield* FilePermit.hold(path, subject)
    // It is closed after SQLite's own descriptor is: closing one drops the locks of all.
    const { directory, file } = yield* openFile(options, subject)
    const { hasJournal, header, inode } = yield* inspect(directory, file, options, subject)
    const parent = yield* calls
      .realpath(options.directory)
      .pipe(Effect.mapError(fromSystemCall(subject, options.directory)))
    const expected = Path.join(parent, options.name)
    const client = yield* driver
      .connect({ filename: expected, patience: options.patience })
      .pipe(Effect.mapError(asFailure))
    // SQLite resolves links before it opens a file, and tells where it arrived.
    const opened = yield* client<{ readonly file: string }>`PRAGMA database_list`.pipe(
      Effect.mapError(asFailure)
    )
    const now = yield* calls.lstat(path).pipe(Effect.mapError(fromSystemCall(subject, path)))
    if (opened[0]?.file !== expected || now.ino !== inode) {
      return yield* new UnsafePath({ operation: subject.operation, path, reason: "symbolic-link" })
    }
    // A journal that a killed process had only begun would stay until somebody writes. Leaving this mode removes it, if
    // nobody else is writing.
    if (hasJournal) yield* client`PRAGMA journal_mode = TRUNCATE`.pipe(Effect.mapError(asFailure))
    const mode = yield* client<{ readonly journal_mode: string }>`PRAGMA journal_mode = DELETE`.pipe(
      Effect.mapError(asFailure)
    )
    if (mode[0]?.journal_mode !== "delete") {
      return yield* new SessionDbUnavailable({ ...subject, reason: "wal-mode" })
    }
    yield* Effect.mapError(
      client.unsafe(`PRAGMA synchronous = ${Durability.synchronous(options.durability)}`),
      asFailure
    )
    const handle: OwnHandle = { client, schemaVersion: header.userVersion }
    return handle
  })

  /** What a failed attempt had opened and held is let go at once, so that it can be tried again in the same scope. */
  const openOrNothing = (options: OpenOptions, subject: Subject) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const handle = yield* restore(Scope.extend(open(options, subject), scope)).pipe(
          Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
        )
        yield* Closing.add((exit) => Scope.close(scope, exit))
        return handle
      })
    )

  return OwnDatabases.of({
    open: (options, subject) => Tracing.without(openOrNothing(options, subject))
  })
})
