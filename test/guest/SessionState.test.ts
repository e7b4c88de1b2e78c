import { describe, expect, it } from "@effect/vitest"
import { Effect, Option, TestClock } from "effect"
import * as TestHost from "../support/TestHost.js"
import { program } from "./Fixtures.js"

describe("Mailbox.state", () => {
  it.effect("keeps what is set until it is set again or removed, also when the agent starts again", () =>
    Effect.gen(function* () {
      const { mailbox, open, outbound } = yield* program()
      const { state } = mailbox
      expect(yield* state.get("key")).toEqual(Option.none())
      yield* state.set("key", "one")
      yield* TestClock.setTime(Date.UTC(2026, 0, 1))
      yield* state.set("key", "two")
      yield* state.set("", "")
      const restarted = yield* open
      expect(yield* restarted.state.get("key")).toEqual(Option.some("two"))
      expect(yield* restarted.state.get("")).toEqual(Option.some(""))
      expect(outbound("SELECT updated_at FROM session_state WHERE key = 'key'")).toEqual([
        { updated_at: "2026-01-01T00:00:00.000Z" }
      ])
      yield* state.remove("key")
      yield* state.remove("never there")
      expect(yield* state.get("key")).toEqual(Option.none())
    }).pipe(TestHost.withHost())
  )
})
