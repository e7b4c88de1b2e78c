/**
 * Names of attachments. They come from chat platforms and from agents, and become file names, so a name is
 * checked before anything touches the disk.
 *
 * @since 0.1.0
 */
import * as Brand from "effect/Brand"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { UnsafeAttachmentName } from "./AirlockError.js"
import * as PathSegment from "./PathSegment.js"

/**
 * A file name that cannot leave `inbox/<id>/` or `outbox/<id>/`: one path segment of at most 255 bytes, without
 * separators, control characters, trailing dots or spaces, and not the name of a device. Windows refuses a
 * few more characters (`: * ? " < > |`), which are common in names elsewhere and do no harm there.
 *
 * @since 0.1.0
 * @category models
 */
export type AttachmentName = string & Brand.Brand<"AttachmentName">

const brand = Brand.nominal<AttachmentName>()

/**
 * Whether `name` is safe as it is.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isSafe = (name: string): name is AttachmentName => PathSegment.isSafe(name)

/**
 * Checks a name. Fails with `UnsafeAttachmentName`, which says what is wrong with it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  name: string,
  operation = "AttachmentName.make"
): Effect.Effect<AttachmentName, UnsafeAttachmentName> =>
  Option.match(PathSegment.whyUnsafe(name), {
    onNone: () => Effect.succeed(brand(name)),
    onSome: (reason) => Effect.fail(new UnsafeAttachmentName({ operation, attachment: name, reason }))
  })

const extensionOfMimeType: Readonly<Record<string, string>> = {
  "application/gzip": "gz",
  "application/json": "json",
  "application/msword": "doc",
  "application/ogg": "ogg",
  "application/pdf": "pdf",
  "application/rtf": "rtf",
  "application/vnd.ms-excel": "xls",
  "application/vnd.ms-powerpoint": "ppt",
  "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
  "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
  "application/xml": "xml",
  "application/zip": "zip",
  "audio/aac": "aac",
  "audio/flac": "flac",
  "audio/m4a": "m4a",
  "audio/mp4": "m4a",
  "audio/mpeg": "mp3",
  "audio/ogg": "ogg",
  "audio/opus": "opus",
  "audio/wav": "wav",
  "audio/webm": "webm",
  "audio/x-wav": "wav",
  "image/bmp": "bmp",
  "image/gif": "gif",
  "image/heic": "heic",
  "image/jpeg": "jpg",
  "image/jpg": "jpg",
  "image/png": "png",
  "image/svg+xml": "svg",
  "image/tiff": "tiff",
  "image/webp": "webp",
  "text/csv": "csv",
  "text/html": "html",
  "text/markdown": "md",
  "text/plain": "txt",
  "text/xml": "xml",
  "video/mp4": "mp4",
  "video/mpeg": "mpeg",
  "video/quicktime": "mov",
  "video/webm": "webm",
  "video/x-matroska": "mkv"
}

const extensionOfCoarseType: Readonly<Record<string, string>> = {
  image: "jpg",
  photo: "jpg",
  sticker: "webp",
  voice: "ogg",
  audio: "mp3",
  video: "mp4",
  animation: "mp4"
}

const lookUp = (table: Readonly<Record<string, string>>, key: string | undefined): string | undefined =>
  key !== undefined && Object.hasOwn(table, key) ? table[key] : undefined

/**
 * The extension (without a dot) that a MIME type, or else a platform's coarse type (`photo`, `voice`, …),
 * stands for. `type` may hold a MIME type too. Parameters and case do not matter.
 *
 * @since 0.1.0
 * @category derivation
 */
export const extension = (attachment: {
  readonly mimeType?: string | undefined
  readonly type?: string | undefined
}): Option.Option<string> => {
  const mimeType = attachment.mimeType?.split(";")[0]?.trim().toLowerCase()
  const coarse = attachment.type?.trim().toLowerCase()
  return Option.fromNullable(
    lookUp(extensionOfMimeType, mimeType) ??
      lookUp(extensionOfCoarseType, coarse) ??
      lookUp(extensionOfMimeType, coarse?.split(";")[0]?.trim())
  )
}

/**
 * A name for an attachment that has none of its own: `attachment-<ms>`, and an extension if its type tells
 * one. `now` is in milliseconds since 1970.
 *
 * @since 0.1.0
 * @category derivation
 */
export const derive = (
  attachment: { readonly mimeType?: string | undefined; readonly type?: string | undefined },
  now: number
): AttachmentName =>
  brand(
    Option.match(extension(attachment), {
      onNone: () => `attachment-${now}`,
      onSome: (suffix) => `attachment-${now}.${suffix}`
    })
  )

const encoder = new TextEncoder()

const truncate = (text: string, bytes: number): string => {
  const characters = Array.from(text)
  while (encoder.encode(characters.join("")).length > bytes) characters.pop()
  return characters.join("")
}

/**
 * What a case-insensitive, normalizing file system would take for the same name. One change of case is not
 * enough (`ς` and `σ` are both `Σ`), and it can undo the normalization.
 */
const folded = (name: string): string => name.normalize("NFC").toLowerCase().toUpperCase().normalize("NFC")

/**
 * `name`, or `name-2`, `name-3`, … with the extension kept, so that it differs from every name in `taken`,
 * also on file systems that ignore case. Still at most 255 bytes.
 *
 * @since 0.1.0
 * @category derivation
 */
export const distinct = (name: AttachmentName, taken: Iterable<string>): AttachmentName => {
  const used = new Set(Array.from(taken, folded))
  if (!used.has(folded(name))) return name
  const dot = name.lastIndexOf(".")
  const [stem, suffix] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""]
  for (let n = 2; ; n++) {
    const ending = encoder.encode(suffix).length < 200 ? `-${n}${suffix}` : `-${n}`
    const candidate = truncate(stem, 255 - encoder.encode(ending).length) + ending
    if (!used.has(folded(candidate))) return brand(candidate)
  }
}
