/**
 * A message that has been checked, and what has to be done to store it. Nothing has been touched yet.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { UnsafeAttachmentName } from "../protocol/AirlockError.js"
import { AttachmentTooLarge, InvalidMessage } from "../protocol/AirlockError.js"
import type { JsonObject } from "../protocol/AttachmentContent.js"
import * as AttachmentContent from "../protocol/AttachmentContent.js"
import * as AttachmentName from "../protocol/AttachmentName.js"
import * as JsonDepth from "../protocol/JsonDepth.js"
import type { Attachment, RenamedAttachment } from "../protocol/Message.js"
import { InboundMessage } from "../protocol/Message.js"
import * as PathSegment from "../protocol/PathSegment.js"
import * as Timestamp from "../protocol/Timestamp.js"
import type { Settings } from "./AirlockConfig.js"
import * as Recurrence from "./Recurrence.js"

/**
 * An attachment with the name that it will have on disk. `index` is its position in `content.attachments`,
 * or undefined for one that was handed over beside the content; `field` is where it stands in the message.
 *
 * @since 0.1.0
 * @category models
 */
export interface DraftAttachment {
  readonly index: number | undefined
  readonly field: string
  readonly name: AttachmentName.AttachmentName
  readonly givenName: string | undefined
  readonly entry: JsonObject
  readonly source: Attachment["source"]
}

/**
 * @since 0.1.0
 * @category models
 */
export interface MessageDraft {
  readonly message: InboundMessage
  /** The names of its folders in `inbox/`. */
  readonly folder: string
  readonly timestamp: string
  readonly processAfter: string | null
  readonly content: Option.Option<unknown>
  readonly attachments: ReadonlyArray<DraftAttachment>
  readonly renamed: ReadonlyArray<RenamedAttachment>
}

/**
 * @since 0.1.0
 * @category errors
 */
export type DraftError = InvalidMessage | AttachmentTooLarge | UnsafeAttachmentName

const decode = Schema.decodeUnknownEither(InboundMessage, { onExcessProperty: "ignore", errors: "all" })

const encoder = new TextEncoder()

const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

/**
 * Checks what a caller handed over, names its attachments, and says which of them had to be renamed. `now` is
 * in milliseconds since 1970. Errors name the field, and never quote what is in it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  input: unknown,
  options: { readonly operation: string; readonly now: number; readonly settings: Settings }
): Effect.Effect<MessageDraft, DraftError> =>
  Effect.gen(function* () {
    const { now, operation, settings } = options
    const { limits } = settings
    const messageId = AttachmentContent.isJsonObject(input) ? textOf(input["id"]) : undefined
    const invalid = (field: string, reason: InvalidMessage["reason"]) =>
      new InvalidMessage({ operation, messageId, field, reason })

    const decoded = decode(input)
    if (Either.isLeft(decoded)) {
      const [issue] = ParseResult.ArrayFormatter.formatErrorSync(decoded.left)
      const field = issue?.path.map(String).join(".") ?? ""
      const reason =
        field === "kind" && issue?._tag === "Type"
          ? "unknown-kind"
          : issue?._tag === "Missing"
            ? "missing"
            : "wrong-type"
      return yield* invalid(field === "" ? "message" : field, reason)
    }
    const message = decoded.right
    if (message.id === "") return yield* invalid("id", "empty")
    const folder = yield* Effect.mapError(PathSegment.messageFolder(message.id), () =>
      message.id.isWellFormed() ? invalid("id", "too-long") : invalid("id", "wrong-type")
    )

    const time = (field: string, text: string | null | undefined, otherwise: string | null) =>
      text === null || text === undefined
        ? Effect.succeed(otherwise)
        : Effect.mapError(Timestamp.normalize(text), () => invalid(field, "not-a-timestamp"))
    const timestamp = (yield* time("timestamp", message.timestamp, null)) ?? Timestamp.format(now)
    const processAfter = yield* time("processAfter", message.processAfter, null)
    if (
      typeof message.recurrence === "string" &&
      Option.isNone(Recurrence.next(message.recurrence, settings.timeZone, now))
    ) {
      return yield* invalid("recurrence", "not-a-cron-expression")
    }

    const content = AttachmentContent.parseJson(message.content)
    if (message.kind !== "chat") {
      if (Option.isNone(content)) return yield* invalid("content", "not-json")
      if (!AttachmentContent.isJsonObject(content.value)) return yield* invalid("content", "not-an-object")
    }

    const { attachments, renamed } = yield* nameAttachments(message, content, invalid, options)
    const bare = yield* Effect.try({
      try: () =>
        AttachmentContent.rewrite(
          message.content,
          content,
          new Map(
            attachments.flatMap(({ entry, index, name }) =>
              index === undefined ? [] : [[index, AttachmentContent.placed(entry, name, "")]]
            )
          ),
          []
        ),
      catch: () => tooDeep(operation, message.id)
    })
    if (encoder.encode(bare).length > limits.contentBytes) return yield* invalid("content", "too-long")
    if (JsonDepth.exceeds(bare, limits.jsonDepth)) return yield* tooDeep(operation, message.id)
    return { message, folder, timestamp, processAfter, content, attachments, renamed }
  })

const nameAttachments = Effect.fnUntraced(function* (
  message: InboundMessage,
  content: Option.Option<unknown>,
  invalid: (field: string, reason: InvalidMessage["reason"]) => InvalidMessage,
  options: { readonly operation: string; readonly now: number; readonly settings: Settings }
) {
  const { now, operation, settings } = options
  const { limits } = settings
  const embedded = Option.match(content, { onNone: () => [], onSome: AttachmentContent.embedded })
  const beside = message.attachments ?? []
  if (embedded.length + beside.length > limits.attachments) {
    return yield* invalid("attachments", "too-many-attachments")
  }

  const attachments: Array<DraftAttachment> = []
  const renamed: Array<RenamedAttachment> = []
  let total = 0
  const add = Effect.fnUntraced(function* (
    index: number | undefined,
    field: string,
    entry: JsonObject,
    source: Attachment["source"]
  ) {
    const type = { mimeType: textOf(entry["mimeType"]), type: textOf(entry["type"]) }
    const given = textOf(entry["name"])
    const asked = given ?? AttachmentName.derive(type, now)
    const refused = PathSegment.whyUnsafe(asked)
    const wanted =
      Option.isSome(refused) && settings.unsafeAttachmentNames === "rename"
        ? AttachmentName.derive(type, now)
        : yield* AttachmentName.make(asked, operation)
    const name = AttachmentName.distinct(
      wanted,
      attachments.map((other) => other.name)
    )
    if (given !== undefined && name !== given) {
      renamed.push({ from: given, to: name, reason: Option.getOrElse(refused, () => "duplicate") })
    }
    if ("bytes" in source) {
      const bytes = source.bytes.byteLength
      total += bytes
      if (bytes > limits.attachmentBytes) {
        return yield* tooLarge(operation, message.id, name, bytes, limits.attachmentBytes)
      }
      if (total > limits.messageAttachmentBytes) {
        return yield* tooLarge(operation, message.id, name, total, limits.messageAttachmentBytes)
      }
    }
    attachments.push({ index, field, name, givenName: given, entry, source })
  })

  for (const { entry, index } of embedded) {
    const { data } = entry
    const field = `content.attachments.${index}.data`
    if (!AttachmentContent.isBase64(data)) return yield* invalid(field, "not-base64")
    yield* add(index, field, entry, { bytes: Buffer.from(data, "base64") })
  }
  for (const [position, { mimeType, name, source }] of beside.entries()) {
    const entry = {
      ...(name === undefined ? {} : { name }),
      ...(mimeType === undefined ? {} : { mimeType })
    }
    yield* add(
      undefined,
      `attachments.${position}.source.${"file" in source ? "file" : "bytes"}`,
      entry,
      source
    )
  }
  return { attachments, renamed }
})

/**
 * Content that is nested deeper than the limit, or than JSON can be written.
 *
 * @since 0.1.0
 * @category errors
 */
export const tooDeep = (operation: string, messageId: string): InvalidMessage =>
  new InvalidMessage({ operation, messageId, field: "content", reason: "too-deep" })

/**
 * @since 0.1.0
 * @category errors
 */
export const tooLarge = (
  operation: string,
  messageId: string,
  attachment: string,
  bytes: number,
  limit: number
): AttachmentTooLarge => new AttachmentTooLarge({ operation, messageId, attachment, bytes, limit })
