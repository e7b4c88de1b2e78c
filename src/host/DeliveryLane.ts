/**
 * Sending the messages of a lane, one after the other, and marking what became of each.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SessionRef } from "../protocol/Session.js"
import * as Timestamp from "../protocol/Timestamp.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { Outcome } from "./ChannelAdapter.js"
import * as DeliveryAttempt from "./DeliveryAttempt.js"
import * as DeliveryLedger from "./DeliveryLedger.js"
import type { Lane, Taken } from "./DeliveryTake.js"
import { logFailure } from "./DeliveryTake.js"
import { Outbox } from "./Outbox.js"
import * as RetryDelay from "./RetryDelay.js"
import { SessionDb } from "./SessionDb.js"

/**
 * What became of a lane. `nextAt` is as in `Taken`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sent extends Omit<Taken, "lanes"> {
  readonly delivered: ReadonlyArray<string>
}

/**
 * Makes interruptible what `send` says may be interrupted.
 *
 * @since 0.1.0
 * @category models
 */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/**
 * Gives the function that sends what is in a lane, until one message has to wait. It belongs where nothing can be
 * interrupted: an interruption may end an attempt, but not come between its outcome and the mark.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (operation: string) =>
  Effect.gen(function* () {
    const { deliveryRetries, unknownDeliveries } = yield* AirlockConfig
    const db = yield* SessionDb
    const outbox = yield* Outbox
    const attempt = yield* DeliveryAttempt.make(operation)

    /** What an outcome means for a message: it is delivered, it waits so long, or it has failed. */
    const verdictOf = (outcome: Outcome, attempts: number) =>
      Effect.gen(function* () {
        switch (outcome._tag) {
          case "Delivered":
            return outcome
          case "Rejected":
            return { _tag: "Failed" as const, reason: outcome.reason }
          case "Unknown":
          case "TryLater": {
            if (outcome._tag === "Unknown" && unknownDeliveries === "hold") {
              return { _tag: "Failed" as const, reason: `may have arrived: ${outcome.reason}` }
            }
            const delay = yield* RetryDelay.after(deliveryRetries, attempts)
            if (Option.isNone(delay)) {
              return {
                _tag: "Failed" as const,
                reason: `given up after ${attempts} attempts: ${outcome.reason}`
              }
            }
            const hint = outcome._tag === "TryLater" ? outcome.after : Duration.zero
            return { _tag: "Waits" as const, delay: Duration.max(delay.value, hint), reason: outcome.reason }
          }
        }
      })

    return Effect.fnUntraced(function* (ref: SessionRef, { messages }: Lane, restore: Restore) {
      const delivered: Array<string> = []
      const failed: Array<Taken["failed"][number]> = []
      for (const [index, message] of messages.entries()) {
        const verdict = yield* verdictOf(yield* restore(attempt(ref, message)), message.attempt)
        const next = verdict._tag === "Waits" ? undefined : messages[index + 1]
        const now = yield* Clock.currentTimeMillis
        const at = Timestamp.format(now)
        const nextAt = verdict._tag === "Waits" ? timeAfter(now, verdict.delay) : Number.POSITIVE_INFINITY
        const mark = (own: SqlClient) => {
          switch (verdict._tag) {
            case "Delivered":
              return DeliveryLedger.deliver(own, message, {
                at,
                platformMessageId: verdict.platformMessageId
              })
            case "Failed":
              return DeliveryLedger.fail(own, message, at, verdict.reason)
            case "Waits":
              return DeliveryLedger.wait(own, message, Timestamp.format(nextAt), verdict.reason)
          }
        }
        yield* db.transaction(
          ref,
          (own) =>
            Effect.zipRight(
              mark(own),
              next === undefined ? Effect.void : DeliveryLedger.begin(own, next, next.attempt, at)
            ),
          { operation, publish: "later" }
        )
        if (verdict._tag === "Waits") {
          const waiting = messages.slice(index).map(({ id }) => id)
          const stopped: Sent = { delivered, failed, waiting, nextAt }
          return stopped
        }
        if (verdict._tag === "Failed") {
          failed.push({ id: message.id, reason: verdict.reason })
          yield* logFailure(ref, message.id, verdict.reason)
        } else {
          delivered.push(message.id)
          if (message.source === "agent") yield* outbox.clear(ref, message.id, operation)
        }
      }
      const sent: Sent = { delivered, failed, waiting: [], nextAt: Number.POSITIVE_INFINITY }
      return sent
    })
  })

/** The last time that the table can hold: an adapter may say that it is never. */
const endOfTime = 253_402_300_799_999

const timeAfter = (now: number, delay: Duration.Duration): number =>
  Math.min(now + Duration.toMillis(delay), endOfTime)
