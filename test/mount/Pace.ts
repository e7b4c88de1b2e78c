/**
 * Writing at a steady rate until somebody says that it is enough.
 */
import { Effect, Either } from "effect"
import { nameOf } from "./Watch.js"

/** What a writer did. `longestPause` is the longest time between two commits, in milliseconds. */
export interface Wrote {
  readonly seconds: number
  readonly commits: number
  readonly errors: Readonly<Record<string, number>>
  readonly longestPause: number
}

const sleep = (millis: number) => Effect.promise(() => new Promise((done) => setTimeout(done, millis)))

/** Does `write` so many times a second, less often if it takes longer. Its argument is the time by this side's clock. */
export const write = <R>(
  write: (at: number) => Effect.Effect<unknown, unknown, R>,
  { isEnough, rate }: { readonly isEnough: () => boolean; readonly rate: number }
): Effect.Effect<Wrote, never, R> =>
  Effect.gen(function* () {
    const start = performance.now()
    const errors: Record<string, number> = {}
    let commits = 0
    let last = start
    let longestPause = 0
    for (let due = start; !isEnough();) {
      const result = yield* Effect.either(Effect.suspend(() => write(Date.now())))
      const now = performance.now()
      if (Either.isLeft(result)) {
        const name = nameOf(result.left)
        errors[name] = (errors[name] ?? 0) + 1
      } else {
        commits++
        longestPause = Math.max(longestPause, now - last)
        last = now
      }
      due = Math.max(due + 1000 / rate, now)
      yield* sleep(due - now)
    }
    return { seconds: (performance.now() - start) / 1000, commits, errors, longestPause }
  })
