/**
 * Which tables an agent's file really has. The file is the agent's: under a table's name there may be a view that never
 * ends, or something that a module makes up.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"

/**
 * Whether a copy of outbound.db has an ordinary table of a name.
 *
 * @since 0.1.0
 * @category queries
 */
export const has = (agent: SqlClient, name: string): Effect.Effect<boolean, SqlError> =>
  Effect.map(
    agent`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name = ${name} COLLATE NOCASE`,
    (rows) => rows.length > 0
  )
