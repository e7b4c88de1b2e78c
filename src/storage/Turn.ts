/**
 * Taking turns: of those who come to a queue, as many at a time go on as it has places (most often one), in the
 * order in which they came.
 *
 * Effect's semaphore will not do. It loses a permit for good if a fiber is interrupted between being given it
 * and knowing so, and from then on everybody waits.
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import * as Closing from "./Closing.js"

/**
 * Done when it comes.
 *
 * @since 0.1.0
 * @category models
 */
export type Turn = Deferred.Deferred<void>

/**
 * Those who came and have not left. It is the turn of the first of them, as many as there are places.
 *
 * @since 0.1.0
 * @category models
 */
export interface Queue {
  readonly places: number
  readonly present: Array<Turn>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const makeQueue = (places = 1): Queue => ({ places, present: [] })

const callFirst = ({ places, present }: Queue): void => {
  for (const turn of present.slice(0, places)) Deferred.unsafeDone(turn, Effect.void)
}

/**
 * Whoever comes has to leave.
 *
 * @since 0.1.0
 * @category turns
 */
export const come = (queue: Queue): Turn => {
  const turn = Deferred.unsafeMake<void>(FiberId.none)
  queue.present.push(turn)
  callFirst(queue)
  return turn
}

/**
 * Ends a turn, or the wait for it.
 *
 * @since 0.1.0
 * @category turns
 */
export const leave = (queue: Queue, turn: Turn): void => {
  queue.present.splice(queue.present.indexOf(turn), 1)
  callFirst(queue)
}

/**
 * Waits until it is the turn of one who came.
 *
 * @since 0.1.0
 * @category turns
 */
export const wait = ({ places, present }: Queue, turn: Turn): Effect.Effect<void> =>
  // Waiting for what is there already takes a fiber as long as other waiting.
  Effect.suspend(() => (present.indexOf(turn) < places ? Effect.void : Deferred.await(turn)))

/**
 * Waits for a turn, and has it until the scope closes. Waiting can be interrupted.
 *
 * @since 0.1.0
 * @category turns
 */
export const take = (queue: Queue): Effect.Effect<void, never, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const turn = come(queue)
      const end = Effect.sync(() => leave(queue, turn))
      return restore(wait(queue, turn)).pipe(
        Effect.onInterrupt(() => end),
        Effect.zipRight(Closing.add(() => end))
      )
    })
  )

/**
 * Waits for a turn, and has it while the effect runs.
 *
 * @since 0.1.0
 * @category turns
 */
export const during =
  (queue: Queue) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.acquireUseRelease(
      Effect.sync(() => come(queue)),
      (turn) => Effect.zipRight(wait(queue, turn), effect),
      (turn) => Effect.sync(() => leave(queue, turn))
    )
