/**
 * The messages of a session that have not gone out: the agent's, from a copy of outbound.db, and the host's own
 * direct replies, from inbound.db.
 *
 * @since 0.1.0
 */
import type { SqlError } from "@effect/sql/SqlError"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as JsonDepth from "../protocol/JsonDepth.js"
import { OutboundRow } from "../protocol/Message.js"
import * as AgentTables from "./AgentTables.js"
import type { Limits } from "./AirlockConfig.js"
import type { MessageKey } from "./DeliveryLedger.js"

/**
 * A message without its content: what decides whether it goes out now, and where. `row` is undefined for one that
 * is not a message: a number that is text, an address that is a blob, or longer than an address can be.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry extends MessageKey {
  readonly seq: number
  readonly row: typeof EntryRow.Type | undefined
}

const EntryRow = Schema.Struct({
  id: Schema.String,
  kind: Schema.String,
  inReplyTo: Schema.NullOr(Schema.String),
  deliverAfter: Schema.NullOr(Schema.String),
  channelType: Schema.NullOr(Schema.String),
  platformId: Schema.NullOr(Schema.String),
  threadId: Schema.NullOr(Schema.String)
})

const decodeEntry = Schema.decodeUnknownEither(EntryRow)
const decodeRow = Schema.decodeUnknownEither(OutboundRow)

/** The longest id of a message, and the longest part of an address, in bytes. */
const idBytes = 255
const addressBytes = 1024

/** The most rows that one look takes from the agent's table. */
const entryLimit = 5000

/** A column that is text of a sensible length, or null; otherwise a number, which is neither. */
const short = (sql: SqlClient, column: string, as: string) =>
  sql`iif(octet_length(${sql(column)}) > ${addressBytes}, 0, ${sql(column)}) AS ${sql(as)}`

const entryColumns = (sql: SqlClient) =>
  sql.csv([
    sql`id`,
    sql`seq`,
    short(sql, "kind", "kind"),
    short(sql, "in_reply_to", "inReplyTo"),
    short(sql, "deliver_after", "deliverAfter"),
    short(sql, "channel_type", "channelType"),
    short(sql, "platform_id", "platformId"),
    short(sql, "thread_id", "threadId")
  ])

type Candidate = { readonly id: string; readonly seq: unknown }

/** A row before anything is known of it. `id` is null if it is not text of at most `idBytes`; `type` is what it is. */
type Found = { readonly id: string | null; readonly type: string; readonly seq: unknown }

/** What a row is called that has no id, or none that is one. */
const nameOf = ({ id, seq, type }: Found): string =>
  id ?? `unnamed (${type}, ${isNumber(seq) ? `number ${seq}` : "no number"})`

const toEntries = (source: MessageKey["source"], rows: ReadonlyArray<Candidate>): ReadonlyArray<Entry> => {
  const entries = new Map<string, Entry>()
  for (const row of rows) {
    // Of several with one id, which only a table without its key can have, the first counts.
    if (entries.has(row.id)) continue
    entries.set(row.id, {
      source,
      id: row.id,
      seq: typeof row.seq === "number" ? row.seq : Number.MAX_SAFE_INTEGER,
      row: Either.getOrUndefined(decodeEntry(row))
    })
  }
  return Array.from(entries.values())
}

/**
 * What is known of the agent's messages whose number is at most `seq`: there were `rows` many, whose numbers came to
 * `sum`, and all are settled but those whose numbers are in `open`. As long as rows and sum are the same, only `open` and
 * later numbers need to be looked at.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly seq: number
  readonly rows: number
  readonly sum: number | null
  readonly open: ReadonlyArray<number>
}

const nothing: Progress = { seq: Number.MIN_SAFE_INTEGER, rows: 0, sum: 0, open: [] }

/** A number that this side reads as it is stored. Rows without one are looked at every time. */
const isNumber = (seq: unknown): seq is number =>
  typeof seq === "number" && seq > Number.MIN_SAFE_INTEGER && seq <= Number.MAX_SAFE_INTEGER

const extentUpTo = (agent: SqlClient, seq: number) =>
  Effect.map(
    agent<Pick<Progress, "rows" | "sum">>`SELECT count(*) AS rows, total(seq) AS sum FROM messages_out
      WHERE seq > ${nothing.seq} AND seq <= ${seq}`,
    ([extent]) => extent ?? { rows: 0, sum: 0 }
  )

/**
 * Which of the agent's messages are not settled, lowest number first, how far all are, and which of `tried` the agent
 * does not have any more. `isCut`: there are later ones, which the next look gets to.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentEntries {
  readonly entries: ReadonlyArray<Entry>
  readonly progress: Progress
  readonly gone: ReadonlyArray<string>
  readonly isCut: boolean
}

/**
 * Looks at the agent's messages. `agent` is a snapshot of outbound.db; `settledAmong` answers which of some ids are
 * settled; those in `tried` are looked at whatever their number. A row whose id is not a text of at most 255 bytes is no
 * message, and goes by its number; one whose id is no UTF-8 is none either.
 *
 * @since 0.1.0
 * @category queries
 */
export const fromAgent = <E>(
  agent: SqlClient,
  options: {
    readonly progress: Progress | undefined
    readonly tried: ReadonlyArray<string>
    readonly settledAmong: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlySet<string>, E>
  }
): Effect.Effect<AgentEntries, E | SqlError> =>
  Effect.gen(function* () {
    const { progress = nothing, settledAmong, tried } = options
    // Nothing can be said of messages that may be there still.
    if (!(yield* AgentTables.has(agent, "messages_out"))) {
      return { entries: [], progress: nothing, gone: [], isCut: false }
    }
    const extent = yield* extentUpTo(agent, progress.seq)
    const from = extent.rows === progress.rows && extent.sum === progress.sum ? progress : nothing
    // Each part of this has an index to use. With COLLATE one had not, and the whole table was read.
    const looked = yield* agent<Found>`SELECT
        iif(typeof(id) = 'text' AND octet_length(id) <= ${idBytes}, id, NULL) AS id, typeof(id) AS type, seq
      FROM messages_out
      WHERE (seq > ${from.seq} OR seq <= ${nothing.seq} OR seq IS NULL
          OR seq IN (SELECT value FROM json_each(${JSON.stringify(from.open)}))
          OR id IN (SELECT value FROM json_each(${JSON.stringify(tried)})))
        AND kind IS NOT 'task_log'
      ORDER BY typeof(seq) NOT IN ('integer', 'real') OR seq <= ${nothing.seq}, seq LIMIT ${entryLimit}`
    const ids = looked.map((row) => ({ id: nameOf(row), seq: row.seq }))
    const found = new Set(ids.map(({ id }) => id))
    const settled = yield* settledAmong(ids.map(({ id }) => id))
    const open = ids.filter(({ id }) => !settled.has(id))
    const names = looked.flatMap(({ id }) => (id === null || settled.has(id) ? [] : [id]))
    const rows =
      names.length === 0
        ? []
        : yield* agent<Candidate>`SELECT ${entryColumns(agent)} FROM messages_out
            WHERE id COLLATE BINARY IN (SELECT value FROM json_each(${JSON.stringify(names)}))
            ORDER BY typeof(seq) <> 'integer', seq LIMIT ${entryLimit}`
    const isWhole = rows.length < entryLimit
    const numbers = (all: ReadonlyArray<Candidate>) => all.map(({ seq }) => seq).filter(isNumber)
    const isFull = ids.length === entryLimit
    const seq = Math.max(from.seq, ...numbers(ids))
    // Those that were open and are settled now leave room for others.
    const isRoom = numbers(open).filter((number) => number <= from.seq).length < from.open.length
    return {
      // What is not found under its own id has one that cannot be read.
      entries: toEntries("agent", isWhole ? [...rows, ...open] : rows),
      progress: {
        seq,
        ...(seq === progress.seq ? extent : yield* extentUpTo(agent, seq)),
        open: numbers(open)
      },
      gone: isFull ? [] : tried.filter((id) => !found.has(id)),
      isCut: isFull && (seq > from.seq || isRoom)
    }
  })

/**
 * Whether the agent has a message of an id.
 *
 * @since 0.1.0
 * @category queries
 */
export const has = (agent: SqlClient, id: string): Effect.Effect<boolean, SqlError> =>
  Effect.flatMap(AgentTables.has(agent, "messages_out"), (isTable) =>
    isTable
      ? Effect.map(agent`SELECT 1 FROM messages_out WHERE id = ${id} LIMIT 1`, (rows) => rows.length > 0)
      : Effect.succeed(false)
  )

/**
 * The host's direct replies that are not settled, lowest number first.
 *
 * @since 0.1.0
 * @category queries
 */
export const fromHost = (own: SqlClient): Effect.Effect<ReadonlyArray<Entry>, SqlError> =>
  Effect.map(
    own<Candidate>`SELECT ${entryColumns(own)} FROM airlock_direct WHERE status = 'pending' ORDER BY seq LIMIT ${entryLimit}`,
    (rows) => toEntries("direct", rows)
  )

/**
 * How long the contents of some messages are, in bytes, by id; 0 for one that is not text.
 *
 * @since 0.1.0
 * @category queries
 */
export const sizes = (
  sql: SqlClient,
  table: "messages_out" | "airlock_direct",
  ids: ReadonlyArray<string>
): Effect.Effect<ReadonlyMap<string, number>, SqlError> =>
  ids.length === 0
    ? Effect.succeed(new Map())
    : Effect.map(
        sql<{
          readonly id: string
          readonly bytes: number
        }>`SELECT id, max(coalesce(octet_length(content), 0)) AS bytes FROM ${sql(table)}
          WHERE id COLLATE BINARY IN (SELECT value FROM json_each(${JSON.stringify(ids)}))
          GROUP BY id COLLATE BINARY`,
        (rows) => new Map(rows.map(({ bytes, id }) => [id, bytes]))
      )

/**
 * The rows of some messages, by id, with their content; or why one cannot go out. Content that is too long is not
 * even fetched.
 *
 * @since 0.1.0
 * @category queries
 */
export const contents = (
  sql: SqlClient,
  table: "messages_out" | "airlock_direct",
  ids: ReadonlyArray<string>,
  { contentBytes, jsonDepth }: Pick<Limits, "contentBytes" | "jsonDepth">
): Effect.Effect<ReadonlyMap<string, Either.Either<OutboundRow, string>>, SqlError> =>
  ids.length === 0
    ? Effect.succeed(new Map())
    : Effect.map(
        sql<{
          readonly id: string
          readonly tooLong: number
        }>`SELECT id, seq, in_reply_to, timestamp, deliver_after,
            kind, platform_id, channel_type, thread_id, octet_length(content) > ${contentBytes} AS tooLong,
            iif(octet_length(content) > ${contentBytes}, NULL, content) AS content
          FROM ${sql(table)} WHERE id COLLATE BINARY IN (SELECT value FROM json_each(${JSON.stringify(ids)}))
          ORDER BY typeof(seq) <> 'integer', seq LIMIT ${entryLimit}`,
        (rows) => {
          const found = new Map<string, Either.Either<OutboundRow, string>>()
          for (const row of rows) {
            if (found.has(row.id)) continue
            const decoded =
              row.tooLong === 1
                ? Either.left("content too long")
                : Either.mapLeft(decodeRow(row), () => "not a message")
            found.set(
              row.id,
              Either.filterOrLeft(
                decoded,
                ({ content }) => !JsonDepth.exceeds(content, jsonDepth),
                () => "content nested too deep"
              )
            )
          }
          return found
        }
      )
