/**
 * The agent's main loop: what is due is claimed, handed to the agent's program, and marked as done or failed, until
 * somebody stops it.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as HashSet from "effect/HashSet"
import * as Schedule from "effect/Schedule"
import type { StorageError } from "../protocol/AirlockError.js"
import type { InboundRow } from "../protocol/Message.js"
import type { Verdict } from "./Acknowledgements.js"
import { Acknowledgements } from "./Acknowledgements.js"

/**
 * - `heartbeatInterval`: how often the agent shows that it lives, also while the handler runs. Default 5 seconds
 * - `idle`: after so long without a message it ends. Without this it goes on until it is interrupted
 *
 * @since 0.1.0
 * @category models
 */
export interface ServeOptions {
  readonly heartbeatInterval?: Duration.DurationInput | undefined
  readonly idle?: Duration.DurationInput | undefined
}

/**
 * The agent's program for one batch: what one poll returned and this mailbox claimed, the oldest first.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler<E, R> = (messages: NonEmptyReadonlyArray<InboundRow>) => Effect.Effect<void, E, R>

/**
 * @since 0.1.0
 * @category models
 */
export type Serve = <E, R>(handler: Handler<E, R>, options?: ServeOptions) => Effect.Effect<void, never, R>

/**
 * What the loop is made of.
 *
 * @since 0.1.0
 * @category models
 */
export interface Parts {
  readonly poll: Effect.Effect<ReadonlyArray<InboundRow>, StorageError>
  readonly heartbeat: Effect.Effect<void, StorageError>
  readonly prune: Effect.Effect<void, StorageError>
  readonly pollInterval: Duration.Duration
}

const operation = "Mailbox.serve"

const warn = (error: StorageError) => Effect.logWarning(`${operation}: ${error.message}`)

/** Does something for ever, whatever becomes of it each time. */
const every = (interval: Duration.DurationInput, effect: Effect.Effect<void, StorageError>) =>
  effect.pipe(
    Effect.catchAll(warn),
    Effect.catchAllDefect((defect) => Effect.logError(operation, defect)),
    Effect.repeat(Schedule.spaced(interval))
  )

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = ({
  heartbeat,
  poll,
  pollInterval,
  prune
}: Parts): Effect.Effect<Serve, never, Acknowledgements> =>
  Effect.gen(function* () {
    const acknowledgements = yield* Acknowledgements

    const untilItWorks = <A>(effect: Effect.Effect<A, StorageError>) =>
      Effect.catchAll(effect, (error) =>
        Effect.zipRight(
          warn(error),
          Effect.eventually(Effect.tapError(Effect.delay(effect, pollInterval), warn))
        )
      )

    const release = (messages: ReadonlyArray<InboundRow>) =>
      Effect.catchAll(acknowledgements.release(operation, idsOf(messages)), warn)

    /** Runs the handler and stores the verdict. Only being stopped from outside leaves none. */
    const handle = <E, R>(handler: Handler<E, R>, messages: NonEmptyReadonlyArray<InboundRow>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(restore(Effect.suspend(() => handler(messages))))
          const { interruptors } = yield* Effect.descriptor
          if (Exit.isFailure(exit)) {
            if (HashSet.size(interruptors) > 0) return
            yield* Effect.logError(`${operation}: the handler failed`, exit.cause)
          }
          const verdict: Verdict = Exit.isSuccess(exit) ? "completed" : "failed"
          const settle = acknowledgements.settle(operation, idsOf(messages), verdict)
          yield* Effect.catchAll(settle, (error) =>
            Effect.zipRight(warn(error), restore(untilItWorks(settle)))
          )
        })
      )

    /** Whether there was anything to do. */
    const turn = <E, R>(handler: Handler<E, R>) =>
      Effect.gen(function* () {
        const due = yield* Effect.catchAll(poll, (error) => Effect.as(warn(error), []))
        if (due.length === 0) return false
        return yield* Effect.gen(function* () {
          const claimed = new Set(yield* untilItWorks(acknowledgements.claim(operation, idsOf(due))))
          const messages = due.filter(({ id }) => claimed.has(id))
          // Somebody else was faster with what the context belongs to.
          if (!Arr.isNonEmptyReadonlyArray(messages) || messages.every(({ trigger }) => trigger === 0)) {
            yield* release(messages)
            return false
          }
          yield* handle(handler, messages)
          return true
        }).pipe(Effect.onError(() => release(due)))
      })

    const loop = Effect.fnUntraced(function* <E, R>(handler: Handler<E, R>, idle: Duration.Duration) {
      let active = yield* Clock.currentTimeMillis
      for (;;) {
        const hasWorked = yield* turn(handler)
        const now = yield* Clock.currentTimeMillis
        if (hasWorked) {
          active = now
          continue
        }
        const left = active + Duration.toMillis(idle) - now
        if (left <= 0) return
        yield* Effect.sleep(Duration.min(pollInterval, Duration.millis(left)))
      }
    })

    return (handler, { heartbeatInterval = "5 seconds", idle = Duration.infinity } = {}) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const aside = Effect.all([every(heartbeatInterval, heartbeat), every("1 hour", prune)], {
            concurrency: "unbounded",
            discard: true
          })
          const fiber = yield* Effect.fork(Effect.interruptible(aside))
          yield* Effect.ensuring(restore(loop(handler, Duration.decode(idle))), Fiber.interrupt(fiber))
        })
      )
  })

const idsOf = (messages: ReadonlyArray<InboundRow>): ReadonlyArray<string> => messages.map(({ id }) => id)
