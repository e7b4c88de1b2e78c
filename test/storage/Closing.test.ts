import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import * as Closing from "../../src/storage/Closing.js"

describe("Closing", () => {
  it.effect("does what was added in the opposite order, and tells how it ended", () =>
    Effect.gen(function* () {
      const done: Array<string> = []
      const noted = (name: string) =>
        Closing.add((exit) => Effect.sync(() => done.push(`${name} ${exit._tag}`)))
      yield* Effect.scoped(Effect.zipRight(noted("a"), noted("b")))
      yield* Effect.exit(Effect.scoped(Effect.zipRight(noted("c"), Effect.fail("no"))))
      expect(done).toEqual(["b Success", "a Success", "c Failure"])
    })
  )

  it.effect("releases what was acquired, and nothing else", () =>
    Effect.gen(function* () {
      const released: Array<number> = []
      const acquire = (acquiring: Effect.Effect<number, string>) =>
        Closing.acquire(acquiring, (number) => Effect.sync(() => released.push(number)))
      const used = yield* Effect.scoped(
        Effect.zipWith(acquire(Effect.succeed(1)), acquire(Effect.succeed(2)), (a, b) => [a, b, ...released])
      )
      expect(used).toEqual([1, 2])
      expect(released).toEqual([2, 1])
      expect(yield* Effect.exit(Effect.scoped(acquire(Effect.fail("no"))))).toEqual(Exit.fail("no"))
      expect(released).toEqual([2, 1])
    })
  )

  for (const [what, run] of [
    [
      "acquiring",
      (pause: Effect.Effect<unknown>, ended: () => void) =>
        Effect.scoped(Closing.acquire(pause, () => Effect.sync(ended)))
    ],
    [
      "what is done at the end",
      (pause: Effect.Effect<unknown>, ended: () => void) =>
        Effect.gen(function* () {
          // One that is closed by hand, where interruption is possible.
          const scope = yield* Scope.make()
          yield* Scope.extend(
            Closing.add(() => Effect.zipRight(pause, Effect.sync(ended))),
            scope
          )
          yield* Scope.close(scope, Exit.void)
        })
    ]
  ] as const) {
    it.effect(`cannot interrupt ${what}`, () =>
      Effect.gen(function* () {
        const [begun, goOn] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        let hasEnded = false
        const pause = Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(goOn))
        const fiber = yield* Effect.fork(run(pause, () => (hasEnded = true)))
        yield* Deferred.await(begun)
        const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
        yield* Effect.yieldNow()
        expect(hasEnded).toBe(false)
        yield* Deferred.succeed(goOn, undefined)
        yield* Fiber.await(interruption)
        expect(hasEnded).toBe(true)
      })
    )
  }
})
