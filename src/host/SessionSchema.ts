/**
 * Making new session databases, and upgrading inbound.db files that older builds made.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Tables from "../protocol/Tables.js"

const stamp = (version: number) => `PRAGMA user_version = ${version}`

/**
 * What a new inbound.db has been through.
 *
 * @since 0.1.0
 * @category schema
 */
export const newInbound: ReadonlyArray<string> = [
  ...Tables.inbound,
  ...Tables.inboundUpgrade.afterwards,
  stamp(Tables.inboundVersion)
]

/**
 * What a new outbound.db has been through.
 *
 * @since 0.1.0
 * @category schema
 */
export const newOutbound: ReadonlyArray<string> = [...Tables.outbound, stamp(Tables.outboundVersion)]

/**
 * Brings an inbound.db up to `Tables.inboundVersion`: the tables and columns that it lacks are added, and nothing
 * that is there is changed. All or nothing, and again is harmless.
 *
 * @since 0.1.0
 * @category schema
 */
export const upgradeInbound = (sql: SqlClient): Effect.Effect<void, SqlError> =>
  Effect.gen(function* () {
    for (const statement of Tables.inbound) yield* sql.unsafe(statement)
    for (const { table, name, definition } of Tables.inboundUpgrade.columns) {
      const present = yield* sql`SELECT name FROM pragma_table_info(${table}) WHERE name = ${name}`
      if (present.length === 0) yield* sql.unsafe(`ALTER TABLE ${table} ADD COLUMN ${name} ${definition}`)
    }
    for (const statement of Tables.inboundUpgrade.afterwards) yield* sql.unsafe(statement)
    yield* sql.unsafe(stamp(Tables.inboundVersion))
  }).pipe(sql.withTransaction)
