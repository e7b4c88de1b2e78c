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
 * Whether a copy of outbound.db has an ordinary table of a name: no view, and no column that is computed when it is
 * read. Everything else that a definition can have, such as a CHECK, a trigger or an index on an expression, is not
 * evaluated by reading. That the name is the definition's own is seen to before the copy is opened; see
 * `storage/SchemaRow.ts`.
 *
 * @since 0.1.0
 * @category queries
 */
export const has = (agent: SqlClient, name: string): Effect.Effect<boolean, SqlError> =>
  Effect.map(
    agent<{
      readonly hidden: number
    }>`SELECT hidden FROM sqlite_schema AS definition, pragma_table_xinfo(definition.name)
      WHERE definition.type = 'table' AND rootpage > 0 AND definition.name = ${name} COLLATE NOCASE`,
    (columns) => columns.length > 0 && columns.every(({ hidden }) => hidden === 0)
  )
