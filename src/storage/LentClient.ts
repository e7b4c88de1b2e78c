/**
 * A client on a connection that outlives it: it works until it is ended, and fails from then on.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as ConnectionClient from "./ConnectionClient.js"

/**
 * - `isAsBefore`: nothing was done to the connection that the next one to use it would notice
 * - `takeChanges`: whether there was a statement that may have changed the database since this was asked last
 *
 * @since 0.1.0
 * @category models
 */
export interface Lent {
  readonly client: SqlClient
  readonly isAsBefore: () => boolean
  readonly takeChanges: () => boolean
  readonly end: () => void
}

/** Statements that leave nothing in a connection. Others may begin a transaction, set something, or make a temporary table. */
const passing = /^\s*(DELETE|INSERT|REPLACE|SELECT|UPDATE|WITH)\b/i

const changing = /\b(DELETE|INSERT|REPLACE|UPDATE)\b/i

const closed = new SqlError({
  cause: Object.assign(new Error("The handle's scope is closed"), { code: "SQLITE_MISUSE" }),
  message: "The handle is closed"
})

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (under: ConnectionClient.ConnectionClient): Lent => {
  let isOpen = true
  let isAsBefore = true
  let isChanged = false

  const ifOpen = <A, E, R>(use: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    Effect.suspend((): Effect.Effect<A, E | SqlError, R> => (isOpen ? use : Effect.fail(closed)))
  const noted = new Map<Connection, Connection>()
  const noting = (connection: Connection): Connection => {
    const known = noted.get(connection)
    if (known !== undefined) return known
    const made = ConnectionClient.around(connection, (sql, run) => {
      if (!passing.test(sql)) isAsBefore = false
      if (!isAsBefore || changing.test(sql)) isChanged = true
      return run
    })
    noted.set(connection, made)
    return made
  }

  const client = ConnectionClient.make({
    connection: ifOpen(Effect.map(under.connection, noting)),
    connectionOf: (fiber) => {
      const connection = isOpen ? under.connectionOf(fiber) : undefined
      return connection === undefined ? undefined : noting(connection)
    },
    reserve: ifOpen(Effect.map(under.reserve, noting)),
    withTransaction: <A, E, R>(body: Effect.Effect<A, E, R>) =>
      ifOpen(
        Effect.tapError(under.withTransaction(body), (error) =>
          Effect.sync(() => {
            // Whether the transaction has ended is not known then.
            if (error instanceof SqlError) isAsBefore = false
          })
        )
      ),
    reactive: under.reactive,
    reactiveMailbox: under.reactiveMailbox
  })
  return {
    client,
    isAsBefore: () => isAsBefore,
    takeChanges: () => {
      const answer = isChanged
      isChanged = false
      return answer
    },
    end: () => {
      isOpen = false
    }
  }
}
