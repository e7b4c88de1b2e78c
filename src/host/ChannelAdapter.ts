/**
 * The port through which messages leave for people: a chat platform, a terminal, a web page. The host
 * implements it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SessionRef } from "../protocol/Session.js"
import type { OutboxFile, SkippedFile } from "./Outbox.js"

export type { OutboxFile, SkippedFile } from "./Outbox.js"

/**
 * A message on its way out.
 *
 * - `idempotencyKey`: the same for every attempt at this message, and for no other message. A platform that
 *   takes one will not show the message twice
 * - `channelType`, `platformId`, `threadId`: where it goes; the session's own chat if it named nothing
 * - `content`: as the agent wrote it; JSON, most often with a `text`
 * - `files`: those that it declared and that could be read; `skipped` are the others
 *
 * @since 0.1.0
 * @category models
 */
export interface Envelope {
  readonly idempotencyKey: string
  readonly ref: SessionRef
  readonly id: string
  readonly kind: string
  readonly inReplyTo: string | null
  readonly channelType: string | null
  readonly platformId: string | null
  readonly threadId: string | null
  readonly content: string
  readonly files: ReadonlyArray<OutboxFile>
  readonly skipped: ReadonlyArray<SkippedFile>
}

/**
 * What became of one attempt.
 *
 * - `Delivered`: the platform has it, under `platformMessageId` if it gives ids
 * - `TryLater`: it is not delivered, and may be after a while: not before `after` has passed, nor before the
 *   host's own retries say so (`deliveryRetries` in the settings)
 * - `Rejected`: it never will be
 * - `Unknown`: it may or may not have arrived. The settings say whether it is sent again, under the same key, or
 *   held (`unknownDeliveries`)
 *
 * `reason` is for people who look at what waits or failed; it must not hold what somebody wrote.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = Data.TaggedEnum<{
  Delivered: { readonly platformMessageId: string | null }
  TryLater: { readonly after: Duration.Duration; readonly reason: string }
  Rejected: { readonly reason: string }
  Unknown: { readonly reason: string }
}>

const outcomes = Data.taggedEnum<Outcome>()

/**
 * @since 0.1.0
 * @category constructors
 */
export const delivered = (platformMessageId: string | null = null): Outcome =>
  outcomes.Delivered({ platformMessageId })

/**
 * @since 0.1.0
 * @category constructors
 */
export const tryLater = (after: Duration.DurationInput = 0, reason = "not now"): Outcome =>
  outcomes.TryLater({ after: Duration.decode(after), reason })

/**
 * @since 0.1.0
 * @category constructors
 */
export const rejected = (reason: string): Outcome => outcomes.Rejected({ reason })

/**
 * @since 0.1.0
 * @category constructors
 */
export const unknown = (reason = "no answer"): Outcome => outcomes.Unknown({ reason })

/**
 * Delivers one envelope. What it fails with is its own. A failure, a defect, or no answer within `deliveryTimeout`
 * counts as `Unknown`, because it may have come after the message went out. It is called for many sessions and threads
 * at a time; within one chat and thread, for one message after the other.
 *
 * @since 0.1.0
 * @category models
 */
export type Deliver = (envelope: Envelope) => Effect.Effect<Outcome, unknown>

/**
 * @since 0.1.0
 * @category tags
 */
export class ChannelAdapter extends Context.Tag("effect-airlock/ChannelAdapter")<
  ChannelAdapter,
  { readonly deliver: Deliver }
>() {
  /**
   * One function for every channel.
   *
   * @since 0.1.0
   */
  static readonly layer = (deliver: Deliver): Layer.Layer<ChannelAdapter> =>
    Layer.succeed(ChannelAdapter, { deliver })

  /**
   * A function for each channel type. A message for any other waits.
   *
   * @since 0.1.0
   */
  static readonly layerByChannel = (channels: {
    readonly [channelType: string]: Deliver
  }): Layer.Layer<ChannelAdapter> =>
    ChannelAdapter.layer((envelope) => {
      const { channelType } = envelope
      const deliver =
        channelType !== null && Object.hasOwn(channels, channelType) ? channels[channelType] : undefined
      return deliver === undefined
        ? Effect.succeed(
            tryLater(
              0,
              `no adapter for ${channelType === null ? "a message without a channel" : `channel ${channelType}`}`
            )
          )
        : deliver(envelope)
    })
}
