import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as AgentMessages from "../../src/host/AgentMessages.js"
import * as OutboundQueue from "../../src/host/OutboundQueue.js"
import * as Tables from "../../src/protocol/Tables.js"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import * as TestHost from "../support/TestHost.js"

/** The file of an agent, what of it is settled, and looks at it, each of which knows what the last one found. */
const program = Effect.gen(function* () {
  const directory = yield* TestHost.temporaryDirectory
  const driver = yield* SqliteDriver
  const sql = yield* driver.connect({ filename: `${directory}/outbound.db`, patience: 0 })
  for (const statement of Tables.outbound) yield* sql.unsafe(statement)
  const settled = new Set<string>()
  let progress: OutboundQueue.Progress | undefined
  const look = (tried: ReadonlyArray<string> = []) =>
    Effect.gen(function* () {
      let looked: ReadonlyArray<string> = []
      const found = yield* OutboundQueue.fromAgent(AgentMessages.bySql(sql), {
        progress,
        tried,
        settledAmong: (ids) =>
          Effect.sync(() => {
            looked = ids
            return new Set(ids.filter((id) => settled.has(id)))
          })
      })
      progress = found.progress
      return { looked, open: found.entries.map(({ id }) => id), gone: found.gone, isCut: found.isCut }
    })
  /** Rows of the odd numbers from one to another. */
  const write = (from: number, to = from) =>
    sql.unsafe(`INSERT INTO messages_out (id, seq, timestamp, kind, content)
      WITH RECURSIVE n (x) AS (SELECT ${from} UNION ALL SELECT x + 2 FROM n WHERE x + 2 <= ${to})
      SELECT 'm' || x, x, '2026-01-01T00:00:00.000Z', 'chat', '{}' FROM n`)
  const settle = (from: number, to = from) => {
    for (let n = from; n <= to; n += 2) settled.add(`m${n}`)
  }
  return { sql, look, write, settle, settled }
})

const withDriver = <A, E>(test: Effect.Effect<A, E, SqliteDriver | Effect.Effect.Context<typeof program>>) =>
  test.pipe(Effect.scoped, Effect.provide(SqliteDriver.layer))

describe("OutboundQueue.fromAgent", () => {
  it.effect("gets to the end of numbers whose sum is not the sum of its parts", () =>
    Effect.gen(function* () {
      const { look, sql } = yield* program
      yield* sql.unsafe(`WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 13000)
        INSERT INTO messages_out (id, seq, timestamp, kind, content)
        SELECT 'm' || x, 100000000000000 + 7000007 * x + 3 * x * x, 't', 'task_log', '' FROM n`)
      const looks = yield* Effect.all([look(), look(), look()])
      expect(looks.map(({ isCut }) => isCut)).toEqual([true, true, false])
    }).pipe(withDriver)
  )

  it.effect("looks at no message again once all before it are settled (U17)", () =>
    Effect.gen(function* () {
      const { look, settle, write } = yield* program
      yield* write(1, 599)
      expect((yield* look()).looked.length).toBe(300)
      settle(1, 599)
      yield* look()
      yield* write(601)
      expect(yield* look()).toMatchObject({ looked: ["m601"], open: ["m601"] })
      expect(yield* look()).toMatchObject({ looked: ["m601"], open: ["m601"] })
      settle(601)
      yield* look()
      expect(yield* look()).toMatchObject({ looked: [], open: [] })
    }).pipe(withDriver)
  )

  it.effect("looks only at those that are not, however long the first of them waits", () =>
    Effect.gen(function* () {
      const { look, settle, write } = yield* program
      yield* write(1, 599)
      settle(3, 599)
      yield* look()
      yield* write(601)
      expect(yield* look()).toMatchObject({ looked: ["m1", "m601"], open: ["m1", "m601"] })
    }).pipe(withDriver)
  )

  it.effect("finds one of a lower number than was settled", () =>
    Effect.gen(function* () {
      const { look, settle, write } = yield* program
      yield* write(1, 99)
      settle(1, 99)
      yield* look()
      yield* write(2)
      expect((yield* look()).open).toEqual(["m2"])
      yield* write(4)
      expect((yield* look()).open).toEqual(["m2", "m4"])
      settle(2, 4)
      yield* look()
      expect((yield* look()).looked).toEqual([])
    }).pipe(withDriver)
  )

  it.effect("finds one of a lower number, also when as many or more are pruned", () =>
    Effect.gen(function* () {
      const { look, settle, sql, write } = yield* program
      yield* write(1, 99)
      settle(1, 99)
      yield* look()
      yield* sql`DELETE FROM messages_out WHERE seq < 20`
      yield* look()
      expect((yield* look()).looked).toEqual([])
      yield* write(2)
      expect((yield* look()).open).toEqual(["m2"])
      settle(2)
      yield* look()
      yield* sql`DELETE FROM messages_out WHERE seq = 21`
      yield* write(4)
      expect((yield* look()).open).toEqual(["m4"])
    }).pipe(withDriver)
  )

  it.effect(
    "gets on through a history that is longer than one look, and says that it is not at its end",
    () =>
      Effect.gen(function* () {
        const { look, settle, write } = yield* program
        yield* write(1, 24_001)
        settle(3, 23_999)
        expect(yield* look()).toMatchObject({ open: ["m1"], isCut: true })
        expect(yield* look()).toMatchObject({ open: ["m1"], isCut: true })
        expect(yield* look()).toMatchObject({ open: ["m1", "m24001"], isCut: false })
        expect(yield* look()).toMatchObject({ looked: ["m1", "m24001"], isCut: false })
      }).pipe(withDriver)
  )

  it.effect("gets on when all that one look can hold are settled at once", () =>
    Effect.gen(function* () {
      const { look, settle, write } = yield* program
      yield* write(1, 12_001)
      expect((yield* look()).isCut).toBe(true)
      settle(1, 9_999)
      expect(yield* look()).toMatchObject({ open: [], isCut: true })
      expect(yield* look()).toMatchObject({ isCut: false })
      expect((yield* look()).open.length).toBe(1001)
    }).pipe(withDriver)
  )

  it.effect("does not say so for ever of more than it can hold that are all waiting", () =>
    Effect.gen(function* () {
      const { look, write } = yield* program
      yield* write(1, 12_001)
      expect((yield* look()).isCut).toBe(true)
      expect((yield* look()).isCut).toBe(false)
    }).pipe(withDriver)
  )

  it.effect("finds what has no number, and numbers that are none", () =>
    Effect.gen(function* () {
      const { look, settle, settled, sql, write } = yield* program
      yield* write(1, 9)
      settle(1, 9)
      yield* look()
      const odd = ["NULL", "'seven'", "x'07'", "1.5", "9223372036854775807", "-9223372036854775808"]
      for (const [n, seq] of odd.entries()) {
        yield* sql.unsafe(`INSERT INTO messages_out (id, seq, timestamp, kind, content)
          VALUES ('o${n}', ${seq}, '', 'chat', '{}')`)
      }
      expect([...(yield* look()).open].sort()).toEqual(["o0", "o1", "o2", "o3", "o4", "o5"])
      for (const n of odd.keys()) settled.add(`o${n}`)
      expect((yield* look()).open).toEqual([])
      yield* write(11)
      expect((yield* look()).open).toEqual(["m11"])
    }).pipe(withDriver)
  )

  it.effect("looks at those that were tried, whatever their number, and tells which are gone", () =>
    Effect.gen(function* () {
      const { look, settle, settled, sql, write } = yield* program
      yield* write(1, 99)
      settle(1, 99)
      yield* look()
      settled.delete("m5")
      expect(yield* look(["m5", "m6"])).toMatchObject({ looked: ["m5"], open: ["m5"], gone: ["m6"] })
      yield* sql`DELETE FROM messages_out WHERE id = 'm5'`
      expect(yield* look(["m5"])).toMatchObject({ open: [], gone: ["m5"] })
      yield* sql`DROP TABLE messages_out`
      expect(yield* look(["m5"])).toMatchObject({ open: [], gone: [] })
    }).pipe(withDriver)
  )
})
