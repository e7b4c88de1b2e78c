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
import { OutboundRow } from "../protocol/Message.js"
import * as AgentTables from "./AgentTables.js"
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
 * How far the agent's messages are settled: all those of a number up to `seq`, which were `rows` many when that was
 * found. As long as they are no more than that, only later ones need to be looked at.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progress {
  readonly seq: number
  readonly rows: number
}

const nothing: Progress = { seq: Number.MIN_SAFE_INTEGER, rows: 0 }

const countUpTo = (agent: SqlClient, seq: number) =>
  Effect.map(
    agent<{ readonly rows: number }>`SELECT count(*) AS rows FROM messages_out WHERE seq <= ${seq}`,
    ([row]) => row?.rows ?? 0
  )

/**
 * Which of the agent's messages are not settled, lowest number first, how far all are, and which of `tried` the agent
 * does not have any more.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentEntries {
  readonly entries: ReadonlyArray<Entry>
  readonly progress: Progress
  readonly gone: ReadonlyArray<string>
}

/**
 * Looks at the agent's messages. `agent` is a snapshot of outbound.db; `settledAmong` answers which of some ids are
 * settled; those in `tried` are looked at whatever their number. A row whose id is not a text of at most 255 bytes
 * cannot be named, and is passed over.
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
    if (!(yield* AgentTables.has(agent, "messages_out"))) return { entries: [], progress: nothing, gone: [] }
    const from = (yield* countUpTo(agent, progress.seq)) > progress.rows ? nothing : progress
    const ids = yield* agent<Candidate>`SELECT id, seq FROM messages_out
      WHERE (seq > ${from.seq} OR seq IS NULL OR id COLLATE BINARY IN (SELECT value FROM json_each(${JSON.stringify(tried)})))
        AND typeof(id) = 'text' AND octet_length(id) <= ${idBytes} AND kind IS NOT 'task_log'
      ORDER BY typeof(seq) <> 'integer', seq LIMIT ${entryLimit}`
    const found = new Set(ids.map(({ id }) => id))
    const settled = yield* settledAmong(ids.map(({ id }) => id))
    const open = ids.filter(({ id }) => !settled.has(id))
    const rows =
      open.length === 0
        ? []
        : yield* agent<Candidate>`SELECT ${entryColumns(agent)} FROM messages_out
            WHERE id COLLATE BINARY IN (SELECT value FROM json_each(${JSON.stringify(open.map(({ id }) => id))}))
            ORDER BY typeof(seq) <> 'integer', seq`
    const numbered = (all: ReadonlyArray<Candidate>) =>
      all.flatMap(({ seq }) => (typeof seq === "number" && seq > from.seq ? [seq] : []))
    const firstOpen = numbered(open)[0]
    const seq = firstOpen === undefined ? Math.max(from.seq, ...numbered(ids)) : firstOpen - 1
    return {
      entries: toEntries("agent", rows),
      progress: seq === from.seq ? from : { seq, rows: yield* countUpTo(agent, seq) },
      gone: ids.length < entryLimit ? tried.filter((id) => !found.has(id)) : []
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
      ? Effect.map(agent`SELECT 1 FROM messages_out WHERE id = ${id}`, (rows) => rows.length > 0)
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
  contentBytes: number
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
          ORDER BY seq DESC`,
        (rows) =>
          new Map(
            rows.map((row) => [
              row.id,
              row.tooLong === 1
                ? Either.left("content too long")
                : Either.mapLeft(decodeRow(row), () => "not a message")
            ])
          )
      )
