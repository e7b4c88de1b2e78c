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
 * - inside the transaction of one client, statements of another client would go to the first one's
 *   connection; here a client uses its own connection only, and no other client uses it
 *
 * It counts which files have connections; see `OpenFiles`.
 *
 * @since 0.1.0
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as SqliteClient from "@effect/sql-sqlite-node/SqliteClient"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as ConnectionClient from "./ConnectionClient.js"
import * as OpenFiles from "./OpenFiles.js"
import { isBusy } from "./StorageFailure.js"
import { SystemCalls } from "./SystemCalls.js"
import * as Turn from "./Turn.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ConnectOptions {
  /** The absolute path of a file, which is created if it is missing; or the bytes of one, which can only be read. */
  readonly filename: string | Uint8Array
  /** How long to go on trying while another process holds a lock. */
  readonly patience: Duration.DurationInput
}

/**
 * A connection to one file.
 *
 * @since 0.1.0
 * @category models
 */
export interface Database extends ConnectionClient.ConnectionClient {
  /** The bytes of the file, with what a write-ahead log has that is not in it yet. */
  readonly bytes: Effect.Effect<Uint8Array, SqlError>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class SqliteDriver extends Context.Tag("effect-airlock/SqliteDriver")<
  SqliteDriver,
  {
    /** Opens a connection, and closes it with the scope. */
    readonly connect: (options: ConnectOptions) => Effect.Effect<Database, SqlError, Scope.Scope>
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
      const calls = yield* SystemCalls
      return {
        connect: (options) =>
          Effect.provideService(connect(options, calls), Reactivity.Reactivity, reactivity),
        image: (statements) => Effect.provideService(image(statements), Reactivity.Reactivity, reactivity)
      }
    })
  ).pipe(Layer.provide(Layer.merge(Reactivity.layer, SystemCalls.layer)))
}

interface Transaction {
  readonly connection: Connection
  /** How many others of the same connection it is in. */
  readonly depth: number
  ended: boolean
}

/**
 * The transactions that a fiber is in, the innermost last. `SqlClient.TransactionConnection` holds one for all
 * clients, and each would take it for its own.
 */
const transactions = globalValue(Symbol.for("effect-airlock/SqliteDriver/transactions"), () =>
  FiberRef.unsafeMake<ReadonlyArray<Transaction>>([])
)

/** How long SQLite itself waits for a lock. The event loop stands still meanwhile. */
const busyTimeoutMillis = 5

/** Counts a file as open, and opens it. */
const openFile = Effect.fnUntraced(function* (filename: string, calls: SystemCalls["Type"]) {
  const countAsOpen = yield* OpenFiles.counting
  const driver = yield* openDriver(filename)
  const key = calls.realpath(filename).pipe(Effect.flatMap(calls.lstat), Effect.map(OpenFiles.keyOf))
  // SQLite follows links as well.
  yield* Effect.map(Effect.option(key), Option.map(countAsOpen))
  return driver
})

/** Bytes are read once and then closed: nobody locks them, and nothing is gained by keeping their statements. */
const once = (connection: Connection): Connection => ({
  ...connection,
  execute: connection.executeUnprepared
})

const connect = Effect.fnUntraced(function* (options: ConnectOptions, calls: SystemCalls["Type"]) {
  const { filename, patience } = options
  const isFile = typeof filename === "string"
  const driver = yield* isFile ? openFile(filename, calls) : openDriver(filename)
  // Held for the whole scope: this client's statements go to the connection itself, which can do more than its type says.
  const raw = (yield* driver.reserve) as Connection & Pick<SqliteClient.SqliteClient, "export">
  const steady = reliable(raw, patience)
  const connection = isFile ? steady : once(steady)
  const queue = Turn.makeQueue()

  if (isFile) yield* connection.execute(`PRAGMA busy_timeout = ${busyTimeoutMillis}`, [], undefined)

  const currentOf = (all: ReadonlyArray<Transaction>) =>
    all.findLast((transaction) => transaction.connection === connection && !transaction.ended)
  const current = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => currentOf(fiber.getFiberRef(transactions))
  const acquirer: Connection.Acquirer = Effect.withFiberRuntime((fiber) =>
    Effect.as(current(fiber) === undefined ? Turn.take(queue) : Effect.void, connection)
  )
  // A statement keeps its turn while it waits for a lock, or it would get into somebody else's transaction.
  const inTurn = ConnectionClient.around(connection, (_, run) => Turn.during(queue)(run))
  const withTransaction = <A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    Effect.withFiberRuntime((fiber) => {
      const outer = current(fiber)
      return outer === undefined
        ? Turn.during(queue)(within({ connection, depth: 0, ended: false }, body))
        : within({ connection, depth: outer.depth + 1, ended: false }, body)
    })
  const connectionOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>) =>
    current(fiber) === undefined ? inTurn : connection

  const client = ConnectionClient.make({
    connection: Effect.withFiberRuntime((fiber) => Effect.succeed(connectionOf(fiber))),
    connectionOf,
    reserve: acquirer,
    withTransaction,
    reactive: driver.reactive,
    reactiveMailbox: driver.reactiveMailbox
  })
  return Object.assign(client, { bytes: Effect.scoped(Effect.zipRight(acquirer, raw.export)) })
})

const openDriver = (filename: ConnectOptions["filename"]) =>
  SqliteClient.make({
    // SQLite's binding takes a buffer as well, which the driver's type does not say.
    filename:
      typeof filename === "string"
        ? filename
        : (Buffer.from(filename.buffer, filename.byteOffset, filename.byteLength) as unknown as string),
    readonly: typeof filename !== "string",
    disableWAL: true
  }).pipe(
    Effect.catchAllDefect((cause) =>
      cause instanceof Error
        ? Effect.fail(new SqlError({ cause, message: "Failed to open the database" }))
        : Effect.die(cause)
    ),
    // The driver opens the file in one step and says how to close it in the next.
    Effect.uninterruptible
  )

const image = Effect.fnUntraced(function* (statements: ReadonlyArray<string>) {
  const client = yield* openDriver(":memory:")
  for (const statement of statements) yield* client.unsafe(statement)
  return yield* client.export
}, Effect.scoped)

/** The driver says only so that a statement did not get as far as being executed. */
const isUncompiled = (error: SqlError): boolean => error.message.startsWith("Failed to prepare")

/** The same connection, trying again while the file is locked, and without throwing. */
const reliable = (connection: Connection, patience: Duration.DurationInput): Connection => {
  const untilUnlocked = Schedule.exponential(Duration.millis(2), 1.5).pipe(
    Schedule.union(Schedule.spaced(Duration.millis(50))),
    Schedule.upTo(patience)
  )
  let attempts = 0
  /** The driver remembers by its text that a statement did not compile, so the next attempt has another text. */
  const retrying = <A>(sql: string, run: (sql: string) => Effect.Effect<A, SqlError>) =>
    Effect.catchIf(
      run(sql),
      (error) => isBusy(error) || isUncompiled(error),
      () =>
        Effect.retry(
          Effect.suspend(() => run(`${sql}\n-- ${++attempts}`)),
          { schedule: untilUnlocked, while: isBusy }
        )
    )
  return {
    ...connection,
    execute: (sql, parameters, transform) =>
      retrying(sql, (text) => connection.execute(text, parameters, transform)),
    executeRaw: (sql, parameters) => retrying(sql, (text) => connection.executeRaw(text, parameters)),
    executeValues: (sql, parameters) => retrying(sql, (text) => connection.executeValues(text, parameters)),
    executeUnprepared: (sql, parameters, transform) =>
      retrying(sql, (text) =>
        Effect.suspend(() => connection.executeUnprepared(text, parameters, transform)).pipe(
          Effect.catchAllDefect((cause) =>
            Effect.fail(new SqlError({ cause, message: "Failed to prepare statement" }))
          )
        )
      )
  }
}

const within = <A, E, R>(
  transaction: Transaction,
  body: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SqlError, R> => {
  const run = (sql: string) => transaction.connection.execute(sql, [], undefined)
  const name = `airlock_${transaction.depth}`
  const [begin, commit, rollback] =
    transaction.depth === 0
      ? [run("BEGIN IMMEDIATE"), run("COMMIT"), run("ROLLBACK")]
      : [
          run(`SAVEPOINT ${name}`),
          run(`RELEASE ${name}`),
          Effect.zipRight(run(`ROLLBACK TO ${name}`), run(`RELEASE ${name}`))
        ]
  const inside = Effect.flatMap(
    FiberRef.getAndUpdate(transactions, (all) => [...all, transaction]),
    (outer) => Effect.zipLeft(Effect.exit(body), FiberRef.set(transactions, outer))
  )
  return Effect.flatMap(Effect.zipRight(begin, inside), (exit): Effect.Effect<A, E | SqlError> => {
    transaction.ended = true
    // SQLite has rolled back by itself after some failures (a full disk), and then refuses to do it again.
    if (Exit.isFailure(exit)) return Effect.zipRight(Effect.ignore(rollback), exit)
    return Effect.as(
      Effect.onError(commit, () => Effect.ignore(rollback)),
      exit.value
    )
  }).pipe(Effect.uninterruptible)
}
