/**
 * Ours and the baseline in turn, round after round, in one process and on one disk.
 *
 * Who comes first changes with each round. Before each turn the file system is brought to rest, because what one side left
 * to be written later is otherwise paid for by the next one that waits for the disk. For the same reason what a side leaves
 * to its own event loop is waited for after its turn; how long that takes has cases of its own.
 */
import { Clock, Effect } from "effect"
import * as Fs from "node:fs"
import type { Statistics } from "./Statistics.js"
import * as Stats from "./Statistics.js"

/** `before` and `after` are not measured. */
export interface Side {
  readonly before?: Effect.Effect<unknown, unknown> | undefined
  readonly run: Effect.Effect<unknown, unknown>
  readonly after?: Effect.Effect<unknown, unknown> | undefined
}

/** `per`: by how much the time of a turn is divided. */
export interface Sides {
  readonly ours: Side
  readonly baseline: Side | undefined
  readonly per: number
}

export interface Rounds {
  readonly warmUp: number
  readonly rounds: number
}

/** In microseconds. */
export interface Measured {
  readonly ours: Statistics
  readonly baseline: Statistics | undefined
}

/** Waits for the disk to have everything that it was given on the file system of a folder. */
export const settle = (folder: string): Effect.Effect<void> =>
  Effect.sync(() => {
    const fd = Fs.openSync(`${folder}/settle`, "w")
    Fs.writeSync(fd, "settle")
    Fs.fsyncSync(fd)
    Fs.closeSync(fd)
  })

/** How long an effect takes, in microseconds. */
export const timed = <E, R>(effect: Effect.Effect<unknown, E, R>): Effect.Effect<number, E, R> =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeNanos
    yield* effect
    return Number((yield* Clock.currentTimeNanos) - start) / 1000
  })

export const run = (
  { baseline, ours, per }: Sides,
  { rounds, warmUp }: Rounds,
  rest: Effect.Effect<void>
): Effect.Effect<Measured, unknown> =>
  Effect.gen(function* () {
    const turn = (side: Side, samples: Array<number>, isKept: boolean) =>
      Effect.gen(function* () {
        yield* side.before ?? Effect.void
        yield* rest
        const took = yield* timed(side.run)
        if (isKept) samples.push(took / per)
        yield* side.after ?? Effect.void
      })
    const mine: Array<number> = []
    const theirs: Array<number> = []
    for (let round = -warmUp; round < rounds; round++) {
      const turns = [
        turn(ours, mine, round >= 0),
        ...(baseline === undefined ? [] : [turn(baseline, theirs, round >= 0)])
      ]
      yield* Effect.all(round % 2 === 0 ? turns : turns.reverse(), { discard: true })
    }
    return { ours: Stats.of(mine), baseline: baseline === undefined ? undefined : Stats.of(theirs) }
  })
