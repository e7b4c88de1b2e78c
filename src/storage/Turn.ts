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
 * One who came. What is made for waiting is there only if somebody has to wait, which is rare.
 *
 * @since 0.1.0
 * @category models
 */
export interface Turn {
  called: Deferred.Deferred<void> | undefined
}

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

/**
 * Whoever comes has to leave.
 *
 * @since 0.1.0
 * @category turns
 */
export const come = (queue: Queue): Turn => {
  const turn: Turn = { called: undefined }
  queue.present.push(turn)
  return turn
}

/**
 * Ends a turn, or the wait for it. Does nothing if it has ended.
 *
 * @since 0.1.0
 * @category turns
 */
export const leave = ({ places, present }: Queue, turn: Turn): void => {
  const index = present.indexOf(turn)
  if (index === -1) return
  present.splice(index, 1)
  for (const { called } of present.slice(0, places)) {
    if (called !== undefined) Deferred.unsafeDone(called, Effect.void)
  }
}

/**
 * Whether it is the turn of one who came.
 *
 * @since 0.1.0
 * @category turns
 */
export const hasCome = ({ places, present }: Queue, turn: Turn): boolean => present.indexOf(turn) < places

/**
 * Waits until it is the turn of one who came.
 *
 * @since 0.1.0
 * @category turns
 */
export const wait = (queue: Queue, turn: Turn): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (hasCome(queue, turn)) return Effect.void
    turn.called ??= Deferred.unsafeMake<void>(FiberId.none)
    return Deferred.await(turn.called)
  })

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
      const begin = Closing.add(() => end)
      return hasCome(queue, turn)
        ? begin
        : Effect.zipRight(
            Effect.onInterrupt(restore(wait(queue, turn)), () => end),
            begin
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
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const turn = come(queue)
        return Effect.onExit(
          restore(hasCome(queue, turn) ? effect : Effect.zipRight(wait(queue, turn), effect)),
          () => Effect.sync(() => leave(queue, turn))
        )
      })
    )
