import { describe, expect, it } from "@effect/vitest"
import type { Outcome } from "./Scale.js"
import * as Scale from "./Scale.js"
import * as ScaleReport from "./ScaleReport.js"

const outcome = (sessions: number, idleLook: number, p99: number | null): Outcome => {
  const times = { p50: p99, p99, max: p99 }
  return {
    asked: { dataDir: "", sessions, active: 50, rate: 1, seconds: 1, interval: 1 },
    made: 1,
    measured: {
      firstLook: 1,
      idleLook,
      heapPerSession: 1,
      residentPerSession: 1,
      files: 1,
      sent: 1,
      stored: 1,
      delivered: 1,
      missing: 0,
      write: times,
      roundTrip: times,
      outward: times,
      cpu: 0.5,
      heap: 1,
      resident: 1,
      delay: times
    }
  }
}

describe("ScaleReport.markdown", () => {
  const lines = ScaleReport.markdown([outcome(1000, 20, 3), outcome(10_000, 50, null)]).split("\n")
  const line = (name: string) =>
    lines
      .find((text) => text.includes(name))
      ?.split("|")
      .slice(2, -1)
      .map((cell) => cell.trim())

  it("has a column for each number of sessions, and how the last compares to the first", () => {
    expect(line("| sessions ")).toEqual(["1,000", "10,000", "last to first"])
    expect(line("when nothing is new")).toEqual(["20", "50", "× 2.50"])
  })

  it("compares nothing with what was not seen, or not there", () => {
    expect(line("`writeMessage`, p99")).toEqual(["3", "–", "–"])
    expect(line("did not come back")).toEqual(["0", "0", "–"])
  })
})

describe("Scale.activeOf", () => {
  it("is one in a hundred, but fifty at least, and never more than there are", () => {
    expect([10, 1000, 5000, 10_000, 20_000].map(Scale.activeOf)).toEqual([10, 50, 50, 100, 200])
  })
})
