/**
 * Draining all sessions, again and again.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { SessionRef } from "../protocol/Session.js"
import * as Turn from "../storage/Turn.js"
import { AirlockConfig } from "./AirlockConfig.js"
import { SessionActivity } from "./SessionActivity.js"
import { SessionRegistry } from "./SessionRegistry.js"

/**
 * Lets an effect wait for its turn.
 *
 * @since 0.1.0
 * @category models
 */
export type Limit = <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>

/**
 * The loop. `drain` limits its reading, which is short, and not its sending: a channel that does not answer keeps
 * its own messages waiting, and no others.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E>(drain: (ref: SessionRef, limited: Limit) => Effect.Effect<unknown, E>) =>
  Effect.gen(function* () {
    const { concurrency, intervals } = yield* AirlockConfig
    const registry = yield* SessionRegistry
    const activity = yield* SessionActivity

    return Effect.gen(function* () {
      const fibers = yield* FiberSet.make<void>()
      const queue = Turn.makeQueue(concurrency)
      const reading = new Set<string>()
      let running: ReadonlyMap<string, SessionRef> = new Map()
      let lookedAtAll = Number.NEGATIVE_INFINITY

      const limited =
        (sessionId: string): Limit =>
        (take) =>
          Turn.during(queue)(take).pipe(Effect.ensuring(Effect.sync(() => reading.delete(sessionId))))

      const start = (ref: SessionRef) =>
        Effect.suspend(() => {
          if (reading.has(ref.sessionId)) return Effect.void
          reading.add(ref.sessionId)
          return drain(ref, limited(ref.sessionId)).pipe(
            Effect.catchAllCause((cause) => Effect.logWarning("A session was not drained", cause)),
            Effect.annotateLogs({ sessionId: ref.sessionId, agentGroupId: ref.agentGroupId }),
            Effect.ensuring(Effect.sync(() => reading.delete(ref.sessionId))),
            Effect.asVoid,
            FiberSet.run(fibers),
            Effect.asVoid
          )
        })

      const look = Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        const isTimeForAll = now >= lookedAtAll + Duration.toMillis(intervals.deliverAll)
        const sessions = isTimeForAll
          ? yield* registry.listActiveSessions()
          : yield* registry.listActiveSessions({ containerStatus: ["running", "idle"] })
        if (isTimeForAll) lookedAtAll = now
        const ran = running
        running = new Map(
          sessions.flatMap((session) =>
            session.containerStatus === "stopped" ? [] : [[session.sessionId, session] as const]
          )
        )
        // What an agent wrote just before it ended is still to be delivered.
        const ended = Array.from(ran.values()).filter(({ sessionId }) => !running.has(sessionId))
        yield* Effect.forEach([...sessions, ...ended], start, { discard: true })
      }).pipe(
        Effect.catchAllCause((cause) => Effect.logWarning("Sessions could not be listed", cause)),
        Effect.withTracerEnabled(false)
      )

      const told = Stream.runForEach(activity.stream, ({ ref, what }) =>
        what === "inbound" ? Effect.void : start(ref)
      )

      return yield* Effect.raceFirst(
        Effect.zipRight(told, Effect.never),
        Effect.zipRight(Effect.repeat(look, Schedule.spaced(intervals.deliverRunning)), Effect.never)
      )
    }).pipe(Effect.scoped)
  })
