/**
 * One attempt at one message: reading its files, and handing it to the one that takes it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as AttachmentContent from "../protocol/AttachmentContent.js"
import type { OutboundRow } from "../protocol/Message.js"
import type { SessionRef } from "../protocol/Session.js"
import * as Turn from "../storage/Turn.js"
import { AgentRouter } from "./AgentRouter.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { Envelope, Outcome } from "./ChannelAdapter.js"
import { ChannelAdapter, rejected, unknown } from "./ChannelAdapter.js"
import type { Planned } from "./DeliveryPlan.js"
import type { OutboxFiles } from "./Outbox.js"
import { Outbox } from "./Outbox.js"
import type { SystemAction } from "./SystemActions.js"
import { SystemActions } from "./SystemActions.js"

/**
 * A message that goes out now, with its row.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outgoing extends Planned {
  readonly row: OutboundRow
}

/**
 * Gives the function that attempts. It never fails, and may take as long as the settings let it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (operation: string) =>
  Effect.gen(function* () {
    const { concurrency, deliveryTimeout } = yield* AirlockConfig
    const adapter = yield* ChannelAdapter
    const agents = yield* AgentRouter
    const outbox = yield* Outbox
    const actions = Option.match(yield* Effect.serviceOption(SystemActions), {
      onNone: () => new Map<string, never>(),
      onSome: ({ handlers }) => handlers
    })
    /**
     * Places of a session on a channel. A chat that answers slowly, or not at all, takes none of another session, and
     * none of another channel.
     */
    const places = new Map<string, Turn.Queue>()
    const inPlace = (
      { agentGroupId, sessionId }: SessionRef,
      channelType: string | null,
      what: "messages" | "files",
      attempt: Effect.Effect<Outcome>
    ) =>
      Effect.suspend(() => {
        const key = JSON.stringify([agentGroupId, sessionId, channelType, what])
        const queue = places.get(key) ?? Turn.makeQueue(what === "files" ? 1 : concurrency)
        places.set(key, queue)
        const forget = Effect.sync(() => {
          if (queue.present.length === 0 && places.get(key) === queue) places.delete(key)
        })
        return Effect.ensuring(Turn.during(queue)(attempt), forget)
      })

    /** What is answered at once needs no clock. */
    const inTime = (attempt: Effect.Effect<Outcome, unknown>, onTimeout: () => Outcome) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Effect.fork(restore(attempt)), (fiber) => {
          const isOver = () => fiber.unsafePoll() !== null
          const rest = Effect.timeoutTo(Fiber.join(fiber), {
            duration: deliveryTimeout,
            onTimeout,
            onSuccess: (outcome) => outcome
          })
          return restore(Effect.flatMap(Effect.yieldNow(), () => fiber.unsafePoll() ?? rest)).pipe(
            Effect.ensuring(Effect.suspend(() => (isOver() ? Effect.void : Fiber.interrupt(fiber))))
          )
        })
      )

    const answered = (
      taker: string,
      attempt: () => Effect.Effect<Outcome, unknown>
    ): Effect.Effect<Outcome> =>
      inTime(Effect.suspend(attempt), () => unknown(`${taker} did not answer`)).pipe(
        Effect.catchAllCause((cause) =>
          Effect.as(Effect.logWarning(`${taker} failed`, cause), unknown(`${taker} failed`))
        )
      )

    const envelopeOf = Effect.fnUntraced(function* (ref: SessionRef, outgoing: Outgoing) {
      const { address, id, row, source } = outgoing
      const names = source === "agent" ? declaredFiles(row.content) : []
      const found: OutboxFiles =
        names.length === 0
          ? { files: [], skipped: [] }
          : yield* outbox
              .read(ref, id, names, operation)
              .pipe(
                Effect.catchTag("UnsafePath", ({ reason }) =>
                  Effect.succeed({ files: [], skipped: names.map((name) => ({ name, reason })) })
                )
              )
      const envelope: Envelope = {
        ...address,
        ...found,
        idempotencyKey: keyOf(ref, outgoing),
        ref: { agentGroupId: ref.agentGroupId, sessionId: ref.sessionId },
        id,
        kind: row.kind,
        inReplyTo: row.inReplyTo,
        content: row.content
      }
      return envelope
    })

    const act = (ref: SessionRef, outgoing: Outgoing): Effect.Effect<Outcome> => {
      const { id, row } = outgoing
      const content = Option.filter(AttachmentContent.parseJson(row.content), AttachmentContent.isJsonObject)
      const action = Option.map(content, (object) => object["action"])
      if (Option.isNone(content) || Option.isNone(action) || typeof action.value !== "string") {
        return Effect.succeed(rejected("names no action"))
      }
      const asked: SystemAction = {
        idempotencyKey: keyOf(ref, outgoing),
        ref: { agentGroupId: ref.agentGroupId, sessionId: ref.sessionId },
        id,
        inReplyTo: row.inReplyTo,
        action: action.value,
        content: content.value
      }
      const handler = actions.get(asked.action)
      if (handler === undefined) return Effect.succeed(rejected("no handler for this action"))
      return answered("the action's handler", () => handler(asked))
    }

    const attempt = (ref: SessionRef, outgoing: Outgoing): Effect.Effect<Outcome> => {
      if (outgoing.row.kind === "system") return act(ref, outgoing)
      const { channelType } = outgoing.address
      const send = inPlace(
        ref,
        channelType,
        "messages",
        Effect.flatMap(envelopeOf(ref, outgoing), (envelope) =>
          channelType === "agent"
            ? answered("the way to the other agent", () => agents.deliver(envelope, outgoing.returnTo))
            : answered("the adapter", () => adapter.deliver(envelope))
        )
      )
      // Files are in memory until they are sent, so of those messages there is one at a time.
      const hasFiles = outgoing.source === "agent" && declaredFiles(outgoing.row.content).length > 0
      return hasFiles ? inPlace(ref, channelType, "files", send) : send
    }

    return (ref: SessionRef, outgoing: Outgoing): Effect.Effect<Outcome> =>
      Effect.annotateLogs(attempt(ref, outgoing), { sessionId: ref.sessionId, messageId: outgoing.id })
  })

const keyOf = (ref: SessionRef, { id, source }: Outgoing): string => `${ref.sessionId}/${source}/${id}`

/**
 * The names of the files that a message says it has.
 *
 * @since 0.1.0
 * @category parsing
 */
export const declaredFiles = (content: string): ReadonlyArray<string> =>
  AttachmentContent.parseJson(content).pipe(
    Option.filter(AttachmentContent.isJsonObject),
    Option.map((object) => object["files"]),
    Option.filter(Array.isArray),
    Option.match({
      onNone: () => [],
      onSome: (files) => files.filter((name): name is string => typeof name === "string")
    })
  )
