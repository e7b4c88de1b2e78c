import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as SessionMemories from "../../src/host/SessionMemories.js"

const ref = (sessionId: string) => ({ agentGroupId: "agent", sessionId })

/** Entries with a number each, counted from 1. */
const numbered = () => {
  let made = 0
  const memories = SessionMemories.make(() => ({ number: ++made }))
  const numberOf = (name: string) => memories.use(ref(name), ({ number }) => Effect.succeed(number))
  return { ...memories, numberOf }
}

describe("SessionMemories", () => {
  it.effect("keeps one entry a session", () =>
    Effect.gen(function* () {
      const { known, numberOf } = numbered()
      expect(known(ref("a"))).toBeUndefined()
      expect([yield* numberOf("a"), yield* numberOf("b"), yield* numberOf("a")]).toEqual([1, 2, 1])
      expect(known(ref("a"))).toEqual({ number: 1 })
      expect(known({ agentGroupId: "other", sessionId: "a" })).toBeUndefined()
    })
  )

  it.effect("forgets all sessions but those that are active", () =>
    Effect.gen(function* () {
      const { keepOnly, known, numberOf } = numbered()
      yield* Effect.forEach(["a", "b", "c"], numberOf)
      keepOnly([ref("b"), ref("d")])
      expect(["a", "b", "c", "d"].map((name) => known(ref(name))?.number)).toEqual([
        undefined,
        2,
        undefined,
        undefined
      ])
      expect(yield* numberOf("a")).toBe(4)
    })
  )

  it.effect("forgets no entry that is used, until nobody uses it, however that ended", () =>
    Effect.gen(function* () {
      const { keepOnly, known, numberOf, use } = numbered()
      const gate = yield* Deferred.make<void, string>()
      const waiting = yield* Effect.fork(Effect.exit(use(ref("a"), () => Deferred.await(gate))))
      const interrupted = yield* Effect.fork(use(ref("a"), () => Effect.never))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(interrupted)
      yield* Effect.exit(
        use(ref("a"), (): Effect.Effect<void> => {
          throw new Error("bug")
        })
      )
      keepOnly([])
      expect(known(ref("a"))).toEqual({ number: 1 })
      expect(yield* numberOf("a")).toBe(1)
      yield* Deferred.fail(gate, "trouble")
      yield* Fiber.join(waiting)
      keepOnly([])
      expect(known(ref("a"))).toBeUndefined()
    })
  )
})
