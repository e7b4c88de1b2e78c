import { describe, expect, it } from "@effect/vitest"
import { PathSegment, SessionLayout } from "effect-airlock/protocol"

describe("SessionLayout", () => {
  it("has the names that an agent's container expects", () => {
    expect({ ...SessionLayout }).toEqual({
      inbound: "inbound.db",
      outbound: "outbound.db",
      heartbeat: ".heartbeat",
      inbox: "inbox",
      outbox: "outbox",
      sessions: "v2-sessions",
      originals: "v2-originals",
      central: "v2.db",
      inboxPath: SessionLayout.inboxPath
    })
  })

  it("has only names that are safe", () => {
    const names = Object.values(SessionLayout).filter((value) => typeof value === "string")
    expect(names).toHaveLength(8)
    expect(names.filter((name) => !PathSegment.isSafe(name))).toEqual([])
  })

  it("says with / on every system where an attachment lies in the session folder", () => {
    expect(SessionLayout.inboxPath("m%2F1", "a b.png")).toBe("inbox/m%2F1/a b.png")
  })
})
