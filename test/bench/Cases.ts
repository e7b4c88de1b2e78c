/**
 * All cases, in the order of the table, and running some of them.
 */
import { Effect } from "effect"
import type { Case } from "./Case.js"
import * as Measure from "./Measure.js"
import { Place } from "./Place.js"
import type { Outcome } from "./Report.js"
import * as Writes from "./Writes.js"

export const all: ReadonlyArray<Case> = [...Writes.cases]

/** Measures one case; `rounds` instead of its own number. */
export const run = (of: Case, rounds: number | undefined): Effect.Effect<Outcome, unknown, Place> =>
  Effect.gen(function* () {
    const { root } = yield* Place
    const sides = yield* of.sides
    const wanted = rounds === undefined ? of.rounds : { warmUp: Math.min(of.rounds.warmUp, rounds), rounds }
    return { of, measured: yield* Measure.run(sides, wanted, Measure.settle(root)) }
  }).pipe(Effect.scoped)
