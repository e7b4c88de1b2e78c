import { describe, expect, it } from "@effect/vitest"
import { Either, Schema } from "effect"
import { Message, Tables } from "effect-airlock/protocol"
import * as Raw from "../support/Raw.js"

/** The rows of a query on a database that has been through these statements. */
const rows = (statements: ReadonlyArray<string>, sql: string) => {
  const database = Raw.open(":memory:")
  try {
    for (const statement of statements) database.exec(statement)
    return database.prepare(sql).all()
  } finally {
    database.close()
  }
}

const isAccepted = <A, I>(schema: Schema.Schema<A, I>, input: unknown): boolean =>
  Either.isRight(Schema.decodeUnknownEither(schema)(input))

const message = { id: "a", kind: "chat", content: "hello" }

describe("Message", () => {
  describe("InboundKind", () => {
    it("is what an agent's runner acknowledges", () => {
      expect(Message.InboundKind.literals).toEqual(["chat", "chat-sdk", "task", "webhook", "system"])
    })
  })

  describe("InboundMessage", () => {
    it.each([
      [message],
      [{ ...message, trigger: 0, onWake: true, threadId: null, processAfter: null }],
      [{ ...message, attachments: [{ source: { bytes: new Uint8Array([1]) } }] }],
      [{ ...message, attachments: [{ name: "a", mimeType: "text/plain", source: { file: "/tmp/a" } }] }]
    ])("is %j", (input) => {
      expect(isAccepted(Message.InboundMessage, input)).toBe(true)
    })

    it.each([
      [{ ...message, id: undefined }],
      [{ ...message, kind: "task_log" }],
      [{ ...message, content: { text: "hello" } }],
      [{ ...message, trigger: 2 }],
      [{ ...message, trigger: true }],
      [{ ...message, onWake: 1 }],
      [{ ...message, attachments: [{ name: "a" }] }],
      [{ ...message, attachments: [{ source: { bytes: [1, 2] } }] }]
    ])("is not %j", (input) => {
      expect(isAccepted(Message.InboundMessage, input)).toBe(false)
    })
  })

  describe("InboundRow", () => {
    it("reads a row as SQLite gives it, and gives the same row back", () => {
      const [row] = rows(
        [
          ...Tables.inbound,
          `INSERT INTO messages_in (id, seq, kind, timestamp, content, process_after, thread_id, on_wake)
            VALUES ('a', 2, 'task', '2026-07-01 12:00:00', '{}', '2026-07-02T12:00:00.000Z', 't', 1)`
        ],
        `SELECT * FROM messages_in`
      )
      const decoded = Schema.decodeUnknownSync(Message.InboundRow)(row)
      expect({ ...decoded }).toEqual({
        id: "a",
        seq: 2,
        kind: "task",
        timestamp: "2026-07-01 12:00:00",
        status: "pending",
        processAfter: "2026-07-02T12:00:00.000Z",
        recurrence: null,
        seriesId: null,
        tries: 0,
        trigger: 1,
        channelType: null,
        platformId: null,
        threadId: "t",
        content: "{}",
        sourceSessionId: null,
        onWake: 1
      })
      expect(Schema.encodeSync(Message.InboundRow)(decoded)).toEqual(row)
    })
  })

  describe("OutboundRow", () => {
    it.each([
      ["messages_out", Tables.outbound],
      ["airlock_direct", Tables.inbound]
    ])("reads a row of %s", (table, statements) => {
      const [row] = rows(
        [
          ...statements,
          `INSERT INTO ${table} (id, seq, kind, timestamp, content, in_reply_to, deliver_after, channel_type, platform_id)
            VALUES ('a', 1, 'chat', '2026-07-01T12:00:00.000Z', '{}', 'm', '2026-07-02 12:00:00', 'slack', 'C1')`
        ],
        `SELECT * FROM ${table}`
      )
      expect({ ...Schema.decodeUnknownSync(Message.OutboundRow)(row) }).toEqual({
        id: "a",
        seq: 1,
        inReplyTo: "m",
        timestamp: "2026-07-01T12:00:00.000Z",
        deliverAfter: "2026-07-02 12:00:00",
        kind: "chat",
        channelType: "slack",
        platformId: "C1",
        threadId: null,
        content: "{}"
      })
    })

    it.each([
      ["an id that is no text", { id: 7 }],
      ["an id that is missing", { id: null }],
      ["a content of bytes", { content: Buffer.from("{}") }],
      ["a number that is a text", { seq: "1" }]
    ])("does not read a row with %s", (_, damage) => {
      const row = {
        id: "a",
        seq: 1,
        in_reply_to: null,
        timestamp: "",
        deliver_after: null,
        kind: "chat",
        channel_type: null,
        platform_id: null,
        thread_id: null,
        content: "{}"
      }
      expect(isAccepted(Message.OutboundRow, row)).toBe(true)
      expect(isAccepted(Message.OutboundRow, { ...row, ...damage })).toBe(false)
    })
  })

  describe("Destination", () => {
    const channel = { type: "channel", name: "team", channelType: "slack", platformId: "C1" }
    const agent = { type: "agent", name: "helper", agentGroupId: "g2" }

    it.each([[channel], [agent], [{ ...channel, displayName: null }], [{ ...agent, displayName: "Helper" }]])(
      "is %j",
      (input) => {
        expect(isAccepted(Message.Destination, input)).toBe(true)
      }
    )

    it.each([
      [{ ...channel, name: "" }],
      [{ ...channel, platformId: undefined }],
      [{ ...channel, channelType: "" }],
      [{ ...agent, agentGroupId: undefined }],
      [{ ...agent, type: "channel" }],
      [{ ...channel, type: "agent" }],
      [{ ...channel, type: "group" }]
    ])("is not %j", (input) => {
      expect(isAccepted(Message.Destination, input)).toBe(false)
    })
  })
})
