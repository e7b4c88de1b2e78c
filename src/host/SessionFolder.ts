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
import * as Path from "node:path"
import type { SessionDbUnavailable, StorageError, UnsafePath } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Durability from "../storage/Durability.js"
import * as NewFile from "../storage/NewFile.js"
import { OwnedNames } from "../storage/OwnedNames.js"
import type { SafeDirectory } from "../storage/SafeDirectory.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { SqliteDriver } from "../storage/SqliteDriver.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall } from "../storage/StorageFailure.js"
import { nothing, SystemCalls } from "../storage/SystemCalls.js"
import { AirlockConfig } from "./AirlockConfig.js"
import { InboundOriginal } from "./InboundOriginal.js"
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
    /**
     * Makes the host's inbound.db and the folder, or adds what they lack and upgrades inbound.db. Again is harmless.
     */
    readonly init: (ref: SessionRef, operation: string) => Effect.Effect<void, StorageError>
    /** Whether there is something under the names of all databases. */
    readonly isComplete: (ref: SessionRef) => Effect.Effect<boolean, UnsafePath>
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
    | AirlockConfig
    | SessionPaths
    | SessionDb
    | InboundOriginal
    | SafeDirectories
    | SqliteDriver
    | SystemCalls
    | OwnedNames
  > = Layer.effect(
    SessionFolder,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const { dataDir, durability, owner } = yield* AirlockConfig
  const paths = yield* SessionPaths
  const db = yield* SessionDb
  const originals = yield* InboundOriginal
  const directories = yield* SafeDirectories
  const calls = yield* SystemCalls
  const driver = yield* SqliteDriver
  const names = yield* OwnedNames
  const durably = yield* Durability.make(durability)

  const newOutbound = yield* driver.image(SessionSchema.newOutbound).pipe(
    Effect.mapError(fromSql({ operation: "SessionFolder.layer", resource: "folder" })),
    Effect.catchTag("SessionDbCorrupt", (error) => Effect.die(error))
  )
  const folders = [SessionLayout.inbox, SessionLayout.outbox]

  const writeOutbound = (directory: SafeDirectory, as: string, subject: Subject) =>
    directories.writeFile(directory, as, newOutbound, subject)

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

  /** The agent's copy of inbound.db, for a folder that nobody has seen yet. */
  const writeInbound = (ref: SessionRef, folder: SafeDirectory, { operation }: Subject) => {
    const subject: Subject = { operation, resource: "inbound" }
    return Effect.gen(function* () {
      const { bytes, client } = yield* originals.open(ref, subject)
      const whole = yield* client.withTransaction(bytes)
      yield* directories.writeFile(folder, SessionLayout.inbound, whole, subject)
    }).pipe(
      Effect.scoped,
      Effect.catchTag("SqlError", (error) => Effect.fail(fromSql(subject)(error)))
    )
  }

  const createWhole = (ref: SessionRef, parent: SafeDirectory, subject: Subject) =>
    Effect.gen(function* () {
      const temporary = yield* names.make(NewFile.unfinished)
      yield* Effect.addFinalizer(() => Effect.ignore(directories.remove(parent, temporary, subject)))
      yield* directories.make(parent, temporary, subject)
      const folder = yield* directories.openChild(parent, temporary, subject)
      yield* writeInbound(ref, folder, subject)
      yield* writeOutbound(folder, SessionLayout.outbound, subject)
      for (const child of folders) yield* directories.make(folder, child, subject)
      yield* handOver(folder, subject)
      yield* durably.names(folder, subject)
      yield* calls.rename(parent.at(temporary), parent.at(ref.sessionId)).pipe(
        Effect.catchIf(NewFile.isTaken, () => Effect.void),
        Effect.mapError(fromSystemCall(subject, Path.join(parent.path, ref.sessionId)))
      )
      yield* durably.path(parent.path, dataDir, subject)
    }).pipe(Effect.scoped)

  const complete = (parent: SafeDirectory, name: string, subject: Subject) =>
    Effect.gen(function* () {
      const folder = yield* directories.openChild(parent, name, subject)
      for (const child of folders) yield* directories.make(folder, child, subject)
      if (yield* directories.has(folder, SessionLayout.outbound, subject)) return
      yield* NewFile.add(
        calls,
        folder,
        SessionLayout.outbound,
        yield* names.make(NewFile.unfinished),
        (temporary) => writeOutbound(folder, temporary, subject),
        subject
      )
      yield* durably.names(folder, subject)
      yield* handOver(folder, subject)
    }).pipe(Effect.scoped)

  const init = (ref: SessionRef, operation: string) =>
    Effect.gen(function* () {
      const subject = { operation, resource: "folder" as const }
      const path = yield* paths.session(ref)
      yield* originals.create(ref, { operation, resource: "inbound" })
      const group = Path.dirname(path)
      yield* calls.makePath(group).pipe(Effect.mapError(fromSystemCall(subject, group)))
      const parent = yield* directories.open(group, subject)
      if (!(yield* directories.has(parent, ref.sessionId, subject))) {
        yield* createWhole(ref, parent, subject)
      }
      yield* complete(parent, ref.sessionId, subject)
      yield* db.publish(ref, operation)
    }).pipe(Effect.scoped)

  const open = (ref: SessionRef, operation: string) =>
    Effect.flatMap(paths.session(ref), (path) => directories.open(path, { operation, resource: "folder" }))

  const isComplete = (ref: SessionRef): Effect.Effect<boolean, UnsafePath> =>
    Effect.zipWith(paths.session(ref), paths.original(ref), (folder, original) =>
      [Path.join(folder, SessionLayout.inbound), Path.join(folder, SessionLayout.outbound), original].every(
        (path) => (calls.glance(path) ?? nothing) !== nothing
      )
    )

  return SessionFolder.of({ init, open, isComplete })
})
