/**
 * Ids that name folders.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import type { UnsafeNameReason } from "./AirlockError.js"

const encoder = new TextEncoder()

/** The longest name that Linux, macOS and Windows file systems take, in bytes of UTF-8. */
const maxBytes = 255

const deviceName = /^(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *([.:]|$)/i

const controlCharacter = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/

/**
 * Why `name` cannot be the name of a file or folder on every system that this library runs on, or none if it
 * can. Characters that embed, override or isolate the direction of text, or break lines, count as control
 * characters; the marks that names in Hebrew and Arabic have (U+061C, U+200E, U+200F) do not.
 *
 * @since 0.1.0
 * @category predicates
 */
export const whyUnsafe = (name: string): Option.Option<UnsafeNameReason> => {
  if (name.length === 0) return Option.some("empty")
  if (name.length > maxBytes) return Option.some("too-long")
  if (name === "." || name === "..") return Option.some("dot-segment")
  if (/[/\\]/.test(name)) return Option.some("separator")
  if (controlCharacter.test(name)) return Option.some("control-character")
  if (!name.isWellFormed()) return Option.some("lone-surrogate")
  if (/[. ]$/.test(name)) return Option.some("trailing-dot-or-space")
  if (deviceName.test(name)) return Option.some("device-name")
  // A character is at most three bytes.
  if (3 * name.length > maxBytes && encoder.encode(name).length > maxBytes) return Option.some("too-long")
  return Option.none()
}

/**
 * Whether `name` is one path segment that is safe to use as it is.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isSafe = (name: string): boolean => Option.isNone(whyUnsafe(name))

/**
 * The folder in `inbox/` or `outbox/` that belongs to a message. A safe id is its own folder name. Any other
 * id, and any id that contains `%`, has every byte of its UTF-8 outside `A-Z a-z 0-9 - _` written as `%XX`
 * (all bytes, if it is the name of a device), so that no two ids share a folder. None if that name would be longer than 255 bytes, or if the id is
 * empty or is not well-formed Unicode.
 *
 * @since 0.1.0
 * @category encoding
 */
export const messageFolder = (messageId: string): Option.Option<string> => {
  if (messageId.length === 0 || messageId.length > maxBytes || !messageId.isWellFormed()) return Option.none()
  if (isSafe(messageId) && !messageId.includes("%")) return Option.some(messageId)
  const plain = deviceName.test(messageId) ? /[]/ : /[A-Za-z0-9_-]/
  const encoded = Array.from(encoder.encode(messageId), (byte) => {
    const character = String.fromCharCode(byte)
    return plain.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
  }).join("")
  return encoded.length <= maxBytes ? Option.some(encoded) : Option.none()
}

const decodeSegment = Option.liftThrowable(decodeURIComponent)

/**
 * The message that a folder belongs to, if it is the folder of one: what `messageFolder` was given.
 *
 * @since 0.1.0
 * @category encoding
 */
export const messageOf = (folder: string): Option.Option<string> =>
  Option.filter(decodeSegment(folder), (id) => Option.contains(messageFolder(id), folder))
