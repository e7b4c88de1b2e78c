/**
 * A client on a connection that outlives it: it works until it is ended, and fails from then on.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"

/**
 * `isAsBefore`: nothing was done to the connection that the next one to use it would notice.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lent {
  readonly client: SqlClient.SqlClient
  readonly isAsBefore: () => boolean
  readonly end: () => void
}

const typed: Pick<SqlClient.SqlClient, SqlClient.TypeId> = { [SqlClient.TypeId]: SqlClient.TypeId }

/** Statements whose effect is on the connection, or which begin a transaction that `withTransaction` does not end. */
const lasting = /^\s*(ATTACH|BEGIN|CREATE\s+TEMP|DETACH|PRAGMA|SAVEPOINT)/i

const closed = new SqlError({
  cause: Object.assign(new Error("The handle's scope is closed"), { code: "SQLITE_MISUSE" }),
  message: "The handle is closed"
})

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (under: SqlClient.SqlClient): Lent => {
  let isOpen = true
  let isAsBefore = true

  const noting = <A, E, R>(sql: string, run: Effect.Effect<A, E, R>) => {
    if (lasting.test(sql)) isAsBefore = false
    return run
  }
  const ifOpen = <A, E, R>(use: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    Effect.suspend((): Effect.Effect<A, E | SqlError, R> => (isOpen ? use : Effect.fail(closed)))

  const acquirer: Connection.Acquirer = ifOpen(
    Effect.map(under.reserve, (connection): Connection => ({
      ...connection,
      execute: (sql, ...rest) => noting(sql, connection.execute(sql, ...rest)),
      executeRaw: (sql, ...rest) => noting(sql, connection.executeRaw(sql, ...rest)),
      executeValues: (sql, ...rest) => noting(sql, connection.executeValues(sql, ...rest)),
      executeUnprepared: (sql, ...rest) => noting(sql, connection.executeUnprepared(sql, ...rest))
    }))
  )
  const withTransaction = <A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    ifOpen(
      Effect.tapError(under.withTransaction(body), (error) =>
        Effect.sync(() => {
          // Whether the transaction has ended is not known then.
          if (error instanceof SqlError) isAsBefore = false
        })
      )
    )
  const statements = Statement.make(acquirer, Statement.makeCompilerSqlite(), [], undefined)
  const client: SqlClient.SqlClient = Object.assign(statements, {
    ...typed,
    reserve: acquirer,
    withTransaction,
    reactive: under.reactive,
    reactiveMailbox: under.reactiveMailbox,
    safe: statements as SqlClient.SqlClient,
    withoutTransforms: () => client
  })
  return {
    client,
    isAsBefore: () => isAsBefore,
    end: () => {
      isOpen = false
    }
  }
}
