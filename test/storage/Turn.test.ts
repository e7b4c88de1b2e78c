import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as Turn from "../../src/storage/Turn.js"
import { atOnce, interruptedAtEveryOperation, untilItWaits } from "./Fixtures.js"

const ways = [
  ["Turn.during", (queue: Turn.Queue) => Turn.during(queue)],
  [
    "Turn.take",
    (queue: Turn.Queue) =>
      <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.scoped(Effect.zipRight(Turn.take(queue), effect))
  ]
] as const

for (const [name, have] of ways) {
  describe(name, () => {
    it.live("calls those who came one after the other, in the order in which they came", () =>
      Effect.gen(function* () {
        const queue = Turn.makeQueue()
        const events: Array<string> = []
        const open = yield* Deferred.make<void>()
        const fibers = yield* Effect.forEach([1, 2, 3], (turn) =>
          Effect.sync(() => events.push(`${turn} comes`)).pipe(
            Effect.zipRight(Deferred.await(open)),
            Effect.zipRight(Effect.sync(() => events.push(`${turn} goes`))),
            have(queue),
            Effect.fork,
            Effect.tap(untilItWaits)
          )
        )
        expect(events).toEqual(["1 comes"])
        yield* Deferred.succeed(open, undefined)
        yield* Fiber.joinAll(fibers)
        expect(events).toEqual(["1 comes", "1 goes", "2 comes", "2 goes", "3 comes", "3 goes"])
        expect(queue.present).toEqual([])
      })
    )

    it.live("calls the next one also after a failure and a defect", () =>
      Effect.gen(function* () {
        const queue = Turn.makeQueue()
        expect(yield* Effect.flip(have(queue)(Effect.fail("failure")))).toBe("failure")
        yield* Effect.exit(have(queue)(Effect.die("defect")))
        expect(yield* atOnce(have(queue)(Effect.succeed("turn")))).toBe("turn")
        expect(queue.present).toEqual([])
      })
    )

    it.live("lets one who waits go away", () =>
      Effect.gen(function* () {
        const queue = Turn.makeQueue()
        const first = Turn.come(queue)
        const second = yield* Effect.fork(have(queue)(Effect.succeed("turn")))
        const third = yield* Effect.fork(have(queue)(Effect.succeed("turn")))
        yield* untilItWaits(second)
        yield* atOnce(Fiber.interrupt(second))
        Turn.leave(queue, first)
        expect(yield* atOnce(Fiber.join(third))).toBe("turn")
        expect(queue.present).toEqual([])
      })
    )

    it.live("calls the next one wherever the one before is interrupted", () =>
      Effect.gen(function* () {
        const queue = Turn.makeQueue()
        let next: Fiber.RuntimeFiber<string> | undefined
        yield* interruptedAtEveryOperation(
          have(queue)(Effect.void),
          Effect.gen(function* () {
            if (next !== undefined) expect(yield* atOnce(Fiber.join(next))).toBe("turn")
            expect(queue.present).toEqual([])
          }),
          {
            before: () => {
              next = Effect.runFork(have(queue)(Effect.succeed("turn")))
            }
          }
        )
      })
    )
  })
}

describe("a turn", () => {
  it("that has ended ends no other", () => {
    const queue = Turn.makeQueue()
    const [first, second] = [Turn.come(queue), Turn.come(queue)]
    Turn.leave(queue, first)
    Turn.leave(queue, first)
    expect(queue.present).toEqual([second])
  })
})

describe("a queue of several places", () => {
  it.live("lets as many go on at a time", () =>
    Effect.gen(function* () {
      const queue = Turn.makeQueue(2)
      let present = 0
      let most = 0
      const visit = Effect.sync(() => (most = Math.max(most, ++present))).pipe(
        Effect.zipRight(Effect.yieldNow()),
        Effect.zipRight(Effect.sync(() => present--))
      )
      yield* Effect.all(
        Array.from({ length: 9 }, () => Turn.during(queue)(visit)),
        { concurrency: "unbounded" }
      )
      expect(most).toBe(2)
      expect(queue.present).toEqual([])
    })
  )
})
