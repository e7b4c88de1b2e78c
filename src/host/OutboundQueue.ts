/**
 * The messages of a session that have not gone out: the agent's from a copy of outbound.db, and the host's own
 * direct replies from inbound.db; and the marks of what became of them.
 *
 * @since 0.1.0
 */
import type { SqlError } from "@effect/sql/SqlError"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { OutboundRow } from "../protocol/Message.js"
import * as Timestamp from "../protocol/Timestamp.js"

/**
 * `source` says which table a message is in. The two have ids of their own: an agent cannot settle a direct
 * reply by using its id.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueuedMessage {
  readonly source: "agent" | "direct"
  readonly row: OutboundRow
}

/** A row as this module reads it. Content that is too long is not even fetched. */
const columns = (sql: SqlClient, contentBytes: number) =>
  sql`id, seq, in_reply_to, timestamp, deliver_after, kind, platform_id, channel_type, thread_id,
    octet_length(content) > ${contentBytes} AS tooLong,
    iif(octet_length(content) > ${contentBytes}, NULL, content) AS content`

const decodeRow = Schema.decodeUnknownEither(OutboundRow)

/**
 * What is due, and the rows that cannot be: a number that is text, content that is a blob, or too long.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queue {
  readonly messages: ReadonlyArray<QueuedMessage>
  readonly unreadable: ReadonlyArray<{ readonly id: string; readonly reason: string }>
}

type Candidate = { readonly id: string; readonly tooLong: number }

/** The longest id of a message, in bytes. */
const idBytes = 255

interface Entry {
  readonly id: string
  readonly deliverAfter: unknown
}

/** The ids of what may go out now, the earliest first. What must wait takes no place of what need not. */
const dueAmong = (entries: ReadonlyArray<Entry>, { limit, now }: Portion): ReadonlyArray<string> =>
  entries
    .filter(({ deliverAfter }) => typeof deliverAfter !== "string" || Timestamp.hasCome(deliverAfter, now))
    .slice(0, limit)
    .map(({ id }) => id)

/** Rows as messages. Of several with one id, which only a table without its key can have, the first counts. */
const decodeRows = (source: QueuedMessage["source"], rows: ReadonlyArray<Candidate>): Queue => {
  const messages: Array<QueuedMessage> = []
  const unreadable: Array<{ readonly id: string; readonly reason: string }> = []
  const seen = new Set<string>()
  for (const candidate of rows) {
    if (seen.has(candidate.id)) continue
    seen.add(candidate.id)
    const row = decodeRow(candidate)
    if (candidate.tooLong === 1) unreadable.push({ id: candidate.id, reason: "content too long" })
    else if (Either.isLeft(row)) unreadable.push({ id: candidate.id, reason: "not a message" })
    else messages.push({ source, row: row.right })
  }
  return { messages, unreadable }
}

/**
 * What a drain may take at a time. `now` is in milliseconds since 1970.
 *
 * @since 0.1.0
 * @category models
 */
export interface Portion {
  readonly limit: number
  readonly contentBytes: number
  readonly now: number
}

/**
 * The agent's messages for channels that are due and not settled, in the order of their numbers. `agent` is a snapshot of
 * outbound.db; `settled` answers which of some ids are settled. A row whose id is not a text of at most 255
 * bytes cannot be named, and is passed over.
 *
 * @since 0.1.0
 * @category queries
 */
export const fromAgent = <E>(
  agent: SqlClient,
  settled: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlySet<string>, E>,
  portion: Portion
): Effect.Effect<Queue, E | SqlError> =>
  Effect.gen(function* () {
    const all = yield* agent<Entry>`SELECT id, deliver_after AS deliverAfter FROM messages_out
      WHERE typeof(id) = 'text' AND octet_length(id) <= ${idBytes}
        AND kind NOT IN ('task_log', 'system') AND channel_type IS NOT 'agent'
      ORDER BY seq`
    const done = yield* settled(all.map(({ id }) => id))
    const open = dueAmong(
      all.filter(({ id }) => !done.has(id)),
      portion
    )
    const rows = yield* agent<Candidate>`SELECT ${columns(agent, portion.contentBytes)} FROM messages_out
      WHERE id COLLATE BINARY IN (SELECT value FROM json_each(${JSON.stringify(open)})) ORDER BY seq`
    return decodeRows("agent", rows)
  })

/**
 * The host's direct replies that are due and not settled.
 *
 * @since 0.1.0
 * @category queries
 */
export const fromHost = (own: SqlClient, portion: Portion): Effect.Effect<Queue, SqlError> =>
  Effect.gen(function* () {
    const all = yield* own<Entry>`SELECT id, deliver_after AS deliverAfter FROM airlock_direct
      WHERE status = 'pending' ORDER BY seq`
    const rows = yield* own<Candidate>`SELECT ${columns(own, portion.contentBytes)} FROM airlock_direct
      WHERE id IN (SELECT value FROM json_each(${JSON.stringify(dueAmong(all, portion))})) ORDER BY seq`
    return decodeRows("direct", rows)
  })

/**
 * Which of the agent's messages are settled, delivered or failed.
 *
 * @since 0.1.0
 * @category queries
 */
export const settledAmong = (
  own: SqlClient,
  ids: ReadonlyArray<string>
): Effect.Effect<ReadonlySet<string>, SqlError> =>
  Effect.map(
    own<{ readonly id: string }>`SELECT message_out_id AS id FROM delivered
      WHERE message_out_id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`,
    (rows) => new Set(rows.map(({ id }) => id))
  )

/**
 * Marks a message as delivered or failed. The agent reads the mark of its own messages.
 *
 * @since 0.1.0
 * @category marks
 */
export const settle = (
  own: SqlClient,
  source: QueuedMessage["source"],
  id: string,
  mark: {
    readonly status: "delivered" | "failed"
    readonly platformMessageId: string | null
    readonly at: string
  }
): Effect.Effect<unknown, SqlError> =>
  source === "agent"
    ? own`INSERT OR REPLACE INTO delivered ${own.insert({
        message_out_id: id,
        platform_message_id: mark.platformMessageId,
        status: mark.status,
        delivered_at: mark.at
      })}`
    : own`UPDATE airlock_direct SET status = ${mark.status}, platform_message_id = ${mark.platformMessageId},
        settled_at = ${mark.at} WHERE id = ${id}`
