/**
 * The copy of inbound.db that lies in the session's folder, for the agent.
 *
 * It is written whole under another name and renamed over the one before, so that whoever opens it, through whatever
 * mount and with or without locks, has a file that nobody changes any more. It is never read for what it says: the agent
 * may do with it what it likes, and has the next one then.
 *
 * A mount of inbound.db itself, instead of the folder, would go on showing the file that was there first.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Closing from "../storage/Closing.js"
import * as DatabaseFile from "../storage/DatabaseFile.js"
import type { PrivateHandle } from "../storage/PrivateDatabase.js"
import type { SafeDirectory, SafeFile } from "../storage/SafeDirectory.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall } from "../storage/StorageFailure.js"
import { eachPiece, flags, SystemCalls } from "../storage/SystemCalls.js"

/** Only one process at a time publishes: it holds the original's lock. What another one left is replaced. */
const temporaryName = ".inbound.db.new"

const journalName = DatabaseFile.journalName(SessionLayout.inbound)

/** The version of the original that was last found to be published, and what the copy looked like then. */
interface Noted {
  readonly original: number
  readonly copy: string
}

const looksOf = ({ ctimeNs, ino, mtimeNs, size }: SafeFile["stats"]): string =>
  `${ino}.${size}.${mtimeNs}.${ctimeNs}`

/**
 * Publishing, for the sessions of one host.
 *
 * - `isPublished`: whether the folder has the copy of this version of the original, and nobody has touched it
 * - `hasChanged`: whether the original changed since it was last published by this process
 * - `publish`: sees to it that it has, and looks at no more than it must. `folder` is the session's
 * - `publishChanges`: the same, if `hasChanged`
 *
 * @since 0.1.0
 * @category models
 */
export interface InboundCopies {
  readonly isPublished: (folder: SafeDirectory, version: number) => Effect.Effect<boolean>
  readonly hasChanged: (folder: string, original: PrivateHandle) => Effect.Effect<boolean, StorageError>
  readonly publish: (
    folder: SafeDirectory,
    original: PrivateHandle,
    subject: Subject
  ) => Effect.Effect<void, StorageError>
  readonly publishChanges: (
    folder: SafeDirectory,
    original: PrivateHandle,
    subject: Subject
  ) => Effect.Effect<void, StorageError>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<InboundCopies, never, SafeDirectories | SystemCalls> = Effect.gen(
  function* () {
    const directories = yield* SafeDirectories
    const calls = yield* SystemCalls
    const noted = new Map<string, Noted>()

    /**
     * Makes the copy, and tells how it looks. What else has its name is replaced, but for a directory: how long it takes
     * to remove one is up to the agent.
     */
    const replace = Effect.fnUntraced(function* (folder: SafeDirectory, bytes: Uint8Array, subject: Subject) {
      const path = Path.join(folder.path, SessionLayout.inbound)
      const failure = Effect.mapError(fromSystemCall(subject, path))
      const temporary = folder.at(temporaryName)
      const create = Closing.acquire(calls.open(temporary, flags.create, 0o644), calls.close)
      const fd = yield* create.pipe(
        Effect.catchIf(
          ({ code }) => code === "EEXIST",
          () => Effect.zipRight(calls.unlink(temporary), create)
        ),
        failure
      )
      yield* Closing.add((exit) =>
        Exit.isFailure(exit) ? Effect.ignore(calls.unlink(temporary)) : Effect.void
      )
      yield* failure(eachPiece(bytes, (piece, position) => calls.write(fd, piece, position)))
      yield* failure(calls.rename(temporary, folder.at(SessionLayout.inbound)))
      return looksOf(yield* failure(calls.fstat(fd)))
    }, Effect.scoped)

    /** How the copy looks, if it has these very bytes. */
    const looksIfSame = (folder: SafeDirectory, bytes: Uint8Array, subject: Subject) =>
      Effect.gen(function* () {
        const file = yield* directories.openFile(folder, SessionLayout.inbound, subject)
        const copy = yield* directories.readOpen(file, SessionLayout.inbound, bytes.byteLength, subject)
        return Buffer.compare(copy, bytes) === 0 ? looksOf(file.stats) : undefined
      }).pipe(
        Effect.scoped,
        Effect.orElseSucceed(() => undefined)
      )

    const publishWith = (
      folder: SafeDirectory,
      original: PrivateHandle,
      subject: Subject,
      known: Noted | undefined
    ) =>
      Effect.gen(function* () {
        const version = yield* original.version
        const bytes = yield* original.bytes
        // A host that wrote this file in place and was killed left it. Who opens the copy beside it would roll it back there.
        yield* directories.removeFile(folder, journalName, subject)
        const same = known === undefined ? yield* looksIfSame(folder, bytes, subject) : undefined
        // What a killed process was about to publish may be what is there.
        if (same !== undefined) yield* directories.remove(folder, temporaryName, subject)
        const copy = same ?? (yield* replace(folder, bytes, subject))
        noted.set(folder.path, { original: version, copy })
      }).pipe(
        original.client.withTransaction,
        Effect.catchTag("SqlError", (error) => Effect.fail(fromSql(subject)(error)))
      )

    /** What is known to be published, if nobody has touched it. */
    const untouched = (folder: SafeDirectory) => {
      const known = noted.get(folder.path)
      return known === undefined
        ? Effect.succeed(undefined)
        : calls.lstat(folder.at(SessionLayout.inbound)).pipe(
            Effect.map((stats) => (looksOf(stats) === known.copy ? known : undefined)),
            Effect.orElseSucceed(() => undefined)
          )
    }

    const hasChanged = (folder: string, { version }: PrivateHandle) =>
      Effect.map(version, (now) => noted.get(folder)?.original !== now)

    return {
      hasChanged,
      isPublished: (folder, version) =>
        noted.get(folder.path)?.original === version
          ? Effect.map(untouched(folder), (known) => known !== undefined)
          : Effect.succeed(false),
      publish: (folder, original, subject) =>
        Effect.flatMap(untouched(folder), (known) => publishWith(folder, original, subject, known)),
      publishChanges: (folder, original, subject) =>
        Effect.asVoid(
          Effect.whenEffect(
            Effect.suspend(() => publishWith(folder, original, subject, noted.get(folder.path))),
            hasChanged(folder.path, original)
          )
        )
    }
  }
)
