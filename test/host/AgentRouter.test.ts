import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { ChannelAdapter, Delivery, SessionManager, SessionRegistry } from "effect-airlock"
import { AgentRouter } from "../../src/host/AgentRouter.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

/** An agent that may write to another one, and the session that the other one has. */
const program = Effect.gen(function* () {
  const delivery = yield* Delivery.Delivery
  const manager = yield* SessionManager.SessionManager
  const registry = yield* SessionRegistry.SessionRegistry
  const session = yield* TestHost.newSession()
  const folder = yield* TestHost.folderOf(session)
  const mailbox = yield* TestHost.mailboxAt(folder)
  yield* manager.writeDestinations(session, [{ type: "agent", name: "colleague", agentGroupId: "other" }])
  const other = Effect.gen(function* () {
    const found = yield* registry.findSession({
      agentGroupId: "other",
      messagingGroupId: null,
      threadId: null,
      mode: "agent-shared"
    })
    const ref = Option.getOrThrow(found)
    const path = yield* TestHost.folderOf(ref)
    return {
      ref,
      folder: path,
      mailbox: yield* TestHost.mailboxAt(path),
      rows: () => Raw.query(`${path}/inbound.db`, "SELECT * FROM messages_in ORDER BY seq")
    }
  })
  return { delivery, manager, registry, session, folder, mailbox, other, drain: delivery.drain(session) }
})

describe("a message for another agent", () => {
  it.effect("arrives in the session that the agent has for all its chats, with its files", () =>
    Effect.gen(function* () {
      const { drain, mailbox, other, session } = yield* program
      const { id } = yield* mailbox.send({
        to: "colleague",
        content: { text: "look at this" },
        files: [{ name: "notes.txt", data: Buffer.from("notes") }]
      })
      expect(yield* drain).toMatchObject({ delivered: [id] })
      const there = yield* other
      const [message] = yield* there.mailbox.poll
      expect(message).toMatchObject({
        kind: "chat",
        channelType: "agent",
        platformId: session.agentGroupId,
        sourceSessionId: session.sessionId,
        trigger: 1
      })
      const content = JSON.parse(message?.content ?? "") as {
        text: string
        attachments: Array<{ localPath: string }>
      }
      expect(content.text).toBe("look at this")
      const bytes = yield* there.mailbox.attachment(content.attachments[0]?.localPath ?? "")
      expect(Buffer.from(bytes).toString()).toBe("notes")
    }).pipe(TestHost.withHost())
  )

  it.effect("is answered into the session that asked, which needs no destination for that", () =>
    Effect.gen(function* () {
      const { delivery, drain, mailbox, manager, other, session } = yield* program
      // The asker's agent has another session, which must not get the answer.
      yield* manager.resolve({
        agentGroupId: session.agentGroupId,
        messagingGroupId: null,
        threadId: null,
        mode: "agent-shared"
      })
      yield* mailbox.send({ to: "colleague", content: { text: "how much?" } })
      yield* drain
      const there = yield* other
      const [question] = yield* there.mailbox.poll
      const answer = yield* there.mailbox.send({
        content: { text: "forty-two" },
        inReplyTo: question?.id ?? ""
      })
      expect(yield* delivery.drain(there.ref)).toMatchObject({ delivered: [answer.id] })
      const [reply] = yield* mailbox.poll
      expect(reply).toMatchObject({
        channelType: "agent",
        platformId: "other",
        sourceSessionId: there.ref.sessionId
      })
      expect(reply?.content).toContain("forty-two")
    }).pipe(TestHost.withHost())
  )

  it.effect("is refused if the agent is not among the destinations", () =>
    Effect.gen(function* () {
      const { delivery, drain, mailbox, registry, session } = yield* program
      const { id } = yield* mailbox.send({
        content: { text: "psst" },
        channelType: "agent",
        platformId: "stranger"
      })
      yield* drain
      expect(yield* delivery.failures(session)).toMatchObject([
        { id, reason: "not a destination of this session" }
      ])
      expect((yield* registry.listActiveSessions()).length).toBe(1)
    }).pipe(TestHost.withHost())
  )

  it.effect("is written once, also by a host that died before it could say so, and its successor", () =>
    Effect.gen(function* () {
      const { drain, folder, mailbox, other, session } = yield* program
      const { id } = yield* mailbox.send({ to: "colleague", content: { text: "once" } })
      yield* drain
      Raw.exec(
        TestHost.originalOf(folder),
        `DELETE FROM delivered; INSERT INTO airlock_delivery (source, message_id, state, attempts, attempted_at)
         VALUES ('agent', '${id}', 'sending', 1, '2026-01-01T00:00:00.000Z')`
      )
      const dataDir = folder.slice(0, folder.indexOf("/v2-sessions"))
      const again = yield* Effect.flatMap(Delivery.Delivery, (successor) => successor.drain(session)).pipe(
        Effect.provide(TestHost.layerAt(dataDir))
      )
      expect(again).toMatchObject({ delivered: [id] })
      expect((yield* other).rows().length).toBe(1)
    }).pipe(TestHost.withHost())
  )

  it.effect("is answered into the shared session of the agent if the session that asked is closed", () =>
    Effect.gen(function* () {
      const { delivery, drain, mailbox, manager, other, registry, session } = yield* program
      yield* mailbox.send({ to: "colleague", content: { text: "how much?" } })
      yield* drain
      const there = yield* other
      const [question] = yield* there.mailbox.poll
      const { session: shared } = yield* manager.resolve({
        agentGroupId: session.agentGroupId,
        messagingGroupId: null,
        threadId: null,
        mode: "agent-shared"
      })
      yield* registry.updateSession(session, { status: "closed" })
      const answer = yield* there.mailbox.send({
        content: { text: "forty-two" },
        inReplyTo: question?.id ?? ""
      })
      expect(yield* delivery.drain(there.ref)).toMatchObject({ delivered: [answer.id] })
      const rows = Raw.query(
        TestHost.originalOf(yield* TestHost.folderOf(shared)),
        "SELECT content FROM messages_in"
      )
      expect(rows.length).toBe(1)
    }).pipe(TestHost.withHost())
  )

  it.effect("waits if a bug is in its way", () =>
    Effect.gen(function* () {
      const { mailbox, session } = yield* program
      const { id } = yield* mailbox.send({ to: "colleague", content: { text: "hello" } })
      const broken = Layer.merge(
        Layer.succeed(AgentRouter, { deliver: () => Effect.die("bug") }),
        ChannelAdapter.ChannelAdapter.layer(() => Effect.succeed(ChannelAdapter.delivered()))
      )
      yield* Effect.gen(function* () {
        const delivery = yield* Delivery.Delivery
        expect(yield* delivery.drain(session)).toMatchObject({ waiting: [id] })
        expect(yield* delivery.attempted(session)).toMatchObject([{ id, state: "waiting", attempts: 1 }])
      }).pipe(Effect.provide(Layer.provide(Delivery.Delivery.layer, broken)))
    }).pipe(TestHost.withHost())
  )

  it.effect("is a failure with a reason if the other side cannot take it", () =>
    Effect.gen(function* () {
      const { delivery, drain, mailbox, session } = yield* program
      const files = Array.from({ length: 3 }, (_, n) => ({ name: `${n}`, data: Buffer.from("x".repeat(60)) }))
      const { id } = yield* mailbox.send({ to: "colleague", content: { text: "many" }, files })
      yield* drain
      expect(yield* delivery.failures(session)).toMatchObject([{ id, reason: "AttachmentTooLarge" }])
    }).pipe(TestHost.withHost({ limits: { attachmentBytes: 50 } }))
  )

  it.effect(
    "is a failure with a reason if its text is more than the host takes, and the next one passes",
    () =>
      Effect.gen(function* () {
        const { delivery, drain, folder, mailbox, other, session } = yield* program
        Raw.exec(
          `${folder}/outbound.db`,
          `INSERT INTO messages_out (id, seq, timestamp, kind, channel_type, platform_id, content)
         VALUES ('long', 1, '', 'chat', 'agent', 'other', '{"text":"${"x".repeat(2000)}"}')`
        )
        const { id } = yield* mailbox.send({ to: "colleague", content: { text: "short" } })
        expect(yield* drain).toMatchObject({ delivered: [id] })
        expect(yield* delivery.failures(session)).toMatchObject([{ id: "long", reason: "content too long" }])
        expect((yield* other).rows().length).toBe(1)
      }).pipe(TestHost.withHost({ limits: { contentBytes: 1000 } }))
  )

  it.effect("waits while the other session cannot be written", () =>
    Effect.gen(function* () {
      const { delivery, drain, mailbox, other, session } = yield* program
      yield* mailbox.send({ to: "colleague", content: { text: "first" } })
      yield* drain
      TestHost.replaceOriginal((yield* other).folder, "no database")
      const { id } = yield* mailbox.send({ to: "colleague", content: { text: "second" } })
      expect(yield* drain).toMatchObject({ waiting: [id] })
      expect(yield* delivery.attempted(session)).toMatchObject([{ id, reason: "inbound: not-a-database" }])
    }).pipe(TestHost.withHost())
  )
})
