/**
 * Connections to SQLite files through `@effect/sql-sqlite-node`. This module is the one place that knows what
 * that driver does differently from what its types say:
 *
 * - a failed open is a defect; here it is a `SqlError`
 * - it switches files to write-ahead logging unless told not to
 * - better-sqlite3 waits five seconds for a lock, and stops the event loop meanwhile; here SQLite waits a few
 *   milliseconds, and a `Schedule` does the rest
 * - transactions begin deferred, and a failed COMMIT is a defect that leaves the transaction open; here they
 *   are `BEGIN IMMEDIATE`, cannot be interrupted, and end with COMMIT or ROLLBACK
 * - a statement that failed to compile fails for ten minutes; here it is compiled again
 * - inside the transaction of one client, statements of another go to the first one's connection; here a
 *   client uses its own connection only, and leaves others theirs
 *
 * @since 0.1.0
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { isBusy } from "./StorageFailure.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions {
  /** The absolute path of a file. A missing file is created. */
  readonly filename: string
  /** How long to go on trying while another process holds a lock. */
  readonly patience: Duration.DurationInput
}

/**
 * @since 0.1.0
 * @category tags
 */
export class SqliteDriver extends Context.Tag("effect-airlock/SqliteDriver")<
  SqliteDriver,
  {
    /** Opens a connection, and closes it with the scope. */
    readonly connect: (options: ConnectOptions) => Effect.Effect<SqlClient.SqlClient, SqlError, Scope.Scope>
    /** The bytes of a new database file in which these statements have been run. */
    readonly image: (statements: ReadonlyArray<string>) => Effect.Effect<Uint8Array, SqlError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<SqliteDriver> = Layer.effect(
    SqliteDriver,
    Effect.gen(function* () {
      const reactivity = yield* Reactivity.Reactivity
      return {
        connect: (options) => Effect.provideService(connect(options), Reactivity.Reactivity, reactivity),
        image: (statements) => Effect.provideService(image(statements), Reactivity.Reactivity, reactivity)
      }
    })
  ).pipe(Layer.provide(Reactivity.layer))
}

const typed: Pick<SqlClient.SqlClient, SqlClient.TypeId> = { [SqlClient.TypeId]: SqlClient.TypeId }

/** How long SQLite itself waits for a lock. The event loop stands still meanwhile. */
const busyTimeoutMillis = 5

const connect = Effect.fnUntraced(function* (options: ConnectOptions) {
  const driver = yield* openDriver(options.filename)
  // Held for the whole scope: this client's statements go to the connection itself.
  const raw = yield* driver.reserve
  const connection = reliable(raw, options.patience)
  const semaphore = yield* Effect.makeSemaphore(1)

  yield* connection.execute(`PRAGMA busy_timeout = ${busyTimeoutMillis}`, [], undefined)

  const ownDepth = Effect.map(transactions, (open) => open.get(connection))
  const acquirer: Connection.Acquirer = Effect.flatMap(ownDepth, (depth) =>
    depth === undefined ? semaphore.withPermits(1)(Effect.succeed(connection)) : Effect.succeed(connection)
  )
  const withTransaction = <A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    Effect.flatMap(ownDepth, (depth) =>
      depth === undefined
        ? semaphore.withPermits(1)(within(connection, 0, body))
        : within(connection, depth + 1, body)
    )

  const statements = Statement.make(acquirer, Statement.makeCompilerSqlite(), [], undefined)
  const client: SqlClient.SqlClient = Object.assign(statements, {
    ...typed,
    reserve: Effect.zipRight(
      Effect.acquireRelease(semaphore.take(1), () => semaphore.release(1)),
      Effect.succeed(connection)
    ),
    withTransaction,
    reactive: driver.reactive,
    reactiveMailbox: driver.reactiveMailbox,
    // `Object.assign` makes the statements into the client: they are one object.
    safe: statements as SqlClient.SqlClient,
    withoutTransforms: () => client
  })
  return client
})

/** The transactions that a program is inside of: how deep, by connection. */
class Transactions extends Context.Tag("effect-airlock/SqliteDriver/Transactions")<
  Transactions,
  ReadonlyMap<Connection, number>
>() {}

const transactions = Effect.map(
  Effect.serviceOption(Transactions),
  Option.getOrElse((): ReadonlyMap<Connection, number> => new Map())
)

const openDriver = (filename: string) =>
  SqliteClient.make({ filename, disableWAL: true }).pipe(
    Effect.catchAllDefect((cause) =>
      cause instanceof Error
        ? Effect.fail(new SqlError({ cause, message: "Failed to open the database" }))
        : Effect.die(cause)
    )
  )

const image = Effect.fnUntraced(function* (statements: ReadonlyArray<string>) {
  const client = yield* openDriver(":memory:")
  for (const statement of statements) yield* client.unsafe(statement)
  return yield* client.export
}, Effect.scoped)

/** The same connection, trying again while the file is locked, and without throwing. */
const reliable = (connection: Connection, patience: Duration.DurationInput): Connection => {
  const untilUnlocked = Schedule.exponential(Duration.millis(2), 1.5).pipe(
    Schedule.union(Schedule.spaced(Duration.millis(50))),
    Schedule.upTo(patience)
  )
  const unprepared: Connection["executeUnprepared"] = (sql, parameters, transform) =>
    Effect.suspend(() => connection.executeUnprepared(sql, parameters, transform)).pipe(
      Effect.catchAllDefect((cause) =>
        Effect.fail(new SqlError({ cause, message: "Failed to prepare statement" }))
      )
    )
  const retrying = <A>(first: Effect.Effect<A, SqlError>, again: Effect.Effect<A, SqlError>) =>
    Effect.catchIf(first, isBusy, () => Effect.retry(again, { schedule: untilUnlocked, while: isBusy }))
  return {
    ...connection,
    execute: (sql, parameters, transform) =>
      retrying(connection.execute(sql, parameters, transform), unprepared(sql, parameters, transform)),
    executeRaw: (sql, parameters) => connection.executeRaw(sql, parameters),
    executeValues: (sql, parameters) => connection.executeValues(sql, parameters),
    executeUnprepared: (sql, parameters, transform) => {
      const effect = unprepared(sql, parameters, transform)
      return retrying(effect, effect)
    }
  }
}

const within = <A, E, R>(
  connection: Connection,
  depth: number,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> => {
  const run = (sql: string) => connection.execute(sql, [], undefined)
  const name = `airlock_${depth}`
  const [begin, commit, rollback] =
    depth === 0
      ? [run("BEGIN IMMEDIATE"), run("COMMIT"), run("ROLLBACK")]
      : [
          run(`SAVEPOINT ${name}`),
          run(`RELEASE ${name}`),
          Effect.zipRight(run(`ROLLBACK TO ${name}`), run(`RELEASE ${name}`))
        ]
  return Effect.uninterruptible(
    Effect.gen(function* () {
      yield* begin
      const open = new Map(yield* transactions).set(connection, depth)
      const exit = yield* Effect.exit(Effect.provideService(body, Transactions, open))
      // SQLite has rolled back by itself after some failures (a full disk), and then refuses to do it again.
      if (Exit.isFailure(exit)) return yield* Effect.zipRight(Effect.ignore(rollback), exit)
      yield* Effect.onError(commit, () => Effect.ignore(rollback))
      return exit.value
    })
  )
}
