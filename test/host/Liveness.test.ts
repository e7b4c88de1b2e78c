import { describe, expect, it } from "@effect/vitest"
import { Duration } from "effect"
import * as Liveness from "../../src/host/Liveness.js"

const policy = { claims: Duration.minutes(1), silence: Duration.minutes(30), tool: Duration.hours(1) }
const minute = 60_000

/** An agent that holds a claim since it started, and declares a tool. */
const working = (toolTimeout: number, claims: ReadonlyArray<string> = ["m 1"]) =>
  Liveness.sawReport(Liveness.started(undefined, 0), { claims, toolTimeout }, 0)

/** How long it may go on, to the millisecond. */
const limitOf = (seen: Liveness.Liveness): number => {
  let [alive, dead] = [0, 24 * 60 * minute]
  while (dead - alive > 1) {
    const middle = Math.floor((alive + dead) / 2)
    if (Liveness.whyStuck(seen, policy, middle) === undefined) alive = middle
    else dead = middle
  }
  return alive
}

describe("whether an agent is stuck", () => {
  it("is said after a minute with a claim, and after half an hour without one", () => {
    expect(limitOf(working(0))).toBe(minute)
    expect(limitOf(working(0, []))).toBe(30 * minute)
    expect(Liveness.whyStuck(working(0), policy, minute + 1)).toBe("claims")
    expect(Liveness.whyStuck(working(0, []), policy, 30 * minute + 1)).toBe("silence")
  })

  it("counts from the start of a container that has shown nothing yet", () => {
    expect(limitOf(Liveness.started(undefined, 10 * minute))).toBe(40 * minute)
  })

  it("waits for a declared tool, up to the cap, in both cases", () => {
    expect(limitOf(working(5 * minute))).toBe(5 * minute)
    expect(limitOf(working(5 * minute, []))).toBe(30 * minute)
    expect(limitOf(working(45 * minute, []))).toBe(45 * minute)
    expect(limitOf(working(1e15))).toBe(60 * minute)
    expect(limitOf(working(1e15, []))).toBe(60 * minute)
  })

  it("counts from the last change of the heartbeat, whatever time the file says", () => {
    const before = Liveness.started(9n ** 30n, 0)
    expect(limitOf(Liveness.saw(before, 9n ** 30n, 10 * minute))).toBe(30 * minute)
    expect(limitOf(Liveness.saw(before, undefined, 10 * minute))).toBe(30 * minute)
    expect(limitOf(Liveness.saw(before, 1n, 10 * minute))).toBe(40 * minute)
    expect(limitOf(Liveness.saw(working(0), 1n, 10 * minute))).toBe(11 * minute)
  })

  it("counts a claim from when it was first seen, and a claim of another stamp anew", () => {
    const seen = Liveness.started(undefined, 0)
    const report = (claims: ReadonlyArray<string>) => ({ claims, toolTimeout: 0 })
    const first = Liveness.sawReport(seen, report(["m 1"]), 5 * minute)
    expect(limitOf(first)).toBe(6 * minute)
    expect(limitOf(Liveness.sawReport(first, report(["m 1", "n 1"]), 5.5 * minute))).toBe(6 * minute)
    expect(limitOf(Liveness.sawReport(first, report(["m 2"]), 5.5 * minute))).toBe(6.5 * minute)
    expect(limitOf(Liveness.sawReport(first, report([]), 5.5 * minute))).toBe(30 * minute)
  })

  it("holds nothing of an earlier run against a container that was started again", () => {
    const again = Liveness.startedAgain(working(0), 10 * minute)
    const seen = Liveness.sawReport(again, { claims: ["m 1"], toolTimeout: 0 }, 10 * minute)
    expect(limitOf(seen)).toBe(40 * minute)
    const fresh = Liveness.sawReport(again, { claims: ["m 1", "m 2"], toolTimeout: 0 }, 11 * minute)
    expect(limitOf(fresh)).toBe(12 * minute)
    expect(Liveness.startedAgain(working(0), 0)).toEqual(working(0))
  })
})
