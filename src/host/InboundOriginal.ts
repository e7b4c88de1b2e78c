/**
 * The host's own inbound.db, which lies outside of the session's folder.
 *
 * In the folder it would not be the host's: who can write there can put a link, a FIFO or a journal in SQLite's way at
 * any moment, and change what the host decides by. So the folder has a copy only (see `InboundCopy`), and the original is
 * a `PrivateDatabase`.
 *
 * A session whose folder another host made, or an older build, has no original yet. It is made from what lies in the
 * folder, once; from then on nothing is read there again.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Path from "node:path"
import type { SessionDbUnavailable, StorageError } from "../protocol/AirlockError.js"
import { SessionDbCorrupt } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Tables from "../protocol/Tables.js"
import * as DatabaseFile from "../storage/DatabaseFile.js"
import * as Durability from "../storage/Durability.js"
import * as NewFile from "../storage/NewFile.js"
import { OwnedNames } from "../storage/OwnedNames.js"
import type { PrivateHandle } from "../storage/PrivateDatabase.js"
import { PrivateDatabases } from "../storage/PrivateDatabase.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { Snapshots } from "../storage/Snapshot.js"
import { SqliteDriver } from "../storage/SqliteDriver.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall, isMissing } from "../storage/StorageFailure.js"
import { flags, nothing, SystemCalls } from "../storage/SystemCalls.js"
import * as AdoptableSchema from "./AdoptableSchema.js"
import { AirlockConfig } from "./AirlockConfig.js"
import { SessionPaths } from "./SessionPaths.js"
import * as SessionSchema from "./SessionSchema.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class InboundOriginal extends Context.Tag("effect-airlock/InboundOriginal")<
  InboundOriginal,
  {
    /** Makes it if there is none: from the folder's inbound.db, or empty if there is none either. */
    readonly create: (ref: SessionRef, subject: Subject) => Effect.Effect<void, StorageError>
    /**
     * Opens it, and brings one of an older build up to date. One that is not there is made from the folder's; without
     * either it is `missing`.
     */
    readonly open: (
      ref: SessionRef,
      subject: Subject
    ) => Effect.Effect<PrivateHandle, StorageError, Scope.Scope>
    /** The same, for as long as `use` takes. */
    readonly during: <A, E>(
      ref: SessionRef,
      subject: Subject,
      use: (handle: PrivateHandle) => Effect.Effect<A, E>
    ) => Effect.Effect<A, E | StorageError>
    /** Another number after each commit, without opening it. */
    readonly version: (ref: SessionRef, subject: Subject) => Effect.Effect<number, StorageError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    InboundOriginal,
    SessionDbUnavailable,
    | AirlockConfig
    | SessionPaths
    | PrivateDatabases
    | Snapshots
    | SafeDirectories
    | SqliteDriver
    | SystemCalls
    | OwnedNames
  > = Layer.effect(
    InboundOriginal,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const { dataDir, durability, limits, patience } = yield* AirlockConfig
  const paths = yield* SessionPaths
  const databases = yield* PrivateDatabases
  const snapshots = yield* Snapshots
  const directories = yield* SafeDirectories
  const driver = yield* SqliteDriver
  const calls = yield* SystemCalls
  const names = yield* OwnedNames
  const durably = yield* Durability.make(durability)

  const empty = yield* driver.image(SessionSchema.newInbound).pipe(
    Effect.mapError(fromSql({ operation: "InboundOriginal.layer", resource: "inbound" })),
    Effect.catchTag("SessionDbCorrupt", (error) => Effect.die(error)),
    Effect.map(DatabaseFile.inLogMode)
  )

  /** Writes what lies in the folder to `target`, if there is nothing in it that SQLite would evaluate. */
  const adopt = Effect.fnUntraced(function* (ref: SessionRef, target: string, subject: Subject) {
    const { client } = yield* snapshots.open(
      {
        directory: yield* paths.session(ref),
        name: SessionLayout.inbound,
        view: "local",
        schemaVersion: Tables.inboundVersion,
        limit: limits.databaseBytes,
        rows: limits.databaseRows,
        patience
      },
      subject
    )
    const asFailure = Effect.mapError(fromSql(subject))
    if (!(yield* asFailure(AdoptableSchema.isPlain(client))))
      return yield* new SessionDbCorrupt({ ...subject, reason: "damaged" })
    yield* asFailure(client`PRAGMA query_only = OFF`)
    yield* asFailure(client`VACUUM INTO ${target}`)
    yield* Effect.acquireUseRelease(calls.open(target, flags.read), calls.sync, calls.close).pipe(
      Effect.mapError(fromSystemCall(subject, target))
    )
    yield* Effect.logWarning(
      "There was no inbound.db of the host's own: the one in the session's folder is taken over"
    ).pipe(Effect.annotateLogs({ sessionId: ref.sessionId, agentGroupId: ref.agentGroupId }))
  }, Effect.scoped)

  const ensure = Effect.fnUntraced(function* (ref: SessionRef, subject: Subject, orEmpty: boolean) {
    const file = yield* paths.original(ref)
    const [path, name] = [Path.dirname(file), Path.basename(file)]
    yield* calls.makePath(path).pipe(Effect.mapError(fromSystemCall(subject, path)))
    const directory = yield* directories.open(path, subject)
    if (yield* directories.has(directory, name, subject)) return
    const add = (write: (temporary: string) => Effect.Effect<void, StorageError>) =>
      Effect.flatMap(names.make(NewFile.unfinished), (temporary) =>
        NewFile.add(calls, directory, name, temporary, write, subject)
      )
    yield* add((temporary) => adopt(ref, Path.join(path, temporary), subject)).pipe(
      Effect.catchIf(
        (error) => orEmpty && isMissing(error),
        () => add((temporary) => directories.writeFile(directory, temporary, empty, subject))
      )
    )
    yield* durably.path(path, dataDir, subject)
  }, Effect.scoped)

  const orAdopted = <A, R>(
    ref: SessionRef,
    subject: Subject,
    use: Effect.Effect<A, StorageError, R>
  ): Effect.Effect<A, StorageError, R> =>
    Effect.catchIf(use, isMissing, () => Effect.zipRight(ensure(ref, subject, false), use))

  const prepare = (client: SqlClient, version: number) =>
    version < Tables.inboundVersion ? SessionSchema.upgradeInbound(client) : Effect.void

  const version = (ref: SessionRef, subject: Subject) =>
    Effect.flatMap(paths.original(ref), (path) => databases.version(path, subject))

  const optionsAt = (path: string) => ({
    path,
    schemaVersion: Tables.inboundVersion,
    patience,
    durability,
    prepare
  })

  const open = (ref: SessionRef, subject: Subject) =>
    Effect.flatMap(paths.original(ref), (path) =>
      orAdopted(ref, subject, databases.open(optionsAt(path), subject))
    )

  const during = <A, E>(
    ref: SessionRef,
    subject: Subject,
    use: (handle: PrivateHandle) => Effect.Effect<A, E>
  ) =>
    Effect.flatMap(paths.original(ref), (path) => {
      const used = databases.during(optionsAt(path), subject, use)
      // What `use` fails with is its own.
      return calls.glance(path) === nothing ? Effect.zipRight(ensure(ref, subject, false), used) : used
    })

  return InboundOriginal.of({
    create: (ref, subject) => ensure(ref, subject, true),
    open,
    during,
    version: (ref, subject) => orAdopted(ref, subject, version(ref, subject))
  })
})
