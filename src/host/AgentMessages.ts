/**
 * The rows of the agent's `messages_out`, from a copy of outbound.db: by SQL, or, of a short file whose table is as this
 * library defines it, read as they are stored. To open a copy and to prepare what is asked of it takes longer than everything
 * else that a drain does but waiting for the disk. Both answer the same.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Tables from "../protocol/Tables.js"
import type { StoredRecord } from "../storage/StoredRecord.js"
import * as AgentTables from "./AgentTables.js"

/**
 * A row before anything is known of it. `id` is null if it is not text of at most `idBytes`; `type` is what it is. `bytes`
 * is how long the content is, which is left out of a row if it is long.
 *
 * @since 0.1.0
 * @category models
 */
export interface Found {
  readonly id: string | null
  readonly type: string
  readonly seq: unknown
  readonly bytes: number
  readonly kind: unknown
  readonly inReplyTo: unknown
  readonly deliverAfter: unknown
  readonly channelType: unknown
  readonly platformId: unknown
  readonly threadId: unknown
  readonly timestamp: unknown
  readonly content: unknown
}

/**
 * How many rows there are with a number in a range, and what the numbers come to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Extent {
  readonly rows: number
  readonly sum: number
}

/**
 * - `isThere`: whether there is such a table
 * - `extent`: of the numbers above `from`, up to `to`
 * - `look`: the rows with a number above `above`, or one of `numbers`, or an id of `ids`, or no sensible number, the
 *   lowest number first; at most `mostRows`
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentMessages {
  readonly isThere: Effect.Effect<boolean, SqlError>
  readonly extent: (from: number, to: number) => Effect.Effect<Extent, SqlError>
  readonly look: (wanted: {
    readonly above: number
    readonly numbers: ReadonlyArray<number>
    readonly ids: ReadonlyArray<string>
  }) => Effect.Effect<ReadonlyArray<Found>, SqlError>
}

/** The longest id of a message, and the longest part of an address, in bytes. */
const idBytes = 255
const addressBytes = 1024

/** The longest content that comes with a row, in bytes. What is longer is fetched when it is sent. */
const shortBytes = 2048

/**
 * The most rows of one look.
 *
 * @since 0.1.0
 * @category constants
 */
export const mostRows = 5000

/**
 * Numbers from this one down are none that a message has, and rows that have them are looked at every time.
 *
 * @since 0.1.0
 * @category constants
 */
export const lowest: number = Number.MIN_SAFE_INTEGER

/** A column that is text of a sensible length, or null; otherwise a number, which is neither. */
const short = (column: string, as = column) =>
  `iif(octet_length(${column}) > ${addressBytes}, 0, ${column}) AS ${as}`

/**
 * What a row is read as, for a `SELECT` from the agent's table or the host's of the same kind.
 *
 * @since 0.1.0
 * @category queries
 */
export const columns: string = [
  `iif(typeof(id) = 'text' AND octet_length(id) <= ${idBytes}, id, NULL) AS id`,
  "typeof(id) AS type",
  "seq",
  "coalesce(octet_length(content), 0) AS bytes",
  short("kind"),
  short("in_reply_to", "inReplyTo"),
  short("deliver_after", "deliverAfter"),
  short("channel_type", "channelType"),
  short("platform_id", "platformId"),
  short("thread_id", "threadId"),
  short("timestamp"),
  `iif(kind IS NOT 'task_log' AND octet_length(content) <= ${shortBytes}, content, NULL) AS content`
].join()

/**
 * By SQL, from an open copy.
 *
 * @since 0.1.0
 * @category constructors
 */
export const bySql = (agent: SqlClient): AgentMessages => ({
  isThere: AgentTables.has(agent, "messages_out"),
  extent: (from, to) =>
    Effect.map(
      agent<Extent>`SELECT count(*) AS rows, total(seq) AS sum FROM messages_out
        WHERE seq > ${from} AND seq <= ${to}`,
      ([extent]) => extent ?? { rows: 0, sum: 0 }
    ),
  look: ({ above, ids, numbers }) =>
    // Each part of this has an index to use. With COLLATE one had not, and the whole table was read.
    agent.unsafe<Found>(
      `SELECT ${columns} FROM messages_out
      WHERE seq > ? OR seq <= ${lowest} OR seq IS NULL
        ${numbers.length === 0 ? "" : "OR seq IN (SELECT value FROM json_each(?))"}
        ${ids.length === 0 ? "" : "OR id IN (SELECT value FROM json_each(?))"}
      ORDER BY typeof(seq) NOT IN ('integer', 'real') OR seq <= ${lowest}, seq LIMIT ${mostRows}`,
      [above, ...[numbers, ids].filter((some) => some.length > 0).map((some) => JSON.stringify(some))]
    )
})

/**
 * How SQLite keeps the definition of this library's table.
 *
 * @since 0.1.0
 * @category constants
 */
export const definition: string = Tables.outbound
  .map((statement) => statement.replace("CREATE TABLE IF NOT EXISTS ", "CREATE TABLE "))
  .filter((statement) => statement.startsWith("CREATE TABLE messages_out "))
  .join()

const names = Array.from(definition.matchAll(/^ {4}(\w+) /gm), ([, name]) => name)
const at = (name: string) => names.indexOf(name)
const positions = {
  id: at("id"),
  seq: at("seq"),
  kind: at("kind"),
  inReplyTo: at("in_reply_to"),
  deliverAfter: at("deliver_after"),
  channelType: at("channel_type"),
  platformId: at("platform_id"),
  threadId: at("thread_id"),
  timestamp: at("timestamp"),
  content: at("content")
}

/** As SQLite compares them: text and bytes are above all numbers. */
const isAbove = (row: StoredRecord, number: number): boolean => {
  const seq = row.value(positions.seq)
  return typeof seq === "number" ? seq > number : seq !== null
}

const toFound = (row: StoredRecord): Found => {
  const short = (position: number) => (row.octets(position) > addressBytes ? 0 : row.value(position))
  const { content, id, kind, seq } = positions
  const octets = row.octets(content)
  const isShort = octets <= shortBytes && row.value(kind) !== "task_log"
  const value = isShort ? row.value(content) : null
  return {
    id: row.type(id) === "text" && row.octets(id) <= idBytes ? String(row.value(id)) : null,
    type: row.type(id),
    seq: row.value(seq),
    bytes: typeof value === "number" ? String(value).length : octets,
    kind: short(kind),
    inReplyTo: short(positions.inReplyTo),
    deliverAfter: short(positions.deliverAfter),
    channelType: short(positions.channelType),
    platformId: short(positions.platformId),
    threadId: short(positions.threadId),
    timestamp: short(positions.timestamp),
    content: value
  }
}

/** What has a sensible number comes first, by that. */
const order = (a: Found, b: Found): number => {
  const [first, second] = [a, b].map(({ seq }) =>
    typeof seq === "number" && seq > lowest ? seq : Number.POSITIVE_INFINITY
  ) as [number, number]
  return first === second ? 0 : first - second
}

/**
 * From the rows of a table that is defined by `definition`, as they are stored.
 *
 * @since 0.1.0
 * @category constructors
 */
export const byRows = (rows: ReadonlyArray<StoredRecord>): AgentMessages => ({
  isThere: Effect.succeed(true),
  extent: (from, to) =>
    Effect.sync(() => {
      let count = 0
      let sum = 0
      for (const row of rows) {
        const seq = row.value(positions.seq)
        if (typeof seq !== "number" || seq <= from || seq > to) continue
        count++
        sum += seq
      }
      return { rows: count, sum }
    }),
  look: ({ above, ids, numbers }) =>
    Effect.sync(() => {
      const isWanted = (row: StoredRecord) =>
        isAbove(row, above) ||
        !isAbove(row, lowest) ||
        numbers.some((number) => number === row.value(positions.seq)) ||
        (ids.length > 0 && row.type(positions.id) === "text" && ids.includes(String(row.value(positions.id))))
      return rows.filter(isWanted).map(toFound).sort(order).slice(0, mostRows)
    })
})
