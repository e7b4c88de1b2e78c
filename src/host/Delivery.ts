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
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Timestamp from "../protocol/Timestamp.js"
import * as FilePermit from "../storage/FilePermit.js"
import { fromSql } from "../storage/StorageFailure.js"
import * as Addresses from "./Addresses.js"
import type { AgentRouter } from "./AgentRouter.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { ChannelAdapter, Outcome } from "./ChannelAdapter.js"
import * as DeliveryAttempt from "./DeliveryAttempt.js"
import * as DeliveryLedger from "./DeliveryLedger.js"
import * as DeliveryLoop from "./DeliveryLoop.js"
import * as DeliveryPlan from "./DeliveryPlan.js"
import { Outbox } from "./Outbox.js"
import * as OutboundQueue from "./OutboundQueue.js"
import * as RetryDelay from "./RetryDelay.js"
import type { SessionActivity } from "./SessionActivity.js"
import { SessionDb } from "./SessionDb.js"
import { SessionPaths } from "./SessionPaths.js"
import type { SessionRegistry } from "./SessionRegistry.js"

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
     * is logged, and stays its own. Only one process may do this on a data directory.
     */
    readonly run: Effect.Effect<never>
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
  > = Layer.effect(
    Delivery,
    Effect.suspend(() => make)
  )
}

interface Lane {
  readonly name: string
  readonly messages: ReadonlyArray<DeliveryAttempt.Outgoing>
}

interface Taken {
  readonly lanes: ReadonlyArray<Lane>
  readonly failed: Drained["failed"]
  readonly waiting: Drained["waiting"]
}

/** What is remembered of a session between drains. All of it can be found out anew. */
interface Memory {
  /** The lanes that somebody is sending in. */
  readonly busy: Set<string>
  progress: OutboundQueue.Progress | undefined
  /** The files as they were when there was nothing to do, and until when there is nothing to do if they stay so. */
  idle: { readonly stamps: string; readonly until: number; readonly waiting: Drained["waiting"] } | undefined
}

const operation = "Delivery.drain"

const make = Effect.gen(function* () {
  const { deliveryRetries, limits, unknownDeliveries } = yield* AirlockConfig
  const paths = yield* SessionPaths
  const db = yield* SessionDb
  const outbox = yield* Outbox
  const attempt = yield* DeliveryAttempt.make(operation)
  const memories = new Map<string, Memory>()

  const memoryOf = (folder: string): Memory => {
    const memory = memories.get(folder) ?? { busy: new Set(), progress: undefined, idle: undefined }
    memories.set(folder, memory)
    return memory
  }

  /** Reads what is to be done, and marks what is begun, in one transaction. */
  const plan = Effect.fnUntraced(function* (memory: Memory, now: number, own: SqlClient, agent: SqlClient) {
    const ofAgent = <A>(query: Effect.Effect<A, SqlError>) =>
      Effect.mapError(query, fromSql({ operation, resource: "outbound" }))
    const attempted = yield* DeliveryLedger.attempted(own)
    const fromAgent = yield* OutboundQueue.fromAgent(agent, {
      progress: memory.progress,
      tried: attempted.flatMap(({ id, source }) => (source === "agent" ? [id] : [])),
      settledAmong: (ids) =>
        Effect.mapError(DeliveryLedger.settledAmong(own, ids), fromSql({ operation, resource: "inbound" }))
    }).pipe(Effect.catchTag("SqlError", (error) => ofAgent(Effect.fail(error))))
    const entries = [...fromAgent.entries, ...(yield* OutboundQueue.fromHost(own))]
    const planned = DeliveryPlan.make({
      entries,
      attempted,
      addresses: yield* Addresses.read(own),
      origins: yield* Addresses.origins(
        own,
        Array.from(new Set(entries.flatMap(({ row }) => row?.inReplyTo ?? [])))
      ),
      busy: memory.busy,
      now,
      limit: limits.drainMessages,
      unknownDeliveries
    })
    const idsOf = (wanted: DeliveryLedger.Source) =>
      planned.messages.flatMap(({ id, source }) => (source === wanted ? [id] : []))
    const rows = {
      agent: yield* ofAgent(
        OutboundQueue.contents(agent, "messages_out", idsOf("agent"), limits.contentBytes)
      ),
      direct: yield* OutboundQueue.contents(own, "airlock_direct", idsOf("direct"), limits.contentBytes)
    }
    const failures = [
      ...planned.failures,
      ...fromAgent.gone.map((id) => ({ source: "agent" as const, id, reason: "withdrawn by the agent" }))
    ]
    const lanes = new Map<string, Array<DeliveryAttempt.Outgoing>>()
    for (const message of planned.messages) {
      const row = rows[message.source].get(message.id) ?? Either.left("not a message")
      if (Either.isLeft(row)) failures.push({ source: message.source, id: message.id, reason: row.left })
      else lanes.set(message.lane, [...(lanes.get(message.lane) ?? []), { ...message, row: row.right }])
    }
    return { ...planned, failures, progress: fromAgent.progress, lanes }
  })

  const logFailure = (ref: SessionRef, id: string, reason: string) =>
    Effect.logWarning("Message failed").pipe(
      Effect.annotateLogs({ sessionId: ref.sessionId, messageId: id, reason })
    )

  /** What is to be done now. The lanes are marked as busy, and in `marked`: whoever takes them has to send them. */
  const take = Effect.fnUntraced(function* (ref: SessionRef, folder: string, marked: Array<string>) {
    yield* FilePermit.hold(Path.join(folder, SessionLayout.outbox), { operation, resource: "outbox" })
    const memory = memoryOf(folder)
    const now = yield* Clock.currentTimeMillis
    const stamps = `${yield* db.outboundStamp(ref, operation)} ${yield* db.inboundStamp(ref, operation)}`
    if (memory.idle?.stamps === stamps && now < memory.idle.until) {
      const nothing: Taken = { lanes: [], failed: [], waiting: memory.idle.waiting }
      return nothing
    }

    const agent = yield* db.outbound(ref, operation)
    const at = Timestamp.format(now)
    const planned = yield* db.transaction(
      ref,
      (own) =>
        Effect.tap(plan(memory, now, own, agent), ({ failures, lanes }) =>
          Effect.gen(function* () {
            for (const failure of failures) yield* DeliveryLedger.fail(own, failure, at, failure.reason)
            for (const [first] of lanes.values()) {
              if (first !== undefined) yield* DeliveryLedger.begin(own, first, first.attempt, at)
            }
          })
        ),
      { operation }
    )
    memory.progress = planned.progress
    const isIdle = planned.lanes.size === 0 && memory.busy.size === 0 && !planned.isCut
    memory.idle = isIdle ? { stamps, until: planned.nextAt, waiting: planned.waiting } : undefined
    for (const lane of planned.lanes.keys()) {
      memory.busy.add(lane)
      marked.push(lane)
    }
    for (const { id, reason } of planned.failures) yield* logFailure(ref, id, reason)
    const taken: Taken = {
      lanes: Array.from(planned.lanes, ([name, messages]) => ({ name, messages })),
      failed: planned.failures.map(({ id, reason }) => ({ id, reason })),
      waiting: planned.waiting
    }
    return taken
  }, Effect.scoped)

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

  /**
   * Sends what is in a lane, until one has to wait. An interruption may end an attempt, but not come between its
   * outcome and the mark.
   */
  const send = (ref: SessionRef, { messages, name }: Lane, memory: Memory, restore: Restore) =>
    Effect.gen(function* () {
      const delivered: Array<string> = []
      const failed: Array<Drained["failed"][number]> = []
      for (const [index, message] of messages.entries()) {
        const verdict = yield* verdictOf(yield* restore(attempt(ref, message)), message.attempt)
        const next = verdict._tag === "Waits" ? undefined : messages[index + 1]
        const now = yield* Clock.currentTimeMillis
        const at = Timestamp.format(now)
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
              return DeliveryLedger.wait(
                own,
                message,
                Timestamp.format(now + Duration.toMillis(verdict.delay)),
                verdict.reason
              )
          }
        }
        yield* db.transaction(
          ref,
          (own) =>
            Effect.zipRight(
              mark(own),
              next === undefined ? Effect.void : DeliveryLedger.begin(own, next, next.attempt, at)
            ),
          { operation }
        )
        if (verdict._tag === "Waits") {
          return { delivered, failed, waiting: messages.slice(index).map(({ id }) => id) }
        }
        if (verdict._tag === "Failed") {
          failed.push({ id: message.id, reason: verdict.reason })
          yield* logFailure(ref, message.id, verdict.reason)
        } else {
          delivered.push(message.id)
          if (message.source === "agent") yield* outbox.clear(ref, message.id, operation)
        }
      }
      return { delivered, failed, waiting: [] }
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          memory.busy.delete(name)
          memory.idle = undefined
        })
      )
    )

  const drainWith = (ref: SessionRef, limited: DeliveryLoop.Limit): Effect.Effect<Drained, StorageError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const folder = yield* paths.session(ref)
        const memory = memoryOf(folder)
        const marked: Array<string> = []
        const taken = yield* restore(limited(take(ref, folder, marked))).pipe(
          Effect.onError(() => Effect.sync(() => marked.forEach((lane) => memory.busy.delete(lane))))
        )
        const exits = yield* Effect.forEach(
          taken.lanes,
          (lane) => Effect.exit(send(ref, lane, memory, restore)),
          { concurrency: "unbounded" }
        )
        const sent = yield* Exit.all(exits).pipe(Option.getOrElse(() => Exit.succeed([])))
        return {
          delivered: sent.flatMap(({ delivered }) => delivered),
          failed: [...taken.failed, ...sent.flatMap(({ failed }) => failed)],
          waiting: [...taken.waiting, ...sent.flatMap(({ waiting }) => waiting)]
        }
      })
    )

  const failures = Effect.fn("Delivery.failures")((ref: SessionRef) =>
    db.transaction(ref, DeliveryLedger.failures, { operation: "Delivery.failures" })
  )

  const redrive = Effect.fn("Delivery.redrive")(function* (ref: SessionRef, key: DeliveryLedger.MessageKey) {
    const operation = "Delivery.redrive"
    const agent = yield* db.outbound(ref, operation)
    const [there] = yield* Effect.mapError(
      agent`SELECT 1 FROM messages_out WHERE id = ${key.id}`,
      fromSql({ operation, resource: "outbound" })
    )
    if (key.source === "agent" && there === undefined) return false
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

  return Delivery.of({
    drain: Effect.fn(operation)((ref: SessionRef) => drainWith(ref, (take) => take)),
    run: yield* DeliveryLoop.make(drainWith),
    failures,
    attempted: Effect.fn("Delivery.attempted")((ref: SessionRef) =>
      db.transaction(ref, DeliveryLedger.attempted, { operation: "Delivery.attempted" })
    ),
    redrive
  })
})

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
