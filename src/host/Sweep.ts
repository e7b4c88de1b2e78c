/**
 * Keeping sessions going: agents are started when something is due, stopped when they are stuck, and what they say of
 * their messages becomes the messages' status. Recurring messages get their next occurrence, messages of an
 * agent that ended are offered again, and answers that nobody took expire.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { SessionNotFound } from "../protocol/AirlockError.js"
import type { StorageError } from "../protocol/AirlockError.js"
import type { Session, SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { ContainerState } from "./ContainerRuntime.js"
import { ContainerRuntime, stopped } from "./ContainerRuntime.js"
import { Leftovers } from "./Leftovers.js"
import * as Liveness from "./Liveness.js"
import * as MessageLifecycle from "./MessageLifecycle.js"
import * as RetryDelay from "./RetryDelay.js"
import { SessionActivity } from "./SessionActivity.js"
import { SessionDb } from "./SessionDb.js"
import { SessionFolder } from "./SessionFolder.js"
import type { Limit } from "./SessionLoop.js"
import * as SessionLoop from "./SessionLoop.js"
import { SessionManager } from "./SessionManager.js"
import * as SessionMemories from "./SessionMemories.js"
import type { SessionPaths } from "./SessionPaths.js"
import type { ActiveSession, RegistryError } from "./SessionRegistry.js"
import { SessionRegistry } from "./SessionRegistry.js"
import * as SessionTurns from "./SessionTurns.js"
import type { Known, Reading } from "./SweepReading.js"
import * as SweepReading from "./SweepReading.js"
import * as Tracing from "../storage/Tracing.js"

/**
 * What a sweep of one session did.
 *
 * - `hasEnded`: the container, which ran, is found to have stopped
 * - `woken`: it was started, because something is due
 * - `killed`: it was stopped, because it was stuck; see `StuckPolicy`
 * - `retried`, `failed`: the ids of messages whose agent ended without a verdict, which are offered again after a while,
 *   or were tried often enough
 * - `expired`: the ids of answers that nobody took
 * - `recurred`: the ids of the next occurrences that were written
 * - `nextAt`: when there is something to do that is not due now, in milliseconds since 1970; infinite if nothing is
 *
 * @since 0.1.0
 * @category models
 */
export interface Swept {
  readonly hasEnded: boolean
  readonly woken: boolean
  readonly killed: Option.Option<"claims" | "silence">
  readonly retried: ReadonlyArray<string>
  readonly failed: ReadonlyArray<string>
  readonly expired: ReadonlyArray<string>
  readonly recurred: ReadonlyArray<string>
  readonly nextAt: number
}

/**
 * @since 0.1.0
 * @category errors
 */
export type SweepError = SessionNotFound | StorageError

/**
 * @since 0.1.0
 * @category tags
 */
export class Sweep extends Context.Tag("effect-airlock/Sweep")<
  Sweep,
  {
    /**
     * Looks after one session. A failure of the `ContainerRuntime` is logged, and tried again later. A session in
     * which nothing changed since the last sweep, and nothing has become due, is not read. What is remembered of a session
     * that is not active goes with each look at all active ones: for how long its agent has been silent counts from there.
     */
    readonly sweep: (ref: SessionRef) => Effect.Effect<Swept, SweepError>
    /**
     * Sweeps all active sessions now and in intervals, those with a running container more often; a session as
     * soon as a message was written to it, its container has ended, or a message's time has come. Goes on for
     * ever. One session's trouble is logged, and stays its own. Only one process may do this on a data directory.
     */
    readonly run: Effect.Effect<never>
    /**
     * What `run` does at one look at all active sessions. It ends when that is over, and fails only if the sessions cannot be
     * listed. For a host with a timer of its own: what waits for its time waits for the next one.
     */
    readonly sweepAll: Effect.Effect<void, RegistryError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    Sweep,
    never,
    | AirlockConfig
    | SessionPaths
    | SessionDb
    | SessionFolder
    | SessionRegistry
    | SessionManager
    | SessionActivity
    | Leftovers
    | SystemCalls
    | ContainerRuntime
  > = Layer.effect(
    Sweep,
    Effect.suspend(() => make)
  )
}

const operation = "Sweep.sweep"

/** How soon a container is started again that ended without having taken or finished a message. */
const wakeRetries: Schedule.Schedule<unknown> = Schedule.exponential("5 seconds").pipe(
  Schedule.union(Schedule.spaced("10 minutes"))
)

/** More would not make the delay longer. */
const mostWakes = 20

/** What is remembered of an active session between sweeps. Without it a sweep knows what it would know in a new process. */
interface Memory extends Known {
  liveness: Liveness.Liveness | undefined
  /** How often it was started since its agent last took or finished a message; not to be started again before. */
  wakes: number
  wakeAt: number
}

const make = Effect.gen(function* () {
  const { containerTimeout, intervals, messageRetries, stuck } = yield* AirlockConfig
  const db = yield* SessionDb
  const folders = yield* SessionFolder
  const registry = yield* SessionRegistry
  const manager = yield* SessionManager
  const activity = yield* SessionActivity
  const leftovers = yield* Leftovers
  const runtime = yield* ContainerRuntime
  const calls = yield* SystemCalls
  const { isStill, read } = yield* SweepReading.make(operation)
  const inTurn = yield* SessionTurns.make
  const memories = SessionMemories.make<Memory>(() => ({
    seen: undefined,
    reading: undefined,
    liveness: undefined,
    wakes: 0,
    wakeAt: 0
  }))

  const sessionOf = (ref: SessionRef) =>
    Effect.flatMap(registry.getSession(ref.sessionId), (found) =>
      Option.match(
        Option.filter(found, ({ agentGroupId }) => agentGroupId === ref.agentGroupId),
        {
          onNone: () => Effect.fail(new SessionNotFound({ operation, ...pick(ref) })),
          onSome: Effect.succeed
        }
      )
    )

  /** What the runtime answers in time, or none: it failed, and that is logged. */
  const ask = <A>(what: string, call: Effect.Effect<A, unknown>): Effect.Effect<Option.Option<A>> =>
    call.pipe(
      Effect.timeout(containerTimeout),
      Effect.asSome,
      Effect.catchAllCause((cause) =>
        Effect.as(Effect.logWarning(`The container runtime failed to ${what}`, cause), Option.none())
      )
    )

  /** A session that the registry calls stopped is: until it is known to be, the registry calls it running. */
  const stateOf = (session: Session): Effect.Effect<Option.Option<ContainerState>> =>
    session.containerStatus === "stopped"
      ? Effect.succeed(Option.some(stopped))
      : ask("tell its status", runtime.status(session))

  /** When the heartbeat file was last changed. One that cannot be seen is not there. */
  const heartbeatOf = (ref: SessionRef): Effect.Effect<bigint | undefined> =>
    Effect.flatMap(folders.open(ref, operation), (folder) =>
      calls.lstat(folder.at(SessionLayout.heartbeat))
    ).pipe(
      Effect.map((stats) => (stats.isFile() ? stats.mtimeNs : undefined)),
      Effect.scoped,
      Effect.orElseSucceed(() => undefined)
    )

  const noteEnd = Effect.fnUntraced(function* (session: Session, memory: Memory) {
    memory.liveness = undefined
    memory.reading = undefined
    yield* manager.markContainerStopped(session)
    yield* activity.tell("ended", session)
  })

  const giveUp = (ref: SessionRef, { claims }: Reading, now: number) =>
    claims.length === 0
      ? Effect.succeed({ retried: [], failed: [] })
      : db.transaction(ref, (own) => MessageLifecycle.giveUpClaims(own, claims, { now, messageRetries }), {
          operation
        })

  const wake = Effect.fnUntraced(function* (session: Session, memory: Memory) {
    yield* manager.writeRouting(session)
    const destinations = yield* registry.getDestinations(session.agentGroupId)
    if (Option.isSome(destinations)) yield* manager.writeDestinations(session, destinations.value)
    const now = yield* Clock.currentTimeMillis
    memory.liveness = Liveness.started(yield* heartbeatOf(session), now)
    if (memory.wakes > 0) {
      yield* Effect.logWarning(
        "An agent ended without having taken or finished a message, and is started again"
      ).pipe(Effect.annotateLogs({ sessionId: session.sessionId, startsSoFar: memory.wakes }))
    }
    memory.wakes = Math.min(memory.wakes + 1, mostWakes)
    const delay = Option.getOrElse(yield* RetryDelay.after(wakeRetries, memory.wakes), () => Duration.zero)
    memory.wakeAt = now + Duration.toMillis(delay)
    yield* manager.markContainerRunning(session)
    if (Option.isSome(yield* ask("start a container", runtime.wake(session)))) return true
    // One that did not say so in time may be running nevertheless.
    if (isStopped(yield* ask("tell its status", runtime.status(session)))) yield* noteEnd(session, memory)
    return false
  })

  const readingOf = Effect.fnUntraced(function* (ref: SessionRef, memory: Memory, now: number) {
    const reading = yield* read(ref, memory, now)
    if (reading.hasProgress) {
      memory.wakes = 0
      memory.wakeAt = 0
    }
    return reading
  })

  /** Until when a sweep would do nothing: no agent runs that is to be watched, and nothing was read that is to be done. */
  const idleUntil = (session: ActiveSession, now: number): number | undefined => {
    const memory = memories.known(session)
    return session.containerStatus === "stopped" &&
      memory?.reading !== undefined &&
      !memory.reading.isDue &&
      memory.reading.claims.length === 0 &&
      isStill(session, memory, now)
      ? memory.reading.until
      : undefined
  }

  const ofStopped = Effect.fnUntraced(function* (
    session: Session,
    memory: Memory,
    reading: Reading,
    now: number
  ) {
    const isDue = reading.isDue && session.status === "active"
    // A message whose agent ended counts as due first, and is put off then.
    const woken = isDue && now >= memory.wakeAt && (yield* wake(session, memory))
    const { failed, retried } = yield* giveUp(session, reading, now)
    const hasChanged = retried.length > 0 || failed.length > 0
    const wakeAt = isDue && !woken ? memory.wakeAt : Number.POSITIVE_INFINITY
    return { woken, retried, failed, nextAt: hasChanged ? now : Math.min(wakeAt, reading.until) }
  })

  /**
   * Stops a container that is stuck. Without a reading, because the files cannot be read, its heartbeat still shows
   * whether it is.
   */
  const stopIfStuck = Effect.fnUntraced(function* (
    session: Session,
    memory: Memory,
    startedAt: Option.Option<number>,
    reading: Reading | undefined,
    now: number
  ) {
    const heartbeat = yield* heartbeatOf(session)
    const before = memory.liveness ?? Liveness.started(heartbeat, now)
    // A start that has not come is another clock's, and tells nothing.
    const seen = Option.filter(startedAt, (at) => at <= now).pipe(
      Option.match({ onNone: () => before, onSome: (at) => Liveness.startedAgain(before, at) }),
      (since) => Liveness.saw(since, heartbeat, now)
    )
    memory.liveness =
      reading === undefined
        ? seen
        : Liveness.sawReport(
            seen,
            { claims: reading.claims.map(({ at, id }) => `${id} ${at}`), toolTimeout: reading.toolTimeout },
            now
          )
    const reason = Liveness.whyStuck(memory.liveness, stuck, now)
    if (reason === undefined || Option.isNone(yield* ask("stop a container", runtime.kill(session)))) {
      return Option.none()
    }
    yield* Effect.logWarning("A stuck container was stopped").pipe(Effect.annotateLogs({ reason }))
    yield* noteEnd(session, memory)
    return Option.some(reason)
  })

  const sweepRemembering = (ref: SessionRef, memory: Memory, limited: Limit) =>
    Effect.gen(function* () {
      const session = yield* sessionOf(ref)
      const state = yield* stateOf(session)
      const now = yield* Clock.currentTimeMillis
      const hasEnded = session.containerStatus !== "stopped" && isStopped(state)
      if (hasEnded) yield* noteEnd(session, memory)
      const startedAt = Option.flatMap(state, (known) =>
        known._tag === "Running" ? Option.some(known.startedAt) : Option.none()
      )
      if (memory.reading === undefined) yield* limited(leftovers.clear(ref))
      const reading = yield* limited(readingOf(ref, memory, now)).pipe(
        Effect.tapError(() =>
          Option.match(startedAt, {
            onNone: () => Effect.void,
            onSome: (at) => stopIfStuck(session, memory, at, undefined, now)
          })
        )
      )
      const { expired, recurred, until: nextAt } = reading
      const idle = {
        hasEnded,
        woken: false,
        killed: Option.none(),
        retried: [],
        failed: [],
        expired,
        recurred,
        nextAt
      }
      if (isStopped(state)) return { ...idle, ...(yield* ofStopped(session, memory, reading, now)) }
      if (Option.isNone(startedAt)) return idle
      const killed = yield* stopIfStuck(session, memory, startedAt.value, reading, now)
      if (Option.isNone(killed)) return idle
      // It may have finished something before it ended.
      const last = yield* limited(readingOf(ref, memory, now))
      return {
        ...idle,
        killed,
        ...(yield* giveUp(session, last, now)),
        expired: [...expired, ...last.expired],
        recurred: [...recurred, ...last.recurred],
        nextAt: now
      }
    })

  const sweepOne = (ref: SessionRef, limited: Limit): Effect.Effect<Swept, SweepError> =>
    memories
      .use(ref, (memory) => sweepRemembering(ref, memory, limited))
      .pipe(
        inTurn(ref),
        // The registry names what it wrote, and every destination in it was checked then.
        Effect.catchTag("InvalidMessage", Effect.die)
      )

  const word = Stream.merge(
    Stream.filterMap(activity.stream, ({ ref, what }) =>
      what === "inbound" ? Option.some(ref) : Option.none()
    ),
    Stream.catchAllCause(runtime.exits, (cause) =>
      Stream.execute(Effect.logWarning("The container runtime does not tell of exits any more", cause))
    )
  )

  const loop = yield* SessionLoop.make(
    {
      name: "Sweep.run",
      running: intervals.sweepRunning,
      all: intervals.sweepAll,
      word,
      idleUntil,
      keepOnly: memories.keepOnly,
      work: (ref, limited) => Effect.map(sweepOne(ref, limited), ({ nextAt }) => nextAt)
    },
    registry
  )

  return Sweep.of({
    sweep: (ref) => Tracing.span(operation)(sweepOne(ref, (effect) => effect)),
    run: loop.run,
    sweepAll: loop.once
  })
})

const pick = ({ agentGroupId, sessionId }: SessionRef): SessionRef => ({ agentGroupId, sessionId })

const isStopped = (state: Option.Option<ContainerState>): boolean =>
  Option.exists(state, ({ _tag }) => _tag === "Stopped")
