/**
 * Which process a number means. The system gives the number of a process that has ended to another one; the number
 * together with the moment at which its process started, and the start of the system itself, is given only once.
 *
 * Linux tells both, in `/proc`. Where there is no `/proc`, no process has an identity.
 *
 * @since 0.1.0
 */
import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/**
 * - `bootId`: which start of the system it belongs to
 * - `startTicks`: when it started, in the kernel's units since then
 *
 * @since 0.1.0
 * @category models
 */
export const ProcessIdentity = Schema.Struct({
  bootId: Schema.NonEmptyString,
  pid: Schema.Int.pipe(Schema.positive()),
  startTicks: Schema.NonEmptyString
})

/**
 * @since 0.1.0
 * @category models
 */
export type ProcessIdentity = typeof ProcessIdentity.Type

/**
 * Looks at processes.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessIdentities {
  /** This process, or none if the system does not tell. */
  readonly self: Option.Option<ProcessIdentity>
  /** The process that has this number now, or none if there is none that still runs. */
  readonly of: (pid: number) => Effect.Effect<Option.Option<ProcessIdentity>>
  /** Whether that very process still runs. */
  readonly isAlive: (identity: ProcessIdentity) => Effect.Effect<boolean>
}

interface Stat {
  readonly pid: number
  readonly state: string
  readonly startTicks: string
}

/**
 * What `/proc/<pid>/stat` says: the number, the state (the field after the program's name), and when it started
 * (field 22). The name stands in parentheses and may hold anything, parentheses and spaces too. See proc(5).
 *
 * @since 0.1.0
 * @category parsing
 */
export const parseStat = (text: string): Option.Option<Stat> => {
  const match = /^(\d+) \(.*\) (\S)(?: \S+){18} (\d+) /s.exec(text)
  const [, pid, state, startTicks] = match ?? []
  return pid === undefined || state === undefined || startTicks === undefined
    ? Option.none()
    : Option.some({ pid: Number(pid), state, startTicks })
}

/** It has ended, and waits for its parent to take notice. */
const hasEnded = ({ state }: Stat): boolean => state === "Z" || state === "X"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<ProcessIdentities, never, FileSystem> = Effect.gen(function* () {
  const fileSystem = yield* FileSystem
  const read = (path: string) => Effect.option(fileSystem.readFileString(path))
  const bootId = Option.map(yield* read("/proc/sys/kernel/random/boot_id"), (text) => text.trim())
  const statOf = (which: number | "self") =>
    Effect.map(read(`/proc/${which}/stat`), (text) =>
      Option.flatMap(text, parseStat).pipe(
        Option.filter((stat) => !hasEnded(stat)),
        Option.flatMap(({ pid, startTicks }) =>
          Option.map(bootId, (known): ProcessIdentity => ({ bootId: known, pid, startTicks }))
        )
      )
    )
  return {
    self: yield* statOf("self"),
    of: statOf,
    isAlive: (identity) =>
      Effect.map(
        statOf(identity.pid),
        Option.exists((known) => isSame(known, identity))
      )
  }
})

const isSame = Schema.equivalence(ProcessIdentity)
