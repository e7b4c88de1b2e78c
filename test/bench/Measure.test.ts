import { describe, expect, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import * as Measure from "./Measure.js"
import type { Outcome } from "./Report.js"
import * as Report from "./Report.js"
import * as Statistics from "./Statistics.js"

describe("Statistics.of", () => {
  it("gives the middle and the quarters, whatever the order of the samples", () => {
    expect(Statistics.of([5, 1, 4, 2, 3])).toEqual({ median: 3, lower: 2, upper: 4, samples: 5 })
    expect(Statistics.of([10, 4, 1, 3])).toEqual({ median: 3.5, lower: 2.5, upper: 5.5, samples: 4 })
    expect(Statistics.of([7])).toEqual({ median: 7, lower: 7, upper: 7, samples: 1 })
  })

  it("sorts numbers as numbers", () => {
    expect(Statistics.of([100, 9, 20]).median).toBe(20)
  })
})

describe("Measure.run", () => {
  /** A side that takes so long for its turns, and says what it does. */
  const side = (name: string, log: Array<string>, millis: ReadonlyArray<number>) => {
    let turn = 0
    return {
      before: Effect.zipRight(
        Effect.sync(() => log.push(`before ${name}`)),
        TestClock.adjust("1 hour")
      ),
      run: Effect.suspend(() => {
        log.push(name)
        return TestClock.adjust(millis[turn++] ?? 0)
      })
    }
  }

  it.effect(
    "measures both sides in turn, first one and then the other first, and not what comes before",
    () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const measured = yield* Measure.run(
          {
            per: 10,
            ours: side("ours", log, [1000, 3, 1, 2]),
            baseline: side("baseline", log, [1000, 20, 60, 10])
          },
          { warmUp: 1, rounds: 3 },
          Effect.zipRight(
            Effect.sync(() => log.push("rest")),
            TestClock.adjust("1 minute")
          )
        )
        expect(measured.ours).toEqual({ median: 200, lower: 150, upper: 250, samples: 3 })
        expect(measured.baseline).toEqual({ median: 2000, lower: 1500, upper: 4000, samples: 3 })
        const turn = (name: string) => [`before ${name}`, "rest", name]
        const [ours, baseline] = [turn("ours"), turn("baseline")]
        expect(log).toEqual([
          ...[...baseline, ...ours],
          ...[...ours, ...baseline],
          ...[...baseline, ...ours],
          ...[...ours, ...baseline]
        ])
      })
  )

  it.effect("measures what has no baseline", () =>
    Effect.gen(function* () {
      const measured = yield* Measure.run(
        { per: 1, ours: side("ours", [], [4]), baseline: undefined },
        { warmUp: 0, rounds: 1 },
        Effect.void
      )
      expect(measured).toEqual({
        ours: { median: 4000, lower: 4000, upper: 4000, samples: 1 },
        baseline: undefined
      })
    })
  )
})

describe("Report", () => {
  const outcome = (name: string, ours: number, baseline: number | undefined, atMost?: number): Outcome => ({
    of: {
      name,
      what: "something",
      unit: "µs each",
      atMost,
      rounds: { warmUp: 0, rounds: 1 },
      sides: Effect.dieMessage("not to be measured")
    },
    measured: {
      ours: Statistics.of([ours]),
      baseline: baseline === undefined ? undefined : Statistics.of([baseline])
    }
  })

  it("divides ours by the baseline, and says whether that is at most what it may be", () => {
    expect(Report.ratioOf(outcome("a", 5, 4, 1.25))).toBe(1.25)
    expect(Report.isMet(outcome("a", 5, 4, 1.25))).toBe(true)
    expect(Report.isMet(outcome("a", 5.1, 4, 1.25))).toBe(false)
    expect(Report.isMet(outcome("a", 5, 4))).toBe(undefined)
    expect(Report.ratioOf(outcome("a", 5, undefined))).toBe(null)
  })

  it("is JSON with the figures of each case", () => {
    expect(JSON.parse(Report.json([outcome("a", 1, 4), outcome("b", 3, undefined)]))).toEqual({
      a: { ours: 1, baseline: 4, ratio: 0.25, unit: "µs each" },
      b: { ours: 3, baseline: null, ratio: null, unit: "µs each" }
    })
  })

  it("is a table of which every line has every column", () => {
    const [head = "", ...lines] = Report.markdown([
      outcome("a", 1, 4, 0.1),
      outcome("b", 3, undefined)
    ]).split("\n")
    expect(lines.map((line) => line.split("|").length)).toEqual(lines.map(() => head.split("|").length))
    expect(lines[1]).toMatch(/`a`.* 0\.250 .* NO /)
  })
})
