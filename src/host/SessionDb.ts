/**
 * The two databases of a session, as the host may use them: its own for writing, the agent's for reading.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { StorageError } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Tables from "../protocol/Tables.js"
import * as Closing from "../storage/Closing.js"
import type { PrivateHandle } from "../storage/PrivateDatabase.js"
import * as FilePermit from "../storage/FilePermit.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import type { ChangeStamp, Copy, SnapshotOptions } from "../storage/Snapshot.js"
import { Snapshots } from "../storage/Snapshot.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, isSqlError } from "../storage/StorageFailure.js"
import { isDirectory, pause, SystemCalls } from "../storage/SystemCalls.js"
import { AirlockConfig } from "./AirlockConfig.js"
import * as InboundCopy from "./InboundCopy.js"
import { InboundOriginal } from "./InboundOriginal.js"
import { SessionPaths } from "./SessionPaths.js"
import * as Tracing from "../storage/Tracing.js"

export type { ChangeStamp, Copy } from "../storage/Snapshot.js"

/**
 * - `operation`: what errors name
 * - `undo`: takes back what the program did outside of the database; it runs if the transaction does not commit, before
 *   anybody is told
 * - `publish`: when the agent sees what the program did, because copying the database for it takes as long as the database
 *   is long. `now` (the default): before anybody is told; `soon`: right after, once for all that is committed within 50
 *   milliseconds if it comes without a break, and before the layer is closed; `later`: with the next change or look, for what no agent waits for
 *
 * @since 0.1.0
 * @category models
 */
export interface TransactionOptions {
  readonly operation?: string | undefined
  readonly undo?: Effect.Effect<void> | undefined
  readonly publish?: "now" | "soon" | "later" | undefined
}

/**
 * Scoped handles. The `operation` that errors name is the caller's, and defaults to the member's own name.
 *
 * @since 0.1.0
 * @category tags
 */
export class SessionDb extends Context.Tag("effect-airlock/SessionDb")<
  SessionDb,
  {
    /**
     * A handle on the host's inbound.db for reading and writing, closed with the scope. Open it, use it, close it:
     * while it is open nothing else in this process can use the file, and a second one in the same fiber fails
     * with the reason `nested`. `withTransaction` is `BEGIN IMMEDIATE`. The first handle on a file of an
     * older build upgrades it. When it is closed, what changed is in the agent's copy, or will be at the sweep's next look at
     * the session, if that could not be written; then it is logged.
     */
    readonly inbound: (
      ref: SessionRef,
      operation?: string
    ) => Effect.Effect<SqlClient, StorageError, Scope.Scope>
    /**
     * A program in one transaction on inbound.db: `BEGIN IMMEDIATE`, the program, `COMMIT`. It cannot be
     * interrupted in between. `stamp` is what `inboundStamp` was when the transaction began.
     */
    readonly transaction: <A, E>(
      ref: SessionRef,
      body: (sql: SqlClient, stamp: ChangeStamp) => Effect.Effect<A, E>,
      options?: TransactionOptions
    ) => Effect.Effect<A, Exclude<E, SqlError> | StorageError>
    /**
     * A private copy of outbound.db as it is now, for reading; it goes away with the scope. The file itself
     * is never opened by SQLite.
     */
    readonly outbound: (
      ref: SessionRef,
      operation?: string
    ) => Effect.Effect<SqlClient, StorageError, Scope.Scope>
    /** The copy, which is not opened yet, and what the file looked like when it was made. */
    readonly outboundCopy: (ref: SessionRef, operation?: string) => Effect.Effect<Copy, StorageError>
    /** What outbound.db looks like: an equal stamp means that nothing was written to it since. */
    readonly outboundStamp: (ref: SessionRef, operation?: string) => Effect.Effect<ChangeStamp, StorageError>
    /** The same of the host's inbound.db. */
    readonly inboundStamp: (ref: SessionRef, operation?: string) => Effect.Effect<ChangeStamp, StorageError>
    /** Sees to it that the agent's copy of inbound.db is what it should be. */
    readonly publish: (ref: SessionRef, operation?: string) => Effect.Effect<void, StorageError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    SessionDb,
    never,
    AirlockConfig | SessionPaths | InboundOriginal | Snapshots | SafeDirectories | SystemCalls
  > = Layer.scoped(
    SessionDb,
    Effect.suspend(() => make)
  )
}

type Body<A, E> = (sql: SqlClient, stamp: ChangeStamp) => Effect.Effect<A, E>

/** How long what is to be published soon may wait while others have their turn, in milliseconds. */
const soon = 50

const make = Effect.gen(function* () {
  const { limits, patience } = yield* AirlockConfig
  const paths = yield* SessionPaths
  const originals = yield* InboundOriginal
  const copies = yield* InboundCopy.make
  const directories = yield* SafeDirectories
  const snapshots = yield* Snapshots
  const calls = yield* SystemCalls
  const scope = yield* Effect.scope
  /** What is to be published soon, and since when, by the session's folder. */
  const unpublished = new Map<string, number>()

  const openFolder = (ref: SessionRef, subject: Subject) =>
    Effect.flatMap(paths.session(ref), (path) => directories.open(path, subject))

  const openInbound = Effect.fnUntraced(function* (ref: SessionRef, operation: string) {
    const subject: Subject = { operation, resource: "inbound" }
    const folder = yield* openFolder(ref, subject)
    const original = yield* originals.open(ref, subject)
    yield* Closing.add(() => {
      unpublished.delete(folder.path)
      return orLogged(ref, copies.publishChanges(folder, original, subject))
    })
    return original
  })

  /** What is stored is stored, which is what success promises. */
  const orLogged = (ref: SessionRef, publishing: Effect.Effect<void, StorageError>) =>
    Effect.catchAll(publishing, (error) =>
      Effect.annotateLogs(Effect.logWarning("inbound.db was not published to the agent", error), {
        sessionId: ref.sessionId
      })
    )

  /** For who has just committed, and has the original still. */
  const publishSoonOrNow = (folder: string, ref: SessionRef, original: PrivateHandle, subject: Subject) =>
    Effect.suspend(() => {
      const isBehind = Effect.orElseSucceed(copies.hasChanged(folder, original), () => true)
      if (isEarly(folder)) return Effect.whenEffect(publishSoon(folder, ref), isBehind)
      unpublished.delete(folder)
      return orLogged(
        ref,
        directories.within(folder, subject, (opened) => copies.publishChanges(opened, original, subject))
      )
    })

  const isEarly = (folder: string): boolean => {
    const since = unpublished.get(folder)
    return since === undefined || calls.uptime() - since < soon
  }

  /** Until nobody is about to commit more, but not for long. */
  const untilQuiet = (ref: SessionRef, folder: string) =>
    Effect.flatMap(paths.original(ref), (path) => {
      const turn = FilePermit.during(
        path,
        { operation: "SessionDb.publish", resource: "inbound" },
        Effect.void
      )
      return Effect.whileLoop({
        while: () => FilePermit.isTaken(path) && unpublished.has(folder) && isEarly(folder),
        body: () => Effect.zipRight(turn, pause),
        step: () => {}
      })
    })

  const publishUnpublished = (ref: SessionRef, folder: string) =>
    // What is committed from now on is the next one's to publish.
    Effect.suspend(() => (unpublished.delete(folder) ? orLogged(ref, publish(ref)) : Effect.void))

  const publishSoon = (folder: string, ref: SessionRef) =>
    Effect.suspend(() => {
      if (unpublished.has(folder)) return Effect.void
      unpublished.set(folder, calls.uptime())
      return pause.pipe(
        Effect.zipRight(Effect.ignore(untilQuiet(ref, folder))),
        Effect.zipRight(publishUnpublished(ref, folder)),
        // The layer's end waits for it.
        Effect.uninterruptible,
        Effect.forkIn(scope)
      )
    })

  const publish = Effect.fnUntraced(
    function* (ref: SessionRef, operation: string = "SessionDb.publish") {
      const subject: Subject = { operation, resource: "inbound" }
      const folder = yield* openFolder(ref, subject)
      if (yield* copies.isPublished(folder, yield* originals.version(ref, subject))) return
      yield* copies.publish(folder, yield* originals.open(ref, subject), subject)
      // While the original is open nobody can commit what the copy would not have.
      unpublished.delete(folder.path)
    },
    Effect.scoped,
    Tracing.without
  )

  const inTransaction = <A, E>(
    { client, openedAt }: PrivateHandle,
    body: Body<A, E>,
    { operation = "SessionDb.transaction", undo }: TransactionOptions
  ) =>
    client.withTransaction(Effect.suspend(() => body(client, String(openedAt)))).pipe(
      (done) => (undo === undefined ? done : Effect.onError(done, () => undo)),
      Effect.uninterruptible,
      Effect.catchIf(isSqlError, (error) => Effect.fail(fromSql({ operation, resource: "inbound" })(error)))
    )

  /** The folder of a session, if it is there. Why it is not, opening it says. */
  const folderOf = (ref: SessionRef, subject: Subject) =>
    Effect.tap(paths.session(ref), (path) => {
      const seen = calls.glance(path)
      return seen !== undefined && isDirectory(seen)
        ? Effect.void
        : directories.within(path, subject, () => Effect.void)
    })

  const transaction = <A, E>(ref: SessionRef, body: Body<A, E>, options: TransactionOptions = {}) => {
    const { operation = "SessionDb.transaction", publish = "now" } = options
    const subject: Subject = { operation, resource: "inbound" }
    switch (publish) {
      case "now":
        return Effect.flatMap(openInbound(ref, operation), (original) =>
          inTransaction(original, body, options)
        ).pipe(Effect.scoped, Tracing.without)
      case "soon":
        return Effect.flatMap(folderOf(ref, subject), (folder) =>
          originals.during(ref, subject, (original) =>
            inTransaction(original, body, options).pipe(
              Effect.zipLeft(publishSoonOrNow(folder, ref, original, subject)),
              Effect.uninterruptible
            )
          )
        ).pipe(Tracing.without)
      case "later":
        return Tracing.without(
          originals.during(ref, subject, (original) => inTransaction(original, body, options))
        )
    }
  }

  const outboundFile = (ref: SessionRef): Effect.Effect<SnapshotOptions, StorageError> =>
    Effect.map(paths.session(ref), (directory) => ({
      directory,
      name: SessionLayout.outbound,
      view: "local",
      schemaVersion: Tables.outboundVersion,
      limit: limits.databaseBytes,
      rows: limits.databaseRows,
      patience
    }))

  const outboundCopy = (ref: SessionRef, operation: string = "SessionDb.outbound") =>
    Effect.flatMap(outboundFile(ref), (file) => snapshots.take(file, { operation, resource: "outbound" }))

  return SessionDb.of({
    inbound: (ref, operation = "SessionDb.inbound") =>
      Effect.map(openInbound(ref, operation), ({ client }) => client),
    transaction,
    outbound: (ref, operation) => Effect.flatMap(outboundCopy(ref, operation), ({ client }) => client),
    outboundCopy,
    outboundStamp: (ref, operation = "SessionDb.outboundStamp") =>
      Effect.flatMap(outboundFile(ref), (file) => snapshots.stamp(file, { operation, resource: "outbound" })),
    inboundStamp: (ref, operation = "SessionDb.inboundStamp") =>
      Effect.map(originals.version(ref, { operation, resource: "inbound" }), String),
    publish
  })
})
