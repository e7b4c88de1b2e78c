/**
 * Messages in both directions: what a caller hands over, and the rows that the two databases hold.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The kinds of messages for the agent. An agent's runner skips any other kind and never acknowledges it.
 *
 * - `chat`: what a person wrote: text, or JSON such as `{ "text": "…", "attachments": […] }`
 * - `chat-sdk`, `task`, `webhook`, `system`: a JSON object
 *
 * @since 0.1.0
 * @category models
 */
export const InboundKind = Schema.Literal("chat", "chat-sdk", "task", "webhook", "system")

/**
 * @since 0.1.0
 * @category models
 */
export type InboundKind = typeof InboundKind.Type

/**
 * An attachment handed over beside the content of a message: its bytes, or the path of a regular file of the
 * host. Without a name, one is derived from the MIME type.
 *
 * @since 0.1.0
 * @category models
 */
export const Attachment = Schema.Struct({
  name: Schema.optional(Schema.String),
  mimeType: Schema.optional(Schema.String),
  source: Schema.Union(
    Schema.Struct({ bytes: Schema.Uint8ArrayFromSelf }),
    Schema.Struct({ file: Schema.String })
  )
})

/**
 * @since 0.1.0
 * @category models
 */
export type Attachment = typeof Attachment.Type

/**
 * A message for the agent, as `SessionManager.writeMessage` takes it.
 *
 * - `id`: the caller's, unique in the session; it also names the folder of the attachments
 * - `kind`: see `InboundKind`; anything else fails with `InvalidMessage`
 * - `content`: text for the agent; see `InboundKind` for what each kind promises. Attachments inside it that
 *   carry base64 in `data` go to files, and the content then names the files
 * - `timestamp`: when it was said, in any form that `Timestamp.parse` reads; the Clock's time without it
 * - `processAfter`: not due before this time, in the same forms
 * - `recurrence`: a cron expression of five fields, or six with seconds first, or `@daily` and the like, in the host's
 *   `timeZone`. The first occurrence is due at `processAfter`, or at once without it. When the agent is done with the message, `Sweep` writes
 *   the next one of its series. One that is no expression, or never comes, fails with `InvalidMessage`
 * - `trigger`: 1 (the default) wakes the agent; 0 is context that it reads when something else wakes it
 * - `onWake`: true for a message that only the first poll after the agent starts shall see
 * - `channelType`, `platformId`, `threadId`: where it came from
 * - `sourceSessionId`: the return path of a message from another agent's session
 * - `attachments`: files for the agent, beside those inside the content
 *
 * @since 0.1.0
 * @category models
 */
export const InboundMessage = Schema.Struct({
  id: Schema.String,
  kind: InboundKind,
  content: Schema.String,
  timestamp: Schema.optional(Schema.String),
  processAfter: Schema.optional(Schema.NullOr(Schema.String)),
  recurrence: Schema.optional(Schema.NullOr(Schema.String)),
  trigger: Schema.optional(Schema.Literal(0, 1)),
  onWake: Schema.optional(Schema.Boolean),
  channelType: Schema.optional(Schema.NullOr(Schema.String)),
  platformId: Schema.optional(Schema.NullOr(Schema.String)),
  threadId: Schema.optional(Schema.NullOr(Schema.String)),
  sourceSessionId: Schema.optional(Schema.NullOr(Schema.String)),
  attachments: Schema.optional(Schema.Array(Attachment))
})

/**
 * @since 0.1.0
 * @category models
 */
export type InboundMessage = typeof InboundMessage.Type

/**
 * An attachment as it lies on disk. `localPath` is relative to the session folder, with `/`. `size` is in
 * bytes, `sha256` in lower-case hexadecimal.
 *
 * @since 0.1.0
 * @category models
 */
export const StoredAttachment = Schema.Struct({
  name: Schema.String,
  localPath: Schema.String,
  size: Schema.Number,
  sha256: Schema.String
})

/**
 * @since 0.1.0
 * @category models
 */
export type StoredAttachment = typeof StoredAttachment.Type

/**
 * An attachment that did not keep its name: `reason` is why it could not, `duplicate` when another
 * attachment of the message has that name.
 *
 * @since 0.1.0
 * @category models
 */
export const RenamedAttachment = Schema.Struct({
  from: Schema.String,
  to: Schema.String,
  reason: Schema.String
})

/**
 * @since 0.1.0
 * @category models
 */
export type RenamedAttachment = typeof RenamedAttachment.Type

/**
 * A row of `messages_in` as the agent reads it. Times are in either stored form; see `Timestamp`.
 *
 * @since 0.1.0
 * @category models
 */
export class InboundRow extends Schema.Class<InboundRow>("effect-airlock/InboundRow")({
  id: Schema.String,
  seq: Schema.NullOr(Schema.Number),
  kind: Schema.String,
  timestamp: Schema.String,
  status: Schema.NullOr(Schema.String),
  processAfter: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("process_after")),
  recurrence: Schema.NullOr(Schema.String),
  seriesId: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("series_id")),
  tries: Schema.NullOr(Schema.Number),
  trigger: Schema.Number,
  channelType: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("channel_type")),
  platformId: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("platform_id")),
  threadId: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("thread_id")),
  content: Schema.String,
  sourceSessionId: Schema.NullOr(Schema.String).pipe(
    Schema.propertySignature,
    Schema.fromKey("source_session_id")
  ),
  onWake: Schema.Number.pipe(Schema.propertySignature, Schema.fromKey("on_wake"))
}) {}

/**
 * A row of `messages_out`, or of the host's own table of direct replies, as `Delivery` reads it.
 *
 * @since 0.1.0
 * @category models
 */
export class OutboundRow extends Schema.Class<OutboundRow>("effect-airlock/OutboundRow")({
  id: Schema.String,
  seq: Schema.NullOr(Schema.Number),
  inReplyTo: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("in_reply_to")),
  timestamp: Schema.String,
  deliverAfter: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("deliver_after")),
  kind: Schema.String,
  channelType: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("channel_type")),
  platformId: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("platform_id")),
  threadId: Schema.NullOr(Schema.String).pipe(Schema.propertySignature, Schema.fromKey("thread_id")),
  content: Schema.String
}) {}

/**
 * The content of a message with which an agent asks a question, as a channel sees it. It may have further keys. The answer
 * names the `questionId`.
 *
 * @since 0.1.0
 * @category models
 */
export const AskedQuestion = Schema.Struct({
  type: Schema.Literal("ask_question"),
  questionId: Schema.String,
  title: Schema.optional(Schema.String),
  question: Schema.String,
  options: Schema.optional(Schema.Array(Schema.Unknown))
})

/**
 * @since 0.1.0
 * @category models
 */
export type AskedQuestion = typeof AskedQuestion.Type

/**
 * A reply that the host itself writes, without waking the agent: see `SessionManager.writeOutboundDirect`.
 *
 * @since 0.1.0
 * @category models
 */
export const DirectMessage = Schema.Struct({
  id: Schema.String,
  kind: Schema.NonEmptyString,
  content: Schema.String,
  inReplyTo: Schema.optional(Schema.NullOr(Schema.String)),
  channelType: Schema.optional(Schema.NullOr(Schema.String)),
  platformId: Schema.optional(Schema.NullOr(Schema.String)),
  threadId: Schema.optional(Schema.NullOr(Schema.String))
})

/**
 * @since 0.1.0
 * @category models
 */
export type DirectMessage = typeof DirectMessage.Type

/**
 * A destination that the agent may write to by name: a channel's chat, or another agent.
 *
 * @since 0.1.0
 * @category models
 */
export const Destination = Schema.Union(
  Schema.Struct({
    type: Schema.Literal("channel"),
    name: Schema.NonEmptyString,
    displayName: Schema.optional(Schema.NullOr(Schema.String)),
    channelType: Schema.NonEmptyString,
    platformId: Schema.NonEmptyString
  }),
  Schema.Struct({
    type: Schema.Literal("agent"),
    name: Schema.NonEmptyString,
    displayName: Schema.optional(Schema.NullOr(Schema.String)),
    agentGroupId: Schema.NonEmptyString
  })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Destination = typeof Destination.Type
