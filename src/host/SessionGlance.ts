/**
 * Telling from outside that nothing was written to a session: by what the system says of its files, of which none is
 * opened. Most sessions are idle at most looks, so this is what most looks come to.
 *
 * There are four: outbound.db, which the agent writes; the agent's copy of inbound.db, which is renamed into place when
 * something is published; and for what was not published, because a host was killed or another program wrote it, the
 * original and its write-ahead log. Inode, size and both times must be the same. The second time, of the last change of
 * the inode, is one that nobody can set.
 *
 * Files have the time of the system's last tick. What is written twice in one tick, or in one second where a file system
 * counts whole ones, can look the same after the first time and after the second. So a glance tells nothing until files
 * have looked like this for longer than a tick, and the session was looked at in full after that: what is written
 * from then on has another time. How long that is, is measured by a clock that nobody sets, and never compared with the
 * times of files, which may be another machine's.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { UnsafePath } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as DatabaseFile from "../storage/DatabaseFile.js"
import type { ChangeStamp } from "../storage/FileLook.js"
import * as FileLook from "../storage/FileLook.js"
import { nothing, SystemCalls } from "../storage/SystemCalls.js"
import { SessionPaths } from "./SessionPaths.js"

/**
 * What a session's files look like.
 *
 * - `numbers`: four of each file
 * - `since`: they have looked like this at least since then, by `SystemCalls.uptime`
 * - `isOld`: that was long ago when they were looked at last
 *
 * @since 0.1.0
 * @category models
 */
export interface Glance {
  readonly numbers: ReadonlyArray<number>
  readonly since: number
  readonly isOld: boolean
}

/**
 * - `take`: to be taken before a session is looked at in full, with the one that was taken last. None if a file cannot
 *   be looked at
 * - `tells`: the glance, if it tells from now on that nothing was written. `outbound` is the stamp that the look in full
 *   found. One that failed has nothing to ask for
 * - `isStill`: whether the files look like that now
 * - `isPublishedStill`: whether those do that the agent shares, which takes half the time. For one who can wait until
 *   what was not published is, because somebody else looks at all of them
 *
 * @since 0.1.0
 * @category models
 */
export interface Glances {
  readonly take: (ref: SessionRef, last: Glance | undefined) => Effect.Effect<Glance | undefined, UnsafePath>
  readonly tells: (glance: Glance | undefined, outbound: ChangeStamp) => Glance | undefined
  readonly isStill: (ref: SessionRef, glance: Glance) => boolean
  readonly isPublishedStill: (ref: SessionRef, glance: Glance) => boolean
}

/** Several ticks, of which the longest are ten milliseconds. */
const tick = 100

/** The same where the times of files are whole seconds, or every other one. */
const longTick = 3000

const isWholeSecond = (millis: number): boolean => millis > 0 && millis % 1000 === 0

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Glances, never, SystemCalls | SessionPaths> = Effect.gen(function* () {
  const calls = yield* SystemCalls
  const paths = yield* SessionPaths

  /** A log comes and goes with whoever reads, and is empty until something is written. */
  const glance = (file: string) => {
    const seen = calls.glance(file)
    return seen?.size === 0 ? nothing : seen
  }

  // Put together each time, because what is remembered of a thousand sessions has to be little. `take` has found the
  // ids to be safe.
  const placeOf = ({ agentGroupId, sessionId }: SessionRef) => `/${agentGroupId}/${sessionId}/`
  const outboundOf = (ref: SessionRef) => `${paths.base}${placeOf(ref)}${SessionLayout.outbound}`
  const copyOf = (ref: SessionRef) => `${paths.base}${placeOf(ref)}${SessionLayout.inbound}`
  const originalOf = (ref: SessionRef) => `${paths.originals}${placeOf(ref)}${SessionLayout.inbound}`
  const logOf = (ref: SessionRef) => DatabaseFile.logName(originalOf(ref))

  const look = (ref: SessionRef): Glance | undefined => {
    const numbers: Array<number> = []
    for (const file of [outboundOf(ref), copyOf(ref), originalOf(ref), logOf(ref)]) {
      const seen = glance(file)
      if (seen === undefined) return undefined
      numbers.push(seen.ino, seen.size, seen.mtimeMs, seen.ctimeMs)
    }
    return { numbers, since: calls.uptime(), isOld: false }
  }

  const isSame = (file: string, numbers: ReadonlyArray<number>, at: number): boolean => {
    const seen = glance(file)
    return (
      seen !== undefined &&
      seen.ino === numbers[at] &&
      seen.size === numbers[at + 1] &&
      seen.mtimeMs === numbers[at + 2] &&
      seen.ctimeMs === numbers[at + 3]
    )
  }

  const isPublishedStill = (ref: SessionRef, { numbers }: Glance): boolean =>
    isSame(outboundOf(ref), numbers, 0) && isSame(copyOf(ref), numbers, 4)

  const isStill = (ref: SessionRef, known: Glance): boolean =>
    isPublishedStill(ref, known) &&
    isSame(originalOf(ref), known.numbers, 8) &&
    isSame(logOf(ref), known.numbers, 12)

  return {
    take: (ref, last) =>
      Effect.map(paths.session(ref), () => {
        const now = calls.uptime()
        if (last === undefined || !isStill(ref, last)) return look(ref)
        const changed = last.numbers.filter((_, index) => index % 4 === 3)
        return { ...last, isOld: now - last.since >= (changed.some(isWholeSecond) ? longTick : tick) }
      }),
    tells: (glance, outbound) =>
      glance?.isOld === true && !FileLook.hasJournal(outbound) ? glance : undefined,
    isStill,
    isPublishedStill
  }
})
