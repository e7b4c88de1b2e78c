/**
 * Both sides of the library across real mounts: the host on the plain folder, the agent behind the mount. Prints what was
 * seen, case by case, and fails if anything was torn, or refused, or late, or if a control that should fail did not.
 *
 *   npm run test:mount                        everything; where a mount cannot be made, it fails
 *   AIRLOCK_MOUNTS=bindfs npm run test:mount  these mounts only, of bindfs, virtiofs, 9p
 */
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Logger, LogLevel } from "effect"
import { AirlockConfig, AirlockHost, SessionPaths, SessionRegistry } from "effect-airlock"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Memory from "../support/Memory.js"
import * as TestHost from "../support/TestHost.js"
import * as Attempts from "./Attempts.js"
import * as Cases from "./Cases.js"
import * as Line from "./Line.js"
import type { Mount } from "./Mount.js"
import * as Mounts from "./Mount.js"
import * as RoundTrip from "./RoundTrip.js"
import type { Setting } from "./Sides.js"
import * as Table from "./Table.js"

const print = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

const chosen = process.env["AIRLOCK_MOUNTS"]?.split(",") ?? Mounts.all.map(({ name }) => name)

/** A host on `dataDir` whose attempts are counted. */
const host = (dataDir: string, attempts: Attempts.Attempts) =>
  AirlockHost.loops.pipe(
    Layer.provideMerge(TestHost.ports),
    Layer.provideMerge(AirlockHost.sessionsWithoutStorage),
    Layer.provideMerge(SessionRegistry.SessionRegistry.layerSqlite),
    Layer.provideMerge(SessionPaths.SessionPaths.layer),
    Layer.provideMerge(AirlockConfig.AirlockConfig.layer({ dataDir })),
    Layer.provideMerge(Attempts.layer(attempts)),
    Layer.provideMerge(NodeContext.layer)
  )

const across = (mount: Mount) =>
  Effect.gen(function* () {
    const dataDir = yield* TestHost.temporaryDirectory
    const attempts = Attempts.make()
    const share = Path.join(dataDir, "v2-sessions")
    Fs.mkdirSync(Path.join(share, "line"), { recursive: true })
    return yield* Effect.gen(function* () {
      const program = yield* mount.start(share, yield* Mounts.program)
      const session = yield* TestHost.newSession()
      const ask = Line.dial(Path.join(share, "line"))
      const setting: Setting = { mount, share, session, attempts, ask, program }
      const outcomes = yield* Cases.run(
        setting,
        (outcome, isLast) => void process.stdout.write(`${Table.line(outcome, isLast)}\n`)
      )
      const trip = yield* RoundTrip.run(setting)
      yield* print(RoundTrip.line(trip))
      return { outcomes, trip }
    }).pipe(Effect.provide(host(dataDir, attempts)))
  }).pipe(Effect.scoped)

// Also of the processes that are started from here. On a slow disk the writers would not come to write.
process.env["TMPDIR"] = Memory.folder

const main = Effect.gen(function* () {
  const strangers = chosen.filter((name) => !Mounts.all.some((mount) => mount.name === name))
  const mounts = Mounts.all.filter(({ name }) => chosen.includes(name))
  const lacking = [
    ...strangers.map((name) => `there is no mount called "${name}"`),
    ...mounts.flatMap((mount) => mount.missing().map((what) => `${mount.name} needs ${what}`))
  ]
  if (lacking.length > 0) {
    yield* print(
      ["", "NOTHING WAS TESTED", ...lacking, "test/mount/install installs it, as root", ""].join("\n")
    )
    process.exitCode = 1
    return
  }
  const done = yield* Effect.forEach(mounts, across)
  const outcomes = done.flatMap((each) => each.outcomes)
  const wrong = [
    ...outcomes.flatMap((outcome) => outcome.wrong.map((what) => `${Table.nameOf(outcome)}: ${what}`)),
    ...done.flatMap(({ trip }) => trip.wrong.map((what) => `${trip.mount}, round trip: ${what}`))
  ]
  yield* print(`\n${Table.markdown(outcomes)}\n`)
  for (const { trip } of done) yield* print(RoundTrip.line(trip))
  for (const { name } of Mounts.all.filter((mount) => !mounts.includes(mount))) {
    yield* print(`NOT TESTED, because AIRLOCK_MOUNTS leaves it out: ${name}`)
  }
  for (const what of wrong) yield* print(`FAILED ${what}`)
  if (wrong.length > 0) process.exitCode = 1
})

main.pipe(Logger.withMinimumLogLevel(LogLevel.Error), NodeRuntime.runMain)
