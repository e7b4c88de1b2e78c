/**
 * How long to wait after a failed attempt, when attempts are counted in a database and not in a fiber.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"

/**
 * What a schedule says after so many failed attempts (1 or more): how long to wait for the next, or none if it has
 * ended. The schedule is stepped through from its beginning, as if every attempt had failed at once.
 *
 * @since 0.1.0
 * @category delays
 */
export const after = (
  schedule: Schedule.Schedule<unknown>,
  attempts: number
): Effect.Effect<Option.Option<Duration.Duration>> =>
  Effect.gen(function* () {
    let state: unknown = schedule.initial
    let now = 0
    let delay = 0
    for (let attempt = 1; attempt <= attempts; attempt++) {
      const stepped: readonly [unknown, unknown, ScheduleDecision.ScheduleDecision] = yield* schedule.step(
        now,
        undefined,
        state
      )
      const [next, , decision] = stepped
      if (ScheduleDecision.isDone(decision)) return Option.none()
      state = next
      delay = Math.max(0, ScheduleIntervals.start(decision.intervals) - now)
      now += delay
    }
    return Option.some(Duration.millis(delay))
  })
