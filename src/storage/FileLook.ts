/**
 * Looking at a database and its rollback journal, to see whether they are what they were.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { BigIntStats } from "node:fs"
import type { StorageError } from "../protocol/AirlockError.js"
import { SessionDbUnavailable } from "../protocol/AirlockError.js"
import * as DatabaseFile from "./DatabaseFile.js"
import * as RollbackJournal from "./RollbackJournal.js"
import type { SafeDirectory, SafeFile } from "./SafeDirectory.js"
import { SafeDirectories } from "./SafeDirectory.js"
import type { Subject } from "./StorageFailure.js"
import { fromSystemCall, isMissing } from "./StorageFailure.js"
import { flags, nothing, SystemCalls } from "./SystemCalls.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface FileLookOptions {
  /** The absolute path of the folder that the file is in. */
  readonly directory: string
  readonly name: string
  /**
   * `local`: this side sees the file as it is. `mount`: through a mount whose client caches names, sizes and
   * pages, so the folder is listed and the page cache bypassed.
   */
  readonly view: "local" | "mount"
}

/**
 * What a file looked like: equal stamps mean an unchanged file.
 *
 * @since 0.1.0
 * @category models
 */
export type ChangeStamp = string

/** What a stamp has of the journal comes after this. */
const journalMark = "+"

/**
 * Whether a stamp is of a file with a journal that is not rolled back. Removing that is a commit, of which the file
 * itself shows nothing.
 *
 * @since 0.1.0
 * @category models
 */
export const hasJournal = (stamp: ChangeStamp): boolean => stamp.includes(journalMark)

/**
 * What a file begins with, and what the system says of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Head {
  readonly head: Buffer
  readonly stats: BigIntStats
}

/**
 * What tells a journal from others. `hasHeader` is false for one that has not been written to, or seems so through a mount.
 *
 * @since 0.1.0
 * @category models
 */
export interface Journal {
  readonly identity: string
  readonly size: bigint
  readonly hasHeader: boolean
}

/**
 * What was seen of a database. There is no `journal` if there is none, and where it is seen as it is, also if it has not been
 * written to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Observed {
  readonly stamp: ChangeStamp
  readonly head: Buffer
  readonly inode: bigint
  readonly journal: Journal | undefined
}

/**
 * A file's times and length, and what SQLite counts at the beginning of it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stampOf = (head: Buffer, stats: BigIntStats): ChangeStamp =>
  `${stats.ino}.${stats.size}.${stats.mtimeNs}.${head.subarray(24, 32).toString("hex")}`

/**
 * The file changed while it was looked at.
 *
 * @since 0.1.0
 * @category errors
 */
export const changing = (subject: Subject) => new SessionDbUnavailable({ ...subject, reason: "busy" })

/**
 * What is done here is for one who holds the file's permit; see `FilePermit`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.gen(function* () {
  const calls = yield* SystemCalls
  const directories = yield* SafeDirectories

  /**
   * Uses a file around the page cache, which may be stale, if this is a mount. File systems that want such
   * reads aligned in memory (local disks, whose cache is never stale) answer EINVAL, and are read as usual.
   */
  const withFile = <A>(
    directory: SafeDirectory,
    name: string,
    options: FileLookOptions,
    subject: Subject,
    use: (file: SafeFile) => Effect.Effect<A, StorageError>
  ) => {
    const attempt = (extraFlags: number) => directories.withFile(directory, name, subject, use, extraFlags)
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
    options: FileLookOptions,
    subject: Subject
  ) {
    const name = DatabaseFile.journalName(options.name)
    if (options.view === "mount") {
      const names = yield* namesIn(directory, subject)
      if (!names.includes(name)) return undefined
    } else if (calls.glance(directory.at(name)) === nothing) return undefined
    return yield* withFile(directory, name, options, subject, (file) => readHead(file, name, subject)).pipe(
      Effect.map(({ head, stats }): Journal | undefined => {
        const { ino, mtimeNs, size } = stats
        const nonce = RollbackJournal.nonce(head)
        if (nonce !== undefined) return { identity: `${ino}.${nonce}`, size, hasHeader: true }
        return options.view === "local" || head.length >= RollbackJournal.headerLength
          ? undefined
          : { identity: `${ino}.at.${mtimeNs}`, size, hasHeader: false }
      }),
      Effect.catchIf(isMissing, () =>
        options.view === "mount" ? Effect.fail(changing(subject)) : Effect.succeed(undefined)
      )
    )
  })

  const observedOf = ({ head, stats }: Head, journal: Observed["journal"]): Observed => {
    const stamp = stampOf(head, stats)
    return {
      stamp: journal === undefined ? stamp : `${stamp}${journalMark}${journal.identity}.${journal.size}`,
      head,
      inode: stats.ino,
      journal
    }
  }

  const stamp = (options: FileLookOptions, subject: Subject) =>
    directories.within(options.directory, subject, (directory) =>
      Effect.gen(function* () {
        const journal = yield* journalOf(directory, options, subject)
        const head = yield* withFile(directory, options.name, options, subject, (file) =>
          readHead(file, options.name, subject)
        )
        return observedOf(head, journal).stamp
      })
    )

  return { withFile, readAt, readHead, namesIn, journalOf, observedOf, stamp }
})
