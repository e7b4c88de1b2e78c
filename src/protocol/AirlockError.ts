/**
 * The errors of the library. Each says what the caller can do about it, names the operation that failed
 * (`SessionManager.writeMessage`), and never carries a message body.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The start of a text that somebody else chose, in quotes, so that it can neither break a line nor steer a terminal.
 *
 * @since 0.1.0
 * @category formatting
 */
export const quote = (text: string): string =>
  JSON.stringify(text.slice(0, 200)).replace(
    /[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
  )

/**
 * Why a name cannot be the name of an attachment. `control-character` includes NUL; `too-long` is more than
 * 255 bytes of UTF-8; `device-name` is a name that Windows gives to a device, such as `NUL` or `com1.txt`.
 *
 * @since 0.1.0
 * @category models
 */
export const UnsafeNameReason = Schema.Literal(
  "empty",
  "dot-segment",
  "separator",
  "control-character",
  "lone-surrogate",
  "trailing-dot-or-space",
  "device-name",
  "too-long"
)

/**
 * @since 0.1.0
 * @category models
 */
export type UnsafeNameReason = typeof UnsafeNameReason.Type

/**
 * An attachment's name cannot be used as a file name. Raised by `AttachmentName.make`, and by a write under
 * the policy `fail`. Choose another name, or use the policy `rename`.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnsafeAttachmentName extends Schema.TaggedError<UnsafeAttachmentName>()("UnsafeAttachmentName", {
  operation: Schema.String,
  attachment: Schema.String,
  reason: UnsafeNameReason
}) {
  override get message(): string {
    return `${this.operation}: ${quote(this.attachment)} cannot name an attachment (${this.reason})`
  }
}

/**
 * A path that would leave the session folder, or that something on disk would redirect: an id that is not
 * one path segment (`not-a-segment`), a symbolic link, a file with a second hard link, or a file of the
 * wrong type. Nothing was followed, read or written.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnsafePath extends Schema.TaggedError<UnsafePath>()("UnsafePath", {
  operation: Schema.String,
  path: Schema.String,
  reason: Schema.Literal(
    "not-a-segment",
    "symbolic-link",
    "hard-link",
    "not-a-directory",
    "not-a-regular-file"
  )
}) {
  override get message(): string {
    return `${this.operation}: ${quote(this.path)} is not safe to use (${this.reason})`
  }
}

/**
 * What the caller handed over is not a message. `field` is where (`content.attachments.0.data`), and `reason`
 * what is wrong there. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidMessage extends Schema.TaggedError<InvalidMessage>()("InvalidMessage", {
  operation: Schema.String,
  messageId: Schema.optional(Schema.String),
  field: Schema.String,
  reason: Schema.Literal(
    "missing",
    "wrong-type",
    "empty",
    "too-long",
    "unknown-kind",
    "not-json",
    "too-deep",
    "not-an-object",
    "not-a-timestamp",
    "not-base64",
    "not-a-cron-expression",
    "duplicate",
    "too-many-attachments",
    "unreadable-file",
    "unknown-destination",
    "unknown-message"
  )
}) {
  override get message(): string {
    const which = this.messageId === undefined ? "input" : `message ${quote(this.messageId)}`
    return `${this.operation}: ${which} is invalid at ${this.field} (${this.reason})`
  }
}

/**
 * The session already has a message of this id with other content. The stored one is untouched. (The same
 * content again is a success, and changes nothing.)
 *
 * @since 0.1.0
 * @category errors
 */
export class DuplicateMessage extends Schema.TaggedError<DuplicateMessage>()("DuplicateMessage", {
  operation: Schema.String,
  sessionId: Schema.String,
  messageId: Schema.String
}) {
  override get message(): string {
    return `${this.operation}: session ${quote(this.sessionId)} already has a message ${quote(this.messageId)} with other content`
  }
}

/**
 * The registry knows no such session in that agent group.
 *
 * @since 0.1.0
 * @category errors
 */
export class SessionNotFound extends Schema.TaggedError<SessionNotFound>()("SessionNotFound", {
  operation: Schema.String,
  agentGroupId: Schema.String,
  sessionId: Schema.String
}) {
  override get message(): string {
    return `${this.operation}: no session ${quote(this.sessionId)} in agent group ${quote(this.agentGroupId)}`
  }
}

/**
 * An attachment has more bytes than `limits.attachmentBytes`, or a message's attachments together have more
 * than `limits.messageAttachmentBytes`. Sizes are in bytes. Nothing was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class AttachmentTooLarge extends Schema.TaggedError<AttachmentTooLarge>()("AttachmentTooLarge", {
  operation: Schema.String,
  messageId: Schema.String,
  attachment: Schema.String,
  bytes: Schema.Number,
  limit: Schema.Number
}) {
  override get message(): string {
    return `${this.operation}: attachment ${quote(this.attachment)} has ${this.bytes} bytes, over the limit of ${this.limit}`
  }
}

/**
 * Which part of the data directory an error is about: the session's folder, one of its two databases, its
 * attachment folders, or the central database.
 *
 * @since 0.1.0
 * @category models
 */
export const Resource = Schema.Literal("folder", "inbound", "outbound", "inbox", "outbox", "central")

/**
 * @since 0.1.0
 * @category models
 */
export type Resource = typeof Resource.Type

/**
 * Why a database or folder cannot be used.
 *
 * - `busy`: locked, or changing faster than it can be copied, for longer than the configured patience
 * - `nested`: the same fiber holds this file open already; use the handle that it has
 * - `missing`: not there; `SessionManager.resolve` or `.initFolder` gives a session its folder again
 * - `disk-full`, `not-writable`, `io`: the operating system refused
 * - `too-large`: over the configured limit
 * - `wal-mode`: a write-ahead-log database, whose shared memory does not cross a mount
 * - `newer-schema`: written by a newer version of this library
 * - `constraint`: a statement broke a constraint of the file's schema
 *
 * @since 0.1.0
 * @category models
 */
export const UnavailableReason = Schema.Literal(
  "busy",
  "nested",
  "missing",
  "disk-full",
  "not-writable",
  "io",
  "too-large",
  "wal-mode",
  "newer-schema",
  "constraint"
)

/**
 * @since 0.1.0
 * @category models
 */
export type UnavailableReason = typeof UnavailableReason.Type

/**
 * A database or folder cannot be used now. What was asked for did not happen. `isRetryable` says whether the
 * same call may succeed later without anybody's help.
 *
 * @since 0.1.0
 * @category errors
 */
export class SessionDbUnavailable extends Schema.TaggedError<SessionDbUnavailable>()("SessionDbUnavailable", {
  operation: Schema.String,
  resource: Resource,
  reason: UnavailableReason,
  /** The operating system's or SQLite's code, such as `ENOSPC` or `SQLITE_BUSY`. */
  code: Schema.optional(Schema.String)
}) {
  get isRetryable(): boolean {
    return this.reason === "busy" || this.reason === "disk-full" || this.reason === "io"
  }
  override get message(): string {
    return `${this.operation}: ${this.resource} is unavailable (${this.reason}${this.code ? `, ${this.code}` : ""})`
  }
}

/**
 * A database file is damaged, or is not an SQLite database. It is left as it was found.
 *
 * @since 0.1.0
 * @category errors
 */
export class SessionDbCorrupt extends Schema.TaggedError<SessionDbCorrupt>()("SessionDbCorrupt", {
  operation: Schema.String,
  resource: Resource,
  reason: Schema.Literal("not-a-database", "damaged", "unexpected-row", "super-journal")
}) {
  override get message(): string {
    return `${this.operation}: ${this.resource} is corrupt (${this.reason})`
  }
}

/**
 * What opening or using a session's files can fail with.
 *
 * @since 0.1.0
 * @category errors
 */
export type StorageError = UnsafePath | SessionDbUnavailable | SessionDbCorrupt
