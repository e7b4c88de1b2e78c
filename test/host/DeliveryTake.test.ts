import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { SessionDb } from "effect-airlock"
import * as DeliveryTake from "../../src/host/DeliveryTake.js"
import * as TestHost from "../support/TestHost.js"
import { program } from "./DeliveryFixtures.js"

describe("DeliveryTake", () => {
  it.effect("does not forget what it left to a lane that nobody is in any more by the time it has read", () =>
    Effect.gen(function* () {
      const { folder, say, session } = yield* program
      const { id } = yield* say("hello")
      const memory: DeliveryTake.Memory = {
        busy: new Set([JSON.stringify(["test", "chat", null])]),
        passed: new Set(),
        progress: undefined,
        seen: undefined,
        idle: undefined
      }
      const db = yield* SessionDb.SessionDb
      const { take } = yield* Effect.provideService(DeliveryTake.make("test"), SessionDb.SessionDb, {
        ...db,
        transaction: (ref, body, options) =>
          Effect.tap(db.transaction(ref, body, options), () => Effect.sync(() => memory.busy.clear()))
      })
      const marked = new Set<string>()
      const first = yield* take(session, folder, memory, marked)
      expect(first).toMatchObject({ lanes: [], nextAt: 0 })
      expect(memory.passed.size).toBe(0)
      const { lanes } = yield* take(session, folder, memory, marked)
      expect(lanes.map(({ messages }) => messages.map((message) => message.id))).toEqual([[id]])
    }).pipe(TestHost.withHost())
  )
})
