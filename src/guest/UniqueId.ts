/**
 * Ids of what the agent makes.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

/**
 * An id such as `msg-1767225600000-0k3v9x2m1q`: when it was made, and ten characters that no other process is
 * likely to think of in the same millisecond.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (prefix: string): Effect.Effect<string> =>
  Effect.gen(function* () {
    const millis = yield* Clock.currentTimeMillis
    const random = yield* Random.nextIntBetween(0, 36 ** 10)
    return `${prefix}-${millis}-${random.toString(36).padStart(10, "0")}`
  })

/**
 * Whether a text is an id that `make` has made.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isOne = (prefix: string, text: string): boolean =>
  text.startsWith(`${prefix}-`) && /^\d+-[0-9a-z]{10}$/.test(text.slice(prefix.length + 1))
