/**
 * Looking at all sessions, again and again: those with a running container often, all active ones less often, and one
 * as soon as there is word of it. A session is worked on by one fiber at a time; word that comes meanwhile has it looked
 * at once more. What goes wrong in one session is logged, and stays there.
 *
 * Of those whose container is stopped, which may be thousands, a look has a few in work at a time: what there is word of
 * does not wait for the rest.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberHandle from "effect/FiberHandle"
import * as FiberMap from "effect/FiberMap"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { SessionRef } from "../protocol/Session.js"
import { pause } from "../storage/SystemCalls.js"
import * as Turn from "../storage/Turn.js"
import { AirlockConfig } from "./AirlockConfig.js"
import * as SessionMemories from "./SessionMemories.js"
import type { ActiveSession, RegistryError, SessionRegistry } from "./SessionRegistry.js"
import * as Tracing from "../storage/Tracing.js"

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
 * - `idleUntil`: until when there is nothing to do in a session of which that can be told without work, or infinity.
 *   Times are in milliseconds since 1970
 * - `keepOnly`: is told of all active sessions, so that what is remembered of any other can go
 * - `work`: what is done with any other. What it does with `limited` waits for one of the places that the loop has; when
 *   the first of that is over, the look at all goes on, and the session may be worked on once more. The answer is when to
 *   look at this session again, or infinity
 *
 * @since 0.1.0
 * @category models
 */
export interface LoopOptions {
  readonly name: string
  readonly running: Duration.Duration
  readonly all: Duration.Duration
  readonly word: Stream.Stream<SessionRef>
  readonly idleUntil: (session: ActiveSession, now: number) => number | undefined
  readonly keepOnly: (active: ReadonlyArray<SessionRef>) => void
  readonly work: (ref: SessionRef, limited: Limit) => Effect.Effect<number, unknown>
}

/**
 * - `run`: never ends
 * - `once`: one look at all active sessions, which ends when all that it began is over
 *
 * Interrupting either interrupts what it has begun, and waits for that.
 *
 * @since 0.1.0
 * @category models
 */
export interface Loop {
  readonly run: Effect.Effect<never>
  readonly once: Effect.Effect<void, RegistryError>
}

/** Begins to work on a session. `left` is done when others may work on it. */
type Start = (ref: SessionRef, left: Effect.Effect<void>) => Effect.Effect<void>

/** A look at all goes on without a session that has held it up for so long: it may hang. */
const longestWait = Duration.seconds(5)

const isStopped = ({ containerStatus }: ActiveSession): boolean => containerStatus === "stopped"

/** How many sessions are looked at before there is a `pause`. If all are idle, that takes a few milliseconds. */
const sessionsInTurn = 256

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: LoopOptions,
  registry: SessionRegistry["Type"]
): Effect.Effect<Loop, never, AirlockConfig> =>
  Effect.map(AirlockConfig, ({ concurrency }) => {
    const queue = Turn.makeQueue(concurrency)
    /** How many stopped sessions a look at all has in work. The other places are for those of which there is word. */
    const lookers = Turn.makeQueue(Math.ceil(concurrency / 4))
    /** The work on a session may take milliseconds for which the event loop stands still, so it has a turn before each. */
    const door = Turn.makeQueue()
    const inTurn = <A, E>(effect: Effect.Effect<A, E>) =>
      Turn.during(queue)(Effect.zipRight(Turn.during(door)(pause), effect))
    /** Why the last look at a session failed. What stays as it is, is told once. */
    const troubles = SessionMemories.make((): { why: string | undefined } => ({ why: undefined }))

    const tell = (ref: SessionRef, cause: Cause.Cause<unknown>) =>
      troubles.use(ref, (trouble) => {
        const why = Option.getOrElse(Option.map(Cause.failureOption(cause), String), () =>
          Cause.pretty(cause)
        )
        const isKnown = trouble.why === why
        trouble.why = why
        const message = `${options.name}: a session was left out`
        return isKnown ? Effect.logDebug(message, why) : Effect.logWarning(message, why)
      })

    const noTrouble = (ref: SessionRef) => {
      const trouble = troubles.known(ref)
      if (trouble !== undefined) trouble.why = undefined
    }

    /** Works on a session. `then` is told when to look again; `leave` comes when others may work on it. */
    const workOn = (
      ref: SessionRef,
      {
        leave,
        then
      }: { readonly leave: Effect.Effect<void>; readonly then: (at: number) => Effect.Effect<unknown> }
    ): Effect.Effect<void> => {
      let hasLeft = false
      const leaveOnce = Effect.suspend(() => {
        if (hasLeft) return Effect.void
        hasLeft = true
        return leave
      })
      return options
        .work(ref, (effect) => Effect.ensuring(inTurn(effect), leaveOnce))
        .pipe(
          Effect.flatMap(then),
          Effect.tap(() => noTrouble(ref)),
          Effect.catchAllCause((cause) => tell(ref, cause)),
          // A fiber takes over from the one that begins it whether it can be interrupted.
          Effect.interruptible,
          Effect.ensuring(leaveOnce),
          Effect.annotateLogs({ sessionId: ref.sessionId, agentGroupId: ref.agentGroupId }),
          Tracing.without
        )
    }

    /** Waits for a place of the lookers, and after a while takes that of the one that has had one for longest. */
    const waitAsLooker = (turn: Turn.Turn): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (Turn.hasCome(lookers, turn)) return Effect.void
        return Effect.flatMap(Effect.timeoutOption(Turn.wait(lookers, turn), longestWait), (came) => {
          const [longest] = lookers.present
          if (Option.isNone(came) && longest !== undefined && longest !== turn) Turn.leave(lookers, longest)
          return waitAsLooker(turn)
        })
      })

    /** `start` with one of the places of the lookers, until the session is left. */
    const asLooker = (start: Start) => (ref: SessionRef) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const turn = Turn.come(lookers)
          const left = Effect.sync(() => Turn.leave(lookers, turn))
          return Effect.zipRight(
            Effect.onInterrupt(restore(waitAsLooker(turn)), () => left),
            start(ref, left)
          )
        })
      )

    /** Starts what is to be done. An idle session gets no fiber, which would cost more than to see that it is idle. */
    const begin = (
      sessions: ReadonlyArray<ActiveSession>,
      start: (ref: SessionRef) => Effect.Effect<unknown>,
      canRest: (session: ActiveSession, until: number) => boolean
    ) =>
      Effect.gen(function* () {
        for (let from = 0; from < sessions.length; from += sessionsInTurn) {
          if (from > 0) yield* pause
          let now = yield* Clock.currentTimeMillis
          for (const session of sessions.slice(from, from + sessionsInTurn)) {
            const until = options.idleUntil(session, now)
            if (until !== undefined && canRest(session, until)) continue
            yield* start(session)
            now = yield* Clock.currentTimeMillis
          }
        }
      })

    const listAll = Effect.tap(registry.listActive(), (sessions) => {
      options.keepOnly(sessions)
      troubles.keepOnly(sessions)
    })

    const orLogged =
      (what: string) =>
      (look: Effect.Effect<void, RegistryError>): Effect.Effect<void> =>
        Effect.catchAllCause(look, (cause) => Effect.logWarning(`${options.name}: ${what}`, cause))

    const once = Effect.gen(function* () {
      const fibers = yield* FiberSet.make<void>()
      const start: Start = (ref, leave) =>
        Effect.asVoid(FiberSet.run(fibers, workOn(ref, { leave, then: () => Effect.void })))
      const canRest = () => true
      const [others, stopped] = Arr.partition(yield* listAll, isStopped)
      yield* begin(others, (ref) => start(ref, Effect.void), canRest)
      yield* begin(stopped, asLooker(start), canRest)
      yield* FiberSet.awaitEmpty(fibers)
    }).pipe(Effect.scoped, Tracing.without)

    const run = Effect.gen(function* () {
      const fibers = yield* FiberSet.make<void>()
      const alarms = yield* FiberMap.make<string, void>()
      /** What the alarms are set to. */
      const times = new Map<string, number>()
      /** The sessions that are worked on, and whether there was word of them meanwhile. */
      const busy = new Map<string, boolean>()
      const lookAtAll = yield* FiberHandle.make<void>()
      let running: ReadonlyMap<string, ActiveSession> = new Map()
      let lookedAtAll = Number.NEGATIVE_INFINITY

      const start: Start = (ref, left) =>
        Effect.suspend(() => {
          const key = SessionMemories.keyOf(ref)
          if (busy.has(key)) {
            busy.set(key, true)
            return left
          }
          busy.set(key, false)
          const leave = Effect.suspend(() => {
            const again = busy.get(key) === true
            return Effect.zipRight(left, busy.delete(key) && again ? startNow(ref) : Effect.void)
          })
          const work = workOn(ref, { leave, then: (at) => setAlarm(key, ref, at) })
          return Effect.asVoid(FiberSet.run(fibers, work))
        }).pipe(Effect.uninterruptible)

      const startNow = (ref: SessionRef) => start(ref, Effect.void)

      const setAlarm = (key: string, ref: SessionRef, at: number) =>
        Effect.suspend(() => {
          if (!Number.isFinite(at)) {
            times.delete(key)
            return FiberMap.remove(alarms, key)
          }
          times.set(key, at)
          return Effect.flatMap(Clock.currentTimeMillis, (now) =>
            FiberMap.run(alarms, key, Effect.delay(startNow(ref), Duration.millis(Math.max(0, at - now))))
          )
        })

      /** A session that somebody else looked at may wait for a time of which the loop does not know. */
      const canRest = (session: ActiveSession, until: number): boolean =>
        until === Number.POSITIVE_INFINITY || times.get(SessionMemories.keyOf(session)) === until

      const look = Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        // A clock that was set back must not put this off.
        const isTimeForAll =
          Math.abs(now - lookedAtAll) >= Duration.toMillis(options.all) &&
          Option.isNone(FiberHandle.unsafeGet(lookAtAll))
        const sessions = isTimeForAll
          ? yield* listAll
          : yield* registry.listActive({ containerStatus: ["running", "idle"] })
        if (isTimeForAll) lookedAtAll = now
        const [others, stopped] = Arr.partition(sessions, isStopped)
        const ran = running
        running = new Map(others.map((session) => [SessionMemories.keyOf(session), session]))
        // What an agent wrote just before it ended is still to be seen.
        const ended = Array.from(ran.values()).filter(
          (session) => !running.has(SessionMemories.keyOf(session))
        )
        yield* begin([...others, ...ended], startNow, canRest)
        if (!isTimeForAll) return
        const rest = begin(stopped, asLooker(start), canRest)
        yield* FiberHandle.run(lookAtAll, orLogged("a look at all sessions broke off")(rest))
      }).pipe(orLogged("no list of sessions"), Tracing.without)

      return yield* Effect.raceFirst(
        Effect.zipRight(Stream.runForEach(options.word, startNow), Effect.never),
        Effect.zipRight(Effect.repeat(look, Schedule.spaced(options.running)), Effect.never)
      )
    }).pipe(Effect.scoped)

    return { run, once }
  })
