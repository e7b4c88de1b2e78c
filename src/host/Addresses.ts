/**
 * Where the messages of a session's agent may go: its own chat, and a list of destinations. Both are tables of
 * inbound.db, which the agent reads and the host holds it to.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidMessage } from "../protocol/AirlockError.js"
import { Destination } from "../protocol/Message.js"

/**
 * Where a reply goes that names no destination: the session's own chat and thread. Nulls if it has none.
 *
 * @since 0.1.0
 * @category models
 */
export interface Routing {
  readonly channelType: string | null
  readonly platformId: string | null
  readonly threadId: string | null
}

/**
 * `allowed` are the session's own chat, and its destinations. An agent's address has the channel `agent`, and the
 * agent group as its platform id.
 *
 * @since 0.1.0
 * @category models
 */
export interface Addresses {
  readonly routing: Routing
  readonly allowed: ReadonlyArray<Omit<Routing, "threadId">>
}

const decode = Schema.decodeUnknown(Destination)

/**
 * Checks a list of destinations: each is one, and no two have the same name.
 *
 * @since 0.1.0
 * @category checks
 */
export const checkDestinations = (
  destinations: ReadonlyArray<Destination>,
  operation: string
): Effect.Effect<ReadonlyArray<Destination>, InvalidMessage> => {
  const names = new Set<string>()
  return Effect.forEach(destinations, (input, index) =>
    Effect.gen(function* () {
      const field = `destinations.${index}`
      const destination = yield* Effect.mapError(
        decode(input),
        () => new InvalidMessage({ operation, field, reason: "wrong-type" })
      )
      if (names.has(destination.name)) {
        return yield* new InvalidMessage({ operation, field: `${field}.name`, reason: "duplicate" })
      }
      names.add(destination.name)
      return destination
    })
  )
}

const rowOf = (destination: Destination) => ({
  name: destination.name,
  display_name: destination.displayName ?? null,
  type: destination.type,
  channel_type: destination.type === "channel" ? destination.channelType : null,
  platform_id: destination.type === "channel" ? destination.platformId : null,
  agent_group_id: destination.type === "agent" ? destination.agentGroupId : null
})

/**
 * Replaces the whole list. Belongs in a transaction.
 *
 * @since 0.1.0
 * @category writing
 */
export const writeDestinations = (
  sql: SqlClient,
  destinations: ReadonlyArray<Destination>
): Effect.Effect<void, SqlError> =>
  Effect.zipRight(
    sql`DELETE FROM destinations`,
    Effect.forEach(
      destinations,
      (destination) => sql`INSERT INTO destinations ${sql.insert(rowOf(destination))}`,
      { discard: true }
    )
  )

/**
 * @since 0.1.0
 * @category writing
 */
export const writeRouting = (sql: SqlClient, routing: Routing): Effect.Effect<unknown, SqlError> =>
  sql`INSERT OR REPLACE INTO session_routing ${sql.insert({
    id: 1,
    channel_type: routing.channelType,
    platform_id: routing.platformId,
    thread_id: routing.threadId
  })}`

/**
 * @since 0.1.0
 * @category reading
 */
export const read = (sql: SqlClient): Effect.Effect<Addresses, SqlError> =>
  Effect.map(
    sql<Routing & { readonly isRouting: number }>`
      SELECT channel_type AS channelType, platform_id AS platformId, thread_id AS threadId, 1 AS isRouting
        FROM session_routing WHERE id = 1
      UNION ALL SELECT channel_type, platform_id, NULL, 0 FROM destinations WHERE type = 'channel'
      UNION ALL SELECT 'agent', agent_group_id, NULL, 0 FROM destinations WHERE type = 'agent'`,
    (rows) => {
      const all = rows.map(({ channelType, isRouting, platformId, threadId }) => ({
        isRouting,
        address: { channelType, platformId, threadId }
      }))
      return {
        routing: all.find(({ isRouting }) => isRouting === 1)?.address ?? noRouting,
        allowed: all.map(({ address }) => address)
      }
    }
  )

const noRouting: Routing = { channelType: null, platformId: null, threadId: null }

/**
 * Where a message for the agent came from: its chat, or another agent's session.
 *
 * @since 0.1.0
 * @category models
 */
export interface Origin {
  readonly channelType: string | null
  readonly platformId: string | null
  readonly sourceSessionId: string | null
}

/**
 * Where the messages of some ids came from, by id.
 *
 * @since 0.1.0
 * @category reading
 */
export const origins = (
  sql: SqlClient,
  ids: ReadonlyArray<string>
): Effect.Effect<ReadonlyMap<string, Origin>, SqlError> =>
  ids.length === 0
    ? Effect.succeed(new Map())
    : Effect.map(
        sql<
          Origin & { readonly id: string }
        >`SELECT id, channel_type AS channelType, platform_id AS platformId,
          source_session_id AS sourceSessionId FROM messages_in
          WHERE id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`,
        (rows) => new Map(rows.map(({ id, ...origin }) => [id, origin]))
      )
