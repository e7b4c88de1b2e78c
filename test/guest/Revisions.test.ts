import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { program } from "./Fixtures.js"

const revising = Effect.gen(function* () {
  const context = yield* program()
  const { folder, mailbox, outbound } = context
  return {
    ...context,
    deliver: (id: string, status: string, platformMessageId: string | null) =>
      Raw.query(
        `${folder}/inbound.db`,
        `INSERT INTO delivered (message_out_id, status, platform_message_id, delivered_at)
         VALUES (?, ?, ?, '2026-01-01T00:00:00.000Z') RETURNING 1`,
        id,
        status,
        platformMessageId
      ),
    last: () =>
      outbound(
        "SELECT kind, content, channel_type, platform_id, thread_id FROM messages_out ORDER BY seq DESC LIMIT 1"
      )[0],
    refusals: (seq: number) => Effect.forEach([mailbox.edit(seq, "x"), mailbox.react(seq, "x")], Effect.flip)
  }
})

const unknown = (operation: string) => ({
  _tag: "InvalidMessage",
  operation,
  field: "seq",
  reason: "unknown-message"
})

const bothUnknown = [
  expect.objectContaining(unknown("Mailbox.edit")),
  expect.objectContaining(unknown("Mailbox.react"))
]

describe("Mailbox.edit and Mailbox.react", () => {
  it.effect("name the agent's own message as the platform does, where it went", () =>
    Effect.gen(function* () {
      const { deliver, last, mailbox } = yield* revising
      const address = { channelType: "slack", platformId: "C1", threadId: "T" }
      const { id, seq } = yield* mailbox.send({ content: { text: "helo" }, ...address })
      deliver(id, "delivered", "p-1")
      const there = { kind: "chat", channel_type: "slack", platform_id: "C1", thread_id: "T" }
      const edit = yield* mailbox.edit(seq, "hello")
      expect(edit.seq % 2).toBe(1)
      expect(last()).toEqual({ ...there, content: `{"operation":"edit","messageId":"p-1","text":"hello"}` })
      yield* mailbox.react(seq, "👍")
      expect(last()).toEqual({
        ...there,
        content: `{"operation":"reaction","messageId":"p-1","emoji":"👍"}`
      })
    }).pipe(TestHost.withHost())
  )

  it.effect("name a message of the host's by its id, where it came from", () =>
    Effect.gen(function* () {
      const { folder, last, mailbox, write } = yield* revising
      const { seq } = yield* write("m1", { channelType: "chat", platformId: "P", threadId: "T" })
      const there = {
        kind: "chat",
        content: `{"operation":"reaction","messageId":"m1","emoji":"🎉"}`,
        channel_type: "chat",
        platform_id: "P",
        thread_id: "T"
      }
      yield* mailbox.react(seq, "🎉")
      expect(last()).toEqual(there)
      Raw.exec(`${folder}/inbound.db`, "UPDATE messages_in SET status = 'completed'")
      yield* mailbox.react(seq, "🎉")
      expect(last()).toEqual(there)
    }).pipe(TestHost.withHost())
  )

  it.effect("leave the address to the host where there was none", () =>
    Effect.gen(function* () {
      const { deliver, last, mailbox } = yield* revising
      const { id, seq } = yield* mailbox.send({ content: { text: "x" } })
      deliver(id, "delivered", "p-1")
      yield* mailbox.edit(seq, "y")
      expect(last()).toMatchObject({ channel_type: null, platform_id: null, thread_id: null })
    }).pipe(TestHost.withHost())
  )

  it.effect("fail for messages that are not there, not delivered, or without a name on the platform", () =>
    Effect.gen(function* () {
      const { deliver, mailbox, outbound, refusals } = yield* revising
      const waiting = yield* mailbox.send({ content: { text: "waiting" } })
      const failed = yield* mailbox.send({ content: { text: "failed" } })
      const nameless = yield* mailbox.send({ content: { text: "nameless" } })
      deliver(failed.id, "failed", "p-2")
      deliver(nameless.id, "delivered", null)
      for (const seq of [waiting.seq, failed.seq, nameless.seq, 99, 98, 0, -2, 1.5, NaN, Infinity, 2 ** 60]) {
        expect(yield* refusals(seq)).toEqual(bothUnknown)
      }
      expect(outbound("SELECT count(*) AS n FROM messages_out")).toEqual([{ n: 3 }])
    }).pipe(TestHost.withHost())
  )
})
