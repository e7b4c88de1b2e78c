/**
 * What an examination of a data directory found, as data.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { StorageError } from "../protocol/AirlockError.js"
import { quote } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"

/**
 * A `problem` is something wrong: lost, damaged, not as it should be, or not to be examined. A `note` is worth knowing, and
 * harmless.
 *
 * @since 0.1.0
 * @category models
 */
export const Severity = Schema.Literal("problem", "note")

/**
 * What was looked at.
 *
 * - `mount`: whether locks work where the data directory is
 * - `registry`: the central database, and whether its sessions and the folders are the same
 * - `folder`: the session's folder and its two databases are there, and are what they should be
 * - `integrity`: a database is whole
 * - `schema`: the version of the host's tables
 * - `copy`: inbound.db in the session's folder is what the host wrote
 * - `parity`: the host's numbers are even, the agent's odd, and none is there twice
 * - `leftover`: files that a killed process, or somebody else, left beside a database, or under a temporary name. The log of
 *   the host's own inbound.db is none: it is there while a host has the file open, and a killed one's is taken over
 * - `attachments`: files that no message has, and messages whose files are missing
 * - `claims`: messages that an agent has taken which does not run
 * - `set-aside`: messages that have failed, and rows of the agent that are no messages
 * - `examination`: what could not be examined
 *
 * @since 0.1.0
 * @category models
 */
export const Check = Schema.Literal(
  "mount",
  "registry",
  "folder",
  "integrity",
  "schema",
  "copy",
  "parity",
  "leftover",
  "attachments",
  "claims",
  "set-aside",
  "examination"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Check = typeof Check.Type

/**
 * `session` is absent from what is about the whole directory. In `message`, whatever somebody else chose is in quotes
 * and escaped; `session` and `messageId` are as they are.
 *
 * @since 0.1.0
 * @category models
 */
export const Finding = Schema.Struct({
  severity: Severity,
  check: Check,
  session: Schema.optional(Schema.Struct({ agentGroupId: Schema.String, sessionId: Schema.String })),
  messageId: Schema.optional(Schema.String),
  message: Schema.String
})

/**
 * @since 0.1.0
 * @category models
 */
export type Finding = typeof Finding.Type

/**
 * The mount that the data directory is on. `locks` says whether a lock that a process takes on one side of it is seen on
 * the other. Where the system does not tell about mounts (elsewhere than on Linux) the rest is null.
 *
 * @since 0.1.0
 * @category models
 */
export const Mount = Schema.Struct({
  mountPoint: Schema.NullOr(Schema.String),
  type: Schema.NullOr(Schema.String),
  source: Schema.NullOr(Schema.String),
  device: Schema.NullOr(Schema.String),
  locks: Schema.Literal("shared", "not-shared", "unknown")
})

/**
 * - `dataDir`: the directory, as an absolute path without links
 * - `examinedAt`: when, as ISO text in UTC
 * - `sqliteVersion`: of the SQLite that this library runs on
 * - `centralMode`: the journal mode of v2.db, `wal` as this library sets it; null if there is none, or none to be read
 * - `sessions`: how many were examined, those of the registry and those that have only a folder
 * - `findings`: those about the whole directory first, then session by session
 *
 * @since 0.1.0
 * @category models
 */
export const Report = Schema.Struct({
  dataDir: Schema.String,
  examinedAt: Schema.String,
  sqliteVersion: Schema.String,
  mount: Mount,
  centralMode: Schema.NullOr(Schema.Literal("wal", "rollback")),
  sessions: Schema.Number,
  findings: Schema.Array(Finding)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Report = typeof Report.Type

/**
 * Whether nothing is wrong. Notes may be there.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isHealthy = (report: Report): boolean =>
  report.findings.every(({ severity }) => severity === "note")

/**
 * @since 0.1.0
 * @category constructors
 */
export const problem = (check: Check, message: string, messageId?: string): Finding => ({
  severity: "problem",
  check,
  ...(messageId === undefined ? {} : { messageId }),
  message
})

/**
 * @since 0.1.0
 * @category constructors
 */
export const note = (check: Check, message: string, messageId?: string): Finding => ({
  ...problem(check, message, messageId),
  severity: "note"
})

/**
 * How many findings of one kind are listed for a session. A damaged or hostile one could have millions.
 *
 * @since 0.1.0
 * @category limits
 */
export const listLimit = 20

/**
 * The first findings of one kind, of which there are `total`, and one that says how many more there are.
 *
 * @since 0.1.0
 * @category constructors
 */
export const listed = (findings: ReadonlyArray<Finding>, total = findings.length): ReadonlyArray<Finding> => {
  const shown = findings.slice(0, listLimit)
  const last = shown.at(-1)
  return last === undefined || total <= shown.length
    ? shown
    : [
        ...shown,
        {
          severity: last.severity,
          check: last.check,
          message: `and ${total - shown.length} more of this kind`
        }
      ]
}

/**
 * Whether two findings are about the same thing, though one was made later.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isSame = (one: Finding, other: Finding): boolean =>
  one.check === other.check &&
  one.session?.agentGroupId === other.session?.agentGroupId &&
  one.session?.sessionId === other.session?.sessionId &&
  one.messageId === other.messageId &&
  (one.message === other.message || (one.message.startsWith("and ") && other.message.startsWith("and ")))

/**
 * What an error says of a thing, in half a sentence: `is corrupt (damaged)`.
 *
 * @since 0.1.0
 * @category formatting
 */
export const explain = (error: StorageError): string => {
  switch (error._tag) {
    case "SessionDbCorrupt":
      return `is corrupt (${error.reason})`
    case "SessionDbUnavailable":
      return `cannot be read (${error.code === undefined ? error.reason : `${error.reason}, ${error.code}`})`
    case "UnsafePath":
      return `is not safe to read (${error.reason})`
  }
}

/**
 * A name as it is, if it is plain, and otherwise in quotes.
 *
 * @since 0.1.0
 * @category formatting
 */
export const shown = (text: string): string =>
  /^[A-Za-z0-9][\w.@:+-]{0,99}$/.test(text) ? text : quote(text)

/**
 * @since 0.1.0
 * @category formatting
 */
export const shownSession = ({ agentGroupId, sessionId }: SessionRef): string =>
  `${shown(agentGroupId)}/${shown(sessionId)}`
