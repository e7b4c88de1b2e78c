/**
 * Who writes, who reads, and what must come of it.
 */
import { Effect } from "effect"
import * as Load from "./Load.js"
import type { Wrote } from "./Pace.js"
import type { Case, Setting } from "./Sides.js"
import * as Sides from "./Sides.js"
import type { Verdict } from "./Verdict.js"
import { failing, sound, soundAndFed } from "./Verdict.js"
import type { Watched } from "./Watch.js"

/** One line of the table. `wrong` is what is not as it has to be. */
export interface Outcome {
  readonly mount: string
  readonly reader: string
  readonly writer: string
  readonly watched: Watched
  readonly wrote: Wrote
  readonly wrong: ReadonlyArray<string>
}

/** How often a case is tried on a machine that is too busy to show anything. */
const tries = 3

/** Runs all cases on one mount, one after the other. What is not the last is tried again. */
export const run = (setting: Setting, print: (outcome: Outcome, isLast: boolean) => void) =>
  Effect.gen(function* () {
    const { mount } = setting
    const { controlSeconds, name, seconds } = mount
    const outcomes: Array<Outcome> = []

    const note = <E, R>(
      reader: string,
      writer: string,
      run: Effect.Effect<Case, E, R>,
      judge: (watched: Watched, wrote: Wrote) => Verdict
    ) =>
      Effect.gen(function* () {
        for (let attempt = 1; ; attempt++) {
          const { watched, wrote } = yield* run
          const { slow, wrong } = judge(watched, wrote)
          const outcome: Outcome = {
            mount: name,
            reader,
            writer,
            watched,
            wrote,
            wrong: [...wrong, ...slow]
          }
          const isLast = wrong.length > 0 || slow.length === 0 || attempt === tries
          print(outcome, isLast)
          if (isLast) return outcomes.push(outcome)
        }
      })

    const opening = "agent, opening the file"
    yield* Sides.commit(setting, Load.create(Date.now()))
    yield* note(
      "agent, snapshot",
      "host",
      Sides.byLibrary(setting, "snapshot", seconds),
      soundAndFed(mount, "host")
    )
    yield* note(opening, "host", Sides.byLibrary(setting, "open", seconds), sound(mount, "host"))
    yield* note(
      "two agents, snapshot",
      "host",
      Sides.byLibrary(setting, "snapshot", controlSeconds, 1),
      sound(mount, "host")
    )
    yield* note(
      "two agents, opening the file",
      "host",
      Sides.byLibrary(setting, "open", controlSeconds, 1),
      mount.sharesPages ? failing : sound(mount, "host")
    )
    yield* note(
      "host, snapshot",
      "agent",
      Sides.byAgent(setting, "snapshot", seconds),
      soundAndFed(mount, "agent")
    )
    const older = Sides.inPlace(setting, "snapshot", seconds)
    yield* note("agent, snapshot", "host, in place", older, soundAndFed(mount, "host"))

    yield* note(opening, "host, in place", Sides.inPlace(setting, "open", controlSeconds), failing)
    yield* note(
      "agent, one long handle",
      "host, in place",
      Sides.inPlace(setting, "held", controlSeconds),
      failing
    )
    yield* note(opening, "host, WAL", Sides.withLog(setting, controlSeconds), failing)
    yield* note("host, opening the file", "agent", Sides.byAgent(setting, "open", controlSeconds), failing)
    return outcomes
  })
