/**
 * One host with a thousand sessions, and with more, a part of them active: what it carries, how long a message takes,
 * and what of that grows with the number of sessions.
 *
 * The sessions are made by this process, and the host runs in one of its own, which begins with nothing in its memory; the agents
 * are in a third one.
 */
import { Effect } from "effect"
import { spawn } from "node:child_process"
import * as Measure from "./Measure.js"
import * as Ours from "./Ours.js"
import { scaleHost } from "./Programs.js"
import { Place } from "./Place.js"
import type { Asked, Measured } from "./ScaleRun.js"

export interface Options {
  readonly sessions: ReadonlyArray<number>
  readonly seconds: number
  readonly rate: number
}

/** How often the host looks at active sessions, and their agents for messages, in milliseconds. */
export const interval = 100

/** One in a hundred, and not so few that nothing happens at a time. */
export const activeOf = (sessions: number): number => Math.min(sessions, Math.max(50, sessions / 100))

/** `made`: how many milliseconds it took to make a session. */
export interface Outcome {
  readonly asked: Asked
  readonly made: number
  readonly measured: Measured
}

const makeSessions = (dataDir: string, from: number, to: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const ours = yield* Ours.host({ dataDir })
      const chats = Array.from({ length: to - from }, (_, index) => `chat-${from + index}`)
      return yield* Measure.timed(Effect.forEach(chats, ours.session, { concurrency: 16, discard: true }))
    })
  )

/** Runs the program that measures, and gives what it answers. */
const ask = (asked: Asked) =>
  Effect.async<Measured, Error>((resume) => {
    const child = spawn(process.execPath, ["--expose-gc", scaleHost, JSON.stringify(asked)], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    let printed = ""
    child.stdout.on("data", (text) => (printed += String(text)))
    child.once("close", (code) =>
      resume(
        code === 0
          ? Effect.sync(() => JSON.parse(printed) as Measured)
          : Effect.fail(new Error(`the host ended with ${code}`))
      )
    )
    return Effect.sync(() => child.kill("SIGTERM"))
  })

/** Measures one number of sessions after the other; each takes over those that are there. */
export const run = (
  { rate, seconds, sessions }: Options,
  tell: (line: string) => Effect.Effect<void>
): Effect.Effect<ReadonlyArray<Outcome>, unknown, Place> =>
  Effect.gen(function* () {
    const { fresh } = yield* Place
    const dataDir = yield* fresh("scale")
    const outcomes: Array<Outcome> = []
    let there = 0
    for (const count of sessions.toSorted((a, b) => a - b)) {
      yield* tell(`${count} sessions: making ${count - there}`)
      const took = yield* makeSessions(dataDir, there, count)
      const made = took / 1000 / (count - there)
      there = count
      yield* tell(`${count} sessions: made in ${(took / 1e6).toFixed(1)} s; measuring`)
      const asked = { dataDir, sessions: count, active: activeOf(count), rate, seconds, interval }
      outcomes.push({ asked, made, measured: yield* ask(asked) })
    }
    return outcomes
  })
