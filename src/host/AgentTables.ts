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
  Effect.flatMap(
    agent<{
      readonly sql: string
    }>`SELECT sql FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name = ${name} COLLATE NOCASE`,
    (definitions) => {
      if (definitions.length === 0) return Effect.succeed(false)
      // No column is computed without this word, and to ask for the columns takes longer than to look for it.
      if (!definitions.some(({ sql }) => /\bas\b/i.test(sql))) return Effect.succeed(true)
      return Effect.map(
        agent<{ readonly hidden: number }>`SELECT hidden FROM pragma_table_xinfo(${name})`,
        (columns) => columns.every(({ hidden }) => hidden === 0)
      )
    }
  )
