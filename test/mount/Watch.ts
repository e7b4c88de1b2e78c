/**
 * Reading again and again while the other side writes, and keeping count of what was seen.
 */
import { Effect, Either } from "effect"
import { pause } from "../../src/storage/SystemCalls.js"
import type { Seen } from "./Load.js"
import { isWhole } from "./Load.js"

/**
 * `fresh` are the reads that saw a newer state than those before them, `backwards` those that saw an older one.
 * `longestGap` is the longest time without a fresh one. An age is how long before the end of a read the state that it
 * saw was begun to be written. All times are in milliseconds, `errors` by what they are called.
 */
export interface Watched {
  readonly seconds: number
  readonly reads: number
  readonly torn: number
  readonly backwards: number
  readonly errors: Readonly<Record<string, number>>
  readonly fresh: number
  readonly longestGap: number
  readonly medianAge: number | null
  readonly worstAge: number | null
  /** How often a snapshot was tried again; none for other ways of reading. */
  readonly retries: number | null
}

/** What an error is called, in one word. */
export const nameOf = (error: unknown): string => {
  const { _tag, code, reason } = error as { readonly [key in "_tag" | "code" | "reason"]?: unknown }
  const words = [_tag, reason, code].filter((word) => typeof word === "string")
  return words.length === 0 ? String(error) : words.join("/")
}

/** How many errors there were. */
export const sum = (errors: Readonly<Record<string, number>>) =>
  Object.values(errors).reduce((a, b) => a + b, 0)

/** For so long a reader reads without being watched, until it runs as fast as it will, in milliseconds. */
const warmUp = 1000

/**
 * Watches for so many seconds. `ahead` is how far the writer's clock is ahead of this one, in milliseconds; `attempts`
 * how often a snapshot was tried until now.
 */
export const watch = <R>(
  read: Effect.Effect<Seen, unknown, R>,
  { ahead, seconds }: { readonly ahead: number; readonly seconds: number },
  attempts?: () => number
): Effect.Effect<Watched, never, R> =>
  Effect.gen(function* () {
    const cold = performance.now()
    while (performance.now() < cold + warmUp) yield* Effect.zipRight(Effect.ignore(read), pause)
    const before = attempts?.() ?? 0
    const start = performance.now()
    const end = start + seconds * 1000
    const ages: Array<number> = []
    const errors: Record<string, number> = {}
    let torn = 0
    let backwards = 0
    let fresh = 0
    let newest = -1
    let since = start
    let longestGap = 0
    while (performance.now() < end) {
      const result = yield* Effect.either(read)
      const now = performance.now()
      if (Either.isLeft(result)) {
        const name = nameOf(result.left)
        errors[name] = (errors[name] ?? 0) + 1
      } else {
        const seen = result.right
        ages.push(Date.now() + ahead - seen.at)
        if (!isWhole(seen)) torn++
        else if (seen.state < newest) backwards++
        else if (seen.state > newest) {
          newest = seen.state
          fresh++
          longestGap = Math.max(longestGap, now - since)
          since = now
        }
      }
      yield* pause
    }
    const stop = performance.now()
    ages.sort((a, b) => a - b)
    return {
      seconds: (stop - start) / 1000,
      reads: ages.length,
      torn,
      backwards,
      errors,
      fresh,
      longestGap: Math.max(longestGap, stop - since),
      medianAge: ages[Math.floor(ages.length / 2)] ?? null,
      worstAge: ages.at(-1) ?? null,
      retries: attempts === undefined ? null : attempts() - before - ages.length - sum(errors)
    }
  })
