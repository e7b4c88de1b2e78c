/**
 * Which files this process has open in SQLite. To close another descriptor of one of them would drop the locks of all its
 * connections (https://www.sqlite.org/howtocorrupt.html, section 2.2), so this is counted per process, not per layer.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { globalValue } from "effect/GlobalValue"
import type * as Scope from "effect/Scope"
import type { BigIntStats } from "node:fs"

/** The number of connections, by file. */
const counts = globalValue(Symbol.for("effect-airlock/OpenFiles/counts"), () => new Map<string, number>())

const add = (key: string, difference: 1 | -1): void => {
  const count = (counts.get(key) ?? 0) + difference
  if (count === 0) counts.delete(key)
  else counts.set(key, count)
}

/**
 * What tells a file from all others for as long as somebody has it open.
 *
 * @since 0.1.0
 * @category models
 */
export const keyOf = ({ dev, ino }: Pick<BigIntStats, "dev" | "ino">): string => `${dev}.${ino}`

/**
 * Whether this library's connections have the file open.
 *
 * @since 0.1.0
 * @category inspection
 */
export const has = (key: string): boolean => counts.has(key)

/**
 * Counts what it is told of as open until the scope closes. It is asked for before a file is opened, so that the file is
 * counted until after it is closed, and told before the first statement, which is the first to take a lock.
 *
 * @since 0.1.0
 * @category constructors
 */
export const counting: Effect.Effect<(key: string) => void, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync((): Array<string> => []),
    (keys) =>
      Effect.sync(() => {
        for (const key of keys) add(key, -1)
      })
  ),
  (keys) => (key) => {
    keys.push(key)
    add(key, 1)
  }
)
