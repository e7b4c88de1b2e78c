/**
 * What a session is, and which conversations share one.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Where a session lives: `<dataDir>/v2-sessions/<agentGroupId>/<sessionId>/`. A `Session` is one.
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionRef {
  readonly agentGroupId: string
  readonly sessionId: string
}

/**
 * Which messages share a session.
 *
 * - `shared`: one session per agent group and messaging group; threads do not matter
 * - `per-thread`: one per agent group, messaging group and thread
 * - `agent-shared`: one per agent group, for all its messaging groups
 *
 * @since 0.1.0
 * @category models
 */
export const SessionMode = Schema.Literal("shared", "per-thread", "agent-shared")

/**
 * @since 0.1.0
 * @category models
 */
export type SessionMode = typeof SessionMode.Type

/**
 * @since 0.1.0
 * @category models
 */
export const ContainerStatus = Schema.Literal("stopped", "running", "idle")

/**
 * @since 0.1.0
 * @category models
 */
export type ContainerStatus = typeof ContainerStatus.Type

/**
 * A row of the central `sessions` table. Times are ISO text in UTC. `mode` is null for a session from an
 * older database that is no longer the first of its key: it is served, but never resolved to.
 *
 * @since 0.1.0
 * @category models
 */
export class Session extends Schema.Class<Session>("effect-airlock/Session")({
  sessionId: Schema.String,
  agentGroupId: Schema.String,
  messagingGroupId: Schema.NullOr(Schema.String),
  threadId: Schema.NullOr(Schema.String),
  mode: Schema.NullOr(SessionMode),
  agentProvider: Schema.NullOr(Schema.String),
  status: Schema.Literal("active", "closed"),
  containerStatus: ContainerStatus,
  lastActive: Schema.NullOr(Schema.String),
  createdAt: Schema.String
}) {}
