/**
 * Taking messages out of sessions and handing them to where they go: a `ChannelAdapter`, a handler of
 * `SystemActions`, or another agent's session.
 *
 * Messages of one chat and thread form a lane. In a lane one message goes after the other, in the order of
 * their numbers, and none overtakes one that has to wait; lanes do not wait for each other. Before a message is
 * sent, the attempt is committed; after it, what became of it. An attempt that a killed host began and did not
 * finish is therefore known, and whether it arrived is not.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { StorageError } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as Timestamp from "../protocol/Timestamp.js"
import { fromSql } from "../storage/StorageFailure.js"
import type { SystemCalls } from "../storage/SystemCalls.js"
import * as Tracing from "../storage/Tracing.js"
import type { AgentRouter } from "./AgentRouter.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { ChannelAdapter } from "./ChannelAdapter.js"
import * as DeliveryLane from "./DeliveryLane.js"
import * as DeliveryLedger from "./DeliveryLedger.js"
import * as DeliveryTake from "./DeliveryTake.js"
import * as OutboundQueue from "./OutboundQueue.js"
import type { Outbox } from "./Outbox.js"
import { SessionActivity } from "./SessionActivity.js"
import { SessionDb } from "./SessionDb.js"
import * as SessionLoop from "./SessionLoop.js"
import * as SessionMemories from "./SessionMemories.js"
import { SessionPaths } from "./SessionPaths.js"
import type { RegistryError } from "./SessionRegistry.js"
import { SessionRegistry } from "./SessionRegistry.js"

export type { Attempted, Failure, MessageKey, Source } from "./DeliveryLedger.js"

/**
 * What a drain did, by message id. `waiting` messages stay in the session, and are taken again when their time
 * comes. What another drain has in hand is in none of the lists.
 *
 * @since 0.1.0
 * @category models
 */
export interface Drained {
  readonly delivered: ReadonlyArray<string>
  readonly failed: ReadonlyArray<{ readonly id: string; readonly reason: string }>
  readonly waiting: ReadonlyArray<string>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Delivery extends Context.Tag("effect-airlock/Delivery")<
  Delivery,
  {
    /**
     * Delivers what is due in a session, the host's direct replies and the agent's messages in the order of
     * their numbers. A message is marked delivered only after its taker said so, and no database is open
     * while it is sent. When one waits, later ones of its chat and thread wait too.
     *
     * `task_log` is never delivered. A message of kind `system` goes to the handler of its action. A message for
     * the channel `agent` goes to a session of the agent group that its platform id names. A message from the
     * agent for a chat or an agent that is neither the session's own chat nor among its destinations, nor where
     * the message came from that it answers, fails; a direct reply may go anywhere. A row that is not a message
     * fails too. A session in which nothing changed since the last drain, and nothing has become due, is not read.
     */
    readonly drain: (ref: SessionRef) => Effect.Effect<Drained, StorageError>
    /**
     * Drains all active sessions now and in intervals, those with a running container more often; a session as
     * soon as its container has ended, or a direct reply was written. Goes on for ever. One session's trouble
     * is logged, and stays its own. Only one process may do this on a data directory. What was written to a session's
     * inbound.db and not published, because a host was killed or another program wrote it, it leaves until `Sweep` has.
     */
    readonly run: Effect.Effect<never>
    /**
     * What `run` does at one look at all active sessions. It ends when all is sent that was begun, and fails only if the
     * sessions cannot be listed. For a host with a timer of its own: what waits for its time waits for the next one.
     */
    readonly drainAll: Effect.Effect<void, RegistryError>
    /** The messages of a session that were given up, and why. */
    readonly failures: (ref: SessionRef) => Effect.Effect<ReadonlyArray<DeliveryLedger.Failure>, StorageError>
    /** The messages of a session that were tried and are not settled: how often, and when the next attempt is. */
    readonly attempted: (
      ref: SessionRef
    ) => Effect.Effect<ReadonlyArray<DeliveryLedger.Attempted>, StorageError>
    /**
     * Takes a message out of the list of failures, for the next drain to deliver, as if it had never been tried.
     * False, and nothing is changed, if it is not in the list, or its agent does not have it any more.
     */
    readonly redrive: (
      ref: SessionRef,
      message: DeliveryLedger.MessageKey
    ) => Effect.Effect<boolean, StorageError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    Delivery,
    never,
    | AirlockConfig
    | SessionPaths
    | SessionDb
    | SessionRegistry
    | SessionActivity
    | Outbox
    | AgentRouter
    | ChannelAdapter
    | SystemCalls
  > = Layer.effect(
    Delivery,
    Effect.suspend(() => make)
  )
}

const operation = "Delivery.drain"

const make = Effect.gen(function* () {
  const { intervals } = yield* AirlockConfig
  const activity = yield* SessionActivity
  const registry = yield* SessionRegistry
  const paths = yield* SessionPaths
  const db = yield* SessionDb
  const { idleUntil, nothing, take } = yield* DeliveryTake.make(operation)
  const send = yield* DeliveryLane.make(operation)
  const memories = SessionMemories.make<DeliveryTake.Memory>(() => ({
    busy: new Set(),
    passed: new Set(),
    progress: undefined,
    seen: undefined,
    idle: undefined
  }))

  const drainRemembering = (ref: SessionRef, memory: DeliveryTake.Memory, limited: SessionLoop.Limit) =>
    Effect.gen(function* () {
      const folder = yield* paths.session(ref)
      const already = nothing(ref, memory, yield* Clock.currentTimeMillis)
      if (already !== undefined) return { ...already, delivered: [] }
      const marked = new Set<string>()
      let isLeft = false
      const release = (lane: string) =>
        Effect.sync(() => {
          if (marked.delete(lane)) memory.busy.delete(lane)
          if (memory.passed.delete(lane)) isLeft = true
        })
      return yield* Effect.gen(function* () {
        const taken = yield* limited(take(ref, folder, memory, marked))
        const exits = yield* Effect.forEach(
          taken.lanes,
          (lane) =>
            Effect.uninterruptibleMask((restore) => send(ref, lane, restore)).pipe(
              Effect.ensuring(release(lane.name)),
              Effect.exit
            ),
          // A fiber for one lane alone would take as long as a statement.
          { concurrency: taken.lanes.length > 1 ? "unbounded" : 1 }
        )
        const sent = yield* Exit.all(exits).pipe(Option.getOrElse(() => Exit.succeed([])))
        return {
          delivered: sent.flatMap(({ delivered }) => delivered),
          failed: [...taken.failed, ...sent.flatMap(({ failed }) => failed)],
          waiting: [...taken.waiting, ...sent.flatMap(({ waiting }) => waiting)],
          nextAt: isLeft
            ? yield* Clock.currentTimeMillis
            : Math.min(taken.nextAt, ...sent.map(({ nextAt }) => nextAt))
        }
      }).pipe(
        // Of lanes that an interruption kept from being sent.
        Effect.ensuring(Effect.suspend(() => Effect.forEach(marked, release, { discard: true })))
      )
    })

  const drainWith = (
    ref: SessionRef,
    limited: SessionLoop.Limit
  ): Effect.Effect<Drained & { readonly nextAt: number }, StorageError> =>
    memories.use(ref, (memory) => drainRemembering(ref, memory, limited))

  const failures = Effect.fn("Delivery.failures")((ref: SessionRef) =>
    db.transaction(ref, DeliveryLedger.failures, { operation: "Delivery.failures" })
  )

  const redrive = Effect.fn("Delivery.redrive")(function* (ref: SessionRef, key: DeliveryLedger.MessageKey) {
    const operation = "Delivery.redrive"
    if (key.source === "agent") {
      const agent = yield* db.outbound(ref, operation)
      const isThere = yield* Effect.mapError(
        OutboundQueue.has(agent, key.id),
        fromSql({ operation, resource: "outbound" })
      )
      if (!isThere) return false
    }
    const at = Timestamp.format(yield* Clock.currentTimeMillis)
    return yield* db.transaction(
      ref,
      (own) =>
        Effect.gen(function* () {
          const failed = yield* DeliveryLedger.failures(own)
          if (!failed.some(({ id, source }) => id === key.id && source === key.source)) return false
          yield* DeliveryLedger.redrive(own, key, at)
          return true
        }),
      { operation }
    )
  }, Effect.scoped)

  const loop = yield* SessionLoop.make(
    {
      name: "Delivery.run",
      running: intervals.deliverRunning,
      all: intervals.deliverAll,
      word: Stream.filterMap(activity.stream, ({ ref, what }) =>
        what === "inbound" ? Option.none() : Option.some(ref)
      ),
      idleUntil: (session, now) => {
        const memory = memories.known(session)
        return memory === undefined ? undefined : idleUntil(session, memory, now)
      },
      keepOnly: memories.keepOnly,
      work: (ref, limited) => Effect.map(drainWith(ref, limited), ({ nextAt }) => nextAt)
    },
    registry
  )

  return Delivery.of({
    drain: (ref) =>
      drainWith(ref, (take) => take).pipe(
        Effect.map(({ delivered, failed, waiting }) => ({ delivered, failed, waiting })),
        Tracing.span(operation)
      ),
    run: loop.run,
    drainAll: loop.once,
    failures,
    attempted: Effect.fn("Delivery.attempted")((ref: SessionRef) =>
      Effect.map(
        db.transaction(ref, DeliveryLedger.standing, { operation: "Delivery.attempted" }),
        ({ attempted }) => attempted
      )
    ),
    redrive
  })
})
