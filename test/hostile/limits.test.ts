/**
 * What the host takes from an agent, and from its own program, is limited by the settings. Past a limit there is a typed
 * error, or a reason in the list of failures.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as JsonDepth from "../../src/protocol/JsonDepth.js"
import * as DeliveryFixtures from "../host/DeliveryFixtures.js"
import * as TestHost from "../support/TestHost.js"

const nested = (depth: number) => `{"text":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`

describe("the limit on", () => {
  it.effect("rows refuses an outbound.db with more of them in a table", () =>
    Effect.gen(function* () {
      const { drain, outbound, say } = yield* DeliveryFixtures.program
      for (const text of ["a", "b", "c"]) yield* say(text)
      expect((yield* drain).delivered.length).toBe(3)
      yield* say("d")
      const refused = { _tag: "SessionDbUnavailable", resource: "outbound", reason: "too-large" }
      expect(yield* Effect.flip(drain)).toMatchObject(refused)
      outbound("DELETE FROM messages_out WHERE seq = 1")
      expect((yield* drain).delivered.length).toBe(1)
    }).pipe(TestHost.withHost({ limits: { databaseRows: 3 } }))
  )

  it.effect(
    "bytes of a drain leaves the rest to the next one, and takes one message whatever its length",
    () =>
      Effect.gen(function* () {
        const { drain, manager, say, session, texts } = yield* DeliveryFixtures.program
        const [a, b, c] = ["a", "b", "c"].map((letter) => letter.repeat(400)) as [string, string, string]
        yield* say(a)
        yield* manager.writeOutboundDirect(session, { id: "d", kind: "chat", content: `{"text":"${b}"}` })
        yield* say(c)
        yield* say("short")
        yield* drain
        expect(yield* texts).toEqual([a, b])
        yield* drain
        expect(yield* texts).toEqual([a, b, c, "short"])
        yield* say("e".repeat(2000))
        yield* say("last")
        yield* drain
        expect((yield* texts).length).toBe(5)
        yield* drain
        expect((yield* texts).at(-1)).toBe("last")
      }).pipe(TestHost.withHost({ limits: { drainBytes: 1000 } }))
  )

  it.effect("the depth of JSON holds for what an agent writes", () =>
    Effect.gen(function* () {
      const { drain, failures, outbound } = yield* DeliveryFixtures.program
      for (const [seq, content] of [nested(5), nested(6)].entries()) {
        outbound(`INSERT INTO messages_out (id, seq, timestamp, kind, content)
          VALUES ('m${seq}', ${2 * seq + 1}, '', 'chat', '${content}')`)
      }
      const reason = "content nested too deep"
      expect(yield* drain).toMatchObject({ delivered: ["m0"], failed: [{ id: "m1", reason }] })
      expect(yield* failures).toMatchObject([{ id: "m1", reason }])
    }).pipe(TestHost.withHost({ limits: { jsonDepth: 5 } }))
  )

  it.effect("the depth of JSON holds for what the program writes", () =>
    Effect.gen(function* () {
      const { folder, manager, session } = yield* DeliveryFixtures.program
      const write = (content: string) => manager.writeMessage(session, { id: content, kind: "chat", content })
      const direct = (content: string) =>
        manager.writeOutboundDirect(session, { id: content, kind: "chat", content })
      for (const attempt of [write, direct]) {
        yield* attempt(nested(5))
        yield* attempt("[[[[[[ no JSON")
        const before = TestHost.contentsOf(folder)
        expect(yield* Effect.flip(attempt(nested(6)))).toMatchObject({
          _tag: "InvalidMessage",
          field: "content",
          reason: "too-deep"
        })
        expect(TestHost.contentsOf(folder)).toEqual(before)
      }
    }).pipe(TestHost.withHost({ limits: { jsonDepth: 5 } }))
  )

  it("the depth of JSON does not count brackets in strings", () => {
    expect(JsonDepth.exceeds(JSON.stringify(["[[[[", '"[[', "\\", { "{{{": "]]" }]), 2)).toBe(false)
    expect(JsonDepth.exceeds(JSON.stringify([[["[[[["]]]), 2)).toBe(true)
    expect(JsonDepth.exceeds(`[[[${'"\\"'}`, 2)).toBe(false)
  })
})
