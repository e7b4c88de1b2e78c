/**
 * Which inbound.db of another host's can become this host's own. It is written to from then on, and whatever its schema has
 * of expressions would be evaluated at each write, without an end if its maker wanted that.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Tables from "../protocol/Tables.js"

interface Definition {
  readonly type: string
  readonly name: string
  readonly rootpage: number | null
  readonly sql: string | null
}

const withoutSpaces = (text: string): string => text.replace(/\s+/g, " ").trim().toLowerCase()

/** What the contract itself has of expressions: the one row of `session_routing`, and indexes of this library's. */
const known = new Set(
  Tables.inboundUpgrade.afterwards.map((sql) => withoutSpaces(sql).replace(" if not exists ", " "))
)
const oneRow = /\bcheck ?\( ?id ?= ?1 ?\)/g

const evaluated = /\bcheck\b|\bgenerated\b|\bas ?\(|\bdefault ?\(/

const isPlainTable = ({ rootpage, sql }: Definition): boolean =>
  (rootpage ?? 0) > 0 && !evaluated.test(withoutSpaces(sql ?? "").replace(oneRow, ""))

/**
 * Whether a private copy of an inbound.db has only tables and indexes, and in those nothing to evaluate: no view, trigger or
 * virtual table, no CHECK but the contract's, no computed column or default, no index on an expression or on some rows.
 *
 * @since 0.1.0
 * @category queries
 */
export const isPlain = (client: SqlClient): Effect.Effect<boolean, SqlError> =>
  Effect.gen(function* () {
    const definitions = yield* client<Definition>`SELECT type, name, rootpage, sql FROM sqlite_schema`
    for (const definition of definitions) {
      if (definition.type === "table" ? !isPlainTable(definition) : definition.type !== "index") return false
      if (definition.type !== "index" || definition.sql === null) continue
      const text = withoutSpaces(definition.sql)
      if (known.has(text)) continue
      const expressions =
        yield* client`SELECT 1 FROM pragma_index_xinfo(${definition.name}) WHERE cid = -2 LIMIT 1`
      if (expressions.length > 0 || /\bwhere\b/.test(text)) return false
    }
    return true
  })
