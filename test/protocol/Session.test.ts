import { describe, expect, it } from "@effect/vitest"
import { Either, Schema } from "effect"
import { Session } from "effect-airlock/protocol"

const session = {
  sessionId: "sess-1-a",
  agentGroupId: "g",
  messagingGroupId: null,
  threadId: null,
  mode: "agent-shared",
  agentProvider: null,
  status: "active",
  containerStatus: "stopped",
  lastActive: null,
  createdAt: "2026-07-01T12:00:00.000Z"
}

const decode = Schema.decodeUnknownEither(Session.Session)

describe("Session", () => {
  it("is where it lives, too", () => {
    const decoded: Session.SessionRef = Either.getOrThrow(decode(session))
    expect(decoded).toMatchObject({ agentGroupId: "g", sessionId: "sess-1-a" })
  })

  it.each([
    ["mode", ["shared", "per-thread", "agent-shared", null]],
    ["status", ["active", "closed"]],
    ["containerStatus", ["stopped", "running", "idle"]]
  ])("has a %s among %j, and no other", (field, values) => {
    for (const value of values) {
      expect(Either.isRight(decode({ ...session, [field]: value }))).toBe(true)
    }
    expect(Either.isLeft(decode({ ...session, [field]: "other" }))).toBe(true)
  })
})
