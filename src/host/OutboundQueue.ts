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
import * as AgentMessages from "./AgentMessages.js"
import * as AgentTables from "./AgentTables.js"
import type { Limits } from "./AirlockConfig.js"
import type { MessageKey } from "./DeliveryLedger.js"

/**
 * A message without its content: what decides whether it goes out now, and where. `row` is undefined for one that
 * is not a message: a number that is text, an address that is a blob, or longer than an address can be. `bytes` is how
 * long the content is, 0 if it is not text. `whole` is the row as the table has it, if that is short.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry extends MessageKey {
  readonly seq: number
  readonly bytes: number
  readonly row: typeof EntryRow.Type | undefined
  readonly whole: unknown
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

/** What is read in place of bytes that are no UTF-8. Whether an id has them is told by looking for it. */
const replacementCharacter = "\ufffd"

/** What the table has, of a row that is decoded and short. */
const wholeOf = ({ content, seq, timestamp }: AgentMessages.Found, row: Entry["row"]): unknown =>
  row === undefined ||
  row.id.includes(replacementCharacter) ||
  typeof content !== "string" ||
  typeof timestamp !== "string"
    ? undefined
    : {
        id: row.id,
        seq,
        in_reply_to: row.inReplyTo,
        timestamp,
        deliver_after: row.deliverAfter,
        kind: row.kind,
        platform_id: row.platformId,
        channel_type: row.channelType,
        thread_id: row.threadId,
        content
      }

/** What a row is called that has no id, or none that is one. */
const nameOf = ({ id, seq, type }: AgentMessages.Found): string =>
  id ?? `unnamed (${type}, ${isNumber(seq) ? `number ${seq}` : "no number"})`

const toEntries = (
  source: MessageKey["source"],
  rows: ReadonlyArray<AgentMessages.Found>
): ReadonlyArray<Entry> => {
  const entries = new Map<string, Entry>()
  for (const row of rows) {
    const id = nameOf(row)
    const known = entries.get(id)
    // Of several with one id, which only a table without its key can have, the first counts, and the longest.
    if (known !== undefined) {
      entries.set(id, { ...known, bytes: Math.max(known.bytes, row.bytes), whole: undefined })
      continue
    }
    const seq = typeof row.seq === "number" ? row.seq : Number.MAX_SAFE_INTEGER
    const decoded = Either.getOrUndefined(decodeEntry(row))
    entries.set(id, { source, id, seq, bytes: row.bytes, row: decoded, whole: wholeOf(row, decoded) })
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
  readonly sum: number
  readonly open: ReadonlyArray<number>
}

const nothing: Progress = { seq: AgentMessages.lowest, rows: 0, sum: 0, open: [] }

/** A number that this side reads as it is stored. Rows without one are looked at every time. */
const isNumber = (seq: unknown): seq is number =>
  typeof seq === "number" && seq > AgentMessages.lowest && seq <= Number.MAX_SAFE_INTEGER

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
 * Looks at the agent's messages. `settledAmong` answers which of some ids are
 * settled; those in `tried` are looked at whatever their number. A row whose id is not a text of at most 255 bytes is no
 * message, and goes by its number; one whose id is no UTF-8 is none either.
 *
 * @since 0.1.0
 * @category queries
 */
export const fromAgent = <E>(
  agent: AgentMessages.AgentMessages,
  options: {
    readonly progress: Progress | undefined
    readonly tried: ReadonlyArray<string>
    readonly settledAmong: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlySet<string>, E>
  }
): Effect.Effect<AgentEntries, E | SqlError> =>
  Effect.gen(function* () {
    const { progress = nothing, settledAmong, tried } = options
    // Nothing can be said of messages that may be there still.
    if (!(yield* agent.isThere)) {
      return { entries: [], progress: nothing, gone: [], isCut: false }
    }
    const extent = yield* agent.extent(nothing.seq, progress.seq)
    const from = extent.rows === progress.rows && extent.sum === progress.sum ? progress : nothing
    const rows = yield* agent.look({ above: from.seq, numbers: from.open, ids: tried })
    const isFull = rows.length === AgentMessages.mostRows
    // What the agent notes for itself goes nowhere.
    const looked = rows.filter(({ kind }) => kind !== "task_log")
    const found = new Set(looked.map(nameOf))
    const settled = yield* settledAmong(looked.map(nameOf))
    const open = looked.filter((row) => !settled.has(nameOf(row)))
    const numbers = (all: ReadonlyArray<AgentMessages.Found>) => all.map(({ seq }) => seq).filter(isNumber)
    const seq = Math.max(from.seq, ...numbers(rows))
    const later = numbers(rows).filter((number) => number > from.seq)
    // Asked for just as the next look asks: a sum of parts may be another number than the sum, if they are not small and whole.
    const known = isFull
      ? yield* agent.extent(nothing.seq, seq)
      : { rows: from.rows + later.length, sum: later.reduce((sum, number) => sum + number, from.sum) }
    // Those that were open and are settled now leave room for others.
    const isRoom = numbers(open).filter((number) => number <= from.seq).length < from.open.length
    return {
      entries: toEntries("agent", open),
      progress: { seq, rows: known.rows, sum: known.sum, open: numbers(open) },
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
    own.unsafe<AgentMessages.Found>(
      `SELECT ${AgentMessages.columns} FROM airlock_direct WHERE status = 'pending' ORDER BY seq LIMIT ${AgentMessages.mostRows}`
    ),
    (rows) => toEntries("direct", rows)
  )

type Rows = ReadonlyMap<string, Either.Either<OutboundRow, string>>

/** A row that may go out, or why it may not. */
const toRow = (row: unknown, jsonDepth: number): Either.Either<OutboundRow, string> =>
  Either.filterOrLeft(
    Either.mapLeft(decodeRow(row), () => "not a message"),
    ({ content }) => !JsonDepth.exceeds(content, jsonDepth),
    () => "content nested too deep"
  )

/**
 * The rows of some messages, by id, with their content; or why one cannot go out. `open` is for those that are not in their
 * entries. Content that is too long is not even fetched.
 *
 * @since 0.1.0
 * @category queries
 */
export const contents = <E>(
  open: Effect.Effect<SqlClient, E>,
  table: "messages_out" | "airlock_direct",
  entries: ReadonlyArray<Entry>,
  { contentBytes, jsonDepth }: Pick<Limits, "contentBytes" | "jsonDepth">
): Effect.Effect<Rows, E | SqlError> => {
  const isThere = ({ bytes, whole }: Entry) => whole !== undefined && bytes <= contentBytes
  const there = entries.filter(isThere).map(({ id, whole }) => [id, toRow(whole, jsonDepth)] as const)
  const others = entries.filter((entry) => !isThere(entry)).map(({ id }) => id)
  return others.length === 0
    ? Effect.succeed(new Map(there))
    : Effect.map(
        Effect.flatMap(
          open,
          (sql) => sql<{
            readonly id: string
            readonly tooLong: number
          }>`SELECT id, seq, in_reply_to, timestamp, deliver_after,
            kind, platform_id, channel_type, thread_id, octet_length(content) > ${contentBytes} AS tooLong,
            iif(octet_length(content) > ${contentBytes}, NULL, content) AS content
          FROM ${sql(table)} WHERE id COLLATE BINARY IN (SELECT value FROM json_each(${JSON.stringify(others)}))
          ORDER BY typeof(seq) <> 'integer', seq LIMIT ${AgentMessages.mostRows}`
        ),
        (rows) => {
          const found = new Map(there)
          for (const row of rows) {
            if (found.has(row.id)) continue
            found.set(row.id, row.tooLong === 1 ? Either.left("content too long") : toRow(row, jsonDepth))
          }
          return found
        }
      )
}
