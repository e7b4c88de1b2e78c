/**
 * Rows of the central database as the values that `SessionRegistry` speaks of. Every row is decoded: a row that
 * is not what it should be fails the query, and never passes for a session.
 *
 * @since 0.1.0
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { SessionDbCorrupt } from "../protocol/AirlockError.js"
import { Destination } from "../protocol/Message.js"
import { ContainerStatus, Session, SessionMode } from "../protocol/Session.js"
import { fromSql } from "../storage/StorageFailure.js"
import type { ActiveSession, AgentGroup, MessagingGroup } from "./SessionRegistry.js"
import * as Tracing from "../storage/Tracing.js"

/**
 * Turns what SQL fails with into the library's errors, for a member of `SessionRegistry`.
 *
 * @since 0.1.0
 * @category errors
 */
export const failure = (name: string) =>
  fromSql({ operation: `SessionRegistry.${name}`, resource: "central" })

/**
 * The columns of a session.
 *
 * @since 0.1.0
 * @category rows
 */
export const fromSession = (session: Session) => ({
  id: session.sessionId,
  agent_group_id: session.agentGroupId,
  messaging_group_id: session.messagingGroupId,
  thread_id: session.threadId,
  agent_provider: session.agentProvider,
  status: session.status,
  container_status: session.containerStatus,
  last_active: session.lastActive,
  created_at: session.createdAt,
  session_mode: session.mode
})

const SessionRow = Schema.Struct({
  id: Schema.String,
  agent_group_id: Schema.String,
  messaging_group_id: Schema.NullOr(Schema.String),
  thread_id: Schema.NullOr(Schema.String),
  agent_provider: Schema.NullOr(Schema.String),
  status: Schema.NullOr(Schema.String),
  container_status: Schema.NullOr(Schema.String),
  last_active: Schema.NullOr(Schema.String),
  created_at: Schema.String,
  session_mode: Schema.NullOr(Schema.String)
})

const isContainerStatus = Schema.is(ContainerStatus)
const isSessionMode = Schema.is(SessionMode)

const toSession = (row: typeof SessionRow.Type): Session =>
  new Session(
    {
      sessionId: row.id,
      agentGroupId: row.agent_group_id,
      messagingGroupId: row.messaging_group_id,
      threadId: row.thread_id,
      // Nor is a mode that only some other version knows one by which a session is found.
      mode: isSessionMode(row.session_mode) ? row.session_mode : null,
      agentProvider: row.agent_provider,
      // A status that only some other version knows is not one in which a session is used.
      status: row.status === "active" ? "active" : "closed",
      containerStatus: isContainerStatus(row.container_status) ? row.container_status : "stopped",
      lastActive: row.last_active,
      createdAt: row.created_at
    },
    { disableValidation: true }
  )

const MessagingGroupRow = Schema.Struct({
  id: Schema.String,
  channel_type: Schema.String,
  platform_id: Schema.String,
  instance: Schema.NullOr(Schema.String),
  name: Schema.NullOr(Schema.String),
  is_group: Schema.NullOr(Schema.Number)
})

const toMessagingGroup = (row: typeof MessagingGroupRow.Type): MessagingGroup => ({
  id: row.id,
  channelType: row.channel_type,
  platformId: row.platform_id,
  instance: row.instance ?? row.channel_type,
  name: row.name,
  isGroup: row.is_group === 1
})

const AgentGroupRow = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  folder: Schema.String,
  agent_provider: Schema.NullOr(Schema.String)
})

const decodeSession = Schema.decodeUnknownEither(SessionRow)

const rowsOf = <A, I, B>(schema: Schema.Schema<A, I>, convert: (row: A) => B) => {
  const decode = Schema.decodeUnknownEither(Schema.Array(schema))
  return (name: string, query: Effect.Effect<ReadonlyArray<unknown>, SqlError>) =>
    query.pipe(
      Effect.mapError(failure(name)),
      Effect.flatMap((rows) =>
        Either.mapBoth(decode(rows), {
          onLeft: () =>
            new SessionDbCorrupt({
              operation: `SessionRegistry.${name}`,
              resource: "central",
              reason: "unexpected-row"
            }),
          onRight: (all) => all.map(convert)
        })
      ),
      Tracing.without
    )
}

/**
 * The sessions that a query finds. `name` is the member of `SessionRegistry` that asks.
 *
 * @since 0.1.0
 * @category queries
 */
export const sessions = rowsOf(SessionRow, toSession)
const logBroken = (count: number) =>
  count === 0
    ? Effect.void
    : Effect.logError("Rows of the registry are not sessions").pipe(Effect.annotateLogs({ rows: count }))

/**
 * The same, without rows that are not sessions: one of those must not keep all others from being looked after. They are
 * logged.
 *
 * @since 0.1.0
 * @category queries
 */
export const readableSessions = (name: string, query: Effect.Effect<ReadonlyArray<unknown>, SqlError>) =>
  Effect.gen(function* () {
    const [broken, rows] = Arr.separate(
      (yield* Effect.mapError(query, failure(name))).map((row) => decodeSession(row))
    )
    yield* logBroken(broken.length)
    return rows.map(toSession)
  }).pipe(Tracing.without)

/**
 * The columns of a session that `refs` reads.
 *
 * @since 0.1.0
 * @category rows
 */
export interface RefRow {
  readonly id: unknown
  readonly agent_group_id: unknown
  readonly container_status: unknown
}

/**
 * The same, with no more of each session than a loop over all of them needs. All are read at each look, so they are
 * checked by hand: a Schema takes longer than everything else that is done with a session that is idle.
 *
 * @since 0.1.0
 * @category queries
 */
export const refs = (name: string, query: Effect.Effect<ReadonlyArray<RefRow>, SqlError>) =>
  Effect.gen(function* () {
    const rows = yield* Effect.mapError(query, failure(name))
    const found: Array<ActiveSession> = []
    for (const { agent_group_id: agentGroupId, container_status: status, id: sessionId } of rows) {
      if (typeof sessionId !== "string" || typeof agentGroupId !== "string") continue
      const containerStatus = status === "running" || status === "idle" ? status : "stopped"
      found.push({ sessionId, agentGroupId, containerStatus })
    }
    yield* logBroken(rows.length - found.length)
    return found
  }).pipe(Tracing.without)

/**
 * The messaging groups that a query finds.
 *
 * @since 0.1.0
 * @category queries
 */
export const messagingGroups = rowsOf(MessagingGroupRow, toMessagingGroup)
/**
 * The agent groups that a query finds.
 *
 * @since 0.1.0
 * @category queries
 */
export const agentGroups = rowsOf(AgentGroupRow, ({ agent_provider, ...rest }): AgentGroup => ({
  ...rest,
  agentProvider: agent_provider
}))

const Destinations = Schema.parseJson(Schema.Array(Destination))

/**
 * A list of destinations as it is stored.
 *
 * @since 0.1.0
 * @category rows
 */
export const fromDestinations = Schema.encodeSync(Destinations)

/**
 * The lists of destinations that a query finds.
 *
 * @since 0.1.0
 * @category queries
 */
export const destinations = rowsOf(
  Schema.Struct({ destinations: Destinations }),
  ({ destinations }) => destinations
)
