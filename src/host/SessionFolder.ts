/**
 * Making the folder of a session.
 *
 * A new folder is made complete under another name and then renamed, so it appears whole or not at all,
 * whoever is killed when, and of two hosts that make it at once one wins. In a folder that exists, only what
 * is missing is added.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Path from "node:path"
import type { SessionDbUnavailable, StorageError } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import { OwnedNames } from "../storage/OwnedNames.js"
import type { SafeDirectory } from "../storage/SafeDirectory.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { SqliteDriver } from "../storage/SqliteDriver.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall } from "../storage/StorageFailure.js"
import type { SystemCallError } from "../storage/SystemCalls.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import { AirlockConfig } from "./AirlockConfig.js"
import * as Leftovers from "./Leftovers.js"
import { SessionDb } from "./SessionDb.js"
import { SessionPaths } from "./SessionPaths.js"
import * as SessionSchema from "./SessionSchema.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class SessionFolder extends Context.Tag("effect-airlock/SessionFolder")<
  SessionFolder,
  {
    /** Makes the folder, or adds what it lacks and upgrades inbound.db. Again is harmless. */
    readonly init: (ref: SessionRef, operation: string) => Effect.Effect<void, StorageError>
    /** Whether both databases are there. */
    readonly isComplete: (ref: SessionRef, operation: string) => Effect.Effect<boolean, StorageError>
    /** Opens the folder. A missing one fails with the reason `missing`. */
    readonly open: (
      ref: SessionRef,
      operation: string
    ) => Effect.Effect<SafeDirectory, StorageError, Scope.Scope>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    SessionFolder,
    SessionDbUnavailable,
    AirlockConfig | SessionPaths | SessionDb | SafeDirectories | SqliteDriver | SystemCalls | OwnedNames
  > = Layer.effect(
    SessionFolder,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const { owner } = yield* AirlockConfig
  const paths = yield* SessionPaths
  const db = yield* SessionDb
  const directories = yield* SafeDirectories
  const calls = yield* SystemCalls
  const driver = yield* SqliteDriver
  const names = yield* OwnedNames

  const images = yield* Effect.all({
    [SessionLayout.inbound]: driver.image(SessionSchema.newInbound),
    [SessionLayout.outbound]: driver.image(SessionSchema.newOutbound)
  }).pipe(
    Effect.mapError(fromSql({ operation: "SessionFolder.layer", resource: "folder" })),
    Effect.catchTag("SessionDbCorrupt", (error) => Effect.die(error))
  )
  const databases = [SessionLayout.inbound, SessionLayout.outbound] as const
  const folders = [SessionLayout.inbox, SessionLayout.outbox]

  const temporaryName = names.make(Leftovers.unfinished)

  const writeDatabase = (
    directory: SafeDirectory,
    as: string,
    name: (typeof databases)[number],
    subject: Subject
  ) => directories.writeFile(directory, as, Stream.make(images[name]), subject)

  /** The folder, `outbox/` and outbound.db go to the agent's user; the rest stays the host's, readable. */
  const handOver = (directory: SafeDirectory, subject: Subject) =>
    Option.match(owner, {
      onNone: () => Effect.void,
      onSome: ({ gid, uid }) =>
        Effect.gen(function* () {
          const failure = fromSystemCall(subject, directory.path)
          const outbox = yield* directories.openChild(directory, SessionLayout.outbox, subject)
          const outbound = yield* directories.openFile(directory, SessionLayout.outbound, subject)
          for (const fd of [outbox.fd, outbound.fd, directory.fd]) {
            yield* Effect.mapError(calls.chown(fd, uid, gid), failure)
          }
        }).pipe(Effect.scoped)
    })

  const createWhole = (parent: SafeDirectory, name: string, subject: Subject) =>
    Effect.gen(function* () {
      const temporary = yield* temporaryName
      yield* Effect.addFinalizer(() => Effect.ignore(directories.remove(parent, temporary, subject)))
      yield* directories.make(parent, temporary, subject)
      const folder = yield* directories.openChild(parent, temporary, subject)
      for (const database of databases) yield* writeDatabase(folder, database, database, subject)
      for (const child of folders) yield* directories.make(folder, child, subject)
      yield* handOver(folder, subject)
      yield* calls.rename(parent.at(temporary), parent.at(name)).pipe(
        Effect.catchIf(isTaken, () => Effect.void),
        Effect.mapError(fromSystemCall(subject, Path.join(parent.path, name)))
      )
    }).pipe(Effect.scoped)

  /** Puts a database where there is none. A link fails if another host was faster; a rename would not. */
  const addDatabase = (folder: SafeDirectory, name: (typeof databases)[number], subject: Subject) =>
    Effect.gen(function* () {
      const temporary = yield* temporaryName
      yield* Effect.addFinalizer(() => Effect.ignore(calls.unlink(folder.at(temporary))))
      yield* writeDatabase(folder, temporary, name, subject)
      yield* calls.link(folder.at(temporary), folder.at(name)).pipe(
        Effect.catchIf(isTaken, () => Effect.void),
        Effect.mapError(fromSystemCall(subject, Path.join(folder.path, name)))
      )
    }).pipe(Effect.scoped)

  const complete = (parent: SafeDirectory, name: string, subject: Subject) =>
    Effect.gen(function* () {
      const folder = yield* directories.openChild(parent, name, subject)
      for (const child of folders) yield* directories.make(folder, child, subject)
      let added = false
      for (const database of databases) {
        if (yield* directories.has(folder, database, subject)) continue
        yield* addDatabase(folder, database, subject)
        added = true
      }
      if (added) yield* handOver(folder, subject)
    }).pipe(Effect.scoped)

  const init = (ref: SessionRef, operation: string) =>
    Effect.gen(function* () {
      const subject = { operation, resource: "folder" as const }
      const path = yield* paths.session(ref)
      const group = Path.dirname(path)
      yield* calls.makePath(group).pipe(Effect.mapError(fromSystemCall(subject, group)))
      const parent = yield* directories.open(group, subject)
      if (!(yield* directories.has(parent, ref.sessionId, subject))) {
        yield* createWhole(parent, ref.sessionId, subject)
      }
      yield* complete(parent, ref.sessionId, subject)
      // Opening upgrades a file of an older build, and refuses one that is not ours to use.
      yield* db.inbound(ref, operation)
    }).pipe(Effect.scoped)

  const open = (ref: SessionRef, operation: string) =>
    Effect.flatMap(paths.session(ref), (path) => directories.open(path, { operation, resource: "folder" }))

  const isComplete = (ref: SessionRef, operation: string) =>
    open(ref, operation).pipe(
      Effect.flatMap((directory) =>
        Effect.every(databases, (name) => directories.has(directory, name, { operation, resource: "folder" }))
      ),
      Effect.scoped,
      Effect.catchIf(
        (error) => error._tag === "SessionDbUnavailable" && error.reason === "missing",
        () => Effect.succeed(false)
      )
    )

  return SessionFolder.of({ init, open, isComplete })
})

const isTaken = (error: SystemCallError): boolean => error.code === "EEXIST" || error.code === "ENOTEMPTY"
