/**
 * Taking messages out of a session and handing them to the `ChannelAdapter`.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import * as AttachmentContent from "../protocol/AttachmentContent.js"
import type { OutboundRow } from "../protocol/Message.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Timestamp from "../protocol/Timestamp.js"
import * as FilePermit from "../storage/FilePermit.js"
import { fromSql } from "../storage/StorageFailure.js"
import * as Addresses from "./Addresses.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { Envelope, Outcome } from "./ChannelAdapter.js"
import { ChannelAdapter, rejected, tryLater } from "./ChannelAdapter.js"
import type { OutboxFiles } from "./Outbox.js"
import { Outbox } from "./Outbox.js"
import type { QueuedMessage } from "./OutboundQueue.js"
import * as OutboundQueue from "./OutboundQueue.js"
import { SessionDb } from "./SessionDb.js"
import { SessionPaths } from "./SessionPaths.js"

/**
 * What a drain did, by message id. `waiting` messages stay in the session and are taken again by the next
 * drain.
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
     * their numbers. A message is marked delivered only after the adapter said so, and no database is open
     * while it is sent. When one waits, later ones of its thread wait too, until the next drain. Messages for
     * other agents (`channelType` is `agent`) and messages of kind `system` are not for channels: they stay in
     * outbound.db and hold up nobody; `task_log` is never delivered. An agent's message for a chat that is
     * neither the session's own nor among its destinations fails; a direct reply may go anywhere. A row that is
     * not a message fails too. One drain of a session runs at a time.
     */
    readonly drain: (ref: SessionRef) => Effect.Effect<Drained, StorageError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    Delivery,
    never,
    AirlockConfig | SessionPaths | SessionDb | Outbox | ChannelAdapter
  > = Layer.effect(
    Delivery,
    Effect.suspend(() => make)
  )
}

const operation = "Delivery.drain"

const make = Effect.gen(function* () {
  const { deliveryTimeout, limits } = yield* AirlockConfig
  const paths = yield* SessionPaths
  const db = yield* SessionDb
  const outbox = yield* Outbox
  const adapter = yield* ChannelAdapter

  const withInbound = <A>(ref: SessionRef, use: (own: SqlClient) => Effect.Effect<A, SqlError>) =>
    Effect.flatMap(db.inbound(ref, operation), (own) =>
      Effect.mapError(use(own), fromSql({ operation, resource: "inbound" }))
    ).pipe(Effect.scoped, Effect.withTracerEnabled(false))

  const queue = Effect.fnUntraced(function* (ref: SessionRef, now: number) {
    const agent = yield* db.outbound(ref, operation)
    const options = { limit: limits.drainMessages, contentBytes: limits.contentBytes, now }
    const settled = (ids: ReadonlyArray<string>) =>
      withInbound(ref, (own) => OutboundQueue.settledAmong(own, ids))
    const fromAgent = yield* OutboundQueue.fromAgent(agent, settled, options).pipe(
      Effect.catchTag("SqlError", (error) => Effect.fail(fromSql({ operation, resource: "outbound" })(error)))
    )
    const { addresses, fromHost } = yield* withInbound(ref, (own) =>
      Effect.all({ fromHost: OutboundQueue.fromHost(own, options), addresses: Addresses.read(own) })
    )
    return {
      messages: [...fromHost.messages, ...fromAgent.messages]
        .sort((a, b) => order(a) - order(b))
        .slice(0, limits.drainMessages),
      unreadable: [
        ...fromHost.unreadable.map((row) => ({ ...row, source: "direct" as const })),
        ...fromAgent.unreadable.map((row) => ({ ...row, source: "agent" as const }))
      ],
      addresses
    }
  }, Effect.scoped)

  const send = (envelope: Envelope): Effect.Effect<Outcome> =>
    adapter.deliver(envelope).pipe(
      Effect.timeoutTo({
        duration: deliveryTimeout,
        onTimeout: () => tryLater(),
        onSuccess: (outcome) => outcome
      }),
      Effect.catchAllCause((cause) =>
        Effect.as(Effect.logWarning("The channel adapter failed", cause), tryLater())
      )
    )

  const attempt = Effect.fnUntraced(function* (
    ref: SessionRef,
    { row, source }: QueuedMessage,
    address: Addresses.Routing,
    addresses: Addresses.Addresses
  ) {
    const isAllowed =
      source === "direct" ||
      namesNoAddress(row) ||
      addresses.allowed.some(
        (other) => other.channelType === address.channelType && other.platformId === address.platformId
      )
    if (!isAllowed) return rejected("not a destination of this session")

    const names = declaredFiles(row.content)
    const none = { files: [], skipped: [] }
    const found: OutboxFiles =
      names.length === 0 || source === "direct"
        ? none
        : yield* Effect.orElseSucceed(outbox.read(ref, row.id, names, operation), () => none)
    return yield* send({
      ...address,
      idempotencyKey: `${ref.sessionId}/${source}/${row.id}`,
      ref: { agentGroupId: ref.agentGroupId, sessionId: ref.sessionId },
      id: row.id,
      kind: row.kind,
      inReplyTo: row.inReplyTo,
      content: row.content,
      files: found.files,
      skipped: found.skipped
    })
  })

  const drain = Effect.fn(operation)(function* (ref: SessionRef) {
    const folder = yield* paths.session(ref)
    yield* FilePermit.hold(Path.join(folder, SessionLayout.outbox), { operation, resource: "outbox" })
    const now = yield* Clock.currentTimeMillis
    const { addresses, messages, unreadable } = yield* queue(ref, now)
    const delivered: Array<string> = []
    const failed: Array<{ readonly id: string; readonly reason: string }> = []
    const waiting: Array<string> = []

    const settle = Effect.fnUntraced(function* (
      source: QueuedMessage["source"],
      id: string,
      status: "delivered" | "failed",
      platformMessageId: string | null = null
    ) {
      const at = Timestamp.format(yield* Clock.currentTimeMillis)
      yield* withInbound(ref, (own) =>
        OutboundQueue.settle(own, source, id, { status, platformMessageId, at })
      )
    })
    const fail = Effect.fnUntraced(function* (source: QueuedMessage["source"], id: string, reason: string) {
      yield* settle(source, id, "failed")
      yield* Effect.logWarning("Message failed").pipe(
        Effect.annotateLogs({ sessionId: ref.sessionId, messageId: id, reason })
      )
      failed.push({ id, reason })
    })

    for (const { id, reason, source } of unreadable) yield* fail(source, id, reason)
    const blocked = new Set<string>()
    // An interruption may end an attempt, but not come between its outcome and the mark.
    const deliver = (queued: QueuedMessage) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const { row, source } = queued
          const address = addressOf(queued, addresses)
          const thread = JSON.stringify([address.channelType, address.platformId, address.threadId])
          const outcome = blocked.has(thread)
            ? tryLater()
            : yield* restore(attempt(ref, queued, address, addresses))
          switch (outcome._tag) {
            case "Delivered":
              yield* settle(source, row.id, "delivered", outcome.platformMessageId)
              if (source === "agent") yield* outbox.clear(ref, row.id, operation)
              delivered.push(row.id)
              break
            case "Rejected":
              yield* fail(source, row.id, outcome.reason)
              break
            case "TryLater":
            case "Unknown":
              blocked.add(thread)
              waiting.push(row.id)
              break
          }
        })
      )
    yield* Effect.forEach(messages, deliver, { discard: true })
    return { delivered, failed, waiting }
  }, Effect.scoped)

  return Delivery.of({ drain })
})

const order = ({ row }: QueuedMessage): number => row.seq ?? Number.MAX_SAFE_INTEGER

const namesNoAddress = (row: OutboundRow): boolean => row.channelType === null && row.platformId === null

/** Where a message says that it goes, or the session's own chat if it says nothing. */
const addressOf = ({ row }: QueuedMessage, { routing }: Addresses.Addresses): Addresses.Routing =>
  namesNoAddress(row)
    ? { ...routing, threadId: row.threadId ?? routing.threadId }
    : { channelType: row.channelType, platformId: row.platformId, threadId: row.threadId }

const declaredFiles = (content: string): ReadonlyArray<string> =>
  AttachmentContent.parseJson(content).pipe(
    Option.filter(AttachmentContent.isJsonObject),
    Option.map((object) => object["files"]),
    Option.filter(Array.isArray),
    Option.match({
      onNone: () => [],
      onSome: (files) => files.filter((name): name is string => typeof name === "string")
    })
  )
