/**
 * Copying a database and its rollback journal as they were at one moment, while another process may be writing them and
 * neither locks nor caches are shared with it.
 *
 * A copy is good when nothing was written while it was made: before and after, either there was no journal and
 * the header, size and modification time of the file are the same, or the same journal was there throughout.
 * SQLite syncs the journal before it touches the database, so a copy of the database followed by a copy of
 * the journal that was there all along has all that is needed to roll back. Otherwise it is made again. A file whose
 * name was given to another meanwhile is as good as one that was left alone.
 *
 * A mount may say for a second how long a file was, and reads it no further: a journal seems empty that was just begun,
 * or ends early. Through a mount, a copy made beside a journal is therefore good only when that journal is still there
 * after two seconds, and is read then: whoever wrote it is dead, or waits.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import type { StorageError } from "../protocol/AirlockError.js"
import { SessionDbCorrupt, SessionDbUnavailable } from "../protocol/AirlockError.js"
import * as DatabaseFile from "./DatabaseFile.js"
import * as DatabaseHeader from "./DatabaseHeader.js"
import * as FileLook from "./FileLook.js"
import * as RollbackJournal from "./RollbackJournal.js"
import type { SafeDirectory, SafeFile } from "./SafeDirectory.js"
import { SafeDirectories } from "./SafeDirectory.js"
import type { Subject } from "./StorageFailure.js"
import { fromSystemCall, isMissing } from "./StorageFailure.js"
import { pause, pieceBytes, SystemCalls } from "./SystemCalls.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface QuietCopyOptions extends FileLook.FileLookOptions {
  /** The newest schema that the caller can read. Left out, it reads any, and decides row by row. */
  readonly schemaVersion?: number | undefined
  /** The largest file that is copied, in bytes; also the largest journal. */
  readonly limit: number
  /** How long to go on trying while the file keeps changing. */
  readonly patience: Duration.DurationInput
}

/**
 * The bytes of a database, in pieces, and of the journal that has to be rolled back in it, if there is one.
 *
 * @since 0.1.0
 * @category models
 */
export interface QuietCopy {
  readonly database: ReadonlyArray<Uint8Array>
  readonly journal: ReadonlyArray<Uint8Array> | undefined
  readonly stamp: FileLook.ChangeStamp
}

/** A copy that was made beside a journal which was there before and after. `at` is when, in nanoseconds. */
interface Unsettled {
  readonly database: ReadonlyArray<Uint8Array>
  readonly after: FileLook.Observed
  readonly journal: FileLook.Journal
  readonly at: bigint
}

/** Mounts remember for a second; the rest is for one that is slow to answer. */
const remembered = BigInt(2e9)

/** The longest file that is read in one go: the event loop waits for about a millisecond. */
const quickBytes = 4 * pieceBytes

const isGone = (error: StorageError): boolean =>
  isMissing(error) || (error._tag === "SessionDbUnavailable" && error.code === "ESTALE")

const isChanging = (error: StorageError): boolean =>
  error._tag === "SessionDbUnavailable" && error.reason === "busy" && error.code === undefined

/**
 * `copy` and `stamp` are for one who holds the file's permit; see `FilePermit`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.gen(function* () {
  const calls = yield* SystemCalls
  const directories = yield* SafeDirectories
  const { journalOf, namesIn, observedOf, readAt, readHead, stamp, withFile } = yield* FileLook.make

  /** All of a file, however long its size says it is: sizes are stale through a mount. */
  const readAll = Effect.fnUntraced(function* (
    { fd, stats }: SafeFile,
    name: string,
    options: QuietCopyOptions,
    subject: Subject
  ) {
    const pieces: Array<Uint8Array> = []
    let length = 0
    for (;;) {
      if (length > options.limit || stats.size > options.limit) {
        return yield* new SessionDbUnavailable({ ...subject, reason: "too-large" })
      }
      // As much as it says there is, and more than nothing to find its end in.
      const rest = Number(stats.size) - length
      const piece = Buffer.allocUnsafeSlow(Math.min(pieceBytes, rest > 0 ? rest : 4096))
      const count = yield* readAt(fd, piece, length, name, subject)
      if (count === 0) return { pieces, length, stats }
      pieces.push(piece.subarray(0, count))
      length += count
      if (length >= pieceBytes) yield* pause
    }
  })

  /**
   * Reads the file, and looks at it before and after, through one descriptor: that its name is given to another file
   * meanwhile does no harm. Before, the header is read and then the journal, after, the journal and then the header,
   * so that a transaction that begins or ends between the two shows in one of them.
   */
  const readObserved = (
    directory: SafeDirectory,
    file: SafeFile,
    options: QuietCopyOptions,
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
      Effect.catchIf(isGone, () => Effect.fail(FileLook.changing(subject)))
    )

  /** Whether the name has another file by now. Asked when the one that was read is closed: 9p takes an open one for it. */
  const isReplaced = (directory: SafeDirectory, inode: bigint, { name }: QuietCopyOptions) =>
    calls.lstat(directory.at(name)).pipe(
      Effect.map((stats) => stats.ino !== inode),
      Effect.orElseSucceed(() => false)
    )

  /** The journal that was there when the copy was made, with the copy. */
  const withJournal = Effect.fnUntraced(function* (
    directory: SafeDirectory,
    { after, database, journal }: Unsettled,
    options: QuietCopyOptions,
    subject: Subject
  ) {
    const { stamp } = after
    if (!journal.hasHeader) return { database, journal: undefined, stamp }
    const name = DatabaseFile.journalName(options.name)
    const { pieces, stats } = yield* withFile(directory, name, options, subject, (file) =>
      readAll(file, name, options, subject)
    ).pipe(Effect.catchIf(isMissing, () => Effect.fail(FileLook.changing(subject))))
    const bytes = Buffer.concat(pieces)
    const identity = `${stats.ino}.${RollbackJournal.nonce(bytes)}`
    if (identity !== journal.identity || !RollbackJournal.isWhole(bytes))
      return yield* FileLook.changing(subject)
    if (RollbackJournal.namesSuperJournal(bytes)) {
      return yield* new SessionDbCorrupt({ ...subject, reason: "super-journal" })
    }
    return { database, journal: pieces, stamp }
  })

  /** `waiting` is what an earlier attempt copied beside a journal, until that may be believed. */
  const copyFrom = Effect.fnUntraced(function* (
    directory: SafeDirectory,
    options: QuietCopyOptions,
    subject: Subject,
    waiting: Ref.Ref<Unsettled | undefined>
  ) {
    const unsettled = yield* Ref.get(waiting)
    if (unsettled !== undefined) {
      const journal = yield* journalOf(directory, options, subject)
      if (journal?.identity === unsettled.journal.identity) {
        const age = (yield* Clock.currentTimeNanos) - unsettled.at
        return yield* age < remembered
          ? FileLook.changing(subject)
          : withJournal(directory, unsettled, options, subject)
      }
    }
    if (options.view === "mount") yield* namesIn(directory, subject)
    const { after, before, database } = yield* withFile(directory, options.name, options, subject, (file) =>
      readObserved(directory, file, options, subject)
    )
    if (before.journal?.identity !== after.journal?.identity) return yield* FileLook.changing(subject)
    const head = Buffer.concat(database.pieces, Math.min(database.length, DatabaseHeader.length))
    const header = yield* DatabaseFile.check(head, options.schemaVersion ?? Number.POSITIVE_INFINITY, subject)

    if (after.journal?.hasHeader !== true) {
      const sameHead = before.head.equals(after.head) && head.equals(after.head.subarray(0, head.length))
      if (!sameHead) return yield* FileLook.changing(subject)
      // Some mounts tell the times of the file that has the name now. The one that was read is then nobody's any more.
      const same = before.stamp === after.stamp || (yield* isReplaced(directory, before.inode, options))
      if (!same) return yield* FileLook.changing(subject)
      if (database.length < header.pages * header.pageSize) return yield* FileLook.changing(subject)
    }
    if (after.journal === undefined) {
      return { database: database.pieces, journal: undefined, stamp: after.stamp }
    }
    const at = yield* Clock.currentTimeNanos
    const copied: Unsettled = { database: database.pieces, after, journal: after.journal, at }
    if (options.view === "local") return yield* withJournal(directory, copied, options, subject)
    yield* Ref.set(waiting, copied)
    return yield* FileLook.changing(subject)
  })

  const copySlowly = Effect.fnUntraced(function* (options: QuietCopyOptions, subject: Subject) {
    const waiting = yield* Ref.make<Unsettled | undefined>(undefined)
    const once = () =>
      directories.within(options.directory, subject, (directory) =>
        copyFrom(directory, options, subject, waiting)
      )
    return yield* Effect.catchIf(once(), isChanging, () =>
      Effect.retry(Effect.suspend(once), { schedule: untilQuiet(options.patience), while: isChanging })
    )
  })

  /** In one go if the file is short and at rest, which it mostly is. */
  const copy = (options: QuietCopyOptions, subject: Subject): Effect.Effect<QuietCopy, StorageError> =>
    Effect.suspend(() => {
      const { directory, limit, name, schemaVersion = Number.POSITIVE_INFINITY, view } = options
      const journal = DatabaseFile.journalName(name)
      const quiet =
        view === "local" ? calls.readQuiet(directory, name, journal, Math.min(limit, quickBytes)) : undefined
      if (quiet === undefined) return copySlowly(options, subject)
      const { bytes, stats } = quiet
      return Effect.flatMap(DatabaseFile.check(bytes, schemaVersion, subject), ({ pageSize, pages }) =>
        bytes.length < pages * pageSize
          ? copySlowly(options, subject)
          : Effect.succeed({ database: [bytes], journal: undefined, stamp: FileLook.stampOf(bytes, stats) })
      )
    })

  return { copy, stamp }
})

/** A few immediate attempts, because a writer's gap may be short, and then one each millisecond. */
const untilQuiet = (patience: Duration.DurationInput) =>
  Schedule.recurs(20).pipe(Schedule.andThen(Schedule.spaced(Duration.millis(1))), Schedule.upTo(patience))
