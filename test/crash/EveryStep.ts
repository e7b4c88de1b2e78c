/**
 * Every operation, failing and killed at every step that it takes: at each call on files, and at each statement of a
 * database. `AIRLOCK_CRASH_STEPS` says how many steps of each operation are tried, evenly spread.
 */
import { expect } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import type * as Seam from "../support/Seam.js"
import * as Lives from "./Lives.js"
import type { Operation } from "./Operations.js"
import type { Stage } from "./Recovery.js"
import * as Sample from "./Sample.js"
import { eachOn, explained, look, recovers, reset } from "./Recovery.js"

const steps = Number(process.env["AIRLOCK_CRASH_STEPS"] ?? 1)

const codes = ["EIO", "ENOSPC"]

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

/** How many steps an operation takes, and how many of them change something. */
const countSteps = (stage: Stage, operation: Operation) =>
  Effect.gen(function* () {
    yield* reset(stage)
    const found = { all: 0, changes: 0 }
    let isCounting = false
    const seam: Seam.Seam = ({ isChange }) => {
      if (isCounting) found.all++
      if (isCounting && isChange) found.changes++
      return undefined
    }
    const life = yield* Lives.start(operation.side, stage.place, stage.scene, { seam })
    isCounting = true
    yield* Effect.flatten(life.run(operation.run(stage.scene)))
    isCounting = false
    yield* life.end
    return found
  })

const killedAt = (stage: Stage, operation: Operation, k: number) =>
  Effect.gen(function* () {
    yield* reset(stage)
    const life = yield* Lives.start(operation.side, stage.place, stage.scene)
    life.switch.dieAt(k)
    yield* life.run(operation.run(stage.scene))
    expect(life.switch.isAlive()).toBe(false)
    yield* life.end
    life.switch.bury()
    yield* recovers(stage, operation)
  })

/** Whether there was such a step: an operation that looks until something comes looks more or less often. */
const failingAt = (stage: Stage, operation: Operation, k: number, code: string) =>
  Effect.gen(function* () {
    yield* reset(stage)
    let left = Number.POSITIVE_INFINITY
    let failed: Seam.Step | undefined
    const seam: Seam.Seam = (step) => {
      if (--left !== 0) return undefined
      failed = step
      return code
    }
    const life = yield* Lives.start(operation.side, stage.place, stage.scene, { seam })
    left = k
    const exit = yield* life.run(operation.run(stage.scene))
    left = Number.POSITIVE_INFINITY
    // It fails with a typed error, or does without what failed.
    if (Exit.isFailure(exit)) expect(Array.from(Cause.defects(exit.cause)).map(String)).toEqual([])
    if (Exit.isSuccess(exit) || failed?.isChange === true) {
      const view = look(stage)
      operation.always?.(view, stage.scene)
      if (Exit.isSuccess(exit)) operation.done?.(view, stage.scene)
    }
    // The same process can do it once the disk is well again.
    yield* Effect.flatten(life.run(operation.run(stage.scene)))
    const again = look(stage)
    operation.always?.(again, stage.scene)
    operation.done?.(again, stage.scene)
    yield* life.end
    return failed !== undefined
  })

/** Tests of all operations of one side. */
export const test = (operations: ReadonlyArray<Operation>): void =>
  eachOn("whatever becomes of any step", operations, (operation, stage) =>
    Effect.gen(function* () {
      const { all, changes } = yield* countSteps(stage, operation)
      expect(all).toBeGreaterThan(0)
      const kills = Sample.spread(numbers(changes), steps)
      for (const k of kills) {
        yield* explained(`killed at change ${k} of ${changes}`, killedAt(stage, operation, k))
      }
      const failures = Sample.spread(numbers(all), steps)
      let reached = 0
      for (const k of failures) {
        const code = codes[k % codes.length] ?? ""
        if (yield* explained(`${code} at step ${k} of ${all}`, failingAt(stage, operation, k, code)))
          reached++
      }
      expect(reached).toBeGreaterThan(failures.length * 0.9 - 1)
      console.log(
        `${operation.name}: ${all} steps, ${changes} of them changes; killed at ${kills.length}, failing at ${reached}`
      )
    })
  )
