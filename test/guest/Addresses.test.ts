import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { program } from "./Fixtures.js"

const withDestinations = Effect.gen(function* () {
  const context = yield* program()
  yield* context.manager.writeDestinations(context.session, [
    { type: "channel", name: "team", displayName: "The team", channelType: "slack", platformId: "C1" },
    { type: "agent", name: "helper", agentGroupId: "helpers" }
  ])
  const address = () =>
    context.outbound(
      "SELECT channel_type, platform_id, thread_id, in_reply_to FROM messages_out ORDER BY seq DESC LIMIT 1"
    )[0]
  return { ...context, address }
})

const nowhere = { channel_type: null, platform_id: null, thread_id: null, in_reply_to: null }

describe("the address of a message", () => {
  it.effect("is a destination's, by its name", () =>
    Effect.gen(function* () {
      const { address, mailbox } = yield* withDestinations
      yield* mailbox.send({ content: {}, to: "team", threadId: "t" })
      expect(address()).toEqual({ ...nowhere, channel_type: "slack", platform_id: "C1", thread_id: "t" })
      yield* mailbox.send({ content: {}, to: "helper" })
      expect(address()).toEqual({ ...nowhere, channel_type: "agent", platform_id: "helpers" })
    }).pipe(TestHost.withHost())
  )

  it.effect("fails for a destination that the host has not listed", () =>
    Effect.gen(function* () {
      const { folder, mailbox, outbound } = yield* withDestinations
      Raw.exec(`${folder}/inbound.db`, "INSERT INTO destinations (name, type) VALUES ('broken', 'channel')")
      for (const to of ["nobody", "Team", "", "broken"]) {
        expect(yield* Effect.flip(mailbox.send({ content: {}, to }))).toMatchObject({
          _tag: "InvalidMessage",
          field: "to",
          reason: "unknown-destination"
        })
      }
      expect(outbound("SELECT * FROM messages_out")).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("is the one that the agent spells out", () =>
    Effect.gen(function* () {
      const { address, mailbox, write } = yield* withDestinations
      yield* write("m", { channelType: "chat", platformId: "P", threadId: "T" })
      yield* mailbox.send({ content: {}, channelType: "mail", platformId: "a@b", inReplyTo: "m" })
      expect(address()).toEqual({
        channel_type: "mail",
        platform_id: "a@b",
        thread_id: null,
        in_reply_to: "m"
      })
    }).pipe(TestHost.withHost())
  )

  it.effect("is where the message came from that it answers, also when that is long done", () =>
    Effect.gen(function* () {
      const { address, folder, mailbox, write } = yield* withDestinations
      yield* write("m", { channelType: "chat", platformId: "P", threadId: "T" })
      const there = { channel_type: "chat", platform_id: "P", thread_id: "T", in_reply_to: "m" }
      yield* mailbox.send({ content: {}, inReplyTo: "m" })
      expect(address()).toEqual(there)
      Raw.exec(`${folder}/inbound.db`, "UPDATE messages_in SET status = 'completed'")
      yield* mailbox.send({ content: {}, inReplyTo: "m" })
      expect(address()).toEqual(there)
      yield* mailbox.send({ content: {}, inReplyTo: "m", threadId: "other" })
      expect(address()).toEqual({ ...there, thread_id: "other" })
    }).pipe(TestHost.withHost())
  )

  it.effect("is left to the host otherwise", () =>
    Effect.gen(function* () {
      const { address, mailbox, write } = yield* withDestinations
      yield* write("task", { kind: "task", content: "{}", threadId: "T" })
      yield* mailbox.send({ content: {} })
      expect(address()).toEqual(nowhere)
      for (const inReplyTo of ["task", "unknown"]) {
        yield* mailbox.send({ content: {}, inReplyTo })
        expect(address()).toEqual({ ...nowhere, in_reply_to: inReplyTo })
      }
    }).pipe(TestHost.withHost())
  )
})

describe("Mailbox.routing and Mailbox.destinations", () => {
  it.effect("are what the host wrote, without rows that are none", () =>
    Effect.gen(function* () {
      const { folder, mailbox, watch } = yield* withDestinations
      Raw.exec(
        `${folder}/inbound.db`,
        `INSERT INTO destinations (name, type) VALUES ('broken', 'channel'), ('odd', 'pigeon')`
      )
      expect(yield* mailbox.routing).toEqual({ channelType: "test", platformId: "chat", threadId: null })
      watch.opened = 0
      expect(yield* mailbox.destinations).toEqual([
        { type: "agent", name: "helper", displayName: null, agentGroupId: "helpers" },
        { type: "channel", name: "team", displayName: "The team", channelType: "slack", platformId: "C1" }
      ])
      expect(watch.opened).toBe(0)
      Raw.exec(`${folder}/inbound.db`, "DELETE FROM session_routing; DELETE FROM destinations")
      expect(yield* mailbox.routing).toEqual({ channelType: null, platformId: null, threadId: null })
      expect(yield* mailbox.destinations).toEqual([])
    }).pipe(TestHost.withHost())
  )
})
