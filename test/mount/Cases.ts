/**
 * Who writes, who reads, and what must come of it.
 */
import { Effect, Fiber } from "effect"
import type { Session } from "effect-airlock"
import { SessionDb } from "effect-airlock"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Bundle from "../support/Bundle.js"
import * as TestHost from "../support/TestHost.js"
import type { Attempts } from "./Attempts.js"
import type * as Line from "./Line.js"
import type { Seen } from "./Load.js"
import * as Load from "./Load.js"
import type { Mount, Program } from "./Mount.js"
import type { Wrote } from "./Pace.js"
import * as Pace from "./Pace.js"
import * as Plain from "./Plain.js"
import type { Watched } from "./Watch.js"
import { watch } from "./Watch.js"

/** One line of the table. `wrong` is what is not as it has to be. */
export interface Outcome {
  readonly mount: string
  readonly reader: string
  readonly writer: string
  readonly watched: Watched
  readonly wrote: Wrote
  readonly retries: number | undefined
  readonly wrong: ReadonlyArray<string>
}

/** Both ends of a mount, ready to talk. */
export interface Setting {
  readonly mount: Mount
  readonly share: string
  readonly session: Session.Session
  readonly attempts: Attempts
  readonly ask: ReturnType<typeof Line.dial>
  readonly program: Program
}

type Reading = Watched & { readonly attempts?: number }

const sum = (errors: Readonly<Record<string, number>>) => Object.values(errors).reduce((a, b) => a + b, 0)

/** How far the agent's clock is ahead of the host's, in milliseconds, by the quickest of some answers. */
const agentAhead = ({ ask, program }: Setting) =>
  Effect.gen(function* () {
    let quickest = Number.POSITIVE_INFINITY
    let ahead = 0
    for (let n = 0; n < 5; n++) {
      const asked = Date.now()
      const { now } = yield* Effect.raceFirst(ask({ ask: "time" }).answer, program.ended)
      const took = Date.now() - asked
      if (took >= quickest) continue
      quickest = took
      ahead = Number(now) - (asked + took / 2)
    }
    return ahead
  })

/** The agent reads while the host writes. */
const agentReads = <R>(
  setting: Setting,
  folder: string,
  how: "snapshot" | "open" | "held",
  seconds: number,
  advance: (at: number) => Effect.Effect<unknown, unknown, R>
) =>
  Effect.gen(function* () {
    const { ask, mount, program } = setting
    const ahead = -(yield* agentAhead(setting))
    const asked = ask({ ask: "read", how, folder, seconds, ahead })
    const writing = yield* Effect.fork(Pace.write(advance, { isEnough: asked.hasAnswered, rate: mount.rate }))
    const watched = (yield* Effect.raceFirst(asked.answer, program.ended)) as unknown as Reading
    return { watched, wrote: yield* Fiber.join(writing) }
  })

/** The host reads while the agent writes. */
const hostReads = <R>(
  setting: Setting,
  folder: string,
  seconds: number,
  read: Effect.Effect<Seen, unknown, R>
) =>
  Effect.gen(function* () {
    const { ask, mount, program } = setting
    const ahead = yield* agentAhead(setting)
    const asked = ask({ ask: "write", folder, rate: mount.rate })
    yield* Effect.raceFirst(asked.hasBegun, program.ended)
    const watched: Reading = yield* watch(read, { ahead, seconds })
    yield* asked.stop
    const wrote = (yield* Effect.raceFirst(asked.answer, program.ended)) as unknown as Wrote
    return { watched, wrote }
  })

/** What is wrong with what was seen, and what is only slow, which may be the machine's fault. */
interface Verdict {
  readonly wrong: ReadonlyArray<string>
  readonly slow: ReadonlyArray<string>
}

const unsound = ({ backwards, errors, torn }: Watched): ReadonlyArray<string> => [
  ...(torn > 0 ? [`${torn} torn`] : []),
  ...(sum(errors) > 0 ? [`${sum(errors)} errors`] : []),
  ...(backwards > 0 ? [`${backwards} older than what was read before`] : [])
]

/** While the writer itself did not come to write there was nothing fresh to see. */
const starved = (
  mount: Mount,
  { longestGap, reads, seconds }: Watched,
  { longestPause }: Wrote
): ReadonlyArray<string> => [
  ...(longestGap > mount.longestGap + longestPause
    ? [
        `nothing fresh for ${longestGap.toFixed(0)} ms, of at most ${mount.longestGap} and the writer's ${longestPause.toFixed(0)}`
      ]
    : []),
  ...(reads / seconds < mount.reads
    ? [`${(reads / seconds).toFixed(0)} reads a second, of at least ${mount.reads}`]
    : [])
]

/** A writer that does not come to write shows nothing. */
const idle = (least: number, { commits, seconds }: Wrote): ReadonlyArray<string> =>
  commits / seconds < least
    ? [`${(commits / seconds).toFixed(1)} commits a second, of at least ${least}`]
    : []

/** What a reader sees is whole, and the writer writes. */
const sound =
  ({ least }: Mount, writer: "host" | "agent") =>
  (watched: Watched, wrote: Wrote): Verdict => ({
    wrong: [...unsound(watched), ...Object.keys(wrote.errors).map((error) => `${error} in writing`)],
    slow: idle(least[writer], wrote)
  })

/** The same, and there is always something fresh to see. */
const soundAndFed =
  (mount: Mount, writer: "host" | "agent") =>
  (watched: Watched, wrote: Wrote): Verdict => {
    const { slow, wrong } = sound(mount, writer)(watched, wrote)
    return { wrong, slow: [...slow, ...starved(mount, watched, wrote)] }
  }

/** A control has to fail, or the test could not. */
const failing = (watched: Watched, wrote: Wrote): Verdict => ({
  wrong:
    watched.torn + sum(watched.errors) + sum(wrote.errors) > 0 || watched.fresh <= 1
      ? []
      : ["a control that should fail did not"],
  slow: []
})

const inSession = (setting: Setting) =>
  Effect.map(TestHost.folderOf(setting.session), (folder) => ({
    folder,
    relative: Path.relative(setting.share, folder)
  }))

/** A new folder beside the sessions, for a file that the library does not write. */
const beside = ({ share }: Setting) => {
  const folder = Fs.mkdtempSync(Path.join(share, "plain-"))
  return { relative: Path.basename(folder), file: Path.join(folder, "inbound.db") }
}

const commit = (setting: Setting, statements: ReadonlyArray<string>) =>
  Effect.flatMap(SessionDb.SessionDb, (files) =>
    files.transaction(setting.session, (sql) =>
      Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
    )
  )

const byLibrary = (setting: Setting, how: "snapshot" | "open") =>
  Effect.flatMap(inSession(setting), ({ relative }) =>
    agentReads(setting, relative, how, setting.mount.seconds, (at) => commit(setting, Load.advance(at)))
  )

const inPlace = (setting: Setting, how: "snapshot" | "open" | "held", seconds: number) =>
  Effect.gen(function* () {
    const { file, relative } = beside(setting)
    return yield* agentReads(setting, relative, how, seconds, yield* Plain.inPlace(file))
  })

/** A writer that holds a file open in write-ahead-log mode, until it is told to end or dies of it. */
const logWriter = (file: string, rate: number) =>
  Effect.gen(function* () {
    const program = yield* Effect.promise(() => Bundle.make("../mount/logWriter.ts"))
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [program, file, String(rate)], { stdio: ["pipe", "pipe", "inherit"] })
      ),
      (started) => Effect.sync(() => started.kill("SIGKILL"))
    )
    let printed = ""
    child.stdout.on("data", (text) => (printed += String(text)))
    yield* TestHost.until(() => printed.includes("\n"))
    const started = performance.now()
    return Effect.gen(function* () {
      child.stdin.on("error", () => undefined).end()
      yield* TestHost.until(() => child.exitCode !== null || child.signalCode !== null)
      const [, said = ""] = printed.split("\n")
      if (said !== "") return JSON.parse(said) as Wrote
      const seconds = (performance.now() - started) / 1000
      const wrote: Wrote = {
        seconds,
        commits: 0,
        errors: { [`ended by ${child.signalCode}`]: 1 },
        longestPause: 0
      }
      return wrote
    })
  })

/** The agent opens a file that the host holds open in write-ahead-log mode. */
const withLog = (setting: Setting, seconds: number) =>
  Effect.gen(function* () {
    const { ask, mount, program } = setting
    const { file, relative } = beside(setting)
    const ahead = -(yield* agentAhead(setting))
    const end = yield* logWriter(file, mount.rate)
    const asked = ask({ ask: "read", how: "open", folder: relative, seconds, ahead })
    const watched = (yield* Effect.raceFirst(asked.answer, program.ended)) as unknown as Reading
    return { watched, wrote: yield* end }
  }).pipe(Effect.scoped)

/** The host reads what the agent writes by the library. */
const byAgent = (setting: Setting, how: "snapshot" | "open", seconds: number) =>
  Effect.gen(function* () {
    const { folder, relative } = yield* inSession(setting)
    const files = yield* SessionDb.SessionDb
    const snapshot = files.outbound(setting.session).pipe(
      Effect.flatMap((sql) => sql.unsafe<Seen>(Load.look)),
      Effect.map(([seen]) => seen as Seen),
      Effect.scoped
    )
    if (how === "open") {
      return yield* hostReads(setting, relative, seconds, Plain.read(Path.join(folder, "outbound.db")))
    }
    const before = setting.attempts.at.get(folder) ?? 0
    const { watched, wrote } = yield* hostReads(setting, relative, seconds, snapshot)
    return { watched: { ...watched, attempts: (setting.attempts.at.get(folder) ?? 0) - before }, wrote }
  })

/** How often a case is tried on a machine that is too busy to show anything. */
const tries = 3

/** Runs all cases on one mount, one after the other. */
export const run = (setting: Setting, print: (outcome: Outcome) => void) =>
  Effect.gen(function* () {
    const { mount } = setting
    const { controlSeconds, name, seconds } = mount
    const outcomes: Array<Outcome> = []

    const note = <E, R>(
      reader: string,
      writer: string,
      run: Effect.Effect<{ readonly watched: Reading; readonly wrote: Wrote }, E, R>,
      judge: (watched: Watched, wrote: Wrote) => Verdict
    ) =>
      Effect.gen(function* () {
        for (let attempt = 1; ; attempt++) {
          const { watched, wrote } = yield* run
          const { attempts } = watched
          const retries = attempts === undefined ? undefined : attempts - watched.reads - sum(watched.errors)
          const { slow, wrong } = judge(watched, wrote)
          const outcome: Outcome = {
            mount: name,
            reader,
            writer,
            watched,
            wrote,
            retries,
            wrong: [...wrong, ...slow]
          }
          print(outcome)
          if (wrong.length > 0 || slow.length === 0 || attempt === tries) return outcomes.push(outcome)
        }
      })

    const opening = "agent, opening the file"
    yield* commit(setting, Load.create(Date.now()))
    yield* note("agent, snapshot", "host", byLibrary(setting, "snapshot"), soundAndFed(mount, "host"))
    yield* note(opening, "host", byLibrary(setting, "open"), sound(mount, "host"))
    yield* note("host, snapshot", "agent", byAgent(setting, "snapshot", seconds), soundAndFed(mount, "agent"))
    const older = inPlace(setting, "snapshot", seconds)
    yield* note("agent, snapshot", "host, in place", older, soundAndFed(mount, "host"))

    yield* note(opening, "host, in place", inPlace(setting, "open", controlSeconds), failing)
    yield* note("agent, one long handle", "host, in place", inPlace(setting, "held", controlSeconds), failing)
    yield* note(opening, "host, WAL", withLog(setting, controlSeconds), failing)
    yield* note("host, opening the file", "agent", byAgent(setting, "open", controlSeconds), failing)
    return outcomes
  })
