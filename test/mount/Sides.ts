/**
 * The two sides of a mount at work: one writes, the other reads.
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

/** Both ends of a mount, ready to talk. */
export interface Setting {
  readonly mount: Mount
  readonly share: string
  readonly session: Session.Session
  readonly attempts: Attempts
  readonly ask: ReturnType<typeof Line.dial>
  readonly program: Program
}

/** What was seen, and what was written. */
export interface Case {
  readonly watched: Watched
  readonly wrote: Wrote
}

/** How far the agent's clock is ahead of the host's, in milliseconds, by the quickest of some answers. */
const agentAhead = ({ ask, program }: Setting) =>
  Effect.gen(function* () {
    let quickest = Number.POSITIVE_INFINITY
    let ahead = 0
    for (let n = 0; n < 5; n++) {
      const asked = Date.now()
      const answer = yield* Effect.raceFirst(ask({ ask: "time" }).answer, program.ended)
      const took = Date.now() - asked
      if (took >= quickest) continue
      quickest = took
      ahead = (answer as { readonly now: number }).now - (asked + took / 2)
    }
    return ahead
  })

/** The agent reads while the host writes. */
const agentReads = <R>(
  setting: Setting,
  folder: string,
  how: "snapshot" | "open" | "held",
  seconds: number,
  advance: (at: number) => Effect.Effect<unknown, unknown, R>,
  others = 0
) =>
  Effect.gen(function* () {
    const { ask, mount, program } = setting
    const ahead = -(yield* agentAhead(setting))
    const asked = ask({ ask: "read", how, folder, seconds, ahead, others })
    const writing = yield* Effect.fork(Pace.write(advance, { isEnough: asked.hasAnswered, rate: mount.rate }))
    const watched = (yield* Effect.raceFirst(asked.answer, program.ended)) as Watched
    return { watched, wrote: yield* Fiber.join(writing) }
  })

/** The host reads while the agent writes. */
const hostReads = <R>(
  setting: Setting,
  folder: string,
  seconds: number,
  read: Effect.Effect<Seen, unknown, R>,
  attempts?: () => number
) =>
  Effect.gen(function* () {
    const { ask, mount, program } = setting
    const ahead = yield* agentAhead(setting)
    const asked = ask({ ask: "write", folder, rate: mount.rate })
    yield* Effect.raceFirst(asked.hasBegun, program.ended)
    const watched = yield* watch(read, { ahead, seconds }, attempts)
    yield* asked.stop
    const wrote = (yield* Effect.raceFirst(asked.answer, program.ended)) as Wrote
    return { watched, wrote }
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

/** Statements in one transaction of the host. */
export const commit = (setting: Setting, statements: ReadonlyArray<string>) =>
  Effect.flatMap(SessionDb.SessionDb, (files) =>
    files.transaction(setting.session, (sql) =>
      Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })
    )
  )

/** The agent reads what the host writes by the library, and so do other processes on its side. */
export const byLibrary = (setting: Setting, how: "snapshot" | "open", seconds: number, others = 0) =>
  Effect.flatMap(inSession(setting), ({ relative }) =>
    agentReads(setting, relative, how, seconds, (at) => commit(setting, Load.advance(at)), others)
  )

/** The agent reads a file that the host opens and writes in place, as other programs do. */
export const inPlace = (setting: Setting, how: "snapshot" | "open" | "held", seconds: number) =>
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
export const withLog = (setting: Setting, seconds: number) =>
  Effect.gen(function* () {
    const { ask, mount, program } = setting
    const { file, relative } = beside(setting)
    const ahead = -(yield* agentAhead(setting))
    const end = yield* logWriter(file, mount.rate)
    const asked = ask({ ask: "read", how: "open", folder: relative, seconds, ahead, others: 0 })
    const watched = (yield* Effect.raceFirst(asked.answer, program.ended)) as Watched
    return { watched, wrote: yield* end }
  }).pipe(Effect.scoped)

/** The host reads what the agent writes by the library. */
export const byAgent = (setting: Setting, how: "snapshot" | "open", seconds: number) =>
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
    const attempts = () => setting.attempts.at.get(folder) ?? 0
    return yield* hostReads(setting, relative, seconds, snapshot, attempts)
  })
