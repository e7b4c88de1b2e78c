import { Reactivity } from "@effect/experimental"
import { SqliteClient } from "@effect/sql-sqlite-node"
import type { SqlClient } from "@effect/sql"
import { SqlError } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Duration, Effect, Exit, Fiber, TestClock } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as OpenFiles from "../../src/storage/OpenFiles.js"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import { isBusy } from "../../src/storage/StorageFailure.js"
import * as Raw from "../support/Raw.js"
import * as Fixtures from "./Fixtures.js"

const connect = (filename: string, patience: Duration.DurationInput = "10 seconds") =>
  Effect.flatMap(SqliteDriver, (driver) => driver.connect({ filename, patience }))

/** A file with the table `t (x)`. */
const newFile = (folder: string, name = "test.db") => {
  const path = Path.join(folder, name)
  Raw.exec(path, "CREATE TABLE t (x INTEGER)")
  return path
}

const numbersIn = (path: string) => Raw.query(path, "SELECT x FROM t ORDER BY x").map(({ x }) => x)

const isCounted = (path: string) => OpenFiles.has(OpenFiles.keyOf(Fs.statSync(path, { bigint: true })))

/** Another connection of this process, closed with the scope. */
const other = (path: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const database = Raw.open(path)
      database.exec("PRAGMA busy_timeout = 0")
      return database
    }),
    (database) => Effect.sync(() => database.close())
  )

/** Nobody has a transaction open on this file. */
const expectUnlocked = (path: string) =>
  Effect.scoped(
    Effect.map(other(path), (database) => {
      database.exec("BEGIN EXCLUSIVE; ROLLBACK")
    })
  )

/** Whether a reader is turned away, because a writer that could not commit waits for the last reader to go. */
const isCommitting = (path: string) => {
  const database = Raw.open(path)
  try {
    database.exec("PRAGMA busy_timeout = 0; SELECT count(*) FROM t")
    return false
  } catch {
    return true
  } finally {
    database.close()
  }
}

const test = <A, E>(
  name: string,
  body: (folder: string) => Effect.Effect<A, E, SqliteDriver | Scope.Scope>
) =>
  it.scopedLive(name, () =>
    Fixtures.temporaryDirectory.pipe(Effect.flatMap(body), Effect.provide(SqliteDriver.layer))
  )

/** Runs `work` on a client while another fiber of it waits in its own transaction. */
const insideAnother = <A, E, R>(client: SqlClient.SqlClient, work: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const inside = yield* Deferred.make<void>()
    const leave = yield* Deferred.make<void>()
    const transaction = yield* client`INSERT INTO t VALUES (1)`.pipe(
      Effect.zipRight(Deferred.succeed(inside, undefined)),
      Effect.zipRight(Deferred.await(leave)),
      Effect.zipRight(Effect.fail("undone")),
      client.withTransaction,
      Effect.fork
    )
    yield* Deferred.await(inside)
    const fiber = yield* Effect.fork(work)
    yield* Fixtures.untilItWaits(fiber)
    const early = fiber.unsafePoll()
    yield* Deferred.succeed(leave, undefined)
    yield* Fiber.await(transaction)
    return { early, exit: yield* Fiber.await(fiber) }
  })

describe("SqliteDriver.connect", () => {
  const failures: ReadonlyArray<readonly [what: string, prepare: (path: string) => string]> = [
    ["a directory", (folder) => folder],
    ["a file whose parent is missing", (folder) => Path.join(folder, "missing", "test.db")],
    ["a file whose parent is a file", (folder) => Path.join(newFile(folder), "test.db")]
  ]
  for (const [what, prepare] of failures) {
    test(`fails with an SqlError for ${what}`, (folder) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(connect(prepare(folder)))
        expect(error).toBeInstanceOf(SqlError.SqlError)
        expect(Fixtures.openAt(folder)).toEqual([])
      }))
  }

  test("fails with an SqlError at the first read of something else than a database", (folder) =>
    Effect.gen(function* () {
      const path = Path.join(folder, "test.db")
      Fs.writeFileSync(path, "not a database ".repeat(100))
      const error = yield* Effect.flip(Effect.flatMap(connect(path), (sql) => sql`SELECT * FROM t`))
      expect(error).toMatchObject({ _tag: "SqlError", cause: { code: "SQLITE_NOTADB" } })
    }))

  test("leaves a file in the journal mode that it has", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      yield* sql`INSERT INTO t VALUES (1)`
      expect(yield* sql`PRAGMA journal_mode`).toEqual([{ journal_mode: "delete" }])
      expect(Fs.readdirSync(folder)).toEqual(["test.db"])
    }))

  for (const [way, ending] of [
    ["success", Effect.void],
    ["failure", Effect.fail("failure")],
    ["defect", Effect.die("defect")],
    ["interruption", Effect.interrupt]
  ] as const) {
    test(`closes the file after ${way}, in a transaction or not`, (folder) =>
      Effect.gen(function* () {
        const path = newFile(folder)
        const use = (sql: SqlClient.SqlClient) =>
          Effect.zipRight(
            sql`INSERT INTO t VALUES (1)`,
            Effect.sync(() => expect(Fixtures.openAt(path)).toContain(path))
          ).pipe(Effect.zipRight(ending))
        yield* Effect.exit(Effect.scoped(Effect.flatMap(connect(path), use)))
        expect(Fixtures.openAt(path)).toEqual([])
        yield* Effect.exit(
          Effect.scoped(Effect.flatMap(connect(path), (sql) => sql.withTransaction(use(sql))))
        )
        expect(Fixtures.openAt(path)).toEqual([])
        yield* expectUnlocked(path)
      }))
  }

  test("closes the file wherever it is interrupted", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      yield* Fixtures.interruptedAtEveryOperation(
        Effect.scoped(Effect.flatMap(connect(path), (sql) => sql`SELECT * FROM t`)),
        Effect.sync(() => {
          expect(Fixtures.openAt(path)).toEqual([])
          expect(isCounted(path)).toBe(false)
        })
      )
    }))

  test("counts which files are open, by whatever path, until the last connection is closed", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      Fs.symlinkSync(path, `${path}-link`)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* connect(path)
          yield* Effect.scoped(connect(`${path}-link`))
          expect(isCounted(path)).toBe(true)
        })
      )
      expect(isCounted(path)).toBe(false)
      yield* Effect.scoped(
        Effect.zipRight(
          connect(`${path}-link`),
          Effect.sync(() => expect(isCounted(path)).toBe(true))
        )
      )
    }))
})

describe("a statement", () => {
  test("that could not be compiled is compiled again the next time", (folder) =>
    Effect.gen(function* () {
      const sql = yield* connect(newFile(folder))
      const ways = [
        sql`SELECT x FROM later`,
        sql`SELECT x FROM later`.values,
        sql`SELECT x FROM later`.raw,
        sql`SELECT x FROM later`.unprepared,
        sql`SELECT x FROM later`.withoutTransform
      ]
      for (const way of ways) {
        expect(yield* Effect.flip(way)).toMatchObject({ _tag: "SqlError", cause: { code: "SQLITE_ERROR" } })
      }
      yield* sql`CREATE TABLE later (x INTEGER)`
      for (const way of ways) expect(yield* way).toEqual([])
    }))

  test("that cannot be compiled is an SqlError, also unprepared", (folder) =>
    Effect.gen(function* () {
      const sql = yield* connect(newFile(folder))
      for (const text of ["SELEC", "", "SELECT 1; SELECT 2", "SELECT '"]) {
        for (const way of [sql.unsafe(text), sql.unsafe(text).unprepared, sql.unsafe(text).raw]) {
          expect(yield* Effect.flip(way)).toBeInstanceOf(SqlError.SqlError)
        }
      }
    }))

  test("that breaks a constraint fails once, with SQLite's code", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      yield* sql`CREATE UNIQUE INDEX u ON t (x)`
      yield* sql`INSERT INTO t VALUES (1)`
      const error = yield* Effect.flip(sql`INSERT INTO t VALUES (1)`)
      expect(error).toMatchObject({ cause: { code: "SQLITE_CONSTRAINT_UNIQUE" } })
      expect(numbersIn(path)).toEqual([1])
    }))

  test("of a client waits for the client's transaction in another fiber, and is no part of it", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const { early, exit } = yield* insideAnother(sql, sql`INSERT INTO t VALUES (2)`)
      expect(early).toBeNull()
      expect(Exit.isSuccess(exit)).toBe(true)
      expect(numbersIn(path)).toEqual([2])
    }))

  it.scoped("that waits for a lock does not get into a transaction that waits with it", () =>
    Effect.gen(function* () {
      const path = newFile(yield* Fixtures.temporaryDirectory)
      const sql = yield* connect(path)
      const lock = yield* other(path)
      lock.exec("BEGIN IMMEDIATE")
      const statement = yield* Effect.fork(sql`INSERT INTO t VALUES (1)`)
      // By now it tries every 50 ms only, and the transaction, which has just come, more often.
      yield* TestClock.adjust("200 millis")
      const transaction = yield* Fiber.await(statement).pipe(
        Effect.zipRight(Effect.fail("undone")),
        sql.withTransaction,
        Effect.fork
      )
      yield* Fixtures.untilItWaits(transaction)
      lock.exec("COMMIT")
      yield* TestClock.adjust("10 millis")
      yield* TestClock.adjust("200 millis")
      yield* Fiber.join(statement)
      yield* Fiber.await(transaction)
      expect(numbersIn(path)).toEqual([1])
    }).pipe(Effect.provide(SqliteDriver.layer))
  )
})

describe("withTransaction", () => {
  test("commits what succeeds", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const answer = yield* sql.withTransaction(Effect.as(sql`INSERT INTO t VALUES (1)`, "answer"))
      expect(answer).toBe("answer")
      expect(numbersIn(path)).toEqual([1])
    }))

  for (const [way, ending] of [
    ["fails", Effect.fail("failure")],
    ["dies", Effect.die("defect")],
    ["interrupts itself", Effect.interrupt]
  ] as const) {
    test(`rolls back a body that ${way}, and passes that on`, (folder) =>
      Effect.gen(function* () {
        const path = newFile(folder)
        const sql = yield* connect(path)
        const exit = yield* sql`INSERT INTO t VALUES (1)`.pipe(
          Effect.zipRight(ending),
          sql.withTransaction,
          Effect.exit
        )
        expect(exit).toEqual(yield* Effect.exit(ending))
        expect(numbersIn(path)).toEqual([])
        yield* expectUnlocked(path)
        yield* sql.withTransaction(sql`INSERT INTO t VALUES (2)`)
        expect(numbersIn(path)).toEqual([2])
      }))
  }

  test("takes the write lock when it begins", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const reader = yield* other(path)
      yield* sql.withTransaction(
        Effect.sync(() => expect(() => reader.exec("BEGIN IMMEDIATE")).toThrow(/locked/))
      )
    }))

  test("is a savepoint within another: the inner one alone is undone", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const insert = (x: number) => sql`INSERT INTO t VALUES (${x})`
      yield* Effect.gen(function* () {
        yield* insert(1)
        yield* Effect.ignore(sql.withTransaction(Effect.zipRight(insert(2), Effect.fail("inner"))))
        yield* sql.withTransaction(
          Effect.zipRight(
            insert(3),
            Effect.ignore(sql.withTransaction(Effect.zipRight(insert(4), Effect.fail("innermost"))))
          )
        )
        yield* insert(5)
      }).pipe(sql.withTransaction)
      expect(numbersIn(path)).toEqual([1, 3, 5])
    }))

  test("undoes inner ones with it", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      yield* sql
        .withTransaction(sql`INSERT INTO t VALUES (1)`)
        .pipe(Effect.zipRight(Effect.fail("outer")), sql.withTransaction, Effect.ignore)
      expect(numbersIn(path)).toEqual([])
    }))

  test("passes on the failure of a statement that made SQLite roll back by itself", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      Raw.exec(path, "CREATE UNIQUE INDEX u ON t (x); INSERT INTO t VALUES (1)")
      const sql = yield* connect(path)
      const error = yield* sql`INSERT INTO t VALUES (2)`.pipe(
        Effect.zipRight(sql`INSERT OR ROLLBACK INTO t VALUES (1)`),
        sql.withTransaction,
        Effect.flip
      )
      expect(error).toMatchObject({ cause: { code: "SQLITE_CONSTRAINT_UNIQUE" } })
      yield* sql.withTransaction(sql`INSERT INTO t VALUES (3)`)
      expect(numbersIn(path)).toEqual([1, 3])
    }))

  test("commits all or nothing wherever it is interrupted, and leaves the client usable", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      yield* sql`PRAGMA synchronous = OFF`
      let committed = 0
      const operations = yield* Fixtures.interruptedAtEveryOperation(
        sql`INSERT INTO t VALUES (1)`.pipe(
          Effect.zipRight(Effect.yieldNow()),
          Effect.zipRight(sql`INSERT INTO t VALUES (2)`),
          sql.withTransaction
        ),
        Effect.gen(function* () {
          yield* expectUnlocked(path)
          const numbers = (yield* Fixtures.atOnce(sql<{ x: number }>`SELECT x FROM t`)).map(({ x }) => x)
          if (numbers.length > 0) committed++
          expect([[], [1, 2]]).toContainEqual(numbers)
          yield* sql`DELETE FROM t`
        })
      )
      expect(committed).toBeGreaterThan(1)
      expect(committed).toBeLessThan(operations)
    }))

  test("is not for a fiber that outlives it", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const ended = yield* Deferred.make<void>()
      const late = yield* sql.withTransaction(
        Effect.forkDaemon(Effect.zipRight(Deferred.await(ended), sql`INSERT INTO t VALUES (2)`))
      )
      const { early, exit } = yield* insideAnother(
        sql,
        Effect.zipRight(Deferred.succeed(ended, undefined), Fiber.join(late))
      )
      expect(early).toBeNull()
      expect(Exit.isSuccess(exit)).toBe(true)
      expect(numbersIn(path)).toEqual([2])
    }))
})

describe("two clients", () => {
  const both = (folder: string) =>
    Effect.gen(function* () {
      const paths = [newFile(folder, "a.db"), newFile(folder, "b.db")] as const
      const a = yield* connect(paths[0])
      const b = yield* connect(paths[1])
      return { a, b, contents: () => paths.map(numbersIn) }
    })

  test("write each to its own file inside a transaction of the other", (folder) =>
    Effect.gen(function* () {
      const { a, b, contents } = yield* both(folder)
      yield* a`INSERT INTO t VALUES (1)`.pipe(Effect.zipRight(b`INSERT INTO t VALUES (2)`), a.withTransaction)
      expect(contents()).toEqual([[1], [2]])
    }))

  test("commit and roll back each by itself", (folder) =>
    Effect.gen(function* () {
      const { a, b, contents } = yield* both(folder)
      yield* a`INSERT INTO t VALUES (1)`.pipe(
        Effect.zipRight(b.withTransaction(b`INSERT INTO t VALUES (2)`)),
        Effect.zipRight(Effect.fail("undone")),
        a.withTransaction,
        Effect.ignore
      )
      yield* a`INSERT INTO t VALUES (3)`.pipe(
        Effect.zipRight(
          Effect.ignore(
            b.withTransaction(Effect.zipRight(b`INSERT INTO t VALUES (4)`, Effect.fail("undone")))
          )
        ),
        a.withTransaction
      )
      expect(contents()).toEqual([[3], [2]])
    }))

  test("can be used in turn, each in a transaction of its own", (folder) =>
    Effect.gen(function* () {
      const { a, b, contents } = yield* both(folder)
      yield* a`INSERT INTO t VALUES (1)`.pipe(
        Effect.zipRight(
          b`INSERT INTO t VALUES (2)`.pipe(
            Effect.zipRight(a`INSERT INTO t VALUES (3)`),
            Effect.zipRight(a.withTransaction(a`INSERT INTO t VALUES (5)`)),
            b.withTransaction
          )
        ),
        a.withTransaction,
        Fixtures.atOnce
      )
      expect(contents()).toEqual([[1, 3, 5], [2]])
    }))

  test("keep to their own files also when one of them is the plain driver's", (folder) =>
    Effect.gen(function* () {
      const [first, second] = [newFile(folder, "a.db"), newFile(folder, "b.db")]
      const own = yield* connect(first)
      const plain = yield* SqliteClient.make({ filename: second, disableWAL: true })
      yield* own.withTransaction(
        Effect.zipRight(own`INSERT INTO t VALUES (1)`, plain`INSERT INTO t VALUES (2)`)
      )
      yield* plain.withTransaction(
        Effect.zipRight(own`INSERT INTO t VALUES (3)`, plain`INSERT INTO t VALUES (4)`)
      )
      expect([numbersIn(first), numbersIn(second)]).toEqual([
        [1, 3],
        [2, 4]
      ])
    }).pipe(Effect.provide(Reactivity.layer)))
})

describe("while another connection", () => {
  const lockHolder = (path: string, sql: string) =>
    Fixtures.startProcess(
      `const database = new Database(args[0])
       database.exec(args[1])
       console.log("ready")
       process.stdin.once("data", () => { database.exec("ROLLBACK"); process.exit() })`,
      path,
      sql
    )

  test("writes, a transaction waits for it to begin, and the event loop goes on", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const holder = yield* lockHolder(path, "BEGIN IMMEDIATE; INSERT INTO t VALUES (1)")
      const loop = yield* Fixtures.eventLoop
      const fiber = yield* Effect.fork(sql.withTransaction(sql`INSERT INTO t VALUES (2)`))
      yield* Fixtures.eventually(() => loop.total > 600)
      expect(fiber.unsafePoll()).toBeNull()
      expect(loop.turns).toBeGreaterThan(loop.total / 50)
      holder.stdin?.write("go\n")
      yield* Fiber.join(fiber)
      expect(numbersIn(path)).toEqual([2])
    }))

  test("writes, a single statement waits for it", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const lock = yield* other(path)
      for (const statement of [
        sql`INSERT INTO t VALUES (1)`,
        sql`INSERT INTO t VALUES (2)`.raw,
        sql`INSERT INTO t VALUES (3)`.values,
        sql`INSERT INTO t VALUES (4)`.unprepared
      ]) {
        lock.exec("BEGIN IMMEDIATE")
        const fiber = yield* Effect.fork(statement)
        yield* Fixtures.untilItWaits(fiber)
        expect(fiber.unsafePoll()).toBeNull()
        lock.exec("COMMIT")
        yield* Fiber.join(fiber)
      }
      expect(numbersIn(path)).toEqual([1, 2, 3, 4])
    }))

  test("has the file to itself, what could not even be compiled waits for it", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const lock = yield* other(path)
      for (const statement of [
        sql`SELECT 1 AS a FROM t`,
        sql`SELECT 2 AS b FROM t`.raw,
        sql`SELECT 3 AS c FROM t`.values,
        sql`SELECT 4 AS d FROM t`.unprepared
      ]) {
        lock.exec("BEGIN EXCLUSIVE")
        const fiber = yield* Effect.fork(statement)
        yield* Fixtures.untilItWaits(fiber)
        expect(fiber.unsafePoll()).toBeNull()
        lock.exec("COMMIT")
        expect(yield* Fiber.join(fiber)).toEqual([])
      }
    }))

  test("reads, a transaction waits for it to commit, and the event loop goes on", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const holder = yield* lockHolder(path, "BEGIN; SELECT count(*) FROM t")
      const loop = yield* Fixtures.eventLoop
      const fiber = yield* Effect.fork(sql.withTransaction(sql`INSERT INTO t VALUES (1)`))
      yield* Fixtures.eventually(() => isCommitting(path))
      yield* Fixtures.eventually(() => loop.total > 600)
      expect(fiber.unsafePoll()).toBeNull()
      expect(loop.turns).toBeGreaterThan(loop.total / 50)
      holder.stdin?.write("go\n")
      yield* Fiber.join(fiber)
      expect(numbersIn(path)).toEqual([1])
    }))

  test("writes for too long, a transaction fails as busy and can be tried again", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path, "100 millis")
      const lock = yield* other(path)
      lock.exec("BEGIN IMMEDIATE")
      const write = sql.withTransaction(sql`INSERT INTO t VALUES (1)`)
      const [duration, error] = yield* Effect.timed(Effect.flip(write))
      expect(isBusy(error)).toBe(true)
      expect(Duration.toMillis(duration)).toBeGreaterThan(90)
      lock.exec("COMMIT")
      yield* expectUnlocked(path)
      yield* write
      expect(numbersIn(path)).toEqual([1])
    }))

  test("reads for too long, a transaction fails as busy, is rolled back and can be tried again", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path, "100 millis")
      const lock = yield* other(path)
      lock.exec("BEGIN")
      expect(lock.prepare("SELECT count(*) AS n FROM t").all()).toEqual([{ n: 0 }])
      const write = sql.withTransaction(sql`INSERT INTO t VALUES (1)`)
      const [duration, error] = yield* Effect.timed(Effect.flip(write))
      expect(isBusy(error)).toBe(true)
      expect(Duration.toMillis(duration)).toBeGreaterThan(90)
      lock.exec("COMMIT")
      expect(numbersIn(path)).toEqual([])
      yield* expectUnlocked(path)
      yield* write
      expect(numbersIn(path)).toEqual([1])
    }))

  test("holds a lock, waiting for it can be interrupted outside of a transaction", (folder) =>
    Effect.gen(function* () {
      const path = newFile(folder)
      const sql = yield* connect(path)
      const lock = yield* other(path)
      lock.exec("BEGIN IMMEDIATE")
      const fiber = yield* Effect.fork(sql`INSERT INTO t VALUES (1)`)
      yield* Fixtures.untilItWaits(fiber)
      yield* Fixtures.atOnce(Fiber.interrupt(fiber))
      lock.exec("COMMIT")
      yield* Fixtures.atOnce(sql`INSERT INTO t VALUES (2)`)
      expect(numbersIn(path)).toEqual([2])
    }))
})

describe("SqliteDriver.image", () => {
  test("is a database in which the statements were run", (folder) =>
    Effect.gen(function* () {
      const driver = yield* SqliteDriver
      const bytes = yield* driver.image(["CREATE TABLE t (x INTEGER)", "INSERT INTO t VALUES (7)"])
      const path = Path.join(folder, "image.db")
      Fs.writeFileSync(path, bytes)
      expect(numbersIn(path)).toEqual([7])
      expect(Raw.query(path, "PRAGMA journal_mode")).toEqual([{ journal_mode: "delete" }])
      expect(Raw.query(path, "PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }])
    }))

  test("fails with an SqlError for a statement that is none", () =>
    Effect.gen(function* () {
      const driver = yield* SqliteDriver
      expect(yield* Effect.flip(driver.image(["CREATE TABLE"]))).toBeInstanceOf(SqlError.SqlError)
    }))
})
