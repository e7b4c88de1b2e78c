/**
 * The central database: which sessions there are, and the chats and agents that they belong to. It is the
 * host's alone, and never mounted into a container.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { InvalidMessage, SessionDbCorrupt, UnsafePath } from "../protocol/AirlockError.js"
import { SessionDbUnavailable, SessionNotFound } from "../protocol/AirlockError.js"
import type { Destination } from "../protocol/Message.js"
import type { ContainerStatus, Session, SessionMode, SessionRef } from "../protocol/Session.js"
import * as Timestamp from "../protocol/Timestamp.js"
import { SqliteDriver } from "../storage/SqliteDriver.js"
import { fromSystemCall } from "../storage/StorageFailure.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import * as Addresses from "./Addresses.js"
import { AirlockConfig } from "./AirlockConfig.js"
import * as RegistryRows from "./RegistryRows.js"
import * as RegistrySchema from "./RegistrySchema.js"
import { SessionPaths } from "./SessionPaths.js"
import * as Tracing from "../storage/Tracing.js"

/**
 * An agent that has sessions. `folder` is the host's name for its files.
 *
 * @since 0.1.0
 * @category models
 */
export interface AgentGroup {
  readonly id: string
  readonly name: string
  readonly folder: string
  readonly agentProvider: string | null
}

/**
 * A chat on some platform. `instance` tells two accounts of one channel type apart, and is the channel type
 * itself where there is one.
 *
 * @since 0.1.0
 * @category models
 */
export interface MessagingGroup {
  readonly id: string
  readonly channelType: string
  readonly platformId: string
  readonly instance: string
  readonly name: string | null
  readonly isGroup: boolean
}

/**
 * What makes two messages belong to one session. `shared` ignores `threadId`, `agent-shared` ignores both.
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionKey {
  readonly agentGroupId: string
  readonly messagingGroupId: string | null
  readonly threadId: string | null
  readonly mode: SessionMode
}

/**
 * What it takes to look at a session again and again.
 *
 * @since 0.1.0
 * @category models
 */
export interface ActiveSession extends SessionRef {
  readonly containerStatus: ContainerStatus
}

/**
 * What can change of a session.
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionChange {
  readonly status?: Session["status"]
  readonly containerStatus?: ContainerStatus
  readonly lastActive?: string
  readonly agentProvider?: string | null
}

/**
 * Which active sessions: those whose container has one of these, or all.
 *
 * @since 0.1.0
 * @category models
 */
export interface ActiveFilter {
  readonly containerStatus?: ReadonlyArray<ContainerStatus>
}

/**
 * @since 0.1.0
 * @category errors
 */
export type RegistryError = SessionDbUnavailable | SessionDbCorrupt

type Answer<A, E = never> = Effect.Effect<A, E | RegistryError>

/**
 * @since 0.1.0
 * @category tags
 */
export class SessionRegistry extends Context.Tag("effect-airlock/SessionRegistry")<
  SessionRegistry,
  {
    /** Adds an agent group, or changes the one of that id. `folder` defaults to the id. */
    readonly putAgentGroup: (group: {
      readonly id: string
      readonly name: string
      readonly folder?: string
      readonly agentProvider?: string | null
    }) => Answer<void>
    readonly getAgentGroup: (id: string) => Answer<Option.Option<AgentGroup>>
    /**
     * Says to whom the agents of a group may write, by name. `Sweep` writes the list into each session of the group
     * when it starts the agent. A group for which nothing was said keeps what its sessions have.
     */
    readonly putDestinations: (
      agentGroupId: string,
      destinations: ReadonlyArray<Destination>
    ) => Answer<void, InvalidMessage>
    readonly getDestinations: (agentGroupId: string) => Answer<Option.Option<ReadonlyArray<Destination>>>
    /** Adds a messaging group, or changes the one of that id. `instance` defaults to the channel type. */
    readonly putMessagingGroup: (group: {
      readonly id: string
      readonly channelType: string
      readonly platformId: string
      readonly instance?: string
      readonly name?: string | null
      readonly isGroup?: boolean
    }) => Answer<void>
    readonly getMessagingGroup: (id: string) => Answer<Option.Option<MessagingGroup>>
    readonly findMessagingGroup: (chat: {
      readonly channelType: string
      readonly platformId: string
      readonly instance?: string
    }) => Answer<Option.Option<MessagingGroup>>
    /** Adds a session as it is. Fails with the reason `constraint` if its id or its key is taken. */
    readonly createSession: (session: Session) => Answer<void>
    /** The active session of a key, or `fresh`, which is then added. */
    readonly findOrCreateSession: <E>(
      key: SessionKey,
      fresh: Effect.Effect<Session, E>
    ) => Answer<{ readonly session: Session; readonly created: boolean }, E>
    readonly findSession: (key: SessionKey) => Answer<Option.Option<Session>>
    readonly getSession: (sessionId: string) => Answer<Option.Option<Session>>
    readonly updateSession: (
      ref: { readonly agentGroupId: string; readonly sessionId: string },
      change: SessionChange
    ) => Answer<void, SessionNotFound>
    /**
     * Active sessions, oldest first; with `containerStatus`, those whose container has one of these. Rows that are
     * not sessions are logged, and left out.
     */
    readonly listActiveSessions: (filter?: ActiveFilter) => Answer<ReadonlyArray<Session>>
    /** The same sessions, with less of each. It takes a third of the time, and is for looking at all of them often. */
    readonly listActive: (filter?: ActiveFilter) => Answer<ReadonlyArray<ActiveSession>>
  }
>() {
  /**
   * On any database that the given `SqlClient` speaks to. Creates the tables that are missing.
   *
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<SessionRegistry, RegistryError, SqlClient.SqlClient> = Layer.effect(
    SessionRegistry,
    Effect.suspend(() => make)
  )

  /**
   * On `<dataDir>/v2.db`, which is created if it is missing.
   *
   * @since 0.1.0
   */
  static readonly layerSqlite: Layer.Layer<
    SessionRegistry,
    RegistryError | UnsafePath,
    AirlockConfig | SessionPaths | SqliteDriver | SystemCalls
  > = SessionRegistry.layer.pipe(
    Layer.provide(
      Layer.scoped(
        SqlClient.SqlClient,
        Effect.suspend(() => openCentral)
      )
    )
  )
}

const openCentral = Effect.gen(function* () {
  const { dataDir, durability, patience } = yield* AirlockConfig
  const { central } = yield* SessionPaths
  const calls = yield* SystemCalls
  const driver = yield* SqliteDriver
  const subject = { operation: "SessionRegistry.layerSqlite", resource: "central" as const }
  yield* calls.makePath(dataDir).pipe(Effect.mapError(fromSystemCall(subject, dataDir)))
  const client = yield* driver.connect({ filename: central, patience }).pipe(
    // Only this machine opens the central database, so its shared memory works.
    Effect.tap((client) => client`PRAGMA journal_mode = WAL`),
    // In this mode NORMAL survives a killed process, and asks the disk for less than FULL does.
    Effect.tap((client) =>
      client.unsafe(`PRAGMA synchronous = ${durability === "power" ? "FULL" : "NORMAL"}`)
    ),
    Effect.mapError(RegistryRows.failure("layerSqlite"))
  )
  return client
})

const first = <A>(rows: ReadonlyArray<A>): Option.Option<A> => Option.fromNullable(rows[0])

const make = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* RegistrySchema.migrate.pipe(Effect.mapError(RegistryRows.failure("layer")))

  const execute = <A>(name: string, query: Effect.Effect<A, SqlError>) =>
    query.pipe(Effect.mapError(RegistryRows.failure(name)), Tracing.without)

  const run = (name: string, query: Effect.Effect<unknown, SqlError>) => Effect.asVoid(execute(name, query))

  const now = Effect.map(Clock.currentTimeMillis, Timestamp.format)

  /** The rows of a key, or none for a key that never finds anything. */
  const whereKey = (key: SessionKey): Option.Option<Fragment> => {
    if (key.mode === "agent-shared") {
      return Option.some(sql`agent_group_id = ${key.agentGroupId} AND session_mode = 'agent-shared'`)
    }
    if (key.messagingGroupId === null) return Option.none()
    const thread = threadOf(key)
    return Option.some(
      sql.and([
        sql`agent_group_id = ${key.agentGroupId}`,
        sql`messaging_group_id = ${key.messagingGroupId}`,
        sql`session_mode IN ('shared', 'per-thread')`,
        thread === null ? sql`thread_id IS NULL` : sql`thread_id = ${thread}`
      ])
    )
  }

  const whereActive = (filter: ActiveFilter | undefined) =>
    filter?.containerStatus === undefined
      ? sql`status = 'active' ORDER BY created_at, id`
      : sql`status = 'active' AND ${sql.in("container_status", filter.containerStatus)} ORDER BY created_at, id`

  const findSession = (key: SessionKey) =>
    Option.match(whereKey(key), {
      onNone: () => Effect.succeed(Option.none<Session>()),
      onSome: (where) =>
        Effect.map(
          RegistryRows.sessions(
            "findSession",
            sql`SELECT * FROM sessions WHERE status = 'active' AND ${where}`
          ),
          first
        )
    })

  const findOrCreateSession = <E>(key: SessionKey, fresh: Effect.Effect<Session, E>) =>
    Effect.flatMap(
      findSession(key),
      Option.match({
        onSome: (session) => Effect.succeed({ session, created: false }),
        onNone: () =>
          Effect.gen(function* () {
            const session = yield* fresh
            const inserted = yield* RegistryRows.sessions(
              "findOrCreateSession",
              sql`INSERT INTO sessions ${sql.insert(RegistryRows.fromSession(session))} ON CONFLICT DO NOTHING RETURNING *`
            )
            if (inserted.length > 0) return { session, created: true }
            const winner = yield* findSession(key)
            if (Option.isSome(winner)) return { session: winner.value, created: false }
            return yield* new SessionDbUnavailable({
              operation: "SessionRegistry.findOrCreateSession",
              resource: "central",
              reason: "constraint"
            })
          })
      })
    )

  return SessionRegistry.of({
    putAgentGroup: (group) =>
      Effect.flatMap(now, (createdAt) =>
        run(
          "putAgentGroup",
          sql`INSERT INTO agent_groups ${sql.insert({
            id: group.id,
            name: group.name,
            folder: group.folder ?? group.id,
            agent_provider: group.agentProvider ?? null,
            created_at: createdAt
          })} ON CONFLICT (id) DO UPDATE SET name = excluded.name, folder = excluded.folder, agent_provider = excluded.agent_provider`
        )
      ),
    getAgentGroup: (id) =>
      Effect.map(
        RegistryRows.agentGroups("getAgentGroup", sql`SELECT * FROM agent_groups WHERE id = ${id}`),
        first
      ),
    putDestinations: (agentGroupId, destinations) =>
      Effect.flatMap(
        Addresses.checkDestinations(destinations, "SessionRegistry.putDestinations"),
        (checked) =>
          run(
            "putDestinations",
            sql`INSERT INTO airlock_destinations ${sql.insert({
              agent_group_id: agentGroupId,
              destinations: RegistryRows.fromDestinations(checked)
            })} ON CONFLICT (agent_group_id) DO UPDATE SET destinations = excluded.destinations`
          )
      ),
    getDestinations: (agentGroupId) =>
      Effect.map(
        RegistryRows.destinations(
          "getDestinations",
          sql`SELECT destinations FROM airlock_destinations WHERE agent_group_id = ${agentGroupId}`
        ),
        first
      ),
    putMessagingGroup: (group) =>
      Effect.flatMap(now, (createdAt) =>
        run(
          "putMessagingGroup",
          sql`INSERT INTO messaging_groups ${sql.insert({
            id: group.id,
            channel_type: group.channelType,
            platform_id: group.platformId,
            instance: group.instance ?? group.channelType,
            name: group.name ?? null,
            is_group: group.isGroup === true ? 1 : 0,
            created_at: createdAt
          })} ON CONFLICT (id) DO UPDATE SET channel_type = excluded.channel_type, platform_id = excluded.platform_id,
              instance = excluded.instance, name = excluded.name, is_group = excluded.is_group`
        )
      ),
    getMessagingGroup: (id) =>
      Effect.map(
        RegistryRows.messagingGroups(
          "getMessagingGroup",
          sql`SELECT * FROM messaging_groups WHERE id = ${id}`
        ),
        first
      ),
    findMessagingGroup: (chat) =>
      Effect.map(
        RegistryRows.messagingGroups(
          "findMessagingGroup",
          sql`SELECT * FROM messaging_groups WHERE channel_type = ${chat.channelType}
              AND platform_id = ${chat.platformId} AND instance = ${chat.instance ?? chat.channelType}`
        ),
        first
      ),
    createSession: (session) =>
      run("createSession", sql`INSERT INTO sessions ${sql.insert(RegistryRows.fromSession(session))}`),
    findOrCreateSession,
    findSession,
    getSession: (sessionId) =>
      Effect.map(
        RegistryRows.sessions("getSession", sql`SELECT * FROM sessions WHERE id = ${sessionId}`),
        first
      ),
    updateSession: (ref, change) =>
      Effect.flatMap(
        execute(
          "updateSession",
          sql`UPDATE sessions SET ${sql.csv([
            ...(change.status === undefined ? [] : [sql`status = ${change.status}`]),
            ...(change.containerStatus === undefined
              ? []
              : [sql`container_status = ${change.containerStatus}`]),
            ...(change.lastActive === undefined ? [] : [sql`last_active = ${change.lastActive}`]),
            ...(change.agentProvider === undefined ? [] : [sql`agent_provider = ${change.agentProvider}`]),
            sql`id = id`
          ])} WHERE id = ${ref.sessionId} AND agent_group_id = ${ref.agentGroupId} RETURNING id`
        ),
        (rows) =>
          rows.length > 0
            ? Effect.void
            : Effect.fail(
                new SessionNotFound({
                  operation: "SessionRegistry.updateSession",
                  agentGroupId: ref.agentGroupId,
                  sessionId: ref.sessionId
                })
              )
      ),
    listActiveSessions: (filter) =>
      RegistryRows.readableSessions(
        "listActiveSessions",
        sql`SELECT * FROM sessions WHERE ${whereActive(filter)}`
      ),
    listActive: (filter) =>
      RegistryRows.refs(
        "listActive",
        sql`SELECT id, agent_group_id, container_status FROM sessions WHERE ${whereActive(filter)}`
      )
  })
})

/**
 * The thread that a key stands for: none unless the mode is `per-thread`. The empty text is no thread.
 *
 * @since 0.1.0
 * @category keys
 */
export const threadOf = (key: SessionKey): string | null =>
  key.mode === "per-thread" && key.threadId !== "" ? key.threadId : null
