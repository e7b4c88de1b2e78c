import { Statement } from "@effect/sql"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Tracer } from "effect"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"

/** Runs a test with a client on a database in memory, and the names of the spans that it makes. */
const withClient = <A, E>(
  test: (context: {
    readonly sql: Effect.Effect.Success<ReturnType<SqliteDriver["Type"]["connect"]>>
    readonly spans: Array<string>
  }) => Effect.Effect<A, E>
) =>
  Effect.gen(function* () {
    const driver = yield* SqliteDriver
    const sql = yield* driver.connect({ filename: ":memory:", patience: 0 })
    yield* sql`CREATE TABLE t (x INTEGER)`
    const spans: Array<string> = []
    const tracer = Tracer.make({
      span: (name, parent, context, links, startTime, kind, options) => {
        spans.push(name)
        return native.span(name, parent, context, links, startTime, kind, options)
      },
      context: (run) => run()
    })
    const native = yield* Effect.tracer
    return yield* Effect.withTracer(test({ sql, spans }), tracer)
  }).pipe(Effect.scoped, Effect.provide(SqliteDriver.layer))

describe("a statement", () => {
  it.effect("is seen where tracing is on, and not where it is off, and does the same", () =>
    withClient(({ spans, sql }) =>
      Effect.gen(function* () {
        const statements = [
          sql`INSERT INTO t ${sql.insert([{ x: 1 }, { x: 2 }])}`,
          sql.unsafe("INSERT INTO t VALUES (?)", [3]),
          sql`SELECT x FROM ${sql("t")} WHERE ${sql.in("x", [1, 3, 5])} ORDER BY x`
        ]
        const all = Effect.all(statements)
        expect(yield* all).toEqual([[], [], [{ x: 1 }, { x: 3 }]])
        expect(spans).toEqual(["sql.execute", "sql.execute", "sql.execute"])
        yield* sql`DELETE FROM t`
        spans.length = 0
        expect(yield* Effect.withTracerEnabled(all, false)).toEqual([[], [], [{ x: 1 }, { x: 3 }]])
        expect(spans).toEqual([])
      })
    )
  )

  it.effect("passes through a transformer, if one is set", () =>
    withClient(({ sql }) =>
      Effect.gen(function* () {
        yield* sql`INSERT INTO t VALUES (1)`
        const seen: Array<string> = []
        const rows = yield* Statement.withTransformer(
          Effect.withTracerEnabled(sql`SELECT x FROM t`, false),
          (statement, constructor) => {
            seen.push(statement.compile()[0])
            return Effect.succeed(constructor`SELECT x + 1 AS x FROM t`)
          }
        )
        expect([seen, rows]).toEqual([["SELECT x FROM t"], [{ x: 2 }]])
      })
    )
  )
})
