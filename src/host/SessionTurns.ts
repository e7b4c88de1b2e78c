/**
 * One thing at a time in a session, and all sessions side by side.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { SessionRef } from "../protocol/Session.js"
import * as Turn from "../storage/Turn.js"
import { keyOf } from "./SessionMemories.js"

/**
 * Runs an effect when those that came before it, for the same session, are over.
 *
 * @since 0.1.0
 * @category models
 */
export type InTurn = (ref: SessionRef) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<InTurn> = Effect.sync(() => {
  const queues = new Map<string, Turn.Queue>()
  return (ref) => {
    const key = keyOf(ref)
    return (effect) =>
      Effect.acquireUseRelease(
        // One step: a queue in which nobody is goes away.
        Effect.sync(() => {
          const queue = queues.get(key) ?? Turn.makeQueue()
          queues.set(key, queue)
          return { queue, turn: Turn.come(queue) }
        }),
        ({ queue, turn }) => Effect.zipRight(Turn.wait(queue, turn), effect),
        ({ queue, turn }) =>
          Effect.sync(() => {
            Turn.leave(queue, turn)
            if (queue.present.length === 0) queues.delete(key)
          })
      )
  }
})
