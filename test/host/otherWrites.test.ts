import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, FastCheck, Option, TestClock } from "effect"
import { SessionManager, SessionRegistry } from "effect-airlock"
import type { Message } from "effect-airlock"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

const program = Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const session = yield* TestHost.newSession()
  const folder = yield* TestHost.folderOf(session)
  const query = (sql: string) => Raw.query(`${folder}/inbound.db`, sql)
  return { manager, session, folder, query }
})

const unknownSession = { agentGroupId: "agent", sessionId: "sess-unknown" }

describe("SessionManager.writeRouting", () => {
  it.effect("writes the session's chat and thread, and follows a rewiring", () =>
    Effect.gen(function* () {
      const { manager } = yield* program
      const registry = yield* SessionRegistry.SessionRegistry
      const { session } = yield* manager.resolve({
        agentGroupId: "agent",
        messagingGroupId: "chat",
        threadId: "t",
        mode: "per-thread"
      })
      const folder = yield* TestHost.folderOf(session)
      const stored = () => Raw.query(`${folder}/inbound.db`, "SELECT * FROM session_routing")
      expect(yield* manager.writeRouting(session)).toEqual({
        channelType: "test",
        platformId: "chat",
        threadId: "t"
      })
      expect(stored()).toEqual([{ id: 1, channel_type: "test", platform_id: "chat", thread_id: "t" }])
      yield* registry.putMessagingGroup({ id: "chat", channelType: "other", platformId: "moved" })
      yield* manager.writeRouting(session)
      expect(stored()).toEqual([{ id: 1, channel_type: "other", platform_id: "moved", thread_id: "t" }])
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "writes nulls for a session without a chat, and fails for one that is unknown or has no folder",
    () =>
      Effect.gen(function* () {
        const { manager } = yield* program
        const { session } = yield* manager.resolve({
          agentGroupId: "agent",
          messagingGroupId: null,
          threadId: null,
          mode: "shared"
        })
        expect(yield* manager.writeRouting(session)).toEqual({
          channelType: null,
          platformId: null,
          threadId: null
        })
        expect(yield* Effect.flip(manager.writeRouting(unknownSession))).toMatchObject({
          _tag: "SessionNotFound"
        })
        Fs.rmSync(yield* TestHost.folderOf(session), { recursive: true })
        expect(yield* Effect.flip(manager.writeRouting(session))).toMatchObject({
          _tag: "SessionDbUnavailable",
          reason: "missing"
        })
      }).pipe(TestHost.withHost())
  )
})

describe("SessionManager.writeDestinations", () => {
  const list: ReadonlyArray<Message.Destination> = [
    { type: "channel", name: "general", displayName: "#general", channelType: "slack", platformId: "C1" },
    { type: "agent", name: "reviewer", agentGroupId: "ag-2" }
  ]

  it.effect("replaces the whole list, channels and agents each with their own columns", () =>
    Effect.gen(function* () {
      const { manager, query, session } = yield* program
      yield* manager.writeDestinations(session, [{ type: "agent", name: "gone", agentGroupId: "x" }])
      yield* manager.writeDestinations(session, list)
      expect(query("SELECT * FROM destinations ORDER BY name")).toEqual([
        {
          name: "general",
          display_name: "#general",
          type: "channel",
          channel_type: "slack",
          platform_id: "C1",
          agent_group_id: null
        },
        {
          name: "reviewer",
          display_name: null,
          type: "agent",
          channel_type: null,
          platform_id: null,
          agent_group_id: "ag-2"
        }
      ])
      yield* manager.writeDestinations(session, [])
      expect(query("SELECT * FROM destinations")).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("refuses two of one name and one that is neither, and keeps the list", () =>
    Effect.gen(function* () {
      const { manager, query, session } = yield* program
      yield* manager.writeDestinations(session, list)
      const twice = yield* Effect.flip(manager.writeDestinations(session, [...list, ...list]))
      expect(twice).toMatchObject({
        _tag: "InvalidMessage",
        field: "destinations.2.name",
        reason: "duplicate"
      })
      const neither = [{ type: "channel", name: "x" }] as unknown as ReadonlyArray<Message.Destination>
      expect(yield* Effect.flip(manager.writeDestinations(session, neither))).toMatchObject({
        field: "destinations.0"
      })
      expect(query("SELECT count(*) AS n FROM destinations")).toEqual([{ n: 2 }])
    }).pipe(TestHost.withHost())
  )
})

describe("SessionManager.writeSystemResponse", () => {
  it.effect("writes a system message that answers the question", () =>
    Effect.gen(function* () {
      const { manager, query, session } = yield* program
      const { id } = yield* manager.writeSystemResponse(session, {
        questionId: "q1",
        status: "answered",
        result: { choice: "yes" }
      })
      expect(id).toMatch(/^sys-resp-\d+-[0-9a-z]{6}$/)
      const [row] = query("SELECT kind, trigger, content FROM messages_in")
      expect(row).toMatchObject({ kind: "system", trigger: 1 })
      expect(JSON.parse(String(row?.["content"]))).toEqual({
        type: "question_response",
        questionId: "q1",
        status: "answered",
        result: { choice: "yes" }
      })
    }).pipe(TestHost.withHost())
  )

  it.effect("refuses a result that JSON cannot hold", () =>
    Effect.gen(function* () {
      const { manager, session } = yield* program
      const error = yield* Effect.flip(
        manager.writeSystemResponse(session, { questionId: "q", status: "answered", result: { n: 1n } })
      )
      expect(error).toMatchObject({ _tag: "InvalidMessage", field: "result", reason: "not-json" })
    }).pipe(TestHost.withHost())
  )
})

describe("SessionManager.writeOutboundDirect", () => {
  const reply = {
    id: "no",
    kind: "chat",
    content: "{}",
    channelType: "test",
    platformId: "chat",
    threadId: null
  }

  it.effect("goes into the host's own table, on the host's own number line (U7)", () =>
    Effect.gen(function* () {
      const { folder, manager, query, session } = yield* program
      yield* TestClock.setTime(0)
      const outbound = Fs.readFileSync(`${folder}/outbound.db`)
      yield* manager.writeMessage(session, { id: "a", kind: "chat", content: "x" })
      expect(yield* manager.writeOutboundDirect(session, reply)).toEqual({
        id: "no",
        seq: 4,
        alreadyThere: false
      })
      expect((yield* manager.writeMessage(session, { id: "b", kind: "chat", content: "x" })).seq).toBe(6)
      expect(query("SELECT id, seq, timestamp, channel_type, platform_id FROM airlock_direct")).toEqual([
        { id: "no", seq: 4, timestamp: "1970-01-01T00:00:00.000Z", channel_type: "test", platform_id: "chat" }
      ])
      expect(query("SELECT id FROM messages_in ORDER BY seq")).toEqual([{ id: "a" }, { id: "b" }])
      expect(Fs.readFileSync(`${folder}/outbound.db`).equals(outbound)).toBe(true)
    }).pipe(TestHost.withHost())
  )

  it.effect("takes the same again, and refuses the same id with another content", () =>
    Effect.gen(function* () {
      const { manager, session } = yield* program
      yield* manager.writeOutboundDirect(session, reply)
      expect(yield* manager.writeOutboundDirect(session, reply)).toEqual({
        id: "no",
        seq: 2,
        alreadyThere: true
      })
      for (const other of [
        { ...reply, content: "[]" },
        { ...reply, threadId: "t" }
      ]) {
        expect(yield* Effect.flip(manager.writeOutboundDirect(session, other))).toMatchObject({
          _tag: "DuplicateMessage"
        })
      }
      const refused: ReadonlyArray<readonly [Partial<Message.DirectMessage>, object]> = [
        [{ id: "\ud800" }, { field: "id", reason: "too-long" }],
        [{ id: "x".repeat(256) }, { field: "id", reason: "too-long" }],
        [
          { id: "a", kind: "task_log" },
          { field: "kind", reason: "unknown-kind" }
        ],
        [
          { id: "a", kind: "" },
          { field: "message", reason: "wrong-type" }
        ],
        [
          { id: "a", content: "x".repeat(2 ** 20 + 1) },
          { field: "content", reason: "too-long" }
        ]
      ]
      for (const [more, expected] of refused) {
        const error = yield* Effect.flip(manager.writeOutboundDirect(session, { ...reply, ...more }))
        expect(error).toMatchObject({ _tag: "InvalidMessage", ...expected })
      }
      expect(yield* Effect.flip(manager.writeOutboundDirect(session, { ...reply, id: "" }))).toMatchObject({
        _tag: "InvalidMessage"
      })
      expect(yield* Effect.flip(manager.writeOutboundDirect(unknownSession, reply))).toMatchObject({
        _tag: "SessionNotFound"
      })
    }).pipe(TestHost.withHost())
  )
})

describe("sequence numbers", () => {
  it.effect.prop(
    "are even, grow, and are never used twice in a session, also when rows are deleted (invariant 4)",
    [
      FastCheck.array(FastCheck.constantFrom("write", "direct", "batch", "delete", "reopen"), {
        maxLength: 20
      })
    ],
    ([commands]) =>
      Effect.gen(function* () {
        const { folder, manager, session } = yield* program
        const given: Array<number> = []
        for (const [index, command] of commands.entries()) {
          const message = (id: string) => ({ id, kind: "chat" as const, content: "x" })
          if (command === "write")
            given.push((yield* manager.writeMessage(session, message(`m${index}`))).seq)
          if (command === "direct") {
            given.push(
              (yield* manager.writeOutboundDirect(session, { id: `d${index}`, kind: "chat", content: "x" }))
                .seq
            )
          }
          if (command === "batch") {
            const written = yield* manager.writeMessages(session, [
              message(`x${index}`),
              message(`y${index}`)
            ])
            given.push(...written.map(({ seq }) => seq))
          }
          if (command === "delete")
            Raw.exec(TestHost.originalOf(folder), "DELETE FROM messages_in; DELETE FROM airlock_direct")
          if (command === "reopen") yield* manager.initFolder(session)
        }
        expect(given).toEqual([...given].sort((a, b) => a - b))
        expect(new Set(given).size).toBe(given.length)
        expect(given.every((seq) => seq > 0 && seq % 2 === 0)).toBe(true)
      }).pipe(TestHost.withHost()),
    { fastCheck: { numRuns: 15 } }
  )
})

describe("SessionManager.readOutboxFiles and clearOutbox", () => {
  const withOutbox = Effect.gen(function* () {
    const common = yield* program
    const outbox = `${common.folder}/outbox/out-1`
    Fs.mkdirSync(outbox)
    const read = (...names: ReadonlyArray<string>) =>
      common.manager.readOutboxFiles(common.session, "out-1", names)
    return { ...common, outbox, read }
  })

  it.effect("reads the declared files, and reports those that it skips", () =>
    Effect.gen(function* () {
      const { outbox, read } = yield* withOutbox
      Fs.writeFileSync(`${outbox}/a.txt`, "a")
      Fs.writeFileSync(`${outbox}/undeclared`, "x")
      Fs.writeFileSync(`${outbox}/large`, "x".repeat(11))
      Fs.symlinkSync("/etc/passwd", `${outbox}/link`)
      Fs.linkSync(`${outbox}/undeclared`, `${outbox}/hard`)
      Fs.mkdirSync(`${outbox}/folder`)
      execFileSync("mkfifo", [`${outbox}/fifo`])
      const found = Option.getOrThrow(
        yield* read("a.txt", "missing", "../out-1/a.txt", "link", "hard", "folder", "fifo", "large")
      )
      expect(found.files.map(({ data, name }) => [name, Buffer.from(data).toString()])).toEqual([
        ["a.txt", "a"]
      ])
      expect(found.skipped).toEqual([
        { name: "missing", reason: "missing" },
        { name: "../out-1/a.txt", reason: "separator" },
        { name: "link", reason: "symbolic-link" },
        { name: "hard", reason: "hard-link" },
        { name: "folder", reason: "not-a-regular-file" },
        { name: "fifo", reason: "not-a-regular-file" },
        { name: "large", reason: "too-large" }
      ])
    }).pipe(TestHost.withHost({ limits: { outboxFileBytes: 10 } }))
  )

  it.effect("answers none when nothing declared is on disk, whatever the outbox is", () =>
    Effect.gen(function* () {
      const { folder, manager, outbox, read, session } = yield* withOutbox
      expect(yield* read("a.txt")).toEqual(Option.none())
      expect(yield* manager.readOutboxFiles(session, "other", ["a.txt"])).toEqual(Option.none())
      Fs.rmSync(outbox, { recursive: true })
      Fs.symlinkSync("/etc", outbox)
      expect(yield* read("passwd")).toEqual(Option.none())
      Fs.rmSync(`${folder}/outbox`, { recursive: true })
      expect(yield* read("a.txt")).toEqual(Option.none())
      Fs.symlinkSync("/", `${folder}/outbox`)
      expect(yield* manager.readOutboxFiles(session, "etc", ["passwd"])).toEqual(Option.none())
    }).pipe(TestHost.withHost())
  )

  it.effect("removes a message's files without following a link out of the session, and never fails", () =>
    Effect.gen(function* () {
      const { folder, manager, outbox, session } = yield* withOutbox
      const outside = yield* TestHost.temporaryDirectory
      Fs.writeFileSync(`${outside}/canary`, "x")
      Fs.mkdirSync(`${outbox}/deep/er`, { recursive: true })
      Fs.symlinkSync(outside, `${outbox}/deep/link`)
      yield* manager.clearOutbox(session, "out-1")
      expect(Fs.readdirSync(`${folder}/outbox`)).toEqual([])
      Fs.symlinkSync(outside, `${folder}/outbox/out-1`)
      yield* manager.clearOutbox(session, "out-1")
      expect(Fs.readdirSync(outside)).toEqual(["canary"])
      Fs.rmSync(`${folder}/outbox`, { recursive: true })
      Fs.symlinkSync(outside, `${folder}/outbox`)
      yield* manager.clearOutbox(session, "canary")
      yield* manager.clearOutbox(session, "..")
      yield* manager.clearOutbox({ agentGroupId: "..", sessionId: ".." }, "x")
      expect(Fs.readdirSync(outside)).toEqual(["canary"])
    }).pipe(Effect.scoped, TestHost.withHost())
  )
})

describe("SessionManager.markContainer…", () => {
  it.effect("records the status; running also counts as activity", () =>
    Effect.gen(function* () {
      const { manager, session } = yield* program
      const registry = yield* SessionRegistry.SessionRegistry
      const now = Effect.map(registry.getSession(session.sessionId), (found) => {
        const { containerStatus, lastActive } = Option.getOrThrow(found)
        return [containerStatus, lastActive]
      })
      yield* TestClock.setTime(1000)
      yield* manager.markContainerRunning(session)
      expect(yield* now).toEqual(["running", "1970-01-01T00:00:01.000Z"])
      yield* TestClock.setTime(2000)
      yield* manager.markContainerIdle(session)
      expect(yield* now).toEqual(["idle", "1970-01-01T00:00:01.000Z"])
      yield* manager.markContainerStopped(session)
      expect(yield* now).toEqual(["stopped", "1970-01-01T00:00:01.000Z"])
      const exit = yield* Effect.exit(manager.markContainerRunning(unknownSession))
      expect(Exit.isFailure(exit)).toBe(true)
      expect(yield* Effect.flip(manager.markContainerIdle(unknownSession))).toMatchObject({
        _tag: "SessionNotFound",
        operation: "SessionManager.markContainerIdle"
      })
    }).pipe(TestHost.withHost())
  )
})
