/**
 * Whole stories of a session, told to a real host and agent and to a simple model, with either killed at any moment. The
 * environment says how many, and which:
 *
 *   AIRLOCK_MODEL_RUNS=1000 AIRLOCK_MODEL_SEED=7 npx vitest run test/model.test.ts
 */
import { expect, it } from "@effect/vitest"
import { Effect, FastCheck } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Command from "./model/Command.js"
import * as Telling from "./model/Telling.js"
import * as Memory from "./support/Memory.js"

const runs = Number(process.env["AIRLOCK_MODEL_RUNS"] ?? 25)
const seed = Number(process.env["AIRLOCK_MODEL_SEED"] ?? Math.floor(Math.random() * 2 ** 31))

const home = Fs.mkdtempSync(Path.join(Memory.folder, "airlock-model-"))
const prepared = Path.join(home, "prepared")
const tell = (story: Command.Story) =>
  Effect.runPromise(Telling.tell(prepared, Path.join(home, "story"), story))

/** Thousands of errors are looked at by nobody, and half of what they cost is their stack. */
const withoutStacks = async <A>(run: () => Promise<A>): Promise<A> => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  return run().finally(() => (Error.stackTraceLimit = limit))
}

it(
  `keeps its promises in ${runs} stories`,
  async ({ onTestFinished }) => {
    onTestFinished(() => Fs.rmSync(home, { recursive: true }))
    await Effect.runPromise(Telling.prepare(prepared))
    const began = performance.now()
    let failedAt = Number.POSITIVE_INFINITY
    const property = FastCheck.asyncProperty(Command.story, async (story) => {
      // A story that fails is cut down for a minute.
      if (performance.now() - failedAt > 60_000) return
      const problems = await withoutStacks(() => tell(story))
      if (problems.length > 0) failedAt = Math.min(failedAt, performance.now())
      expect(problems).toEqual([])
    })
    const { counterexample, failed, numRuns } = await FastCheck.check(property, { numRuns: runs, seed })
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    console.log(`${numRuns} stories in ${seconds} s, AIRLOCK_MODEL_SEED=${seed}`)
    if (!failed) return
    const [story] = counterexample ?? []
    if (story === undefined) throw new Error("There is no story")
    const problems = await tell(story)
    throw new Error([`AIRLOCK_MODEL_SEED=${seed}`, Command.text(story), ...problems].join("\n"))
  },
  runs * 2000 + 90_000
)
