/**
 * A message that has been checked, and what has to be done to store it. Nothing has been touched yet.
 *
 * @since 0.1.0
 */
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { AttachmentTooLarge, InvalidMessage, UnsafeAttachmentName } from "../protocol/AirlockError.js"
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

const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

interface Options {
  readonly operation: string
  readonly now: number
  readonly settings: Settings
}

/** What is wrong with a message, and where. */
type Invalid = (field: string, reason: InvalidMessage["reason"]) => Either.Either<never, InvalidMessage>

/**
 * Checks what a caller handed over, names its attachments, and says which of them had to be renamed. `now` is
 * in milliseconds since 1970. Errors name the field, and never quote what is in it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (input: unknown, options: Options): Either.Either<MessageDraft, DraftError> => {
  const { now, operation, settings } = options
  const { limits } = settings
  const messageId = AttachmentContent.isJsonObject(input) ? textOf(input["id"]) : undefined
  const invalid: Invalid = (field, reason) =>
    Either.left(new InvalidMessage({ operation, messageId, field, reason }))

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
    return invalid(field === "" ? "message" : field, reason)
  }
  const message = decoded.right
  if (message.id === "") return invalid("id", "empty")
  const folder = PathSegment.messageFolder(message.id)
  if (Option.isNone(folder)) return invalid("id", message.id.isWellFormed() ? "too-long" : "wrong-type")

  const timestamp = normalize(message.timestamp)
  if (Option.isNone(timestamp)) return invalid("timestamp", "not-a-timestamp")
  const processAfter = normalize(message.processAfter)
  if (Option.isNone(processAfter)) return invalid("processAfter", "not-a-timestamp")
  if (
    typeof message.recurrence === "string" &&
    Option.isNone(Recurrence.next(message.recurrence, settings.timeZone, now))
  ) {
    return invalid("recurrence", "not-a-cron-expression")
  }

  const content = AttachmentContent.parseJson(message.content)
  if (message.kind !== "chat") {
    if (Option.isNone(content)) return invalid("content", "not-json")
    if (!AttachmentContent.isJsonObject(content.value)) return invalid("content", "not-an-object")
  }

  const embedded = Option.match(content, { onNone: () => [], onSome: AttachmentContent.embedded })
  const count = embedded.length + (message.attachments?.length ?? 0)
  if (count > limits.attachments) return invalid("attachments", "too-many-attachments")
  const named = count === 0 ? nothing : nameAttachments(message, embedded, invalid, options)
  if (Either.isLeft(named)) return Either.left(named.left)
  const { attachments, renamed } = named.right
  const bare = Either.try(() =>
    AttachmentContent.rewrite(
      message.content,
      content,
      new Map(
        attachments.flatMap(({ entry, index, name }) =>
          index === undefined ? [] : [[index, AttachmentContent.placed(entry, name, "")]]
        )
      ),
      []
    )
  )
  if (Either.isLeft(bare)) return Either.left(tooDeep(operation, message.id))
  if (Buffer.byteLength(bare.right) > limits.contentBytes) return invalid("content", "too-long")
  if (JsonDepth.exceeds(bare.right, limits.jsonDepth)) return Either.left(tooDeep(operation, message.id))
  return Either.right({
    message,
    folder: folder.value,
    timestamp: timestamp.value ?? Timestamp.format(now),
    processAfter: processAfter.value,
    content,
    attachments,
    renamed
  })
}

/** The stored form of a time that may be absent. */
const normalize = (text: string | null | undefined): Option.Option<string | null> =>
  text === null || text === undefined ? Option.some(null) : Timestamp.normalize(text)

type Named = Pick<MessageDraft, "attachments" | "renamed">

const nothing: Either.Either<Named> = Either.right({ attachments: [], renamed: [] })

const nameAttachments = (
  message: InboundMessage,
  embedded: ReturnType<typeof AttachmentContent.embedded>,
  invalid: Invalid,
  { now, operation, settings }: Options
): Either.Either<Named, DraftError> =>
  Either.gen(function* () {
    const { limits } = settings
    const attachments: Array<DraftAttachment> = []
    const renamed: Array<RenamedAttachment> = []
    let total = 0
    const add = ({
      entry,
      field,
      index,
      source
    }: Pick<DraftAttachment, "index" | "field" | "entry" | "source">) =>
      Either.gen(function* () {
        const type = { mimeType: textOf(entry["mimeType"]), type: textOf(entry["type"]) }
        const given = textOf(entry["name"])
        const asked = given ?? AttachmentName.derive(type, now)
        const refused = PathSegment.whyUnsafe(asked)
        if (Option.isSome(refused) && settings.unsafeAttachmentNames === "fail") {
          const reason = refused.value
          return yield* Either.left(new UnsafeAttachmentName({ operation, attachment: asked, reason }))
        }
        const name = AttachmentName.distinct(
          AttachmentName.isSafe(asked) ? asked : AttachmentName.derive(type, now),
          attachments.map((other) => other.name)
        )
        if (given !== undefined && name !== given) {
          renamed.push({ from: given, to: name, reason: Option.getOrElse(refused, () => "duplicate") })
        }
        if ("bytes" in source) {
          const bytes = source.bytes.byteLength
          total += bytes
          if (bytes > limits.attachmentBytes) {
            return yield* Either.left(tooLarge(operation, message.id, name, bytes, limits.attachmentBytes))
          }
          if (total > limits.messageAttachmentBytes) {
            return yield* Either.left(
              tooLarge(operation, message.id, name, total, limits.messageAttachmentBytes)
            )
          }
        }
        attachments.push({ index, field, name, givenName: given, entry, source })
      })

    for (const { entry, index } of embedded) {
      const { data } = entry
      const field = `content.attachments.${index}.data`
      if (!AttachmentContent.isBase64(data)) return yield* invalid(field, "not-base64")
      yield* add({ index, field, entry, source: { bytes: Buffer.from(data, "base64") } })
    }
    for (const [position, { mimeType, name, source }] of (message.attachments ?? []).entries()) {
      const entry = {
        ...(name === undefined ? {} : { name }),
        ...(mimeType === undefined ? {} : { mimeType })
      }
      const field = `attachments.${position}.source.${"file" in source ? "file" : "bytes"}`
      yield* add({ index: undefined, field, entry, source })
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
