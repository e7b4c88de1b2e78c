/**
 * All cases, in the order of the table, and running some of them.
 */
import { Effect } from "effect"
import type { Case } from "./Case.js"
import * as Drains from "./Drains.js"
import type { Idle } from "./Idle.js"
import * as Looks from "./Looks.js"
import * as Measure from "./Measure.js"
import { Place } from "./Place.js"
import * as Power from "./Power.js"
import type { Outcome } from "./Report.js"
import { roundTrip } from "./RoundTrip.js"
import * as Writes from "./Writes.js"

export const all: ReadonlyArray<Case> = [
  ...Writes.cases,
  Looks.cases.poll,
  Drains.cases.one,
  Drains.cases.long,
  Looks.cases.sweep,
  Looks.cases.resolve,
  roundTrip,
  Looks.cases.handle,
  ...Power.cases
]

/** Measures one case; `rounds` instead of its own number. */
export const run = (of: Case, rounds: number | undefined): Effect.Effect<Outcome, unknown, Place | Idle> =>
  Effect.gen(function* () {
    const { root } = yield* Place
    const sides = yield* of.sides
    const wanted = rounds === undefined ? of.rounds : { warmUp: Math.min(of.rounds.warmUp, rounds), rounds }
    return { of, measured: yield* Measure.run(sides, wanted, Measure.settle(root)) }
  }).pipe(Effect.scoped)
