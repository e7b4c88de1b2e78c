import { describe, expect, it } from "@effect/vitest"
import type { Session } from "effect-airlock"
import { Deferred, Effect, Fiber, Queue, Stream, TestClock } from "effect"
import { AirlockConfig, SessionRegistry } from "effect-airlock"
import * as SessionLoop from "../../src/host/SessionLoop.js"
import * as Fixtures from "../storage/Fixtures.js"
import * as TestHost from "../support/TestHost.js"
import { logged } from "./SweepFixtures.js"

/**
 * A loop over sessions of which the registry knows no more than their names, and which of them run. `begin` is work that
 * needs no place of the loop, `work` that which does.
 */
const loopOver = (
  number: number,
  options: {
    readonly isIdle: (name: string, now: number) => boolean
    readonly work: (name: string) => Effect.Effect<void, unknown>
    readonly begin?: (name: string) => Effect.Effect<void>
    readonly isActive?: (name: string) => boolean
    readonly isRunning?: (name: string) => boolean
    readonly word?: Stream.Stream<Session.SessionRef>
    readonly keepOnly?: (active: ReadonlyArray<Session.SessionRef>) => void
  }
) =>
  Effect.gen(function* () {
    const { begin = () => Effect.void, isActive = () => true, isRunning = () => false } = options
    const sessions = () =>
      Array.from({ length: number }, (_, n) => `s${n}`)
        .filter(isActive)
        .map((sessionId) => ({
          sessionId,
          agentGroupId: "agent",
          containerStatus: isRunning(sessionId) ? ("running" as const) : ("stopped" as const)
        }))
    const registry = yield* SessionRegistry.SessionRegistry
    const { intervals } = yield* AirlockConfig.AirlockConfig
    return yield* SessionLoop.make(
      {
        name: "loop",
        running: intervals.deliverRunning,
        all: intervals.deliverAll,
        word: options.word ?? Stream.empty,
        keepOnly: options.keepOnly ?? (() => undefined),
        idleUntil: ({ sessionId }, now) =>
          options.isIdle(sessionId, now) ? Number.POSITIVE_INFINITY : undefined,
        work: ({ sessionId }: Session.SessionRef, limited) =>
          begin(sessionId).pipe(
            Effect.zipRight(limited(options.work(sessionId))),
            Effect.as(Number.POSITIVE_INFINITY)
          )
      },
      {
        ...registry,
        listActive: (filter) =>
          Effect.sync(() =>
            sessions().filter(
              ({ containerStatus }) => filter?.containerStatus?.includes(containerStatus) ?? true
            )
          )
      }
    )
  })

/** Lets seconds pass, one after the other. */
const seconds = (count: number) =>
  Effect.repeatN(Effect.zipRight(TestClock.adjust("1 second"), TestHost.pause), count - 1)

describe("SessionLoop.run", () => {
  it.effect(
    "works at once on a session of which there is word, however many others are to be looked at",
    () =>
      Effect.gen(function* () {
        const gates = { s0: yield* Deferred.make<void>(), s150: yield* Deferred.make<void>() }
        const word = yield* Queue.unbounded<Session.SessionRef>()
        const tellOf = (sessionId: string) => word.offer({ agentGroupId: "agent", sessionId })
        const worked: Array<string> = []
        const times = (wanted: string) => worked.filter((name) => name === wanted).length
        const { run } = yield* loopOver(200, {
          isIdle: () => false,
          work: (name) =>
            Effect.zipRight(
              Effect.sync(() => worked.push(name)),
              name === "s0" || name === "s150" ? Deferred.await(gates[name]) : Effect.void
            ),
          word: Stream.fromQueue(word)
        })
        yield* Effect.forkScoped(run)
        yield* TestHost.until(() => worked.length === 1)
        yield* tellOf("s0")
        yield* TestHost.pause
        yield* tellOf("s150")
        yield* TestHost.until(() => worked.length > 1)
        expect(worked).toEqual(["s0", "s150"])
        yield* Deferred.succeed(gates.s0, undefined)
        yield* TestHost.until(() => worked.length === 201)
        expect([times("s0"), times("s150")]).toEqual([2, 1])
        yield* Deferred.succeed(gates.s150, undefined)
        yield* TestHost.until(() => times("s150") === 2)
        expect(new Set(worked).size).toBe(200)
      }).pipe(TestHost.withHost({ concurrency: 4 }))
  )

  it.effect("stops looking when it is interrupted, and gives back the place for which it waited", () =>
    Effect.gen(function* () {
      const worked: Array<string> = []
      const { once, run } = yield* loopOver(200, {
        isIdle: () => false,
        work: (name) =>
          Effect.suspend(() => {
            worked.push(name)
            return worked.length === 1 ? Effect.never : Effect.void
          })
      })
      const fiber = yield* Effect.fork(run)
      yield* TestHost.until(() => worked.length === 1)
      yield* TestHost.pause
      yield* Fiber.interrupt(fiber)
      yield* TestHost.pause
      expect(worked).toEqual(["s0"])
      yield* once
      expect(worked.length).toBe(201)
    }).pipe(TestHost.withHost({ concurrency: 4 }))
  )

  it.effect("goes on without a session that hangs, at each look", () =>
    Effect.gen(function* () {
      const worked: Array<string> = []
      const { run } = yield* loopOver(20, {
        isIdle: () => false,
        work: (name) =>
          Effect.zipRight(
            Effect.sync(() => worked.push(name)),
            name === "s0" ? Effect.never : Effect.void
          )
      })
      yield* Effect.forkScoped(run)
      yield* TestHost.until(() => worked.length === 1)
      yield* seconds(4)
      expect(worked).toEqual(["s0"])
      yield* TestClock.adjust("1 second")
      yield* TestHost.until(() => worked.length === 20)
      yield* TestClock.adjust("1 minute")
      yield* TestHost.until(() => worked.length === 39)
      expect(new Set(worked).size).toBe(20)
    }).pipe(TestHost.withHost({ concurrency: 4 }))
  )

  it.effect("looks at all as soon as it can when the look before took longer than the interval", () =>
    Effect.gen(function* () {
      const begun: Array<string> = []
      let isMore = false
      const { run } = yield* loopOver(15, {
        isIdle: (name) => begun.includes(name),
        isActive: (name) => name !== "s14" || isMore,
        // Each of those before holds up the look for five seconds.
        begin: (name) => {
          begun.push(name)
          return name === "s14" ? Effect.void : Effect.never
        },
        work: () => Effect.void
      })
      yield* Effect.forkScoped(run)
      yield* TestHost.until(() => begun.length === 1)
      isMore = true
      yield* seconds(64)
      expect(begun.length).toBe(13)
      yield* seconds(8)
      expect(begun.length).toBe(15)
    }).pipe(TestHost.withHost({ concurrency: 4 }))
  )

  it.effect("tells of a look that broke off", () =>
    Effect.gen(function* () {
      const { run } = yield* loopOver(3, {
        isIdle: () => {
          throw new Error("bug")
        },
        work: () => Effect.void
      })
      const { lines } = yield* logged(
        Effect.gen(function* () {
          const fiber = yield* Effect.fork(run)
          yield* TestHost.pause
          yield* Fiber.interrupt(fiber)
        })
      )
      expect(lines).toEqual(["loop: a look at all sessions broke off"])
    }).pipe(TestHost.withHost())
  )
})

describe("SessionLoop", () => {
  it.effect("tells who remembers something which sessions are active, at each look at all", () =>
    Effect.gen(function* () {
      const told: Array<number> = []
      const { once, run } = yield* loopOver(3, {
        isIdle: () => true,
        work: () => Effect.void,
        keepOnly: (active) => told.push(active.length)
      })
      yield* once
      expect(told).toEqual([3])
      yield* Effect.forkScoped(run)
      yield* TestHost.until(() => told.length === 2)
      yield* TestClock.adjust("59 seconds")
      expect(told).toEqual([3, 3])
      yield* TestClock.adjust("1 second")
      expect(told).toEqual([3, 3, 3])
    }).pipe(TestHost.withHost())
  )
})

describe("SessionLoop.once", () => {
  it.effect("lets those whose container runs wait for nobody", () =>
    Effect.gen(function* () {
      const worked: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const { once } = yield* loopOver(30, {
        isIdle: () => false,
        isRunning: (name) => name !== "s29",
        // As long as a runtime takes to say that they run.
        begin: (name) => (name === "s29" ? Effect.void : Deferred.await(gate)),
        work: (name) => Effect.sync(() => worked.push(name))
      })
      const fiber = yield* Effect.fork(once)
      yield* TestHost.until(() => worked.length === 1)
      expect(worked).toEqual(["s29"])
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      expect(worked.length).toBe(30)
    }).pipe(TestHost.withHost({ concurrency: 4 }))
  )

  it.effect(
    "works on sessions that are not idle, and lets others have their turn while it looks at them",
    () =>
      Effect.gen(function* () {
        const worked: Array<string> = []
        let looks = 0
        const turns: Array<number> = []
        const { once } = yield* loopOver(1000, {
          isIdle: (name) => {
            looks++
            return !name.endsWith("99")
          },
          work: (name) => Effect.sync(() => worked.push(name))
        })
        const fiber = yield* Effect.fork(once)
        yield* Effect.promise(
          () =>
            new Promise<void>((done) => {
              const next = () => {
                turns.push(looks)
                if (looks < 1000) setImmediate(next)
                else done()
              }
              setImmediate(next)
            })
        )
        yield* Fiber.join(fiber)
        expect(worked.sort()).toEqual([
          "s199",
          "s299",
          "s399",
          "s499",
          "s599",
          "s699",
          "s799",
          "s899",
          "s99",
          "s999"
        ])
        expect(looks).toBe(1000)
        const steps = turns.map((count, index) => count - (turns[index - 1] ?? 0))
        expect(Math.max(...steps)).toBeLessThan(500)
      }).pipe(TestHost.withHost())
  )

  it.effect("lets others have their turn before it works on each", () =>
    Effect.gen(function* () {
      const loop = yield* Fixtures.eventLoop
      const turns: Array<number> = []
      const { once } = yield* loopOver(100, {
        isIdle: () => false,
        work: () => Effect.sync(() => turns.push(loop.turns))
      })
      yield* once
      expect(turns.length).toBe(100)
      expect(new Set(turns).size).toBe(100)
    }).pipe(Effect.scoped, TestHost.withHost())
  )

  it.effect("ends when all is over that it began, and tells of a trouble once", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { once } = yield* loopOver(3, {
        isIdle: () => false,
        work: (name) =>
          name === "s0" ? Effect.fail("trouble") : name === "s1" ? Effect.die("bug") : Deferred.await(gate)
      })
      const { lines } = yield* logged(
        Effect.gen(function* () {
          const fiber = yield* Effect.fork(once)
          yield* TestHost.pause
          expect(yield* Fiber.poll(fiber)).toMatchObject({ _tag: "None" })
          yield* Deferred.succeed(gate, undefined)
          yield* Fiber.join(fiber)
          yield* once
        })
      )
      expect(lines.filter((line) => line.includes("left out")).length).toBe(2)
    }).pipe(TestHost.withHost())
  )

  it.effect("judges a session by the time at which its turn comes", () =>
    Effect.gen(function* () {
      const times: Array<number> = []
      const gate = yield* Deferred.make<void>()
      const { once } = yield* loopOver(3, {
        isIdle: (_, now) => {
          times.push(now)
          return false
        },
        work: (name) => (name === "s0" ? Deferred.await(gate) : Effect.void)
      })
      const fiber = yield* Effect.fork(once)
      yield* TestHost.until(() => times.length === 2)
      yield* TestClock.adjust("3 seconds")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(fiber)
      expect(times).toEqual([0, 0, 3000])
    }).pipe(TestHost.withHost({ concurrency: 4 }))
  )

  it.effect("forgets the trouble with a session that is not active any more", () =>
    Effect.gen(function* () {
      let isActive = true
      const { once } = yield* loopOver(1, {
        isIdle: () => false,
        isActive: () => isActive,
        work: () => Effect.fail("trouble")
      })
      const { lines } = yield* logged(
        Effect.gen(function* () {
          yield* once
          yield* once
          isActive = false
          yield* once
          isActive = true
          yield* once
        })
      )
      expect(lines.length).toBe(2)
    }).pipe(TestHost.withHost())
  )

  it.effect("interrupts what it began when it is interrupted, and waits for that", () =>
    Effect.gen(function* () {
      let began = 0
      let over = 0
      const { once } = yield* loopOver(3, {
        isIdle: () => false,
        work: () =>
          Effect.zipRight(
            Effect.sync(() => began++),
            Effect.never
          ).pipe(
            Effect.onInterrupt(() =>
              Effect.zipRight(
                TestHost.pause,
                Effect.sync(() => over++)
              )
            )
          )
      })
      const fiber = yield* Effect.fork(once)
      yield* TestHost.until(() => began === 3)
      yield* Fiber.interrupt(fiber)
      expect(over).toBe(3)
    }).pipe(TestHost.withHost())
  )
})
