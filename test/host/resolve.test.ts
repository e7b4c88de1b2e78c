import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck, Option } from "effect"
import { AirlockError, SessionManager, SessionRegistry } from "effect-airlock"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { Opened, withCountingHost } from "./SweepFixtures.js"

type Key = SessionRegistry.SessionKey

const key = (mode: Key["mode"], messagingGroupId: string | null, threadId: string | null = null): Key => ({
  agentGroupId: "agent",
  messagingGroupId,
  threadId,
  mode
})

/** What the key of a session is, in plain words: the model that `resolve` is held to. */
const modelKey = ({ agentGroupId, messagingGroupId, mode, threadId }: Key): string | undefined => {
  if (mode === "agent-shared") return `agent ${agentGroupId}`
  if (messagingGroupId === null) return undefined
  return JSON.stringify([agentGroupId, messagingGroupId, mode === "per-thread" ? threadId || null : null])
}

const keys = FastCheck.record({
  agentGroupId: FastCheck.constantFrom("a", "b"),
  messagingGroupId: FastCheck.constantFrom("m", "n", null),
  threadId: FastCheck.constantFrom("s", "t", "", null),
  mode: FastCheck.constantFrom("shared" as const, "per-thread" as const, "agent-shared" as const)
})

describe("SessionManager.resolve", () => {
  it.effect.prop(
    "gives a session for each key as the three modes define it",
    [FastCheck.array(keys, { minLength: 1, maxLength: 25 })],
    ([asked]) =>
      Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const model = new Map<string, string>()
        const seen = new Set<string>()
        for (const one of asked) {
          const { created, session } = yield* manager.resolve(one)
          const wanted = modelKey(one)
          const expected = wanted === undefined ? undefined : model.get(wanted)
          expect(created).toBe(expected === undefined)
          if (expected === undefined) expect(seen.has(session.sessionId)).toBe(false)
          else expect(session.sessionId).toBe(expected)
          if (wanted !== undefined) model.set(wanted, session.sessionId)
          seen.add(session.sessionId)
        }
      }).pipe(TestHost.withHost()),
    { fastCheck: { numRuns: 20 } }
  )

  it.effect("ignores the thread in shared mode, and records none", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const first = yield* manager.resolve(key("shared", "chat", "one"))
      const second = yield* manager.resolve(key("shared", "chat", "two"))
      expect(second).toEqual({ session: first.session, created: false })
      expect(first.session.threadId).toBeNull()
    }).pipe(TestHost.withHost())
  )

  it.effect("never finds a chat's session in agent-shared mode, nor the other way round (U14)", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const chat = yield* manager.resolve(key("shared", "chat"))
      const thread = yield* manager.resolve(key("per-thread", "chat", "one"))
      const everywhere = yield* manager.resolve(key("agent-shared", "chat"))
      const other = yield* manager.resolve(key("shared", "other"))
      const ids = [chat, thread, everywhere, other].map(({ session }) => session.sessionId)
      expect(new Set(ids).size).toBe(4)
      const again = yield* manager.resolve(key("agent-shared", "other", "x"))
      expect(again.session.sessionId).toBe(everywhere.session.sessionId)
    }).pipe(TestHost.withHost())
  )

  it.effect("gives one session to many callers at once (U13)", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const all = yield* Effect.replicateEffect(manager.resolve(key("per-thread", "chat", "t")), 50, {
        concurrency: "unbounded"
      })
      expect(new Set(all.map(({ session }) => session.sessionId)).size).toBe(1)
      expect(all.filter(({ created }) => created).length).toBe(1)
    }).pipe(TestHost.withHost())
  )

  it.effect("gives one session to two hosts on one data directory", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const resolveAll = Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        return yield* Effect.forEach(
          Array.from({ length: 20 }, (_, n) => key("shared", `chat-${n}`)),
          (one) => manager.resolve(one),
          { concurrency: "unbounded" }
        )
      })
      const host = Effect.provide(resolveAll, TestHost.layerAt(dataDir))
      const [first, second] = yield* Effect.all([host, host], { concurrency: 2 })
      expect(first.map(({ session }) => session.sessionId)).toEqual(
        second.map(({ session }) => session.sessionId)
      )
      expect([...first, ...second].filter(({ created }) => created).length).toBe(20)
    }).pipe(Effect.scoped)
  )

  it.effect("writes where replies go into a folder that it makes, the first time and again", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const registry = yield* SessionRegistry.SessionRegistry
      yield* registry.putMessagingGroup({ id: "chat", channelType: "slack", platformId: "C1" })
      const resolve = manager.resolve(key("per-thread", "chat", "t"))
      const folder = yield* TestHost.folderOf((yield* resolve).session)
      const routing = () => Raw.query(`${folder}/inbound.db`, "SELECT * FROM session_routing")
      const expected = [{ id: 1, channel_type: "slack", platform_id: "C1", thread_id: "t" }]
      expect(routing()).toEqual(expected)
      Fs.rmSync(folder, { recursive: true })
      yield* resolve
      expect(routing()).toEqual(expected)
    }).pipe(TestHost.withHost())
  )

  it.effect("gives a session its folder again when somebody deleted it (U18)", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const { session } = yield* manager.resolve(key("shared", "chat"))
      const folder = yield* TestHost.folderOf(session)
      Fs.rmSync(folder, { recursive: true })
      const lost = yield* Effect.flip(manager.writeMessage(session, { id: "a", kind: "chat", content: "x" }))
      expect(lost).toMatchObject({ _tag: "SessionDbUnavailable", reason: "missing", isRetryable: false })
      expect(Fs.existsSync(folder)).toBe(false)

      expect(yield* manager.resolve(key("shared", "chat"))).toEqual({ session, created: false })
      expect(Object.keys(TestHost.contentsOf(folder))).toEqual(["inbound.db", "outbound.db"])
      yield* manager.writeMessage(session, { id: "a", kind: "chat", content: "x" })
    }).pipe(TestHost.withHost())
  )

  it.effect("adds the one database that is missing, and keeps the other", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const { session } = yield* manager.resolve(key("shared", "chat"))
      yield* manager.writeMessage(session, { id: "a", kind: "chat", content: "x" })
      const folder = yield* TestHost.folderOf(session)
      Fs.rmSync(`${folder}/outbound.db`)
      yield* manager.resolve(key("shared", "chat"))
      expect(Raw.query(`${folder}/inbound.db`, "SELECT id FROM messages_in")).toEqual([{ id: "a" }])
      expect(Object.keys(TestHost.contentsOf(folder))).toEqual(["inbound.db", "outbound.db"])
    }).pipe(TestHost.withHost())
  )

  it.effect("looks closer where a glance cannot tell whether a database is there", () =>
    Effect.gen(function* () {
      const opened = yield* Opened
      const manager = yield* SessionManager.SessionManager
      const { session } = yield* manager.resolve(key("shared", "chat"))
      const folder = yield* TestHost.folderOf(session)
      Fs.rmSync(`${folder}/outbound.db`)
      opened.seenAs = (path, seen) => (path === `${folder}/outbound.db` ? undefined : seen)
      yield* manager.resolve(key("shared", "chat"))
      expect(Object.keys(TestHost.contentsOf(folder))).toEqual(["inbound.db", "outbound.db"])
    }).pipe(withCountingHost)
  )

  it.effect("refuses an agent group that could not name a folder, and stores no session", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const registry = yield* SessionRegistry.SessionRegistry
      for (const agentGroupId of ["../up", "a/b", "..", "", "nul", "x".repeat(300)]) {
        const error = yield* Effect.flip(manager.resolve({ ...key("shared", "chat"), agentGroupId }))
        expect(error).toBeInstanceOf(AirlockError.UnsafePath)
      }
      expect(yield* registry.listActiveSessions()).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("starts a new session when the old one is closed", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const registry = yield* SessionRegistry.SessionRegistry
      const { session: old } = yield* manager.resolve(key("shared", "chat"))
      yield* registry.updateSession(old, { status: "closed" })
      const { created, session } = yield* manager.resolve(key("shared", "chat"))
      expect(created).toBe(true)
      expect(session.sessionId).not.toBe(old.sessionId)
      const found = yield* registry.getSession(old.sessionId)
      expect(Option.map(found, ({ status }) => status)).toEqual(Option.some("closed"))
    }).pipe(TestHost.withHost())
  )
})
