import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck, Option } from "effect"
import * as Fs from "node:fs"
import * as AgentMessages from "../../src/host/AgentMessages.js"
import * as Tables from "../../src/protocol/Tables.js"
import * as BTreePages from "../../src/storage/BTreePages.js"
import * as DatabaseHeader from "../../src/storage/DatabaseHeader.js"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import * as TestHost from "../support/TestHost.js"

/** What a column may have, whatever the table says that it should. */
const value = FastCheck.oneof(
  { weight: 4, arbitrary: FastCheck.string({ unit: "binary", maxLength: 20 }) },
  FastCheck.constant(null),
  FastCheck.integer(),
  FastCheck.maxSafeInteger(),
  FastCheck.double({ noNaN: true }),
  FastCheck.uint8Array({ maxLength: 20 }),
  FastCheck.nat({ max: 6000 }).map((length) => "x".repeat(length)),
  FastCheck.nat({ max: 3000 }).map((length) => new Uint8Array(length)),
  FastCheck.constantFrom(
    "task_log",
    "chat",
    "\ufeffmarked",
    "in\0side",
    0,
    1,
    -1,
    2 ** 31,
    -(2 ** 47),
    9_007_199_254_740_993n
  )
)

const number = FastCheck.oneof(
  { weight: 6, arbitrary: FastCheck.integer({ min: -3, max: 40 }) },
  FastCheck.constantFrom<number | bigint | string | Uint8Array | null>(
    null,
    1.5,
    "7",
    "text",
    Number.MIN_SAFE_INTEGER,
    Number.MAX_SAFE_INTEGER,
    -(2n ** 63n),
    2n ** 63n - 1n,
    new Uint8Array(3)
  )
)

const row = FastCheck.tuple(
  FastCheck.oneof(
    { weight: 5, arbitrary: FastCheck.integer({ min: 0, max: 40 }).map((n) => `m${n}`) },
    value
  ),
  number,
  ...Array.from({ length: 9 }, () => value)
)

const columns =
  "id, seq, in_reply_to, timestamp, deliver_after, recurrence, kind, platform_id, channel_type, thread_id, content"

/** The rows of a file, as they are stored. */
const storedIn = (path: string) => {
  const bytes = Fs.readFileSync(path)
  const header = Option.getOrThrow(DatabaseHeader.parse(bytes))
  expect(BTreePages.flawOf(bytes, header, 1_000_000)).toBe(undefined)
  return BTreePages.rowsOf(bytes, header, AgentMessages.definition)
}

describe("AgentMessages", () => {
  it.effect.prop(
    "are the same by SQL and as they are stored",
    [
      FastCheck.array(row, { maxLength: 60 }),
      FastCheck.array(
        FastCheck.record({
          above: FastCheck.integer({ min: -4, max: 41 }),
          numbers: FastCheck.array(FastCheck.integer({ min: -3, max: 40 }), { maxLength: 3 }),
          ids: FastCheck.array(
            FastCheck.integer({ min: 0, max: 40 }).map((n) => `m${n}`),
            { maxLength: 3 }
          )
        }),
        { minLength: 3, maxLength: 3 }
      ),
      FastCheck.integer({ min: 1, max: 7 })
    ],
    ([rows, looks, every]) =>
      Effect.gen(function* () {
        const directory = yield* TestHost.temporaryDirectory
        const path = `${directory}/outbound.db`
        const driver = yield* SqliteDriver
        const sql = yield* driver.connect({ filename: path, patience: 0 })
        for (const statement of Tables.outbound) yield* sql.unsafe(statement)
        yield* sql.withTransaction(
          Effect.forEach(rows, (values) =>
            sql.unsafe(
              `INSERT OR IGNORE INTO messages_out (${columns}) VALUES (${values.map(() => "?").join()})`,
              values
            )
          )
        )
        yield* sql`DELETE FROM messages_out WHERE rowid % ${every} = 0`
        const stored = storedIn(path)
        expect(stored).toBeDefined()
        const bySql = AgentMessages.bySql(sql)
        const byRows = AgentMessages.byRows(stored ?? [])
        for (const wanted of looks) {
          const [expected, found] = [yield* bySql.look(wanted), yield* byRows.look(wanted)]
          expect(inOrder(found)).toEqual(inOrder(expected))
          const [from, to] = [wanted.above, wanted.above + 20]
          expect(yield* byRows.extent(from, to)).toEqual(yield* bySql.extent(from, to))
        }
      }).pipe(Effect.scoped, Effect.provide(SqliteDriver.layer)),
    { fastCheck: { numRuns: 60, endOnFailure: true } }
  )

  it.effect("are not read of a table that is defined in another way", () =>
    Effect.gen(function* () {
      const directory = yield* TestHost.temporaryDirectory
      const driver = yield* SqliteDriver
      const make = (name: string, statement: string) =>
        Effect.gen(function* () {
          const sql = yield* driver.connect({ filename: `${directory}/${name}`, patience: 0 })
          yield* sql.unsafe(statement)
          return storedIn(`${directory}/${name}`)
        })
      const [ours = ""] = Tables.outbound
      expect(yield* make("ours", ours)).toEqual([])
      expect(yield* make("other", ours.replace("content TEXT NOT NULL", "content TEXT"))).toBe(undefined)
      expect(yield* make("none", "CREATE TABLE t (x)")).toBe(undefined)
    }).pipe(Effect.scoped, Effect.provide(SqliteDriver.layer))
  )
})

/** Bytes are bytes, whatever holds them. */
const plainly = (found: AgentMessages.Found) =>
  Object.fromEntries(
    Object.entries(found).map(([name, value]) => [
      name,
      value instanceof Uint8Array ? Buffer.from(value).toString("hex") : (value as unknown)
    ])
  )

/** Rows without a sensible number come last, in no certain order. */
const inOrder = (found: ReadonlyArray<AgentMessages.Found>) => {
  const isNumbered = ({ seq }: AgentMessages.Found) => typeof seq === "number" && seq > AgentMessages.lowest
  const first = found.findIndex((row) => !isNumbered(row))
  const numbered = found.slice(0, first === -1 ? found.length : first).map(plainly)
  const others = found.slice(numbered.length).map((row) => JSON.stringify(plainly(row)))
  return [...numbered, ...others.sort()]
}
