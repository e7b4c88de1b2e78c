/**
 * How long operations of the library take, beside the same work done plainly with better-sqlite3 (see `Baseline`). Both work
 * in turn, many rounds, in one process and on one disk. Printed are the medians of both, the quarters between which half of
 * their rounds lie, and the ratio of the medians, which for most cases may be so much at most.
 *
 *   npm run bench                              all cases, in a few minutes
 *   npm run bench -- write-single poll-idle    these only
 *   npm run bench -- --json FILE               writes the figures to a file, too
 *   npm run bench -- --rounds 10               so many rounds of each case, whatever it takes by itself
 *   npm run bench -- --check                   ends with 1 if a ratio is larger than it may be
 *   npm run bench -- --dir DIR                 where the data lies meanwhile; by default a hidden folder of this one
 *   npm run bench -- scale                     one host with thousands of sessions instead (see `Scale`), in some ten minutes
 *   npm run bench -- scale --sessions 1000,5000 --seconds 10 --rate 20
 *
 * It says something about the library only if nothing else uses the disk and the processors, and if the data lies on a disk:
 * in memory there is nothing to wait for, and only what the library adds is left. Ratios below 1 come from not doing
 * what need not be done: messages that arrive together are committed together, and files that have not changed are
 * not opened.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Command, InvalidArgumentError, Option } from "commander"
import { Effect, Layer, Logger, LogLevel } from "effect"
import * as Fs from "node:fs"
import * as Cases from "./Cases.js"
import * as Facts from "./Facts.js"
import { Idle } from "./Idle.js"
import { Place } from "./Place.js"
import type { Outcome } from "./Report.js"
import * as Report from "./Report.js"
import * as Scale from "./Scale.js"
import * as ScaleReport from "./ScaleReport.js"

const print = (text: string) => Effect.sync(() => process.stdout.write(`${text}\n`))

/** What is told meanwhile is no part of the result. */
const tell = (line: string) => Effect.sync(() => process.stderr.write(`${line}\n`))

interface Options {
  readonly dir: string
  readonly json?: string
  readonly rounds?: number
  readonly check?: boolean
}

const positive = (text: string): number => {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1)
    throw new InvalidArgumentError("It must be a whole number above 0.")
  return number
}

const bench = (names: ReadonlyArray<string>, { check = false, dir, json, rounds }: Options) =>
  Effect.gen(function* () {
    const { durability, root, template } = yield* Place
    const facts = yield* Facts.lines(root, durability, template)
    const outcomes: Array<Outcome> = []
    for (const of of Cases.all.filter(({ name }) => names.length === 0 || names.includes(name))) {
      const outcome = yield* Cases.run(of, rounds)
      outcomes.push(outcome)
      yield* tell(Report.line(outcome))
    }
    yield* print(`\n${Report.list(facts)}\n\n${Report.markdown(outcomes)}`)
    if (json !== undefined) yield* Effect.sync(() => Fs.writeFileSync(json, Report.json(outcomes)))
    if (check && outcomes.some((outcome) => Report.isMet(outcome) === false)) process.exitCode = 1
  }).pipe(Effect.provide(Layer.provideMerge(Idle.layer, Place.layer(dir))))

const scale = ({ dir, rate, seconds, sessions }: Scale.Options & { readonly dir: string }) =>
  Effect.gen(function* () {
    const { durability, root, template } = yield* Place
    const facts = yield* Facts.lines(root, durability, template)
    const outcomes = yield* Scale.run({ rate, seconds, sessions }, tell)
    yield* print(
      `\n${Report.list([
        ...facts,
        `${rate} messages a second for ${seconds} s to the sessions with an agent, which all are in one other process; host and agents look every ${Scale.interval} ms`
      ])}\n\n${ScaleReport.markdown(outcomes)}`
    )
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

program
  .command("scale")
  .description("One host with thousands of sessions, a part of them active.")
  .addOption(
    new Option("--sessions <numbers>", "how many, separated by commas")
      .argParser((text) => text.split(",").map(positive))
      .default([1000, 5000, 10_000], "1000,5000,10000")
  )
  .addOption(new Option("--seconds <number>", "for how long each").argParser(positive).default(60))
  .addOption(new Option("--rate <number>", "messages a second").argParser(positive).default(20))
  .option("--dir <folder>", "where the data lies meanwhile", ".")
  .action((options: Scale.Options & { readonly dir: string }) => run(scale(options)))

program.parse()
