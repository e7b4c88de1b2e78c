/**
 * One line of the table.
 */
import type { Effect, Scope } from "effect"
import type { Idle } from "./Idle.js"
import type { Rounds, Sides } from "./Measure.js"
import type { Place } from "./Place.js"

/**
 * - `unit`: what the figures are, in microseconds, such as `µs per message`
 * - `atMost`: what the ratio may be
 */
export interface Case {
  readonly name: string
  readonly what: string
  readonly unit: string
  readonly atMost: number | undefined
  readonly rounds: Rounds
  readonly sides: Effect.Effect<Sides, unknown, Place | Idle | Scope.Scope>
}
