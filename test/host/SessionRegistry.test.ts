import { describe, expect, it } from "@effect/vitest"
import { SqliteClient } from "@effect/sql-sqlite-node"
import { Effect, Layer, Option } from "effect"
import {
  AirlockConfig,
  AirlockHost,
  Session,
  SessionDb,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { logged } from "./SweepFixtures.js"

const session = (id: string, more: Partial<Session.Session> = {}) =>
  new Session.Session({
    sessionId: id,
    agentGroupId: "agent",
    messagingGroupId: "chat",
    threadId: null,
    mode: "shared",
    agentProvider: null,
    status: "active",
    containerStatus: "stopped",
    lastActive: null,
    createdAt: "2026-01-01T00:00:00.000Z",
    ...more
  })

describe("SessionRegistry", () => {
  it.effect("keeps agent groups and messaging groups, and finds a chat by its address", () =>
    Effect.gen(function* () {
      const registry = yield* SessionRegistry.SessionRegistry
      yield* registry.putAgentGroup({ id: "a", name: "Agent" })
      yield* registry.putAgentGroup({ id: "a", name: "Renamed", folder: "files", agentProvider: "x" })
      expect(yield* registry.getAgentGroup("a")).toEqual(
        Option.some({ id: "a", name: "Renamed", folder: "files", agentProvider: "x" })
      )
      expect(yield* registry.getAgentGroup("b")).toEqual(Option.none())

      const chat = { id: "m", channelType: "slack", platformId: "C1", name: "general", isGroup: true }
      yield* registry.putMessagingGroup(chat)
      const stored = Option.some({ ...chat, instance: "slack" })
      expect(yield* registry.getMessagingGroup("m")).toEqual(stored)
      expect(yield* registry.findMessagingGroup(chat)).toEqual(stored)
      expect(yield* registry.findMessagingGroup({ ...chat, instance: "second" })).toEqual(Option.none())
      yield* registry.putMessagingGroup({ ...chat, id: "m2", instance: "second" })
      const taken = yield* Effect.flip(registry.putMessagingGroup({ ...chat, id: "m3" }))
      expect(taken).toMatchObject({ _tag: "SessionDbUnavailable", resource: "central", reason: "constraint" })
    }).pipe(TestHost.withHost())
  )

  it.effect("has one active session for a key, however it is added", () =>
    Effect.gen(function* () {
      const registry = yield* SessionRegistry.SessionRegistry
      yield* registry.createSession(session("one"))
      for (const other of [session("two"), session("one", { messagingGroupId: "other" })]) {
        expect(yield* Effect.flip(registry.createSession(other))).toMatchObject({ reason: "constraint" })
      }
      yield* registry.createSession(session("three", { messagingGroupId: null }))
      yield* registry.createSession(session("four", { messagingGroupId: null }))
      yield* registry.createSession(session("five", { status: "closed" }))
      const active = yield* registry.listActiveSessions()
      expect(active.map(({ sessionId }) => sessionId)).toEqual(["four", "one", "three"])
      yield* registry.updateSession(session("four"), { containerStatus: "running", agentProvider: "x" })
      const running = yield* registry.listActiveSessions({ containerStatus: ["running", "idle"] })
      expect(running.map(({ agentProvider, sessionId }) => [sessionId, agentProvider])).toEqual([
        ["four", "x"]
      ])
      const refs = yield* registry.listActive()
      expect(refs).toEqual(
        active.map(({ agentGroupId, sessionId }) => ({
          agentGroupId,
          sessionId,
          containerStatus: sessionId === "four" ? "running" : "stopped"
        }))
      )
      expect(yield* registry.listActive({ containerStatus: ["running", "idle"] })).toEqual([
        { agentGroupId: "agent", sessionId: "four", containerStatus: "running" }
      ])
    }).pipe(TestHost.withHost())
  )

  it.effect("takes over the central database of an older build, and finds its latest sessions", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      Raw.exec(
        `${dataDir}/v2.db`,
        `CREATE TABLE agent_groups (id TEXT PRIMARY KEY, name TEXT NOT NULL, folder TEXT NOT NULL UNIQUE,
           agent_provider TEXT, created_at TEXT NOT NULL);
         CREATE TABLE messaging_groups (id TEXT PRIMARY KEY, channel_type TEXT NOT NULL, platform_id TEXT NOT NULL,
           name TEXT, is_group INTEGER DEFAULT 0, unknown_sender_policy TEXT NOT NULL DEFAULT 'strict',
           created_at TEXT NOT NULL, UNIQUE (channel_type, platform_id));
         CREATE TABLE sessions (id TEXT PRIMARY KEY, agent_group_id TEXT NOT NULL REFERENCES agent_groups (id),
           messaging_group_id TEXT REFERENCES messaging_groups (id), thread_id TEXT, agent_provider TEXT,
           status TEXT DEFAULT 'active', container_status TEXT DEFAULT 'stopped', last_active TEXT,
           created_at TEXT NOT NULL);
         INSERT INTO agent_groups VALUES ('agent', 'Agent', 'agent', NULL, '2026-01-01 00:00:00');
         INSERT INTO messaging_groups (id, channel_type, platform_id, created_at) VALUES ('chat', 'slack', 'C1', '2026-01-01 00:00:00');
         INSERT INTO sessions (id, agent_group_id, messaging_group_id, thread_id, status, last_active, created_at) VALUES
           ('older', 'agent', 'chat', NULL, 'active', '2026-01-02T00:00:00.000Z', '2026-01-01T00:00:00.000Z'),
           ('latest', 'agent', 'chat', NULL, 'active', '2026-01-03T00:00:00.000Z', '2026-01-01T00:00:00.000Z'),
           ('thread', 'agent', 'chat', 't', 'active', NULL, '2026-01-01T00:00:00.000Z'),
           ('gone', 'agent', 'chat', 'u', 'archived', NULL, '2026-01-01T00:00:00.000Z')`
      )
      const program = Effect.gen(function* () {
        const registry = yield* SessionRegistry.SessionRegistry
        const manager = yield* SessionManager.SessionManager
        const resolve = (threadId: string | null) =>
          Effect.map(
            manager.resolve({
              agentGroupId: "agent",
              messagingGroupId: "chat",
              threadId,
              mode: "per-thread"
            }),
            (found) => found.session.sessionId
          )
        const active = (yield* registry.listActiveSessions()).map(({ mode, sessionId }) => [sessionId, mode])
        const chat = Option.getOrThrow(yield* registry.getMessagingGroup("chat"))
        const gone = Option.getOrThrow(yield* registry.getSession("gone"))
        return {
          active,
          chat,
          gone: gone.status,
          found: [yield* resolve(null), yield* resolve("t")],
          fresh: yield* resolve("u")
        }
      }).pipe(Effect.provide(TestHost.layerAt(dataDir)))
      const first = yield* program
      expect(first.active).toEqual([
        ["latest", "shared"],
        ["older", null],
        ["thread", "per-thread"]
      ])
      expect(first.chat.instance).toBe("slack")
      expect(first.gone).toBe("closed")
      expect(first.found).toEqual(["latest", "thread"])
      expect(first.fresh).toMatch(/^sess-/)
      expect((yield* program).fresh).toBe(first.fresh)
    }).pipe(Effect.scoped)
  )

  it.effect("works on a database that the host brings", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const host = AirlockHost.sessionsWithoutRegistry.pipe(
        Layer.provideMerge(SessionRegistry.SessionRegistry.layer),
        Layer.provideMerge(AirlockConfig.AirlockConfig.layer({ dataDir })),
        Layer.provideMerge(SqliteClient.layer({ filename: `${dataDir}/elsewhere.db` }))
      )
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const { session } = yield* manager.resolve({
          agentGroupId: "agent",
          messagingGroupId: null,
          threadId: null,
          mode: "agent-shared"
        })
        const sql = yield* SqliteClient.SqliteClient
        // A transaction of the host's own database is no business of the session's files.
        const failed = sql.withTransaction(
          Effect.zipRight(
            manager.writeMessage(session, { id: "m", kind: "chat", content: "x" }),
            Effect.fail("rolled back")
          )
        )
        expect(yield* Effect.flip(failed)).toBe("rolled back")
        const again = yield* manager.writeMessage(session, { id: "m", kind: "chat", content: "x" })
        expect(again).toMatchObject({ seq: 2, alreadyThere: true })
        const db = yield* SessionDb.SessionDb
        const inside = Effect.scoped(
          Effect.flatMap(db.inbound(session), (own) =>
            own.withTransaction(Effect.zipRight(own`SELECT 1`, sql`SELECT count(*) AS n FROM sessions`))
          )
        )
        expect(yield* inside).toEqual([{ n: 1 }])
      }).pipe(Effect.provide(host))
      expect(Fs.existsSync(`${dataDir}/v2.db`)).toBe(false)
    }).pipe(Effect.scoped)
  )

  it.effect("says what is wrong with a central database that cannot be used", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      Raw.exec(`${dataDir}/v2.db`, "CREATE VIEW sessions AS SELECT 1 AS id")
      const error = yield* Effect.flip(
        Effect.scoped(Effect.provide(SessionRegistry.SessionRegistry, TestHost.layerAt(dataDir)))
      )
      expect(error).toMatchObject({ _tag: "SessionDbCorrupt", resource: "central" })
      const blocked = yield* Effect.flip(
        Effect.scoped(
          Effect.provide(SessionRegistry.SessionRegistry, TestHost.layerAt(`${dataDir}/v2.db/below-a-file`))
        )
      )
      expect(blocked).toMatchObject({ _tag: "UnsafePath", reason: "not-a-directory" })
    }).pipe(Effect.scoped)
  )

  it.effect("lists what it can read, whatever else is among the sessions", () =>
    Effect.gen(function* () {
      const registry = yield* SessionRegistry.SessionRegistry
      const { central } = yield* SessionPaths.SessionPaths
      const newer = yield* TestHost.newSession("newer")
      const broken = yield* TestHost.newSession("broken")
      const good = yield* TestHost.newSession("good")
      Raw.exec(
        central,
        `UPDATE sessions SET session_mode = 'of another version' WHERE id = '${newer.sessionId}'`
      )
      Raw.exec(central, `UPDATE sessions SET thread_id = x'00' WHERE id = '${broken.sessionId}'`)
      const listed = yield* registry.listActiveSessions()
      expect(listed.map(({ mode, sessionId }) => [sessionId, mode]).sort()).toEqual(
        [
          [newer.sessionId, null],
          [good.sessionId, "shared"]
        ].sort()
      )
      expect(yield* Effect.flip(registry.getSession(broken.sessionId))).toMatchObject({
        _tag: "SessionDbCorrupt",
        reason: "unexpected-row"
      })
      // Who they are is all that is asked of these.
      expect((yield* registry.listActive()).length).toBe(3)
      Raw.exec(central, `UPDATE sessions SET id = x'00' WHERE id = '${broken.sessionId}'`)
      Raw.exec(central, `UPDATE sessions SET container_status = 'new' WHERE id = '${newer.sessionId}'`)
      const { lines, value } = yield* logged(registry.listActive())
      expect(new Set(value)).toEqual(
        new Set(
          [newer, good].map(({ agentGroupId, sessionId }) => ({
            agentGroupId,
            sessionId,
            containerStatus: "stopped"
          }))
        )
      )
      expect(lines).toEqual(["Rows of the registry are not sessions rows=1"])
    }).pipe(TestHost.withHost())
  )
})
