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
 * - `TryLater`: it is not delivered, and may be after a while; `after` is a hint, the next drain tries again
 * - `Rejected`: it never will be
 * - `Unknown`: it may or may not have arrived; the next drain tries again, under the same key
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = Data.TaggedEnum<{
  Delivered: { readonly platformMessageId: string | null }
  TryLater: { readonly after: Duration.Duration }
  Rejected: { readonly reason: string }
  Unknown: object
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
export const tryLater = (after: Duration.DurationInput = "1 minute"): Outcome =>
  outcomes.TryLater({ after: Duration.decode(after) })

/**
 * @since 0.1.0
 * @category constructors
 */
export const rejected = (reason: string): Outcome => outcomes.Rejected({ reason })

/**
 * @since 0.1.0
 * @category constructors
 */
export const unknown: Outcome = outcomes.Unknown()

/**
 * Delivers one envelope. What it fails with is its own; a failure or a defect counts as `TryLater`.
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
      return deliver === undefined ? Effect.succeed(tryLater()) : deliver(envelope)
    })
}
