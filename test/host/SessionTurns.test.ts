import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as SessionTurns from "../../src/host/SessionTurns.js"

describe("SessionTurns", () => {
  it.effect("has one at a time in a session, in their order, and sessions side by side", () =>
    Effect.gen(function* () {
      const inTurn = yield* SessionTurns.make
      const inside = new Map<string, number>()
      const most = { session: 0, all: 0 }
      const order: Array<number> = []
      const count = (sessionId: string, by: number) =>
        Effect.sync(() => {
          inside.set(sessionId, (inside.get(sessionId) ?? 0) + by)
          most.session = Math.max(most.session, ...inside.values())
          most.all = Math.max(
            most.all,
            Array.from(inside.values()).reduce((sum, number) => sum + number, 0)
          )
        })
      yield* Effect.forEach(
        Array.from({ length: 300 }, (_, n) => n),
        (n) => {
          const sessionId = `s${n % 3}`
          // Some come when nobody is there, and others while one is leaving.
          return Effect.repeatN(Effect.yieldNow(), (n * 7) % 11).pipe(
            Effect.zipRight(
              inTurn({ agentGroupId: "agent", sessionId })(
                Effect.gen(function* () {
                  yield* count(sessionId, 1)
                  yield* Effect.repeatN(Effect.yieldNow(), n % 5)
                  order.push(n)
                  yield* count(sessionId, -1)
                })
              )
            )
          )
        },
        { concurrency: "unbounded" }
      )
      expect(order.length).toBe(300)
      expect(most).toEqual({ session: 1, all: 3 })
    })
  )
})
