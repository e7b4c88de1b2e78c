/**
 * The two databases of the session as the agent may use them: its own for writing, the host's for reading.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { StorageError } from "../protocol/AirlockError.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Tables from "../protocol/Tables.js"
import type { Durability } from "../storage/Durability.js"
import { OwnDatabases } from "../storage/OwnDatabase.js"
import type { ChangeStamp, SnapshotOptions } from "../storage/Snapshot.js"
import { Snapshots } from "../storage/Snapshot.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql } from "../storage/StorageFailure.js"
import * as Tracing from "../storage/Tracing.js"

/**
 * `limit` is the largest database that is copied, and the largest attachment that is read, in bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionFilesOptions {
  readonly directory: string
  readonly patience: Duration.Duration
  readonly limit: number
  readonly durability: Durability
}

/**
 * Each use of a file is short: what is opened is closed before the result is there. The `operation` is what
 * errors name.
 *
 * @since 0.1.0
 * @category tags
 */
export class SessionFiles extends Context.Tag("effect-airlock/guest/SessionFiles")<
  SessionFiles,
  {
    readonly directory: string
    readonly limit: number
    readonly durability: Durability
    /** A program on a private copy of inbound.db as it is now. */
    readonly inbound: <A>(
      operation: string,
      use: (sql: SqlClient) => Effect.Effect<A, SqlError>
    ) => Effect.Effect<A, StorageError>
    /** What inbound.db looks like: an equal stamp means that nothing was written to it since. */
    readonly inboundStamp: (operation: string) => Effect.Effect<ChangeStamp, StorageError>
    /** A program on outbound.db. Tables that an older one lacks are there when the program starts. */
    readonly outbound: <A>(
      operation: string,
      use: (sql: SqlClient) => Effect.Effect<A, SqlError | StorageError>
    ) => Effect.Effect<A, StorageError>
    /** What outbound.db looks like. */
    readonly outboundStamp: (operation: string) => Effect.Effect<ChangeStamp, StorageError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer = (
    options: SessionFilesOptions
  ): Layer.Layer<SessionFiles, never, OwnDatabases | Snapshots> => Layer.effect(SessionFiles, make(options))
}

/** Creates what an outbound.db of an older build lacks. All or nothing, and again is harmless. */
const complete = (sql: SqlClient) =>
  Effect.gen(function* () {
    for (const statement of Tables.outbound) yield* sql.unsafe(statement)
    yield* sql.unsafe(`PRAGMA user_version = ${Tables.outboundVersion}`)
  }).pipe(sql.withTransaction)

const make = Effect.fnUntraced(function* ({ directory, durability, limit, patience }: SessionFilesOptions) {
  const own = yield* OwnDatabases
  const snapshots = yield* Snapshots
  const schemaVersion = Tables.outboundVersion

  const inboundFile: SnapshotOptions = {
    directory,
    name: SessionLayout.inbound,
    view: "mount",
    limit,
    patience
  }
  const outboundFile: SnapshotOptions = { ...inboundFile, name: SessionLayout.outbound, view: "local" }

  const inbound = <A>(operation: string, use: (sql: SqlClient) => Effect.Effect<A, SqlError>) => {
    const subject: Subject = { operation, resource: "inbound" }
    return snapshots.open(inboundFile, subject).pipe(
      Effect.flatMap(({ client }) => Effect.mapError(use(client), fromSql(subject))),
      Effect.scoped,
      Tracing.without
    )
  }

  const outbound = <A>(
    operation: string,
    use: (sql: SqlClient) => Effect.Effect<A, SqlError | StorageError>
  ) => {
    const subject: Subject = { operation, resource: "outbound" }
    const program = Effect.fnUntraced(function* (sql: SqlClient, version: number) {
      // What a transaction has not committed stays out of the file, so that a reader never has to wait for it.
      yield* sql`PRAGMA cache_spill = OFF`
      if (version < schemaVersion) yield* complete(sql)
      return yield* use(sql)
    })
    return own
      .open({ directory, name: SessionLayout.outbound, schemaVersion, patience, durability }, subject)
      .pipe(
        Effect.flatMap(({ client, schemaVersion }) =>
          Effect.mapError(program(client, schemaVersion), (error) =>
            error instanceof SqlError ? fromSql(subject)(error) : error
          )
        ),
        Effect.scoped,
        Tracing.without
      )
  }

  return SessionFiles.of({
    directory,
    limit,
    durability,
    inbound,
    inboundStamp: (operation) => snapshots.stamp(inboundFile, { operation, resource: "inbound" }),
    outbound,
    outboundStamp: (operation) => snapshots.stamp(outboundFile, { operation, resource: "outbound" })
  })
})
