/**
 * What is printed of the cases.
 */
import type { Outcome } from "./Cases.js"

/** None, if nothing was read, or it is not counted. */
const number = (value: number | null) => (value === null ? "–" : value.toFixed(0))

const errorsOf = ({ watched, wrote }: Outcome) =>
  [
    listed(watched.errors),
    ...(Object.keys(wrote.errors).length === 0 ? [] : [`the writer: ${listed(wrote.errors)}`])
  ].join("; ")

const listed = (errors: Readonly<Record<string, number>>) => {
  const entries = Object.entries(errors)
  return entries.length === 0 ? "0" : entries.map(([name, count]) => `${count} ${name}`).join(", ")
}

/** Which case it is. */
export const nameOf = ({ mount, reader, writer }: Outcome) => `${mount}, ${reader}, written by ${writer}`

const cells = (outcome: Outcome): ReadonlyArray<string> => {
  const { watched, wrote, mount, reader, writer } = outcome
  return [
    mount,
    reader,
    writer,
    (wrote.commits / wrote.seconds).toFixed(1),
    String(watched.reads),
    String(watched.torn + watched.backwards),
    errorsOf(outcome),
    number(watched.retries),
    (watched.fresh / watched.seconds).toFixed(1),
    number(watched.longestGap),
    number(watched.medianAge),
    number(watched.worstAge)
  ]
}

const columns = [
  "mount",
  "reader",
  "writer",
  "commits/s",
  "reads",
  "torn",
  "errors",
  "retries",
  "fresh/s",
  "longest gap, ms",
  "median age, ms",
  "worst age, ms"
]

/** One case in one line. */
export const line = (outcome: Outcome, isLast: boolean): string =>
  [
    nameOf(outcome),
    ...cells(outcome)
      .slice(3)
      .map((cell, index) => `${columns[index + 3]} ${cell}`),
    `the writer's longest pause ${number(outcome.wrote.longestPause)} ms`,
    ...outcome.wrong.map((what) => `${isLast ? "FAILED" : "tried again"}: ${what}`)
  ].join("; ")

/** All of them, for a README. */
export const markdown = (outcomes: ReadonlyArray<Outcome>): string => {
  const table = [columns, ...outcomes.map(cells)]
  const widths = columns.map((_, index) => Math.max(...table.map((row) => row[index]?.length ?? 0)))
  const row = (texts: ReadonlyArray<string>) =>
    `| ${texts.map((text, index) => text.padEnd(widths[index] ?? 0)).join(" | ")} |`
  return [row(columns), row(widths.map((width) => "-".repeat(width))), ...outcomes.map(cells).map(row)].join(
    "\n"
  )
}
