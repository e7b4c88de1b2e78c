import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, FastCheck, Fiber, Scope } from "effect"
import type { SessionDbUnavailable } from "../../src/protocol/AirlockError.js"
import * as FilePermit from "../../src/storage/FilePermit.js"
import { atOnce, interruptedAtEveryOperation, subject, untilItWaits } from "./Fixtures.js"

const hold = (path: string) => FilePermit.hold(path, subject)

const expectNested = <A, R>(effect: Effect.Effect<A, unknown, R>) =>
  Effect.map(Effect.flip(atOnce(effect)), (error) =>
    expect(error).toMatchObject({ _tag: "SessionDbUnavailable", reason: "nested", ...subject })
  )

const expectFree = Effect.map(FilePermit.count, (count) => expect(count).toBe(0))

/** Another fiber that holds the file until it is told to let go. */
const holder = (path: string) =>
  Effect.gen(function* () {
    const holds = yield* Deferred.make<void>()
    const letGo = yield* Deferred.make<void>()
    const fiber = yield* hold(path).pipe(
      Effect.zipRight(Deferred.succeed(holds, undefined)),
      Effect.zipRight(Deferred.await(letGo)),
      Effect.scoped,
      Effect.fork
    )
    yield* Deferred.await(holds)
    return { release: Effect.zipRight(Deferred.succeed(letGo, undefined), Fiber.await(fiber)) }
  })

/** Visits are counted, and how many there were at the same time. */
const counter = () => {
  const seen = { visits: 0, inside: 0, most: 0 }
  const visit = (steps: number) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        seen.visits++
        seen.most = Math.max(seen.most, ++seen.inside)
      }),
      () => Effect.repeatN(Effect.yieldNow(), steps),
      () => Effect.sync(() => seen.inside--)
    )
  return { seen, visit }
}

describe("FilePermit", () => {
  it.live("lets one fiber at a time hold a file", () =>
    Effect.gen(function* () {
      const { seen, visit } = counter()
      yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.scoped(Effect.zipRight(hold("/a"), visit(5))),
        { concurrency: "unbounded", discard: true }
      )
      expect(seen).toEqual({ inside: 0, most: 1, visits: 20 })
      yield* expectFree
    })
  )

  it.live("gives the file to those who wait in the order in which they came", () =>
    Effect.gen(function* () {
      const order: Array<number> = []
      const { release } = yield* holder("/a")
      const waiting = yield* Effect.forEach([1, 2, 3, 4], (turn) =>
        hold("/a").pipe(
          Effect.andThen(Effect.sync(() => order.push(turn))),
          Effect.scoped,
          Effect.fork,
          Effect.tap(untilItWaits)
        )
      )
      yield* release
      yield* Fiber.joinAll(waiting)
      expect(order).toEqual([1, 2, 3, 4])
    })
  )

  it.live("does not make one file wait for another", () =>
    Effect.gen(function* () {
      const a = yield* holder("/a")
      const b = yield* holder("/b")
      expect(yield* FilePermit.count).toBe(2)
      yield* Effect.all([a.release, b.release])
      yield* expectFree
    })
  )

  for (const [way, ending] of [
    ["success", Effect.void],
    ["failure", Effect.fail("failure")],
    ["defect", Effect.die("defect")],
    ["interruption", Effect.interrupt]
  ] as const) {
    it.live(`lets go of the file after ${way}`, () =>
      Effect.gen(function* () {
        yield* Effect.exit(Effect.scoped(Effect.zipRight(hold("/a"), ending)))
        yield* expectFree
        yield* atOnce(Effect.scoped(hold("/a")))
      })
    )
  }

  describe("told to hold a file that is held already, fails at once", () => {
    it.live("in the same fiber", () =>
      Effect.gen(function* () {
        yield* Effect.scoped(Effect.zipRight(hold("/a"), expectNested(Effect.scoped(hold("/a")))))
        yield* expectFree
      })
    )

    it.live("in a child of it", () =>
      Effect.scoped(
        Effect.zipRight(
          hold("/a"),
          expectNested(Effect.flatMap(Effect.fork(Effect.scoped(hold("/a"))), Fiber.join))
        )
      )
    )

    it.live("in a child of a child, past another file", () =>
      Effect.gen(function* () {
        yield* hold("/a")
        yield* Effect.gen(function* () {
          yield* hold("/b")
          yield* expectNested(Effect.flatMap(Effect.fork(Effect.scoped(hold("/a"))), Fiber.join))
        }).pipe(Effect.scoped, Effect.fork, Effect.flatMap(Fiber.join))
      }).pipe(Effect.scoped)
    )

    it.live("after two files were opened at the same time", () =>
      Effect.gen(function* () {
        yield* Effect.all([hold("/a"), hold("/b")], { concurrency: 2 })
        yield* expectNested(Effect.scoped(hold("/a")))
        yield* expectNested(Effect.scoped(hold("/b")))
      }).pipe(Effect.scoped, Effect.zipRight(expectFree))
    )

    it.live("after another file that was opened earlier is closed", () =>
      Effect.gen(function* () {
        const first = yield* Scope.make()
        yield* Scope.extend(hold("/a"), first)
        yield* hold("/b")
        yield* Scope.close(first, Exit.void)
        yield* expectNested(Effect.scoped(hold("/b")))
        yield* atOnce(Effect.scoped(hold("/a")))
      }).pipe(Effect.scoped)
    )

    it.live("and does not let go of what is held", () =>
      Effect.gen(function* () {
        yield* hold("/a")
        yield* expectNested(Effect.scoped(hold("/a")))
        expect(yield* FilePermit.count).toBe(1)
        yield* expectNested(Effect.scoped(hold("/a")))
      }).pipe(Effect.scoped)
    )
  })

  it.live("lets a fiber hold again what it, or who forked it, held before", () =>
    Effect.gen(function* () {
      const closed = yield* Deferred.make<void>()
      const outliving = yield* Effect.scoped(
        Effect.zipRight(
          hold("/a"),
          Effect.forkDaemon(Effect.zipRight(Deferred.await(closed), Effect.scoped(hold("/a"))))
        )
      )
      yield* Effect.scoped(hold("/a"))
      yield* Deferred.succeed(closed, undefined)
      yield* atOnce(Fiber.join(outliving))
      yield* expectFree
    })
  )

  it.live("forgets who waited when the wait is interrupted", () =>
    Effect.gen(function* () {
      const { release } = yield* holder("/a")
      const impatient = yield* Effect.fork(Effect.scoped(hold("/a")))
      const patient = yield* Effect.fork(Effect.scoped(hold("/a")))
      yield* untilItWaits(impatient)
      yield* untilItWaits(patient)
      yield* atOnce(Fiber.interrupt(impatient))
      yield* release
      yield* atOnce(Fiber.join(patient))
      yield* expectFree
    })
  )

  it.live("keeps nothing of a fiber that is interrupted anywhere while it opens a file", () =>
    Effect.gen(function* () {
      const operations = yield* interruptedAtEveryOperation(
        Effect.scoped(hold("/a")),
        Effect.zipRight(expectFree, atOnce(Effect.scoped(hold("/a"))))
      )
      expect(operations).toBeGreaterThan(10)
    })
  )

  it.live("gives the file to who came just before the one that got it was interrupted", () =>
    Effect.gen(function* () {
      let next: Fiber.RuntimeFiber<void, SessionDbUnavailable> | undefined
      const come = () => {
        next = Effect.runFork(Effect.scoped(hold("/a")))
      }
      const gotIt = Effect.suspend(() => (next === undefined ? Effect.void : atOnce(Fiber.join(next))))
      yield* interruptedAtEveryOperation(Effect.scoped(hold("/a")), Effect.zipRight(gotIt, expectFree), {
        before: come
      })
    })
  )

  const visitor = FastCheck.record({
    path: FastCheck.constantFrom("/a", "/b", "/c"),
    comesAfter: FastCheck.nat(5),
    stays: FastCheck.nat(5),
    isInterruptedAfter: FastCheck.option(FastCheck.nat(12), { nil: undefined })
  })

  it.live.prop(
    "is held by one at a time, reaches everyone who was not interrupted, and is free in the end",
    [FastCheck.array(visitor, { maxLength: 12 })],
    ([visitors]) =>
      Effect.gen(function* () {
        const counters = new Map(visitors.map(({ path }) => [path, counter()]))
        const visit = (path: string, stays: number) => counters.get(path)?.visit(stays) ?? Effect.void
        const exits = yield* Effect.forEach(
          visitors,
          ({ comesAfter, isInterruptedAfter, path, stays }) =>
            Effect.gen(function* () {
              yield* Effect.repeatN(Effect.yieldNow(), comesAfter)
              const fiber = yield* Effect.fork(Effect.scoped(Effect.zipRight(hold(path), visit(path, stays))))
              if (isInterruptedAfter !== undefined) {
                yield* Effect.repeatN(Effect.yieldNow(), isInterruptedAfter)
                yield* Fiber.interruptFork(fiber)
              }
              const exit = yield* Fiber.await(fiber)
              return isInterruptedAfter !== undefined || Exit.isSuccess(exit)
            }),
          { concurrency: "unbounded" }
        ).pipe(atOnce)
        expect(exits).not.toContain(false)
        for (const { seen } of counters.values()) {
          expect(seen.inside).toBe(0)
          expect(seen.most).toBeLessThanOrEqual(1)
        }
        yield* expectFree
      }),
    { fastCheck: { numRuns: 150 } }
  )
})
