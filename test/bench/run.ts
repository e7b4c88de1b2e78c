/**
 * How long operations of the library take, beside the same work done plainly with better-sqlite3.
 *
 *   npm run bench                                   all cases
 *   npm run bench -- write-single poll-idle         these only
 *   npm run bench -- --json FILE --rounds 20 --check
 */
import { NodeRuntime } from "@effect/platform-node"
import { Command, Option } from "commander"
import { Effect, Logger, LogLevel } from "effect"
import * as Fs from "node:fs"
import * as Cases from "./Cases.js"
import { Place } from "./Place.js"
import type { Outcome } from "./Report.js"
import * as Report from "./Report.js"

const print = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

interface Options {
  readonly dir: string
  readonly json?: string
  readonly rounds?: number
  readonly check?: boolean
}

const positive = (text: string): number => {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new Error(`${text} is not a positive whole number`)
  return number
}

const bench = (names: ReadonlyArray<string>, { check = false, dir, json, rounds }: Options) =>
  Effect.gen(function* () {
    const chosen = Cases.all.filter(({ name }) => names.length === 0 || names.includes(name))
    const outcomes: Array<Outcome> = []
    for (const of of chosen) {
      const outcome = yield* Cases.run(of, rounds)
      outcomes.push(outcome)
      yield* Effect.sync(() => process.stderr.write(`${of.name}: ${Report.ratioOf(outcome) ?? "done"}\n`))
    }
    yield* print(`\n${Report.markdown(outcomes)}`)
    if (json !== undefined) yield* Effect.sync(() => Fs.writeFileSync(json, Report.json(outcomes)))
    if (check && outcomes.some((outcome) => Report.isMet(outcome) === false)) process.exitCode = 1
  }).pipe(Effect.provide(Place.layer(dir)))

const run = (effect: Effect.Effect<void, unknown>) =>
  effect.pipe(Logger.withMinimumLogLevel(LogLevel.Warning), NodeRuntime.runMain)

const program = new Command("npm run bench --")
  .argument("[cases...]", "the cases to measure; all, if none is named")
  .option("--json <file>", "write the figures to a file")
  .addOption(new Option("--rounds <number>", "how many rounds, for every case").argParser(positive))
  .option("--dir <folder>", "where the data lies meanwhile", ".")
  .option("--check", "exit with 1 if a ratio is larger than it may be")
  .action((names: ReadonlyArray<string>, options: Options) => {
    const strangers = names.filter((name) => !Cases.all.some((of) => of.name === name))
    if (strangers.length > 0) {
      program.error(
        `there is no case ${strangers.join(", ")}; there are ${Cases.all.map(({ name }) => name).join(", ")}`
      )
    }
    run(bench(names, options))
  })

program.parse()
