/**
 * Operations in processes of their own, killed and failing at every call of the system that changes files, SQLite's among
 * them. `AIRLOCK_CRASH_CALLS` says at how many calls of each operation, evenly spread.
 */
import { expect } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Bundle from "../support/Bundle.js"
import type { Operation } from "./Operations.js"
import type { Stage } from "./Recovery.js"
import { eachOn, explained, look, recovers, reset } from "./Recovery.js"
import * as Sample from "./Sample.js"
import * as Traced from "./Traced.js"

const most = Number(process.env["AIRLOCK_CRASH_CALLS"] ?? 1)

/** Those that write in the most different ways. */
const wanted = [
  "resolve, a new session",
  "resolve, a folder that lacks things",
  "writeMessage",
  "writeOutboundDirect",
  "drain",
  "sweep",
  "send, with files and what it completes",
  "claim",
  "complete"
]

/** Where one call of each operation is tried, these will do. */
const few = ["writeMessage", "sweep", "send, with files and what it completes"]

const errors: Partial<Record<Traced.Call, string>> = {
  pwrite64: "ENOSPC",
  fsync: "EIO",
  fdatasync: "EIO",
  unlink: "EIO",
  mkdir: "ENOSPC",
  openat: "ENOSPC"
}

const at = ({ call, k }: Traced.Moment, what: string) => ["-e", `inject=${call}:${what}:when=${k}`]

const program = Effect.promise(() => Bundle.make("../crash/operating.ts"))

const killed = (file: string, stage: Stage, operation: Operation, moment: Traced.Moment) =>
  Effect.gen(function* () {
    yield* reset(stage)
    const { said } = yield* Traced.run(file, stage, operation, at(moment, "signal=KILL"))
    yield* recovers(stage, operation, true)
    return said === undefined
  })

const failing = (file: string, stage: Stage, operation: Operation, moment: Traced.Moment, code: string) =>
  Effect.gen(function* () {
    yield* reset(stage)
    const { said = "" } = yield* Traced.run(file, stage, operation, at(moment, `error=${code}`))
    expect(said).toMatch(/^(success|failure (?!defect))/)
    if (said === "success") operation.done?.(look(stage), stage.scene)
    yield* recovers(stage, operation, true)
  })

/** Tests of the operations of one side. */
export const test = (operations: ReadonlyArray<Operation>): void =>
  eachOn(
    "whatever becomes of any call of the system",
    operations.filter(({ name }) => (most > 1 ? wanted : few).includes(name)),
    (operation, stage) =>
      Effect.gen(function* () {
        yield* Traced.needed
        const file = yield* program
        yield* reset(stage)
        const whole = yield* Traced.run(file, stage, operation)
        expect(whole.said).toBe("success")
        const moments = Traced.momentsIn(whole.log)
        expect(moments.length).toBeGreaterThan(0)
        let kills = 0
        const tried = Sample.spread(moments.filter(Traced.isChange), most)
        for (const moment of tried) {
          const what = `killed at ${moment.call} ${moment.k}`
          if (yield* explained(what, killed(file, stage, operation, moment))) kills++
        }
        expect(kills).toBeGreaterThan(tried.length * 0.8 - 1)
        // What was killed left its private copies; the next process removes them.
        expect(Fs.readdirSync(Traced.temporary(stage)).length).toBeGreaterThan(0)
        yield* reset(stage)
        expect(yield* Traced.runInOrder(file, stage, operation)).toBe("success")
        expect(Fs.readdirSync(Traced.temporary(stage))).toEqual([])
        const fallible = Sample.spread(
          moments.flatMap((moment) => {
            const code = errors[moment.call]
            return code === undefined ? [] : [{ ...moment, code }]
          }),
          Math.floor(most / 4)
        )
        for (const moment of fallible) {
          const what = `${moment.code} at ${moment.call} ${moment.k}`
          yield* explained(what, failing(file, stage, operation, moment, moment.code))
        }
        console.log(
          `${operation.name}: ${moments.length} calls, ${moments.filter(Traced.isChange).length} of them change files; killed at ${kills}, failing at ${fallible.length}`
        )
      })
  )
