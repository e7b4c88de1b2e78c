#!/usr/bin/env node
/**
 * The command `effect-airlock`.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import { Command, CommanderError } from "commander"
import { createRequire } from "node:module"
import type { StorageError } from "./protocol/AirlockError.js"
import { quote } from "./protocol/AirlockError.js"
import { Doctor, isHealthy } from "./host/Doctor.js"
import { explain } from "./host/DoctorReport.js"
import * as DoctorText from "./host/DoctorText.js"

const { version } = Schema.decodeUnknownSync(Schema.Struct({ version: Schema.String }))(
  createRequire(import.meta.url)("../package.json")
)

interface Request {
  readonly directory: string
  readonly json: boolean
}

const exitCodes = { healthy: 0, problems: 1, notExamined: 2 }

/** What the arguments ask for; undefined if it was help or the version, which is printed then. */
const parse = (words: ReadonlyArray<string>): Effect.Effect<Request | undefined, CommanderError> =>
  Effect.suspend(() => {
    let request: Request | undefined
    const program = new Command("effect-airlock")
      .description("Session mailboxes between an Effect host and the sandboxes that its agents run in.")
      .version(version)
      .exitOverride()
    program
      .command("doctor")
      .description("Look at a data directory, and say what is wrong with it. Nothing in it is changed.")
      .argument("<dir>", "the data directory, which has v2.db and v2-sessions/")
      .option("--json", "print the report as JSON")
      .addHelpText(
        "after",
        `
A problem is something wrong: lost, damaged, or not to be examined. A note is worth knowing, and harmless.

Exit codes:
  ${exitCodes.healthy}  no problems; there may be notes
  ${exitCodes.problems}  problems were found
  ${exitCodes.notExamined}  wrong arguments, or the directory is not there, not readable, or not a data directory`
      )
      .action((directory: string, { json = false }: { readonly json?: boolean }) => {
        request = { directory, json }
      })
    return Effect.try({
      try: () => program.parse(words, { from: "user" }),
      catch: (error) => error
    }).pipe(
      Effect.catchAll((error) => (error instanceof CommanderError ? Effect.fail(error) : Effect.die(error))),
      Effect.map(() => request),
      Effect.catchIf(
        ({ exitCode }) => exitCode === 0,
        () => Effect.succeed(undefined)
      )
    )
  })

const whyNot = (error: StorageError): string =>
  error._tag === "SessionDbUnavailable" && error.resource === "central"
    ? "is not a data directory: it has neither v2.db nor v2-sessions"
    : explain(error)

const doctor = ({ directory, json }: Request) =>
  Effect.gen(function* () {
    const report = yield* Effect.flatMap(Doctor, ({ examine }) => examine(directory))
    yield* Console.log(json ? DoctorText.toJson(report) : DoctorText.toText(report))
    return isHealthy(report) ? exitCodes.healthy : exitCodes.problems
  }).pipe(
    Effect.provide(Doctor.layer),
    Effect.catchAll((error: StorageError) =>
      Effect.as(Console.error(`effect-airlock: ${quote(directory)} ${whyNot(error)}`), exitCodes.notExamined)
    )
  )

const main = Effect.gen(function* () {
  const request = yield* parse(process.argv.slice(2))
  return request === undefined ? exitCodes.healthy : yield* doctor(request)
}).pipe(
  // Commander has said what is wrong.
  Effect.catchAll(() => Effect.succeed(exitCodes.notExamined)),
  Effect.tap((code) => Effect.sync(() => (process.exitCode = code))),
  // What is printed is for programs too, so nothing else goes there.
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
)

NodeRuntime.runMain(main, { disablePrettyLogger: true })
