/**
 * Sending messages: rows of `messages_out`, numbered over both databases, with their files in the outbox.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import type { StorageError, UnsafeAttachmentName } from "../protocol/AirlockError.js"
import { InvalidMessage } from "../protocol/AirlockError.js"
import type { JsonObject } from "../protocol/AttachmentContent.js"
import * as Sequence from "../protocol/Sequence.js"
import * as Timestamp from "../protocol/Timestamp.js"
import type { SafeDirectories } from "../storage/SafeDirectory.js"
import type { SystemCalls } from "../storage/SystemCalls.js"
import { Acknowledgements } from "./Acknowledgements.js"
import type { Addressed } from "./Addresses.js"
import * as Addresses from "./Addresses.js"
import { Inbound } from "./Inbound.js"
import type { OutboxFile } from "./Outbox.js"
import * as Outbox from "./Outbox.js"
import { SessionFiles } from "./SessionFiles.js"
import * as UniqueId from "./UniqueId.js"

/**
 * A message without files.
 *
 * - `content`: an object that JSON can hold, such as `{ text: "…" }`
 * - `kind`: `chat` if nothing else is said
 * - `deliverAfter`: not to be delivered before this time, in milliseconds since 1970
 * - `completes`: the ids of messages that are done with this one, in the same transaction. An agent that is killed at any
 *   instant has then either answered them, or is offered them again, and never both
 *
 * @since 0.1.0
 * @category models
 */
export interface PlainReply extends Addressed {
  readonly content: JsonObject
  readonly kind?: string | undefined
  readonly deliverAfter?: number | undefined
  readonly completes?: ReadonlyArray<string> | undefined
}

/**
 * A message from the agent. See `Addressed` for where it goes. The names of `files` are added to `content`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reply extends PlainReply {
  readonly files?: ReadonlyArray<OutboxFile> | undefined
}

/**
 * A message that is stored: its id, and its number in the session, which is odd.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sent {
  readonly id: string
  readonly seq: number
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Outgoing extends Context.Tag("effect-airlock/guest/Outgoing")<
  Outgoing,
  {
    /** Stores a message. */
    readonly post: (
      operation: string,
      reply: PlainReply
    ) => Effect.Effect<Sent, StorageError | InvalidMessage>
    /** Stores a message and its files: both, or, if it fails or is interrupted before, neither. */
    readonly send: (
      operation: string,
      reply: Reply
    ) => Effect.Effect<Sent, StorageError | InvalidMessage | UnsafeAttachmentName>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    Outgoing,
    never,
    Acknowledgements | Inbound | SafeDirectories | SessionFiles | SystemCalls
  > = Layer.effect(
    Outgoing,
    Effect.suspend(() => make)
  )
}

/** `JSON.stringify` drops or changes these silently. */
const refuseWhatJsonLacks = (_key: string, value: unknown): unknown => {
  const isRefused =
    typeof value === "function" ||
    typeof value === "symbol" ||
    (typeof value === "number" && !isFinite(value))
  if (isRefused) throw new TypeError("not JSON")
  return value
}

const encode = (operation: string, messageId: string, content: JsonObject) =>
  Effect.try({
    try: (): string | undefined => JSON.stringify(content, refuseWhatJsonLacks),
    catch: () => new InvalidMessage({ operation, messageId, field: "content", reason: "not-json" })
  }).pipe(
    Effect.filterOrFail(
      (text): text is string => text !== undefined && text.startsWith("{"),
      () => new InvalidMessage({ operation, messageId, field: "content", reason: "not-an-object" })
    )
  )

const make = Effect.gen(function* () {
  const acknowledgements = yield* Acknowledgements
  const files = yield* SessionFiles
  const inbound = yield* Inbound
  const outbox = yield* Outbox.make
  const resolve = yield* Addresses.make

  /** The row but for its number, the largest number that the host has given out, and what is done with it. */
  const draft = Effect.fnUntraced(function* (operation: string, reply: PlainReply) {
    const { completes = [], content, deliverAfter, inReplyTo = null, kind = "chat" } = reply
    if (deliverAfter !== undefined && !Timestamp.isStorable(deliverAfter)) {
      return yield* new InvalidMessage({ operation, field: "deliverAfter", reason: "not-a-timestamp" })
    }
    const id = yield* UniqueId.make(Outbox.idPrefix)
    const text = yield* encode(operation, id, content)
    const address = yield* resolve(operation, reply)
    const { largest } = yield* inbound.current(operation)
    const row = {
      id,
      in_reply_to: inReplyTo,
      timestamp: Timestamp.format(yield* Clock.currentTimeMillis),
      deliver_after: deliverAfter === undefined ? null : Timestamp.format(deliverAfter),
      kind,
      channel_type: address.channelType,
      platform_id: address.platformId,
      thread_id: address.threadId,
      content: text
    }
    return { row, largest, completes }
  })

  type Draft = Effect.Effect.Success<ReturnType<typeof draft>>

  /**
   * Places a message's files and stores its row, in one transaction: a folder in the outbox without a row is, while no
   * transaction runs, what a killed process left. Nothing can come between its being stored and `whenStored`.
   */
  const store = (
    operation: string,
    { completes, largest, row }: Draft,
    place: Effect.Effect<void, StorageError> = Effect.void,
    whenStored: Effect.Effect<void> = Effect.void
  ) =>
    files.outbound(operation, (sql) =>
      Effect.gen(function* () {
        yield* place
        const [own] = yield* sql<{
          readonly seq: number
        }>`SELECT coalesce(max(seq), 0) AS seq FROM messages_out`
        const seq = Sequence.nextAgent(Math.max(largest, own?.seq ?? 0))
        yield* sql`INSERT INTO messages_out ${sql.insert({ ...row, seq })}`
        if (completes.length > 0) yield* acknowledgements.finishWithin(sql, completes, "completed")
        return { id: row.id, seq }
      }).pipe(
        sql.withTransaction,
        Effect.zipLeft(acknowledgements.whenFinished(completes)),
        Effect.zipLeft(whenStored),
        Effect.uninterruptible
      )
    )

  const post = (operation: string, reply: PlainReply) =>
    Effect.flatMap(draft(operation, reply), (row) => store(operation, row))

  const send = Effect.fnUntraced(function* (operation: string, { files: given = [], ...reply }: Reply) {
    if (given.length === 0) return yield* post(operation, reply)
    const named = yield* Outbox.named(given, operation)
    const content = { ...reply.content, files: named.map(({ name }) => name) }
    const drafted = yield* draft(operation, { ...reply, content })
    const { id } = drafted.row
    const isStored = yield* Ref.make(false)
    const place = outbox.place(id, named, operation)
    return yield* store(operation, drafted, place, Ref.set(isStored, true)).pipe(
      Effect.onError(() =>
        Effect.unlessEffect(Effect.ignoreLogged(outbox.remove(id, operation)), Ref.get(isStored))
      )
    )
  })

  return Outgoing.of({ post, send })
})
