/**
 * What is printed of the runs at scale: a column for each number of sessions, and how the last compares to the first.
 */
import * as Report from "./Report.js"
import type { Outcome } from "./Scale.js"
import type { Quantiles } from "./ScaleRun.js"

type Line = readonly [name: string, value: (outcome: Outcome) => number | null]

const mebibyte = 1024 ** 2

const spread = (
  name: string,
  unit: string,
  of: (outcome: Outcome) => Quantiles,
  parts: ReadonlyArray<keyof Quantiles> = ["p50", "p99"]
): ReadonlyArray<Line> => parts.map((part) => [`${name}, ${part}, ${unit}`, (outcome) => of(outcome)[part]])

const lines: ReadonlyArray<Line> = [
  ["sessions with an agent", ({ asked }) => asked.active],
  ["making a session, ms", ({ made }) => made],
  ["first look at all sessions, ms", ({ measured }) => measured.firstLook],
  ["a look at all when nothing is new, ms", ({ measured }) => measured.idleLook],
  ["heap per idle session, bytes", ({ measured }) => measured.heapPerSession],
  ["resident memory per idle session, bytes", ({ measured }) => measured.residentPerSession],
  ["open files after a look at all", ({ measured }) => measured.files],
  ["messages in per second", ({ measured }) => measured.stored],
  ["messages out per second", ({ measured }) => measured.delivered],
  ["messages that did not come back", ({ measured }) => measured.missing],
  ...spread("`writeMessage`", "ms", ({ measured }) => measured.write),
  ...spread("from writing to the echo's delivery", "ms", ({ measured }) => measured.roundTrip),
  ...spread("from the agent's commit to delivery", "ms", ({ measured }) => measured.outward),
  ["the host's CPU time, % of one core", ({ measured }) => 100 * measured.cpu],
  ["heap under load, MiB", ({ measured }) => measured.heap / mebibyte],
  ["resident memory under load, MiB", ({ measured }) => measured.resident / mebibyte],
  ...spread("event-loop delay", "ms", ({ measured }) => measured.delay, ["p50", "p99", "max"])
]

const none = "–"

const figure = (value: number | null): string =>
  value === null
    ? none
    : Number.isInteger(value) || Math.abs(value) >= 100
      ? value.toFixed(0)
      : value.toFixed(Math.abs(value) >= 10 ? 1 : 2)

const growth = (first: number | null | undefined, last: number | null | undefined): string =>
  typeof first === "number" && first > 0 && typeof last === "number" ? `× ${(last / first).toFixed(2)}` : none

export const markdown = (outcomes: ReadonlyArray<Outcome>): string =>
  Report.table(
    ["sessions", ...outcomes.map(({ asked }) => asked.sessions.toLocaleString("en")), "last to first"],
    lines.map(([name, value]) => {
      const values = outcomes.map(value)
      return [name, ...values.map(figure), growth(values[0], values.at(-1))]
    })
  )
