/**
 * The rows of a database's schema (https://www.sqlite.org/fileformat.html, section 2.6), as they are stored. SQLite
 * believes the text of a definition and not the columns beside it, so a row that somebody made up can say table and be a
 * view that never ends. Here a row is only what SQLite itself would have written.
 *
 * @since 0.1.0
 */
import * as StoredRecord from "./StoredRecord.js"

/**
 * A table, index, view or trigger. `root` is the page that its tree begins at, 0 if it has none.
 *
 * @since 0.1.0
 * @category models
 */
export interface SchemaRow {
  readonly name: string
  readonly root: number
  /** How it is defined, as SQLite keeps it; null for the index of a key. */
  readonly sql: string | null
}

const unquoted = (token: string): string => {
  const first = token[0] ?? ""
  if (first === "[") return token.slice(1, -1)
  return first === '"' || first === "'" || first === "`"
    ? token.slice(1, -1).replaceAll(first + first, first)
    : token
}

/** How SQLite begins what it stores, whatever the statement looked like, and the name that follows. */
const definition =
  /^CREATE (TABLE|VIRTUAL TABLE|INDEX|UNIQUE INDEX|VIEW|TRIGGER) ("(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$\u0080-\u{10ffff}]+)/u

const kinds: Readonly<Record<string, readonly [type: string, hasTree: boolean]>> = {
  TABLE: ["table", true],
  "VIRTUAL TABLE": ["table", false],
  INDEX: ["index", true],
  "UNIQUE INDEX": ["index", true],
  VIEW: ["view", false],
  TRIGGER: ["trigger", false]
}

/**
 * The tables of statistics that SQLite reads when it opens a file, and what defines them. With other columns than these
 * it would compute what somebody else wrote.
 *
 * @since 0.1.0
 * @category constants
 */
export const statistics: ReadonlyMap<string, string> = new Map([
  ["sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"],
  ["sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"]
])

/** Names that a file may not give to anything of its own, because a query means SQLite's by them. */
const isTaken = (name: string, sql: string): boolean => {
  const lower = name.toLowerCase()
  if (lower.startsWith("sqlite_")) return lower !== "sqlite_sequence" && statistics.get(name) !== sql
  return lower.startsWith("pragma_") || /^jsonb?_(each|tree)$/.test(lower)
}

/**
 * Reads a row of the schema, or none if it is not one that SQLite would have written, or has a name that means
 * something else.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (record: Uint8Array): SchemaRow | undefined => {
  const stored = StoredRecord.parse(record)
  if (stored?.length !== 5) return undefined
  const all = [0, 1, 2, 3, 4]
  // Fractions and bytes have no place in a schema.
  if (all.some((column) => /real|blob/.test(stored.type(column)))) return undefined
  const columns = all.map((column) => stored.value(column))
  const [type, name, , root, sql = null] = columns
  if (typeof name !== "string" || typeof root !== "number") return undefined
  if (columns.some((column) => typeof column === "string" && column.includes("\0"))) return undefined
  if (sql === null) {
    // The index of a key, which has no definition of its own.
    return type === "index" && name.startsWith("sqlite_autoindex_") && root > 1
      ? { name, root, sql }
      : undefined
  }
  const match = typeof sql === "string" ? definition.exec(sql) : null
  const kind = kinds[match?.[1] ?? ""]
  if (match === null || kind === undefined || typeof sql !== "string") return undefined
  const [expected, hasTree] = kind
  if (type !== expected || unquoted(match[2] ?? "") !== name || isTaken(name, sql)) return undefined
  return hasTree === root > 1 && (hasTree || root === 0) ? { name, root, sql } : undefined
}
