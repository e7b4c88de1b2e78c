import { describe, expect, it } from "@effect/vitest"
import { FastCheck } from "effect"
import { Sequence } from "effect-airlock/protocol"

const number = FastCheck.oneof(FastCheck.nat(20), FastCheck.nat())

/** What happens in a session. `seen` is how much of the other file's growth the agent's mount shows, in parts of 1. */
const event = FastCheck.oneof(
  FastCheck.record({ by: FastCheck.constant("host" as const), rows: FastCheck.integer({ min: 1, max: 4 }) }),
  FastCheck.record({
    by: FastCheck.constant("agent" as const),
    rows: FastCheck.integer({ min: 1, max: 4 }),
    seen: FastCheck.double({ min: 0, max: 1, noNaN: true })
  })
)

describe("Sequence", () => {
  it("starts with 2 for the host and 1 for the agent", () => {
    expect(Sequence.nextHost(0)).toBe(2)
    expect(Sequence.nextAgent(0)).toBe(1)
  })

  it.each([
    [1, 2, 3],
    [2, 4, 3],
    [3, 4, 5],
    [4, 6, 5],
    [9, 10, 11],
    [10, 12, 11]
  ])("goes on after %d with %d for the host and %d for the agent", (last, host, agent) => {
    expect(Sequence.nextHost(last)).toBe(host)
    expect(Sequence.nextAgent(last)).toBe(agent)
  })

  it.prop("gives the host the next even number", { last: number }, ({ last }) => {
    const next = Sequence.nextHost(last)
    expect(next % 2).toBe(0)
    expect(next).toBeGreaterThan(last)
    expect(next).toBeLessThanOrEqual(last + 2)
  })

  it.prop("gives the agent the next odd number", { largest: number }, ({ largest }) => {
    const next = Sequence.nextAgent(largest)
    expect(next % 2).toBe(1)
    expect(next).toBeGreaterThan(largest)
    expect(next).toBeLessThanOrEqual(largest + 2)
  })

  it.prop(
    "keeps its parity even after a number that no side gives",
    { odd: FastCheck.integer({ min: -1000, max: 0 }) },
    ({ odd }) => {
      expect(Math.abs(Sequence.nextHost(odd) % 2)).toBe(0)
      expect(Math.abs(Sequence.nextAgent(odd) % 2)).toBe(1)
      expect(Sequence.nextHost(odd)).toBeGreaterThan(odd)
      expect(Sequence.nextAgent(odd)).toBeGreaterThan(odd)
    }
  )

  it.prop(
    "never gives a number twice, though the agent sees the host's numbers late",
    { events: FastCheck.array(event, { maxLength: 60 }) },
    ({ events }) => {
      const host: Array<number> = []
      const agent: Array<number> = []
      let shown = 0
      for (const event of events) {
        for (let row = 0; row < event.rows; row++) {
          if (event.by === "host") host.push(Sequence.nextHost(host.at(-1) ?? 0))
          else {
            shown += Math.floor((host.length - shown) * event.seen)
            const largest = Math.max(0, ...host.slice(0, shown), ...agent)
            const next = Sequence.nextAgent(largest)
            expect(next).toBeGreaterThan(largest)
            agent.push(next)
          }
        }
      }
      expect(new Set([...host, ...agent]).size).toBe(host.length + agent.length)
      expect(host).toEqual(host.map((_, index) => 2 * index + 2))
      expect(agent.every((number, index) => number % 2 === 1 && number > (agent[index - 1] ?? 0))).toBe(true)
    },
    { fastCheck: { numRuns: 300 } }
  )
})
