/**
 * What must come of a case.
 */
import type { Mount } from "./Mount.js"
import type { Wrote } from "./Pace.js"
import type { Watched } from "./Watch.js"
import { sum } from "./Watch.js"

/** What is wrong with what was seen, and what is only slow, which may be the machine's fault and is tried again. */
export interface Verdict {
  readonly wrong: ReadonlyArray<string>
  readonly slow: ReadonlyArray<string>
}

const unsound = ({ backwards, errors, torn }: Watched): ReadonlyArray<string> => [
  ...(torn > 0 ? [`${torn} torn`] : []),
  ...(sum(errors) > 0 ? [`${sum(errors)} errors`] : []),
  ...(backwards > 0 ? [`${backwards} older than what was read before`] : [])
]

/** Commits a second. */
const rateOf = ({ commits, seconds }: Wrote) => commits / seconds

/** While the writer itself did not come to write there was nothing fresh to see. */
const starved = (
  mount: Mount,
  { longestGap, reads, seconds }: Watched,
  wrote: Wrote
): ReadonlyArray<string> => [
  ...(longestGap > mount.longestGap + wrote.longestPause
    ? [
        `nothing fresh for ${longestGap.toFixed(0)} ms, of at most ${mount.longestGap} and the writer's ${wrote.longestPause.toFixed(0)}`
      ]
    : []),
  ...(reads / seconds < mount.reads * rateOf(wrote)
    ? [`${(reads / seconds / rateOf(wrote)).toFixed(2)} reads a commit, of at least ${mount.reads}`]
    : [])
]

/** A writer that does not come to write shows nothing. How fast it is otherwise is the machine's affair. */
const idle = (least: number, wrote: Wrote): ReadonlyArray<string> =>
  rateOf(wrote) < least ? [`${rateOf(wrote).toFixed(1)} commits a second, of at least ${least}`] : []

/** What a reader sees is whole, while the writer writes. */
export const sound =
  ({ least }: Mount, writer: "host" | "agent") =>
  (watched: Watched, wrote: Wrote): Verdict => ({
    wrong: [...unsound(watched), ...Object.keys(wrote.errors).map((error) => `${error} in writing`)],
    slow: idle(least[writer], wrote)
  })

/** The same, and while the writer writes as it should there is always something fresh to see. */
export const soundAndFed =
  (mount: Mount, writer: "host" | "agent") =>
  (watched: Watched, wrote: Wrote): Verdict => ({
    wrong: sound(mount, writer)(watched, wrote).wrong,
    slow: [...idle(mount.least[writer], wrote), ...starved(mount, watched, wrote)]
  })

/** A control has to fail, or the test could not. When a reader comes upon a write is luck, so it may be tried again. */
export const failing = (watched: Watched, wrote: Wrote): Verdict => ({
  wrong: [],
  slow:
    watched.torn + sum(watched.errors) + sum(wrote.errors) > 0 || watched.fresh <= 1
      ? []
      : ["a control that should fail did not"]
})
