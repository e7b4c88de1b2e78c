/**
 * Reading the tables of inbound.db, also of one that an older build made and that lacks a table or a column.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Destination, InboundRow } from "../protocol/Message.js"

type Row = { readonly [column: string]: unknown }

/** What a column has that an older build did not know. */
const messageDefaults: Row = { series_id: null, trigger: 1, source_session_id: null, on_wake: 0 }

const decodeMessage = Schema.decodeUnknownEither(InboundRow)

const decodeEach =
  <A, E>(decode: (row: Row) => Either.Either<A, E>) =>
  (rows: ReadonlyArray<object>): ReadonlyArray<A> =>
    rows.flatMap((row) =>
      Either.match(decode({ ...row }), { onLeft: () => [], onRight: (decoded) => [decoded] })
    )

/**
 * The messages among rows of `messages_in`. Rows that are none are left out.
 *
 * @since 0.1.0
 * @category decoding
 */
export const messages = decodeEach((row: Row) => decodeMessage({ ...messageDefaults, ...row }))

/**
 * Where a reply goes that names no destination: the session's own chat and thread. Nulls if it has none.
 *
 * @since 0.1.0
 * @category models
 */
export const Routing = Schema.Struct({
  channelType: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("channel_type")),
  platformId: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("platform_id")),
  threadId: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("thread_id"))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Routing = typeof Routing.Type

const decodeRouting = Schema.decodeUnknownOption(Routing)

/**
 * @since 0.1.0
 * @category decoding
 */
export const routing = (row: unknown): Routing =>
  Option.getOrElse(decodeRouting(row), () => ({ channelType: null, platformId: null, threadId: null }))

const decodeDestination = Schema.decodeUnknownEither(Destination)

/**
 * The destinations among rows of `destinations`. Rows that are none are left out.
 *
 * @since 0.1.0
 * @category decoding
 */
export const destinations = decodeEach((row: Row) =>
  decodeDestination({
    type: row["type"],
    name: row["name"],
    displayName: row["display_name"] ?? null,
    channelType: row["channel_type"],
    platformId: row["platform_id"],
    agentGroupId: row["agent_group_id"]
  })
)

const Delivered = Schema.Struct({
  id: Schema.String.pipe(Schema.propertySignature, Schema.fromKey("message_out_id")),
  status: Schema.optionalWith(Schema.String, { default: () => "delivered" }),
  platformMessageId: Schema.optionalWith(Schema.NullOr(Schema.String), { default: () => null }).pipe(
    Schema.fromKey("platform_message_id")
  )
})

const decodeDelivered = Schema.decodeUnknownEither(Delivered)

/**
 * What a program reads of a table, or nothing if the file has no such table.
 *
 * @since 0.1.0
 * @category reading
 */
export const ifThere = <A>(
  sql: SqlClient,
  table: string,
  rows: Effect.Effect<ReadonlyArray<A>, SqlError>
): Effect.Effect<ReadonlyArray<A>, SqlError> =>
  Effect.flatMap(sql`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ${table}`, (found) =>
    found.length === 0 ? Effect.succeed([]) : rows
  )

/**
 * Those of the agent's messages that the host has delivered, and what the platform calls them.
 *
 * @since 0.1.0
 * @category reading
 */
export const delivered = (
  sql: SqlClient,
  ids: ReadonlyArray<string>
): Effect.Effect<
  ReadonlyArray<{ readonly id: string; readonly platformMessageId: string | null }>,
  SqlError
> =>
  ifThere(
    sql,
    "delivered",
    sql<Row>`SELECT * FROM delivered WHERE message_out_id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`
  ).pipe(
    Effect.map(decodeEach((row: Row) => decodeDelivered(row))),
    Effect.map((rows) => rows.filter(({ status }) => status === "delivered"))
  )
