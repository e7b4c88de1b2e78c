/**
 * An `SqlClient` that goes to a connection by the shortest way.
 *
 * For each statement `@effect/sql` opens a scope and makes a span, and so changes twice what the fiber carries. In a host
 * that takes 10 µs, as long as SQLite takes for many a statement. Here it is done only where somebody may look at
 * the statement: where there is a tracer, or a `Statement.Transformer` is set.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Tracing from "./Tracing.js"

/**
 * `connectionOf` is for one statement of a fiber, which waits for its turn if it has to; undefined if there is none any
 * more, of which `connection` says why.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectionClient extends SqlClient.SqlClient {
  readonly connection: Effect.Effect<Connection, SqlError>
  readonly connectionOf: (fiber: Fiber.RuntimeFiber<unknown, unknown>) => Connection | undefined
}

/**
 * The members of a client that statements do not need.
 *
 * @since 0.1.0
 * @category models
 */
export type Rest = Pick<
  ConnectionClient,
  "connection" | "connectionOf" | "reserve" | "withTransaction" | "reactive" | "reactiveMailbox"
>

const compiler = Statement.makeCompilerSqlite()

const typed: Pick<SqlClient.SqlClient, SqlClient.TypeId> = { [SqlClient.TypeId]: SqlClient.TypeId }

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (rest: Rest): ConnectionClient => {
  const { connection, connectionOf } = rest
  const plain = Statement.make(connection, compiler, [], undefined)

  // What runs when a statement is used as the effect that it is.
  const direct = <A>(statement: Statement.Statement<A>): Statement.Statement<A> =>
    Object.assign(statement, {
      commit: () =>
        Effect.withFiberRuntime<ReadonlyArray<unknown>, SqlError>((fiber) => {
          const isSeen = Tracing.isOn(fiber) || Option.isSome(fiber.getFiberRef(Statement.currentTransformer))
          if (isSeen) return statement.withoutTransform
          const [sql, parameters] = statement.compile()
          const run = (one: Connection) => one.execute(sql, parameters, undefined)
          const one = connectionOf(fiber)
          return one === undefined ? Effect.flatMap(connection, run) : run(one)
        })
    })

  const statement = ((text: TemplateStringsArray | string, ...parameters: ReadonlyArray<unknown>) =>
    typeof text === "string" ? plain(text) : direct(plain(text, ...parameters))) as Statement.Constructor
  const client: ConnectionClient = Object.assign(statement, plain, {
    ...typed,
    ...rest,
    unsafe: <A extends object>(text: string, parameters?: ReadonlyArray<unknown>) =>
      direct(plain.unsafe<A>(text, parameters)),
    // `Object.assign` makes the statements into the client: they are one object.
    safe: statement as ConnectionClient,
    withoutTransforms: () => client
  })
  return client
}

/**
 * The same connection, with something around each of its statements.
 *
 * @since 0.1.0
 * @category connections
 */
export const around = (
  connection: Connection,
  wrap: <A>(sql: string, run: Effect.Effect<A, SqlError>) => Effect.Effect<A, SqlError>
): Connection => ({
  ...connection,
  execute: (sql, ...rest) => wrap(sql, connection.execute(sql, ...rest)),
  executeRaw: (sql, ...rest) => wrap(sql, connection.executeRaw(sql, ...rest)),
  executeValues: (sql, ...rest) => wrap(sql, connection.executeValues(sql, ...rest)),
  executeUnprepared: (sql, ...rest) => wrap(sql, connection.executeUnprepared(sql, ...rest))
})
