import { describe, expect, it } from "@effect/vitest"
import { Effect, Ref, TestClock } from "effect"
import type { Mailbox } from "effect-airlock"
import { ChannelAdapter, Delivery, SessionManager, Sweep } from "effect-airlock"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

/** A session, its agent's mailbox in the same process, and what the channel saw. */
const program = Effect.gen(function* () {
  const { answer, envelopes } = yield* TestHost.Channel
  const delivery = yield* Delivery.Delivery
  const manager = yield* SessionManager.SessionManager
  const session = yield* TestHost.newSession()
  const folder = yield* TestHost.folderOf(session)
  const mailbox = yield* TestHost.mailboxAt(folder)
  const texts = Effect.map(Ref.get(envelopes), (all) =>
    all.map(({ content }) => (JSON.parse(content) as { text: string }).text)
  )
  return {
    manager,
    session,
    folder,
    mailbox,
    envelopes: Ref.get(envelopes),
    texts,
    answer: (deliver: ChannelAdapter.Deliver) => Ref.set(answer, deliver),
    drain: delivery.drain(session),
    say: (text: string, more: Partial<Mailbox.Reply> = {}) => mailbox.send({ content: { text }, ...more }),
    outbound: (sql: string) => Raw.exec(`${folder}/outbound.db`, sql),
    delivered: () =>
      Raw.query(
        TestHost.originalOf(folder),
        "SELECT message_out_id, platform_message_id, status FROM delivered"
      )
  }
})

const insert = (id: string, seq: number | "NULL", content: string, columns = "kind", values = "'chat'") =>
  `INSERT INTO messages_out (id, seq, timestamp, content, ${columns})
   VALUES ('${id}', ${seq}, '2026-01-01T00:00:00.000Z', '${content}', ${values})`

describe("Delivery.drain", () => {
  it.effect("hands each message over once, in order, with the session's own chat as its address", () =>
    Effect.gen(function* () {
      const { answer, delivered, drain, envelopes, say, session, texts } = yield* program
      yield* answer(() => Effect.succeed(ChannelAdapter.delivered("platform-1")))
      const first = yield* say("one", { inReplyTo: "question" })
      yield* say("two")
      const result = yield* drain
      expect(result).toMatchObject({
        delivered: [first.id, expect.any(String)],
        failed: [],
        waiting: []
      })
      expect(yield* texts).toEqual(["one", "two"])
      expect((yield* envelopes)[0]).toEqual({
        idempotencyKey: `${session.sessionId}/agent/${first.id}`,
        ref: { agentGroupId: session.agentGroupId, sessionId: session.sessionId },
        id: first.id,
        kind: "chat",
        inReplyTo: "question",
        channelType: "test",
        platformId: "chat",
        threadId: null,
        content: `{"text":"one"}`,
        files: [],
        skipped: []
      })
      expect(delivered()[0]).toEqual({
        message_out_id: first.id,
        platform_message_id: "platform-1",
        status: "delivered"
      })
      expect(yield* drain).toEqual({ delivered: [], failed: [], waiting: [] })
      expect((yield* texts).length).toBe(2)
    }).pipe(TestHost.withHost())
  )

  it.effect("leaves the agent's copy alone, which has what was delivered with the next change or look", () =>
    Effect.gen(function* () {
      const { drain, folder, manager, say, session } = yield* program
      const sweep = yield* Sweep.Sweep
      const shown = () =>
        Raw.query(`${folder}/inbound.db`, "SELECT message_out_id AS id FROM delivered").map(({ id }) =>
          String(id)
        )
      const looks = [
        drain,
        sweep.sweep(session),
        manager.writeMessage(session, { id: "m", kind: "chat", content: "{}" })
      ]
      const sent: Array<string> = []
      for (const [index, look] of looks.entries()) {
        const inode = Fs.statSync(`${folder}/inbound.db`).ino
        const { id } = yield* say(`message ${index}`)
        expect(yield* drain).toMatchObject({ delivered: [id] })
        expect(Fs.statSync(`${folder}/inbound.db`).ino).toBe(inode)
        expect(new Set(shown())).toEqual(new Set(sent))
        yield* look
        sent.push(id)
        expect(new Set(shown())).toEqual(new Set(sent))
      }
    }).pipe(TestHost.withHost())
  )

  it.effect("hands over the files, reports missing ones, and clears the outbox afterwards", () =>
    Effect.gen(function* () {
      const { drain, envelopes, folder, outbound, say } = yield* program
      yield* say("files", { files: [{ name: "a.txt", data: Buffer.from("bytes") }] })
      outbound(insert("out-2", 101, `{"text":"x","files":["gone","../../x",7]}`))
      outbound(insert("out-3", 103, `{"text":"x","files":["large"]}`))
      Fs.mkdirSync(`${folder}/outbox/out-3`)
      Fs.writeFileSync(`${folder}/outbox/out-3/large`, "x".repeat(11))
      yield* drain
      const [first, second, third] = yield* envelopes
      expect(first?.files.map(({ data, name }) => [name, Buffer.from(data).toString()])).toEqual([
        ["a.txt", "bytes"]
      ])
      expect(second?.files).toEqual([])
      expect(second?.skipped.map(({ name }) => name)).toEqual(["gone", "../../x"])
      expect(third?.skipped).toEqual([{ name: "large", reason: "too-large" }])
      expect(Fs.readdirSync(`${folder}/outbox`)).toEqual([])
    }).pipe(TestHost.withHost({ limits: { outboxFileBytes: 10 } }))
  )

  it.effect("delivers direct replies and the agent's messages in the order of their numbers", () =>
    Effect.gen(function* () {
      const { drain, manager, say, session, texts } = yield* program
      const direct = (id: string) =>
        manager.writeOutboundDirect(session, { id, kind: "chat", content: `{"text":"${id}"}` })
      yield* direct("d2")
      yield* say("a1")
      yield* manager.writeMessage(session, { id: "m", kind: "chat", content: "x" })
      yield* say("a5")
      yield* direct("d6")
      yield* drain
      expect(yield* texts).toEqual(["a1", "d2", "a5", "d6"])
      yield* drain
      expect((yield* texts).length).toBe(4)
    }).pipe(TestHost.withHost())
  )

  it.effect("keeps an agent from settling a direct reply by taking its id", () =>
    Effect.gen(function* () {
      const { drain, manager, outbound, session, texts } = yield* program
      outbound(insert("same", 1, `{"text":"agent"}`))
      yield* drain
      yield* manager.writeOutboundDirect(session, { id: "same", kind: "chat", content: `{"text":"host"}` })
      yield* drain
      expect(yield* texts).toEqual(["agent", "host"])
    }).pipe(TestHost.withHost())
  )

  it.effect("marks a message delivered only after the adapter said so (invariant 10, U8)", () =>
    Effect.gen(function* () {
      const { answer, delivered, drain, say, texts } = yield* program
      const { id } = yield* say("hello")
      const answers: ReadonlyArray<ChannelAdapter.Deliver> = [
        () => Effect.succeed(ChannelAdapter.tryLater()),
        () => Effect.succeed(ChannelAdapter.unknown()),
        () => Effect.fail("offline"),
        () => Effect.die("bug")
      ]
      for (const one of answers) {
        yield* answer(one)
        expect(yield* drain).toMatchObject({ delivered: [], failed: [], waiting: [id] })
        expect(delivered()).toEqual([])
        yield* TestClock.adjust("1 minute")
      }
      yield* answer(() => Effect.succeed(ChannelAdapter.delivered()))
      expect(yield* drain).toMatchObject({ delivered: [id], waiting: [] })
      expect((yield* texts).length).toBe(5)
    }).pipe(TestHost.withHost())
  )

  it.effect("gives up waiting for an adapter that never answers", () =>
    Effect.gen(function* () {
      const { answer, drain, say } = yield* program
      const { id } = yield* say("hello")
      yield* answer(() => Effect.never)
      const fiber = yield* Effect.fork(drain)
      yield* Effect.repeatN(Effect.yieldNow(), 500)
      yield* TestClock.adjust("1 minute")
      expect(yield* fiber.await).toMatchObject({ value: { waiting: [id] } })
    }).pipe(TestHost.withHost())
  )

  it.effect("leaves a message for a channel without an adapter waiting", () =>
    Effect.gen(function* () {
      const { answer, drain, say } = yield* program
      const byChannel = yield* Effect.provide(
        ChannelAdapter.ChannelAdapter,
        ChannelAdapter.ChannelAdapter.layerByChannel({
          other: () => Effect.succeed(ChannelAdapter.delivered())
        })
      )
      yield* answer(byChannel.deliver)
      const { id } = yield* say("hello")
      expect(yield* drain).toMatchObject({ delivered: [], waiting: [id] })
    }).pipe(TestHost.withHost())
  )

  it.effect("marks a rejected message failed, and says why", () =>
    Effect.gen(function* () {
      const { answer, delivered, drain, say } = yield* program
      const { id } = yield* say("hello")
      yield* answer(() => Effect.succeed(ChannelAdapter.rejected("blocked by the user")))
      expect(yield* drain).toMatchObject({ delivered: [], failed: [{ id, reason: "blocked by the user" }] })
      expect(delivered()).toEqual([{ message_out_id: id, platform_message_id: null, status: "failed" }])
      expect(yield* drain).toMatchObject({ failed: [] })
    }).pipe(TestHost.withHost())
  )

  it.effect("keeps the order within a thread, and lets other threads pass", () =>
    Effect.gen(function* () {
      const { answer, drain, say, texts } = yield* program
      yield* answer((envelope) =>
        Effect.succeed(envelope.threadId === "stuck" ? ChannelAdapter.tryLater() : ChannelAdapter.delivered())
      )
      const stuck = yield* Effect.forEach(["s1", "s2"], (text) => say(text, { threadId: "stuck" }))
      yield* say("free", { threadId: "free" })
      expect(yield* drain).toMatchObject({ waiting: stuck.map(({ id }) => id) })
      expect(yield* texts).toEqual(["s1", "free"])
    }).pipe(TestHost.withHost())
  )

  it.effect("refuses a destination that is neither the session's chat nor in its list", () =>
    Effect.gen(function* () {
      const { drain, manager, say, session, texts } = yield* program
      const elsewhere = { channelType: "test", platformId: "elsewhere" }
      const refused = yield* say("spam", elsewhere)
      expect(yield* drain).toMatchObject({
        failed: [{ id: refused.id, reason: "not a destination of this session" }]
      })
      yield* manager.writeDestinations(session, [{ type: "channel", name: "x", ...elsewhere }])
      yield* say("invited", elsewhere)
      yield* drain
      expect(yield* texts).toEqual(["invited"])
    }).pipe(TestHost.withHost())
  )

  it.effect("delivers to the session's own chat also before its routing was written", () =>
    Effect.gen(function* () {
      const { drain, envelopes, folder, say } = yield* program
      Raw.exec(TestHost.originalOf(folder), "DELETE FROM session_routing")
      yield* say("hello")
      expect(yield* drain).toMatchObject({ failed: [], waiting: [] })
      expect(yield* envelopes).toMatchObject([{ channelType: null, platformId: null, threadId: null }])
    }).pipe(TestHost.withHost())
  )

  it.effect("holds a message until its time has come, in either stored form", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 0, 1, 12))
      const { drain, outbound, say, texts } = yield* program
      yield* say("later", { deliverAfter: Date.UTC(2026, 0, 1, 13) })
      outbound(
        insert("old", 101, `{"text":"old form"}`, "kind, deliver_after", "'chat', '2026-01-01 13:00:00'")
      )
      yield* drain
      expect(yield* texts).toEqual([])
      yield* TestClock.adjust("1 hour")
      yield* drain
      expect(yield* texts).toEqual(["later", "old form"])
    }).pipe(TestHost.withHost())
  )

  it.effect("never delivers a task log, and fails what nobody takes without holding up the chat", () =>
    Effect.gen(function* () {
      const { delivered, drain, outbound, texts } = yield* program
      outbound(insert("log", 1, "{}", "kind", "'task_log'"))
      outbound(insert("system", 3, `{"action":"unheard-of"}`, "kind", "'system'"))
      outbound(insert("agent", 5, "{}", "kind, channel_type, platform_id", "'chat', 'agent', 'x'"))
      outbound(insert("chat", 7, `{"text":"chat"}`))
      expect(yield* drain).toEqual({
        delivered: ["chat"],
        failed: [
          { id: "agent", reason: "not a destination of this session" },
          { id: "system", reason: "no handler for this action" }
        ],
        waiting: []
      })
      expect(yield* texts).toEqual(["chat"])
      expect(
        delivered()
          .map(({ message_out_id }) => message_out_id)
          .sort()
      ).toEqual(["agent", "chat", "system"])
    }).pipe(TestHost.withHost())
  )

  it.effect("sets rows aside that are not messages, and delivers the rest", () =>
    Effect.gen(function* () {
      const { drain, outbound, texts } = yield* program
      outbound(
        "INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('blob', 1, 't', 'chat', x'00ff')"
      )
      outbound(
        "INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES (x'00', 3, 't', 'chat', '{}')"
      )
      outbound(
        "INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES (NULL, 5, 't', 'chat', '{}')"
      )
      outbound(
        "INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('seq', 'seven', 't', 'chat', '{}')"
      )
      outbound(insert("good", 9, `{"text":"good"}`))
      outbound(insert("unnumbered", "NULL", `{"text":"unnumbered"}`))
      outbound(insert("long", 11, `{"text":"${"x".repeat(2000)}"}`))
      const { failed } = yield* drain
      expect(new Map(failed.map(({ id, reason }) => [id, reason]))).toEqual(
        new Map([
          ["blob", "not a message"],
          ["unnamed (blob, number 3)", "not a message"],
          ["unnamed (null, number 5)", "not a message"],
          ["seq", "not a message"],
          ["long", "content too long"]
        ])
      )
      expect([...(yield* texts)].sort()).toEqual(["good", "unnumbered"])
      expect(yield* drain).toEqual({ delivered: [], failed: [], waiting: [] })
    }).pipe(TestHost.withHost({ limits: { contentBytes: 1000 } }))
  )

  it.effect("delivers what an agent wrote before it was killed in the middle of a commit (U1)", () =>
    Effect.gen(function* () {
      const { drain, folder, say, texts } = yield* program
      yield* say("before")
      // A copy of the pair of files as they are during a transaction is what a killed writer leaves.
      const agent = Raw.open(`${folder}/outbound.db`)
      agent.exec("PRAGMA cache_size = 2; PRAGMA cache_spill = 1; BEGIN IMMEDIATE")
      for (let n = 0; n < 200; n++) agent.exec(insert(`half-${n}`, 1001 + 2 * n, "x".repeat(500)))
      const half = ["outbound.db", "outbound.db-journal"].map(
        (name) => [name, Fs.readFileSync(`${folder}/${name}`)] as const
      )
      agent.exec("ROLLBACK")
      agent.close()
      for (const [name, bytes] of half) Fs.writeFileSync(`${folder}/${name}`, bytes)
      expect(yield* drain).toMatchObject({ delivered: [expect.any(String)] })
      expect(yield* texts).toEqual(["before"])
      expect(Fs.existsSync(`${folder}/outbound.db-journal`)).toBe(true)
    }).pipe(TestHost.withHost())
  )

  it.effect("lets what must wait take no place of what need not", () =>
    Effect.gen(function* () {
      const { drain, outbound, texts } = yield* program
      for (let n = 0; n < 5; n++) {
        const late = "'chat', '2999-01-01T00:00:00.000Z'"
        outbound(insert(`late-${n}`, 1 + 2 * n, "{}", "kind, deliver_after", late))
      }
      outbound(insert("now", 101, `{"text":"now"}`))
      yield* drain
      expect(yield* texts).toEqual(["now"])
    }).pipe(TestHost.withHost({ limits: { drainMessages: 3 } }))
  )

  it.effect("takes at most its limit, the lowest numbers of both tables", () =>
    Effect.gen(function* () {
      const { drain, manager, say, session, texts } = yield* program
      for (const n of [1, 2, 3]) {
        yield* say(`a${n}`)
        yield* manager.writeOutboundDirect(session, {
          id: `d${n}`,
          kind: "chat",
          content: `{"text":"d${n}"}`
        })
      }
      yield* drain
      expect(yield* texts).toEqual(["a1", "d1", "a2"])
      yield* drain
      expect(yield* texts).toEqual(["a1", "d1", "a2", "d2", "a3", "d3"])
    }).pipe(TestHost.withHost({ limits: { drainMessages: 3 } }))
  )

  it.effect("reads no more files of a message than its limits allow, and each once", () =>
    Effect.gen(function* () {
      const { drain, envelopes, folder, outbound } = yield* program
      Fs.mkdirSync(`${folder}/outbox/out`)
      for (const name of ["a", "b", "c", "d"]) Fs.writeFileSync(`${folder}/outbox/out/${name}`, "x".repeat(6))
      outbound(insert("out", 1, `{"files":["a","a","b","c","d"]}`))
      yield* drain
      const [envelope] = yield* envelopes
      expect(envelope?.files.map(({ name }) => name)).toEqual(["a"])
      expect(envelope?.skipped).toEqual([
        { name: "b", reason: "too-large" },
        { name: "c", reason: "too-large" },
        { name: "d", reason: "too-many" }
      ])
    }).pipe(TestHost.withHost({ limits: { attachments: 3, messageAttachmentBytes: 10 } }))
  )

  it.effect("does not choke on an id of megabytes", () =>
    Effect.gen(function* () {
      const { drain, outbound, texts } = yield* program
      outbound(insert("x".repeat(5_000_000), 1, `{"text":"long id"}`))
      outbound(insert("good", 3, `{"text":"good"}`))
      expect(yield* drain).toEqual({
        delivered: ["good"],
        failed: [{ id: "unnamed (text, number 1)", reason: "not a message" }],
        waiting: []
      })
      expect(yield* texts).toEqual(["good"])
    }).pipe(TestHost.withHost())
  )

  it.effect("sends one of several rows that share an id", () =>
    Effect.gen(function* () {
      const { drain, outbound, texts } = yield* program
      outbound("DROP TABLE messages_out")
      outbound(`CREATE TABLE messages_out (id TEXT COLLATE NOCASE, seq INTEGER, in_reply_to, timestamp TEXT, deliver_after,
        kind TEXT, platform_id, channel_type, thread_id, content TEXT)`)
      outbound(insert("a", 1, `{"text":"first"}`))
      outbound(insert("a", 3, `{"text":"second"}`))
      outbound(insert("A", 5, `{"text":"other"}`))
      yield* drain
      yield* drain
      expect(yield* texts).toEqual(["first", "other"])
    }).pipe(TestHost.withHost())
  )

  it.effect("runs one drain of a session at a time", () =>
    Effect.gen(function* () {
      const { drain, say, texts } = yield* program
      yield* say("once")
      yield* Effect.all([drain, drain, drain], { concurrency: "unbounded" })
      expect(yield* texts).toEqual(["once"])
    }).pipe(TestHost.withHost())
  )

  it.effect("has no database open while it sends", () =>
    Effect.gen(function* () {
      const { answer, drain, manager, say, session } = yield* program
      yield* answer(() =>
        Effect.as(
          manager.writeMessage(session, { id: "from-the-adapter", kind: "chat", content: "x" }),
          ChannelAdapter.delivered()
        )
      )
      const { id } = yield* say("hello")
      expect(yield* drain).toMatchObject({ delivered: [id] })
    }).pipe(TestHost.withHost())
  )

  it.effect("is not kept by a view that never ends where the agent's messages should be", () =>
    Effect.gen(function* () {
      const { drain, manager, outbound, session, texts } = yield* program
      outbound(`DROP TABLE messages_out; CREATE VIEW messages_out AS
        WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)
        SELECT x AS id, x AS seq, x AS kind, NULL AS in_reply_to, NULL AS deliver_after, NULL AS channel_type,
          NULL AS platform_id, NULL AS thread_id, x AS content FROM n`)
      yield* manager.writeOutboundDirect(session, { id: "d", kind: "chat", content: `{"text":"direct"}` })
      expect(yield* drain).toEqual({ delivered: ["d"], failed: [], waiting: [] })
      expect(yield* texts).toEqual(["direct"])
    }).pipe(TestHost.withHost())
  )
})
