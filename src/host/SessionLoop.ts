/**
 * Looking at all sessions, again and again: those with a running container often, all active ones less often, and one
 * as soon as there is word of it. A session is worked on by one fiber at a time; word that comes meanwhile has it looked
 * at once more. What goes wrong in one session is logged, and stays there.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { SessionRef } from "../protocol/Session.js"
import * as Turn from "../storage/Turn.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { SessionRegistry } from "./SessionRegistry.js"

/**
 * Lets an effect wait for its turn among the sessions that are being read. Its end is also the end of the time in which
 * nobody else works on the session.
 *
 * @since 0.1.0
 * @category models
 */
export type Limit = <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>

/**
 * - `name`: what the loop does, for the log
 * - `running`, `all`: how often it looks at sessions with a running container, and at all active ones
 * - `word`: sessions to look at now
 * - `work`: what is done with a session. What it does with `limited` waits for one of the places that the loop has. The
 *   answer is when to look at this session again (milliseconds since 1970), or infinity
 *
 * @since 0.1.0
 * @category models
 */
export interface LoopOptions {
  readonly name: string
  readonly running: Duration.Duration
  readonly all: Duration.Duration
  readonly word: Stream.Stream<SessionRef>
  readonly work: (ref: SessionRef, limited: Limit) => Effect.Effect<number, unknown>
}

/**
 * A loop that never ends. Interrupting it interrupts what it has begun, and waits for that.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: LoopOptions,
  registry: SessionRegistry["Type"]
): Effect.Effect<Effect.Effect<never>, never, AirlockConfig> =>
  Effect.map(AirlockConfig, ({ concurrency }) =>
    Effect.gen(function* () {
      const fibers = yield* FiberSet.make<void>()
      const alarms = yield* FiberMap.make<string, void>()
      const queue = Turn.makeQueue(concurrency)
      /** The sessions that are worked on, and whether there was word of them meanwhile. */
      const busy = new Map<string, boolean>()
      /** Why the last look at a session failed. What stays as it is, is told once. */
      const troubles = new Map<string, string>()
      let running: ReadonlyMap<string, SessionRef> = new Map()
      let lookedAtAll = Number.NEGATIVE_INFINITY

      const start = (ref: SessionRef): Effect.Effect<void> =>
        Effect.suspend(() => {
          const key = `${ref.agentGroupId}/${ref.sessionId}`
          if (busy.has(key)) {
            busy.set(key, true)
            return Effect.void
          }
          busy.set(key, false)
          const leave = Effect.suspend(() => {
            const again = busy.get(key) === true
            return busy.delete(key) && again ? start(ref) : Effect.void
          })
          let hasLeft = false
          const leaveOnce = Effect.suspend(() => {
            if (hasLeft) return Effect.void
            hasLeft = true
            return leave
          })
          return options
            .work(ref, (effect) => Effect.ensuring(Turn.during(queue)(effect), leaveOnce))
            .pipe(
              Effect.flatMap((at) => setAlarm(key, ref, at)),
              Effect.tap(() => troubles.delete(key)),
              Effect.catchAllCause((cause) => tell(key, cause)),
              // A fiber takes over from the one that begins it whether it can be interrupted.
              Effect.interruptible,
              Effect.ensuring(leaveOnce),
              Effect.annotateLogs({ sessionId: ref.sessionId, agentGroupId: ref.agentGroupId }),
              Effect.withTracerEnabled(false),
              FiberSet.run(fibers),
              Effect.asVoid
            )
        }).pipe(Effect.uninterruptible)

      const tell = (key: string, cause: Cause.Cause<unknown>) => {
        const why = Option.getOrElse(Option.map(Cause.failureOption(cause), String), () =>
          Cause.pretty(cause)
        )
        const isKnown = troubles.get(key) === why
        troubles.set(key, why)
        const message = `${options.name}: a session was left out`
        return isKnown ? Effect.logDebug(message, why) : Effect.logWarning(message, why)
      }

      const setAlarm = (key: string, ref: SessionRef, at: number) =>
        Number.isFinite(at)
          ? Clock.currentTimeMillis.pipe(
              Effect.flatMap((now) =>
                FiberMap.run(alarms, key, Effect.delay(start(ref), Duration.millis(Math.max(0, at - now))))
              ),
              Effect.asVoid
            )
          : FiberMap.remove(alarms, key)

      const look = Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        // A clock that was set back must not put this off.
        const isTimeForAll = Math.abs(now - lookedAtAll) >= Duration.toMillis(options.all)
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
        // What an agent wrote just before it ended is still to be seen.
        const ended = Array.from(ran.values()).filter(({ sessionId }) => !running.has(sessionId))
        yield* Effect.forEach([...sessions, ...ended], start, { discard: true })
      }).pipe(
        Effect.catchAllCause((cause) => Effect.logWarning(`${options.name}: no list of sessions`, cause)),
        Effect.withTracerEnabled(false)
      )

      return yield* Effect.raceFirst(
        Effect.zipRight(Stream.runForEach(options.word, start), Effect.never),
        Effect.zipRight(Effect.repeat(look, Schedule.spaced(options.running)), Effect.never)
      )
    }).pipe(Effect.scoped)
  )
