/**
 * Taking messages out of a session: reading what there is, planning, and marking what is begun, in one transaction.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Scope from "effect/Scope"
import * as Path from "node:path"
import type { OutboundRow } from "../protocol/Message.js"
import type { SessionRef } from "../protocol/Session.js"
import type { StorageError } from "../protocol/AirlockError.js"
import { SessionDbUnavailable } from "../protocol/AirlockError.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Timestamp from "../protocol/Timestamp.js"
import * as FilePermit from "../storage/FilePermit.js"
import { fromSql, isSqlError } from "../storage/StorageFailure.js"
import * as Addresses from "./Addresses.js"
import * as AgentMessages from "./AgentMessages.js"
import type { Limits } from "./AirlockConfig.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { Outgoing } from "./DeliveryAttempt.js"
import * as DeliveryLedger from "./DeliveryLedger.js"
import * as DeliveryPlan from "./DeliveryPlan.js"
import * as OutboundQueue from "./OutboundQueue.js"
import type { ChangeStamp } from "./SessionDb.js"
import { SessionDb } from "./SessionDb.js"
import type { Glance } from "./SessionGlance.js"
import * as SessionGlance from "./SessionGlance.js"

/**
 * Messages of one chat and thread, to be sent one after the other.
 *
 * @since 0.1.0
 * @category models
 */
export interface Lane {
  readonly name: string
  readonly messages: ReadonlyArray<Outgoing>
}

/**
 * What was taken. `nextAt` is when there is more to do, in milliseconds since 1970; infinite if nothing waits for its
 * time.
 *
 * @since 0.1.0
 * @category models
 */
export interface Taken {
  readonly lanes: ReadonlyArray<Lane>
  readonly failed: ReadonlyArray<{ readonly id: string; readonly reason: string }>
  readonly waiting: ReadonlyArray<string>
  readonly nextAt: number
}

/**
 * What is remembered of a session between drains. All of it can be found out anew.
 *
 * - `busy`: the lanes that somebody is sending in
 * - `passed`: those of them that another drain has left something in
 * - `progress`: how far the agent's messages are known to be settled
 * - `seen`: what the files looked like at the last look
 * - `idle`: the same of when there was nothing to do, and until when there is nothing to do if they stay so. `glance` is
 *   there if it tells
 *
 * @since 0.1.0
 * @category models
 */
export interface Memory {
  readonly busy: Set<string>
  readonly passed: Set<string>
  progress: OutboundQueue.Progress | undefined
  seen: Glance | undefined
  idle:
    | {
        readonly stamps: string
        readonly glance: Glance | undefined
        readonly until: number
        readonly waiting: Taken["waiting"]
      }
    | undefined
}

/**
 * @since 0.1.0
 * @category logging
 */
export const logFailure = (ref: SessionRef, id: string, reason: string): Effect.Effect<void> =>
  Effect.logWarning("Message failed").pipe(
    Effect.annotateLogs({ sessionId: ref.sessionId, messageId: id, reason })
  )

/**
 * Whether a row is the one by which it was decided where the message goes: a table without its key may have several of one
 * id, and the agent may see to it that two queries find different ones.
 */
const isSame = (judged: OutboundQueue.Entry["row"], found: OutboundRow): boolean =>
  judged !== undefined &&
  judged.kind === found.kind &&
  judged.inReplyTo === found.inReplyTo &&
  judged.channelType === found.channelType &&
  judged.platformId === found.platformId &&
  judged.threadId === found.threadId

/** Those of some messages, from the first on, whose contents come to so many bytes at most; but one at least. */
const withinBytes = <A>(
  messages: ReadonlyArray<A>,
  { contentBytes, drainBytes }: Pick<Limits, "contentBytes" | "drainBytes">,
  sizeOf: (message: A) => number
): ReadonlyArray<A> => {
  let total = 0
  const end = messages.findIndex((message, index) => {
    const size = sizeOf(message)
    // What is longer than content may be is not fetched.
    total += size > contentBytes ? 0 : size
    return index > 0 && total > drainBytes
  })
  return end === -1 ? messages : messages.slice(0, end)
}

/** What the agent has written, and how to open the copy of it for more. */
interface Agent {
  readonly messages: AgentMessages.AgentMessages
  readonly open: Effect.Effect<SqlClient, StorageError>
}

/** How many failures of one look are logged one by one. */
const mostLogged = 20

/**
 * - `take`: what there is to send. The lanes that it takes are marked as busy, and are in `marked`, also when it is
 *   interrupted: whoever called it has to send them, or to take them out again
 * - `nothing`: what was taken last, if that was nothing and still is, as far as can be told without opening a file
 * - `idleUntil`: until when that is so, as far as can be told by what is published. The rest is the sweep's to publish
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (operation: string) =>
  Effect.gen(function* () {
    const { limits, unknownDeliveries } = yield* AirlockConfig
    const db = yield* SessionDb
    const glances = yield* SessionGlance.make

    const nothing = (ref: SessionRef, { idle }: Memory, now: number): Taken | undefined =>
      idle?.glance !== undefined && now < idle.until && glances.isStill(ref, idle.glance)
        ? { lanes: [], failed: [], waiting: idle.waiting, nextAt: idle.until }
        : undefined

    const idleUntil = (ref: SessionRef, { idle }: Memory, now: number): number | undefined =>
      idle?.glance !== undefined && now < idle.until && glances.isPublishedStill(ref, idle.glance)
        ? idle.until
        : undefined

    /** What is to be done, from what both files hold. */
    const plan = Effect.fnUntraced(function* (memory: Memory, now: number, own: SqlClient, agent: Agent) {
      const ofAgent = <A, E>(query: Effect.Effect<A, E | SqlError>) =>
        Effect.catchIf(query, isSqlError, (error) =>
          Effect.fail(fromSql({ operation, resource: "outbound" })(error))
        )
      const { attempted, failures: failed, replies } = yield* DeliveryLedger.standing(own)
      // Each failure stays in the host's own file, whatever the agent does with its row.
      if (failed >= limits.failures) {
        return yield* new SessionDbUnavailable({ operation, resource: "outbound", reason: "too-large" })
      }
      const fromAgent = yield* ofAgent(
        OutboundQueue.fromAgent(agent.messages, {
          progress: memory.progress,
          tried: attempted.flatMap(({ id, source }) => (source === "agent" ? [id] : [])),
          settledAmong: (ids) =>
            Effect.mapError(
              DeliveryLedger.settledAmong(own, ids),
              fromSql({ operation, resource: "inbound" })
            )
        })
      )
      const entries = [...fromAgent.entries, ...(replies === 0 ? [] : yield* OutboundQueue.fromHost(own))]
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
      const judged = new Map(entries.map((entry) => [DeliveryLedger.textOf(entry), entry]))
      const messages = withinBytes(
        planned.messages,
        limits,
        (message) => judged.get(DeliveryLedger.textOf(message))?.bytes ?? 0
      )
      const judgedFrom = (wanted: DeliveryLedger.Source) =>
        messages.flatMap((message) =>
          message.source === wanted ? (judged.get(DeliveryLedger.textOf(message)) ?? []) : []
        )
      const rows = {
        agent: yield* ofAgent(
          OutboundQueue.contents(agent.open, "messages_out", judgedFrom("agent"), limits)
        ),
        direct: yield* OutboundQueue.contents(
          Effect.succeed(own),
          "airlock_direct",
          judgedFrom("direct"),
          limits
        )
      }
      // What is being sent may have arrived by now, and only the one who sends it knows.
      const isInHand = (id: string) =>
        memory.busy.size > 0 &&
        attempted.some((one) => one.source === "agent" && one.id === id && one.state === "sending")
      const failures = [
        ...planned.failures,
        ...fromAgent.gone
          .filter((id) => !isInHand(id))
          .map((id) => ({ source: "agent" as const, id, reason: "withdrawn by the agent" }))
      ]
      const lanes = new Map<string, Array<Outgoing>>()
      for (const message of messages) {
        const row = Either.filterOrLeft(
          rows[message.source].get(message.id) ?? Either.left("not a message"),
          (found) => isSame(judged.get(DeliveryLedger.textOf(message))?.row, found),
          () => "not a message"
        )
        if (Either.isLeft(row)) failures.push({ source: message.source, id: message.id, reason: row.left })
        else lanes.set(message.lane, [...(lanes.get(message.lane) ?? []), { ...message, row: row.right }])
      }
      return {
        ...planned,
        failures,
        progress: fromAgent.progress,
        isCut: planned.isCut || fromAgent.isCut || messages.length < planned.messages.length,
        lanes
      }
    })

    const take = Effect.fnUntraced(function* (
      ref: SessionRef,
      folder: string,
      memory: Memory,
      marked: Set<string>
    ) {
      yield* FilePermit.hold(Path.join(folder, SessionLayout.outbox), { operation, resource: "outbox" })
      const now = yield* Clock.currentTimeMillis
      const already = nothing(ref, memory, now)
      if (already !== undefined) return already
      memory.seen = yield* glances.take(ref, memory.seen)
      const seenAs = (outbound: ChangeStamp, inbound: ChangeStamp) => ({
        stamps: `${outbound} ${inbound}`,
        glance: glances.tells(memory.seen, outbound)
      })
      if (memory.idle !== undefined && now < memory.idle.until) {
        const seen = seenAs(yield* db.outboundStamp(ref, operation), yield* db.inboundStamp(ref, operation))
        if (seen.stamps === memory.idle.stamps) {
          const { until, waiting } = memory.idle
          yield* db.publish(ref, operation)
          memory.idle = { ...memory.idle, ...seen }
          const still: Taken = { lanes: [], nextAt: until, failed: [], waiting }
          return still
        }
      }

      const { client, rowsOf, stamp } = yield* db.outboundCopy(ref, operation)
      const open = Effect.provideService(client, Scope.Scope, yield* Effect.scope)
      const rows = rowsOf(AgentMessages.definition)
      const agent: Agent =
        rows === undefined
          ? yield* Effect.map(open, (sql) => ({
              messages: AgentMessages.bySql(sql),
              open: Effect.succeed(sql)
            }))
          : { messages: AgentMessages.byRows(rows), open }
      const at = Timestamp.format(now)
      const planned = yield* db.transaction(
        ref,
        (own, inbound) =>
          Effect.tap(
            Effect.map(plan(memory, now, own, agent), (planned) => ({ ...planned, inbound })),
            ({ failures, lanes }) =>
              Effect.gen(function* () {
                if (failures.length > 0) yield* DeliveryLedger.failAll(own, failures, at)
                for (const [first] of lanes.values()) {
                  if (first !== undefined) yield* DeliveryLedger.begin(own, first, first.attempt, at)
                }
              })
          ),
        { operation, publish: "later" }
      )
      memory.progress = planned.progress
      const passed = Array.from(planned.passed)
      for (const lane of passed) if (memory.busy.has(lane)) memory.passed.add(lane)
      // Whoever was sending in a lane may have left it since it was passed.
      const isMore = planned.isCut || passed.some((lane) => !memory.busy.has(lane))
      const isIdle = planned.lanes.size === 0 && memory.busy.size === 0 && !isMore
      if (isIdle && planned.failures.length === 0) yield* db.publish(ref, operation)
      memory.idle = isIdle
        ? { ...seenAs(stamp, planned.inbound), until: planned.nextAt, waiting: planned.waiting }
        : undefined
      for (const lane of planned.lanes.keys()) {
        memory.busy.add(lane)
        marked.add(lane)
      }
      for (const { id, reason } of planned.failures.slice(0, mostLogged)) yield* logFailure(ref, id, reason)
      if (planned.failures.length > mostLogged) {
        yield* logFailure(ref, `${planned.failures.length - mostLogged} more`, "see Delivery.failures")
      }
      const taken: Taken = {
        lanes: Array.from(planned.lanes, ([name, messages]) => ({ name, messages })),
        nextAt: isMore ? now : planned.nextAt,
        failed: planned.failures.map(({ id, reason }) => ({ id, reason })),
        waiting: planned.waiting
      }
      return taken
    }, Effect.scoped)

    return { take, nothing, idleUntil }
  })
