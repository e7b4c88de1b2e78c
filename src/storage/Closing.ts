/**
 * What happens when a scope closes, for steps that a host takes many times for each message.
 *
 * Effect's own `addFinalizer`, and `acquireRelease` with it, let what is to be done at the end find all that the fiber
 * carried at the beginning, and compare the two states in full each time. In a host that takes 20 µs, more than opening
 * and closing a file. What is done here finds the fiber as it is at the end, which makes no difference to files and permits.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

type End = (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<unknown>

/**
 * Runs an effect when the scope closes, and tells it how. It cannot be interrupted.
 *
 * @since 0.1.0
 * @category scopes
 */
export const add = (end: End): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Effect.scope, (scope) =>
    Scope.addFinalizerExit(scope, (exit) => Effect.uninterruptible(end(exit)))
  )

/**
 * Something that is released when the scope closes. Acquiring it cannot be interrupted.
 *
 * @since 0.1.0
 * @category scopes
 */
export const acquire = <A, E, R>(
  acquire: Effect.Effect<A, E, R>,
  release: (acquired: A) => Effect.Effect<unknown>
): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptible(Effect.tap(acquire, (acquired) => add(() => release(acquired))))
