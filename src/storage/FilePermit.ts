/**
 * In one process, operations on one database file never overlap: SQLite's locks are per process, and closing
 * any descriptor of a file drops all of them (https://www.sqlite.org/howtocorrupt.html, section 2.2). So
 * the permits are per process too, not per layer.
 *
 * A fiber that asks for a file that it already holds is told so at once, because it would wait for itself.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import type * as Scope from "effect/Scope"
import { SessionDbUnavailable } from "../protocol/AirlockError.js"
import type { Subject } from "./StorageFailure.js"

interface Permit {
  readonly semaphore: Effect.Semaphore
  users: number
}

interface Holding {
  readonly path: string
  released: boolean
}

const permits = globalValue(Symbol.for("effect-airlock/FilePermit/permits"), () => new Map<string, Permit>())

const holdings = globalValue(Symbol.for("effect-airlock/FilePermit/holdings"), () =>
  FiberRef.unsafeMake<ReadonlyArray<Holding>>([])
)

const join = (path: string): Permit => {
  const permit = permits.get(path) ?? { semaphore: Effect.unsafeMakeSemaphore(1), users: 0 }
  permits.set(path, permit)
  permit.users++
  return permit
}

const leave = (path: string, permit: Permit): void => {
  permit.users--
  if (permit.users === 0) permits.delete(path)
}

/**
 * Waits for the file at `path` (absolute), and holds it until the scope closes. Waiting can be interrupted.
 * Fails with the reason `nested` if this fiber, or the one that forked it, holds the file.
 *
 * @since 0.1.0
 * @category permits
 */
export const hold = (
  path: string,
  subject: Subject
): Effect.Effect<void, SessionDbUnavailable, Scope.Scope> =>
  Effect.gen(function* () {
    const held = yield* FiberRef.get(holdings)
    if (held.some((holding) => holding.path === path && !holding.released)) {
      return yield* new SessionDbUnavailable({ ...subject, reason: "nested" })
    }
    const holding: Holding = { path, released: false }
    yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const permit = join(path)
        yield* Effect.onInterrupt(restore(permit.semaphore.take(1)), () =>
          Effect.sync(() => leave(path, permit))
        )
        yield* Effect.addFinalizer(() => {
          holding.released = true
          leave(path, permit)
          return permit.semaphore.release(1)
        })
      })
    )
    yield* Effect.locallyScoped(holdings, [...held, holding])
  })

/**
 * How many files are held or waited for in this process.
 *
 * @since 0.1.0
 * @category inspection
 */
export const count: Effect.Effect<number> = Effect.sync(() => permits.size)
