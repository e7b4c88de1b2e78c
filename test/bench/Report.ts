/**
 * What is printed and stored of the measurements.
 */
import type { Case } from "./Case.js"
import type { Measured } from "./Measure.js"
import type { Statistics } from "./Statistics.js"

export interface Outcome {
  readonly of: Case
  readonly measured: Measured
}

export const ratioOf = ({ measured: { baseline, ours } }: Outcome): number | null =>
  baseline === undefined ? null : ours.median / baseline.median

/** Whether it is what it should be; undefined if nothing was said. */
export const isMet = (outcome: Outcome): boolean | undefined => {
  const ratio = ratioOf(outcome)
  return ratio === null || outcome.of.atMost === undefined ? undefined : ratio <= outcome.of.atMost
}

const none = "–"

/** Three digits, or as many as are left of the point. */
const figure = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

const median = (of: Statistics | undefined) => (of === undefined ? none : figure(of.median))

const spread = (of: Statistics | undefined) =>
  of === undefined ? none : `${figure(of.lower)} to ${figure(of.upper)}`

const columns = [
  "case",
  "what",
  "unit",
  "ours",
  "quartiles",
  "baseline",
  "quartiles",
  "ratio",
  "at most",
  "met"
]

const cells = (outcome: Outcome): ReadonlyArray<string> => {
  const { measured, of } = outcome
  const ratio = ratioOf(outcome)
  const met = isMet(outcome)
  return [
    `\`${of.name}\``,
    of.what,
    of.unit,
    median(measured.ours),
    spread(measured.ours),
    median(measured.baseline),
    spread(measured.baseline),
    ratio === null ? none : ratio.toFixed(3),
    of.atMost === undefined ? none : String(of.atMost),
    met === undefined ? none : met ? "yes" : "NO"
  ]
}

/** A table in markdown, its columns as wide as they have to be. */
export const table = (columns: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = columns.map((column, index) =>
    Math.max(column.length, ...rows.map((row) => row[index]?.length ?? 0))
  )
  const line = (texts: ReadonlyArray<string>) =>
    `| ${texts.map((text, index) => text.padEnd(widths[index] ?? 0)).join(" | ")} |`
  return [line(columns), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n")
}

/** One case in one line. */
export const line = (outcome: Outcome): string => {
  const { measured, of } = outcome
  const ratio = ratioOf(outcome)
  return [
    `${of.name}: ${median(measured.ours)} ${of.unit}`,
    ...(ratio === null ? [] : [`${ratio.toFixed(3)} of the baseline's ${median(measured.baseline)}`]),
    ...(of.atMost === undefined ? [] : [`at most ${of.atMost}`]),
    ...(isMet(outcome) === false ? ["NOT MET"] : [])
  ].join("; ")
}

export const list = (lines: ReadonlyArray<string>): string => lines.map((line) => `- ${line}`).join("\n")

export const markdown = (outcomes: ReadonlyArray<Outcome>): string => table(columns, outcomes.map(cells))

export const json = (outcomes: ReadonlyArray<Outcome>): string => {
  const entries = outcomes.map((outcome) => [
    outcome.of.name,
    {
      ours: outcome.measured.ours.median,
      baseline: outcome.measured.baseline?.median ?? null,
      ratio: ratioOf(outcome),
      unit: outcome.of.unit
    }
  ])
  return `${JSON.stringify(Object.fromEntries(entries), undefined, 2)}\n`
}
