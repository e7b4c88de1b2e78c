/**
 * Folders and agents of NanoClaw v2: a folder that an old build left is taken over by this host and served by this
 * guest, and an agent that knows nothing of this library works in a folder of this host.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Layer, Ref, Runtime, TestClock } from "effect"
import { ChannelAdapter, Delivery, SessionManager, SessionRegistry, Sweep } from "effect-airlock"
import * as Fs from "node:fs"
import * as NanoClaw from "./support/NanoClaw.js"
import * as Raw from "./support/Raw.js"
import * as TestHost from "./support/TestHost.js"

const begin = Date.UTC(2026, 5, 1, 12)

/** The central database of a build that knew no session modes and no channel instances. */
const central = `
  CREATE TABLE agent_groups (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, folder TEXT NOT NULL UNIQUE, agent_provider TEXT, created_at TEXT NOT NULL
  );
  CREATE TABLE messaging_groups (
    id TEXT PRIMARY KEY, channel_type TEXT NOT NULL, platform_id TEXT NOT NULL, name TEXT,
    is_group INTEGER DEFAULT 0, unknown_sender_policy TEXT NOT NULL DEFAULT 'strict', created_at TEXT NOT NULL,
    UNIQUE (channel_type, platform_id)
  );
  CREATE TABLE sessions (
    id TEXT PRIMARY KEY, agent_group_id TEXT NOT NULL REFERENCES agent_groups (id),
    messaging_group_id TEXT REFERENCES messaging_groups (id), thread_id TEXT, agent_provider TEXT,
    status TEXT DEFAULT 'active', container_status TEXT DEFAULT 'stopped', last_active TEXT, created_at TEXT NOT NULL
  );
  INSERT INTO agent_groups VALUES ('ag-1', 'Agent', 'agent', NULL, '2026-01-01 00:00:00');
  INSERT INTO messaging_groups VALUES ('mg-1', 'test', 'chat', NULL, 0, 'strict', '2026-01-01 00:00:00');
  INSERT INTO sessions VALUES
    ('sess-1', 'ag-1', 'mg-1', NULL, NULL, 'active', 'running', '2026-05-31 10:00:00', '2026-01-01 00:00:00');`

const inbound = `
  CREATE TABLE messages_in (
    id TEXT PRIMARY KEY, seq INTEGER UNIQUE, kind TEXT NOT NULL, timestamp TEXT NOT NULL,
    status TEXT DEFAULT 'pending', process_after TEXT, recurrence TEXT, tries INTEGER DEFAULT 0,
    platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL
  );
  CREATE TABLE delivered (message_out_id TEXT PRIMARY KEY, delivered_at TEXT NOT NULL);
  INSERT INTO messages_in (id, seq, kind, timestamp, status, process_after, recurrence, content) VALUES
    ('done', 2, 'chat', '2026-05-30 10:00:00', 'completed', NULL, NULL, '{"text":"done"}'),
    ('weekly', 4, 'task', '2026-05-25 09:00:00', 'completed', '2026-05-25 09:00:00', '0 9 * * 1', '{}'),
    ('claimed', 6, 'chat', '2026-05-31 10:00:00', 'pending', NULL, NULL, '{"text":"claimed"}'),
    ('finished', 8, 'chat', '2026-05-31T10:00:01.000Z', 'pending', NULL, NULL, '{"text":"finished"}'),
    ('old form', 10, 'task', '2026-05-31 10:00:02', 'pending', '2026-06-01 11:59:59', NULL, '{}'),
    ('new form', 12, 'task', '2026-05-31T10:00:03.000Z', 'pending', '2026-06-01T11:59:59.000Z', NULL, '{}'),
    ('later', 14, 'task', '2026-05-31 10:00:04', 'pending', '2026-06-01 18:00:00', NULL, '{}');
  INSERT INTO delivered VALUES ('sent', '2026-05-30 10:00:01');`

const outbound = `
  CREATE TABLE messages_out (
    id TEXT PRIMARY KEY, seq INTEGER UNIQUE, in_reply_to TEXT, timestamp TEXT NOT NULL, deliver_after TEXT,
    recurrence TEXT, kind TEXT NOT NULL, platform_id TEXT, channel_type TEXT, thread_id TEXT, content TEXT NOT NULL
  );
  CREATE TABLE processing_ack (message_id TEXT PRIMARY KEY, status TEXT NOT NULL, status_changed TEXT NOT NULL);
  INSERT INTO messages_out (id, seq, in_reply_to, timestamp, kind, content) VALUES
    ('sent', 3, 'done', '2026-05-30 10:00:00', 'chat', '{"text":"sent"}'),
    ('unsent', 9, 'finished', '2026-05-31 10:00:01', 'chat', '{"text":"unsent"}');
  INSERT INTO processing_ack VALUES
    ('done', 'completed', '2026-05-30 10:00:00'),
    ('claimed', 'processing', '2026-05-31 10:00:00'),
    ('finished', 'completed', '2026-05-31 10:00:01');`

/** What a writer leaves that is killed in the middle of a transaction: half of it, and its journal. */
const killInTransaction = (path: string, table: "messages_in" | "messages_out") => {
  const writer = Raw.open(path)
  writer.exec("PRAGMA cache_size = 2; PRAGMA cache_spill = 1; BEGIN IMMEDIATE")
  for (let n = 0; n < 200; n++) {
    writer.exec(`INSERT INTO ${table} (id, seq, timestamp, kind, content)
      VALUES ('half ${n}', ${1001 + 2 * n}, '', 'chat', '${"x".repeat(500)}')`)
  }
  const half = [path, `${path}-journal`].map((name) => [name, Fs.readFileSync(name)] as const)
  writer.exec("ROLLBACK")
  writer.close()
  for (const [name, bytes] of half) Fs.writeFileSync(name, bytes)
}

const oldDataDir = Effect.gen(function* () {
  const dataDir = yield* TestHost.temporaryDirectory
  const folder = `${dataDir}/v2-sessions/ag-1/sess-1`
  Fs.mkdirSync(folder, { recursive: true })
  Raw.exec(`${dataDir}/v2.db`, central)
  Raw.exec(`${folder}/inbound.db`, inbound)
  Raw.exec(`${folder}/outbound.db`, outbound)
  killInTransaction(`${folder}/inbound.db`, "messages_in")
  killInTransaction(`${folder}/outbound.db`, "messages_out")
  Fs.writeFileSync(`${folder}/.heartbeat`, "")
  return { dataDir, folder }
})

const textsOf = Effect.gen(function* () {
  const { envelopes } = yield* TestHost.Channel
  return (yield* Ref.get(envelopes)).map(({ content }) => (JSON.parse(content) as { text: string }).text)
})

describe("a folder that an old build left", () => {
  it.effect("is taken over: what is due is served, and every reply is delivered once", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(begin)
      const { dataDir, folder } = yield* oldDataDir
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const registry = yield* SessionRegistry.SessionRegistry
        const delivery = yield* Delivery.Delivery
        const { sweep } = yield* Sweep.Sweep
        const containers = yield* TestHost.Containers
        const key = {
          agentGroupId: "ag-1",
          messagingGroupId: "mg-1",
          threadId: null,
          mode: "shared" as const
        }
        const { created, session } = yield* manager.resolve(key)
        expect([created, session.sessionId]).toEqual([false, "sess-1"])
        const statuses = () =>
          Object.fromEntries(
            Raw.query(`${folder}/inbound.db`, "SELECT id, status FROM messages_in").map(({ id, status }) => [
              String(id),
              status
            ])
          )

        // Nothing runs: the container of the old host is gone.
        const first = yield* sweep(session)
        expect(first).toMatchObject({ hasEnded: true, woken: true, retried: ["claimed"] })
        const [next = ""] = first.recurred
        expect(statuses()).toEqual({
          done: "completed",
          weekly: "completed",
          claimed: "pending",
          finished: "completed",
          "old form": "pending",
          "new form": "pending",
          later: "pending",
          [next]: "pending"
        })
        expect(
          Raw.query(
            `${folder}/inbound.db`,
            "SELECT seq, series_id, recurrence, process_after, trigger, on_wake FROM messages_in WHERE id = ?",
            next
          )
        ).toEqual([
          {
            seq: 16,
            series_id: "weekly",
            recurrence: "0 9 * * 1",
            process_after: "2026-06-08T09:00:00.000Z",
            trigger: 1,
            on_wake: 0
          }
        ])

        expect(yield* delivery.drain(session)).toMatchObject({
          delivered: ["unsent"],
          failed: [],
          waiting: []
        })
        expect(Fs.existsSync(`${folder}/outbound.db-journal`)).toBe(true)

        // The agent comes up, and rolls its predecessor's half transaction back.
        const mailbox = yield* TestHost.mailboxAt(folder)
        yield* mailbox.heartbeat
        expect((yield* mailbox.poll).map(({ id }) => id)).toEqual(["old form", "new form"])
        yield* TestClock.adjust("5 seconds")
        const due = yield* mailbox.poll
        expect(due.map(({ id }) => id)).toEqual(["claimed", "old form", "new form"])
        expect(yield* mailbox.claim(due.map(({ id }) => id))).toEqual(due.map(({ id }) => id))
        const numbers = yield* Effect.forEach(due, ({ id }) =>
          Effect.map(mailbox.send({ content: { text: `re ${id}` }, inReplyTo: id }), ({ seq }) => seq)
        )
        expect(numbers).toEqual([17, 19, 21])
        yield* mailbox.complete(due.map(({ id }) => id))
        yield* sweep(session)
        for (let n = 0; n < 3; n++) yield* delivery.drain(session)
        expect(yield* textsOf).toEqual(["unsent", "re claimed", "re old form", "re new form"])
        expect(statuses()).toMatchObject({ claimed: "completed", "old form": "completed", later: "pending" })

        const written = yield* manager.writeMessage(session, { id: "fresh", kind: "chat", content: "hi" })
        expect(written.seq).toBe(18)
        expect((yield* mailbox.poll).map(({ id }) => id)).toEqual(["fresh"])
        expect((yield* mailbox.send({ content: { text: "re fresh" } })).seq).toBe(23)
        yield* mailbox.complete(["fresh"])
        yield* containers.end(session)
        yield* TestClock.setTime(Date.UTC(2026, 5, 1, 18))
        expect(yield* sweep(session)).toMatchObject({ hasEnded: true, woken: true })
        yield* delivery.drain(session)
        expect((yield* textsOf).at(-1)).toBe("re fresh")
        expect((yield* registry.listActiveSessions()).length).toBe(1)
      }).pipe(Effect.scoped, Effect.provide(TestHost.layerAt(dataDir)))
    }).pipe(Effect.scoped)
  )

  it.effect("is taken over once, also if a second host starts at the same time", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(begin)
      const { dataDir, folder } = yield* oldDataDir
      const hosts = yield* Effect.all(
        [0, 1].map(() => Layer.build(TestHost.layerAt(dataDir))),
        { concurrency: "unbounded" }
      )
      const ref = { agentGroupId: "ag-1", sessionId: "sess-1" }
      const swept = yield* Effect.forEach(
        hosts,
        (host) =>
          Effect.provide(
            Effect.flatMap(Sweep.Sweep, ({ sweep }) => sweep(ref)),
            host
          ),
        { concurrency: "unbounded" }
      )
      expect(swept.flatMap(({ recurred }) => recurred).length).toBe(1)
      expect(swept.flatMap(({ retried }) => retried)).toEqual(["claimed"])
      expect(Raw.query(`${folder}/inbound.db`, "SELECT count(*) AS n FROM messages_in")).toEqual([{ n: 8 }])
    }).pipe(Effect.scoped)
  )
})

describe("an agent that knows nothing of this library", () => {
  const program = Effect.gen(function* () {
    yield* TestClock.setTime(begin)
    const runtime = yield* Effect.runtime()
    const now = () => Runtime.runSync(runtime)(Clock.currentTimeMillis)
    const manager = yield* SessionManager.SessionManager
    const delivery = yield* Delivery.Delivery
    const { sweep } = yield* Sweep.Sweep
    const session = yield* TestHost.newSession()
    const folder = yield* TestHost.folderOf(session)
    return {
      manager,
      session,
      start: () => NanoClaw.start(folder, now),
      sweep: sweep(session),
      drain: delivery.drain(session),
      write: (id: string) => manager.writeMessage(session, { id, kind: "chat", content: `{"text":"${id}"}` }),
      rows: () => Raw.query(`${folder}/inbound.db`, "SELECT id, status, tries FROM messages_in ORDER BY seq")
    }
  })

  it.effect("works in a folder of this host: it is woken, answers, and its answers go out", () =>
    Effect.gen(function* () {
      const { drain, rows, start, sweep, write } = yield* program
      const { answer } = yield* TestHost.Channel
      yield* Ref.set(answer, () => Effect.succeed(ChannelAdapter.delivered("platform-1")))
      yield* write("one")
      yield* write("two")
      expect(yield* sweep).toMatchObject({ woken: true })
      const agent = start()
      agent.heartbeat()
      const due = agent.poll()
      expect(due.map(({ id, seq }) => [id, seq])).toEqual([
        ["one", 2],
        ["two", 4]
      ])
      const numbers = due.map((message) => {
        agent.claim(message.id)
        const seq = agent.answer(message, `re ${message.id}`)
        agent.complete(message.id)
        return seq
      })
      expect(numbers).toEqual([5, 7])
      expect(yield* write("three")).toMatchObject({ seq: 6 })
      expect(yield* drain).toMatchObject({ failed: [], waiting: [] })
      yield* sweep
      expect(yield* textsOf).toEqual(["re one", "re two"])
      expect(agent.delivered()).toMatchObject([
        { status: "delivered", platform_message_id: "platform-1" },
        { status: "delivered", platform_message_id: "platform-1" }
      ])
      expect(rows()).toEqual([
        { id: "one", status: "completed", tries: 0 },
        { id: "two", status: "completed", tries: 0 },
        { id: "three", status: "pending", tries: 0 }
      ])
      const [three] = agent.poll()
      expect(three).toMatchObject({ id: "three", seq: 6 })
      if (three !== undefined) expect(agent.answer(three, "re three")).toBe(9)
    }).pipe(TestHost.withHost())
  )

  it.effect("is stopped when it hangs, and its successor gets what it had", () =>
    Effect.gen(function* () {
      const { drain, rows, start, sweep, write } = yield* program
      yield* write("hard")
      yield* sweep
      const agent = start()
      for (const { id } of agent.poll()) agent.claim(id)
      yield* sweep
      yield* TestClock.adjust("50 seconds")
      agent.heartbeat()
      expect((yield* sweep).killed._tag).toBe("None")
      yield* TestClock.adjust("61 seconds")
      expect(yield* sweep).toMatchObject({ killed: { value: "claims" }, retried: ["hard"] })
      yield* TestClock.adjust("5 seconds")
      expect(yield* sweep).toMatchObject({ woken: true })
      const successor = start()
      const due = successor.poll()
      expect(due.map(({ id }) => id)).toEqual(["hard"])
      for (const message of due) {
        successor.claim(message.id)
        successor.answer(message, "at last")
        successor.complete(message.id)
      }
      yield* sweep
      yield* drain
      expect(yield* textsOf).toEqual(["at last"])
      expect(rows()).toEqual([{ id: "hard", status: "completed", tries: 1 }])
    }).pipe(TestHost.withHost())
  )

  it.effect("may give a message up, and say so", () =>
    Effect.gen(function* () {
      const { rows, start, sweep, write } = yield* program
      yield* write("hopeless")
      yield* sweep
      const agent = start()
      for (const { id } of agent.poll()) agent.fail(id)
      yield* sweep
      expect(rows()).toEqual([{ id: "hopeless", status: "failed", tries: 0 }])
      expect(agent.poll()).toEqual([])
    }).pipe(TestHost.withHost())
  )
})
