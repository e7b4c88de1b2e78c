import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Option, Schedule } from "effect"
import * as RetryDelay from "../../src/host/RetryDelay.js"

const delays = (schedule: Schedule.Schedule<unknown>, attempts: ReadonlyArray<number>) =>
  Effect.forEach(attempts, (attempt) =>
    Effect.map(RetryDelay.after(schedule, attempt), (delay) =>
      Option.getOrUndefined(Option.map(delay, Duration.toMillis))
    )
  )

describe("RetryDelay.after", () => {
  it.effect("gives what the schedule says, by the number of attempts", () =>
    Effect.gen(function* () {
      expect(yield* delays(Schedule.exponential("1 second"), [1, 2, 3, 4])).toEqual([1000, 2000, 4000, 8000])
      expect(yield* delays(Schedule.spaced("5 seconds"), [1, 100])).toEqual([5000, 5000])
      expect(yield* delays(Schedule.fibonacci("1 second"), [1, 2, 3, 4])).toEqual([1000, 1000, 2000, 3000])
    })
  )

  it.effect("gives none when the schedule has ended, by its number or by its time", () =>
    Effect.gen(function* () {
      const thrice = Schedule.spaced("1 second").pipe(Schedule.intersect(Schedule.recurs(3)))
      expect(yield* delays(thrice, [3, 4, 50])).toEqual([1000, undefined, undefined])
      const minute = Schedule.spaced("25 seconds").pipe(Schedule.upTo("1 minute"))
      expect(yield* delays(minute, [1, 2, 3, 4])).toEqual([25_000, 25_000, 25_000, undefined])
      expect(yield* delays(Schedule.stop, [1])).toEqual([undefined])
    })
  )

  it.effect("adds up to a day with the settings' own schedule", () =>
    Effect.gen(function* () {
      const { defaultDeliveryRetries } = yield* Effect.promise(
        () => import("../../src/host/AirlockConfig.js")
      )
      let sum = 0
      let attempts = 1
      for (; ; attempts++) {
        const delay = yield* RetryDelay.after(defaultDeliveryRetries, attempts)
        if (Option.isNone(delay)) break
        expect(Duration.toMillis(delay.value)).toBeLessThanOrEqual(600_000)
        sum += Duration.toMillis(delay.value)
      }
      expect(sum).toBeGreaterThan(86_000_000)
      expect(sum).toBeLessThan(88_000_000)
    })
  )
})
