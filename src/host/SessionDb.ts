/**
 * The two databases of a session, as the host may use them: its own for writing, the agent's for reading.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { StorageError } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Tables from "../protocol/Tables.js"
import { OwnDatabases } from "../storage/OwnDatabase.js"
import type { ChangeStamp, SnapshotOptions } from "../storage/Snapshot.js"
import { Snapshots } from "../storage/Snapshot.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql } from "../storage/StorageFailure.js"
import { AirlockConfig } from "./AirlockConfig.js"
import { SessionPaths } from "./SessionPaths.js"
import * as SessionSchema from "./SessionSchema.js"

export type { ChangeStamp } from "../storage/Snapshot.js"

/**
 * `operation` is what errors name. `undo` takes back what the program did outside of the database; it runs if
 * the transaction does not commit, before anybody is told.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransactionOptions {
  readonly operation?: string | undefined
  readonly undo?: Effect.Effect<void> | undefined
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
     * A handle on inbound.db for reading and writing, closed with the scope. Open it, use it, close it: while
     * it is open nothing else in this process can use the file, and a second one in the same fiber fails
     * with the reason `nested`. `withTransaction` is `BEGIN IMMEDIATE`. The first handle on a file of an
     * older build upgrades it.
     */
    readonly inbound: (
      ref: SessionRef,
      operation?: string
    ) => Effect.Effect<SqlClient, StorageError, Scope.Scope>
    /**
     * A program in one transaction on inbound.db: `BEGIN IMMEDIATE`, the program, `COMMIT`. It cannot be
     * interrupted in between.
     */
    readonly transaction: <A, E>(
      ref: SessionRef,
      body: (sql: SqlClient) => Effect.Effect<A, E>,
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
    /** What outbound.db looks like: an equal stamp means that nothing was written to it since. */
    readonly outboundStamp: (ref: SessionRef, operation?: string) => Effect.Effect<ChangeStamp, StorageError>
    /** The same of inbound.db. */
    readonly inboundStamp: (ref: SessionRef, operation?: string) => Effect.Effect<ChangeStamp, StorageError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    SessionDb,
    never,
    AirlockConfig | SessionPaths | OwnDatabases | Snapshots
  > = Layer.effect(
    SessionDb,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const { limits, patience } = yield* AirlockConfig
  const paths = yield* SessionPaths
  const own = yield* OwnDatabases
  const snapshots = yield* Snapshots

  const inbound = Effect.fnUntraced(function* (ref: SessionRef, operation: string = "SessionDb.inbound") {
    const subject: Subject = { operation, resource: "inbound" }
    const directory = yield* paths.session(ref)
    const handle = yield* own.open(
      { directory, name: SessionLayout.inbound, schemaVersion: Tables.inboundVersion, patience },
      subject
    )
    if (handle.schemaVersion < Tables.inboundVersion) {
      yield* SessionSchema.upgradeInbound(handle.client).pipe(Effect.mapError(fromSql(subject)))
    }
    return handle.client
  })

  const transaction = <A, E>(
    ref: SessionRef,
    body: (sql: SqlClient) => Effect.Effect<A, E>,
    { operation = "SessionDb.transaction", undo = Effect.void }: TransactionOptions = {}
  ) =>
    Effect.flatMap(inbound(ref, operation), (sql) =>
      sql.withTransaction(body(sql)).pipe(
        Effect.onError(() => undo),
        Effect.uninterruptible,
        Effect.catchIf(isSqlError, (error) => Effect.fail(fromSql({ operation, resource: "inbound" })(error)))
      )
    ).pipe(Effect.scoped, Effect.withTracerEnabled(false))

  const fileOf = (directory: string, name: string): SnapshotOptions => ({
    directory,
    name,
    view: "local",
    schemaVersion: Tables.outboundVersion,
    limit: limits.databaseBytes,
    rows: limits.databaseRows,
    patience
  })

  const stampOf = (name: string, resource: Subject["resource"]) => (ref: SessionRef, operation?: string) =>
    Effect.flatMap(paths.session(ref), (directory) =>
      snapshots.stamp(fileOf(directory, name), {
        operation: operation ?? `SessionDb.${resource}Stamp`,
        resource
      })
    )

  return SessionDb.of({
    inbound,
    transaction,
    outbound: (ref, operation = "SessionDb.outbound") =>
      paths.session(ref).pipe(
        Effect.flatMap((directory) =>
          snapshots.open(fileOf(directory, SessionLayout.outbound), { operation, resource: "outbound" })
        ),
        Effect.map(({ client }) => client)
      ),
    outboundStamp: stampOf(SessionLayout.outbound, "outbound"),
    inboundStamp: stampOf(SessionLayout.inbound, "inbound")
  })
})

const isSqlError = <E>(error: E | SqlError): error is SqlError => error instanceof SqlError
