/**
 * The files of a session's messages, against the rows that name them.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import { quote } from "../protocol/AirlockError.js"
import * as AttachmentName from "../protocol/AttachmentName.js"
import { StoredAttachment } from "../protocol/Message.js"
import * as PathSegment from "../protocol/PathSegment.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import type { SafeDirectory } from "../storage/SafeDirectory.js"
import type { Subject } from "../storage/StorageFailure.js"
import { pause } from "../storage/SystemCalls.js"
import { declaredFiles } from "./DeliveryAttempt.js"
import { namesIn } from "./DoctorDatabases.js"
import type { Finding } from "./DoctorReport.js"
import { explain, listed, note, problem, shown } from "./DoctorReport.js"

const subjectOf = (resource: "inbox" | "outbox"): Subject => ({ operation: "Doctor.examine", resource })

/** The most messages whose files are looked for, newest first. */
const messageLimit = 1000

/** The most files of one message, as for `limits.attachments`. The rest never goes out. */
const fileLimit = 32

/** The longest content that is looked into, in bytes, as for `limits.contentBytes`. */
const contentBytes = 1024 * 1024

/** Whose folder it is, or undefined for one that no message can have. */
const ownerOf = (folder: string): string | undefined => {
  const bytes = folder.replace(/%([0-9A-F]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16))
  )
  const id = folder.includes("%") ? Buffer.from(bytes, "latin1").toString("utf8") : folder
  return Option.contains(PathSegment.messageFolder(id), folder) ? id : undefined
}

/** The folders in `inbox/` or `outbox/`, by the id of the message that each is for. */
const foldersIn = (session: string, resource: "inbox" | "outbox") =>
  Effect.map(Effect.either(namesIn(Path.join(session, resource))), (found) =>
    Either.match(found, {
      onLeft: (error: StorageError) => ({
        folders: [],
        findings: [problem("attachments", `${resource}/ ${explain(error)}`)]
      }),
      onRight: ({ isCut, names }) => ({
        folders: names.map((name) => ({ name, id: ownerOf(name) })),
        findings: isCut
          ? [
              problem(
                "attachments",
                `${resource}/ has more than ${names.length} folders, not all of which were looked at`
              )
            ]
          : []
      })
    })
  )

const idsAmong = (
  query: (ids: string) => Effect.Effect<ReadonlyArray<{ readonly id: string }>, SqlError>,
  ids: ReadonlyArray<string>
) => Effect.map(query(JSON.stringify(ids)), (rows) => new Set(rows.map(({ id }) => id)))

const inDelivered = (own: SqlClient) => (ids: string) =>
  own<{ readonly id: string }>`SELECT message_out_id AS id FROM delivered
    WHERE status = 'delivered' AND message_out_id IN (SELECT value FROM json_each(${ids}))`

const inMessagesOut = (agent: SqlClient) => (ids: string) =>
  agent<{ readonly id: string }>`SELECT id FROM messages_out
    WHERE id COLLATE BINARY IN (SELECT value FROM json_each(${ids}))`

const inMessagesIn = (own: SqlClient) => (ids: string) =>
  own<{ readonly id: string }>`SELECT id FROM messages_in WHERE id IN (SELECT value FROM json_each(${ids}))`

/** What is wrong with a file that a message names, or undefined. */
const whyNotThere = (folder: SafeDirectory, name: string, size: number | undefined, subject: Subject) =>
  Effect.gen(function* () {
    const directories = yield* SafeDirectories
    if (!AttachmentName.isSafe(name)) return "has a name that no file can have"
    const found = yield* Effect.either(directories.openFile(folder, name, subject))
    if (Either.isLeft(found)) return explain(found.left)
    return size === undefined || found.right.stats.size === BigInt(size)
      ? undefined
      : `has ${found.right.stats.size} bytes instead of ${size}`
  }).pipe(Effect.scoped)

interface Named {
  readonly name: string
  readonly size: number | undefined
}

/** What is wrong with each of the files that a message names. */
const missingOf = (session: string, resource: "inbox" | "outbox", id: string, files: ReadonlyArray<Named>) =>
  Effect.gen(function* () {
    const directories = yield* SafeDirectories
    const subject = subjectOf(resource)
    const name = PathSegment.messageFolder(id)
    if (Option.isNone(name)) return files.map((file) => ({ ...file, reason: "has no folder" }))
    return yield* Effect.gen(function* () {
      const outer = yield* directories.open(session, subject)
      const middle = yield* directories.openChild(outer, resource, subject)
      const folder = yield* directories.openChild(middle, name.value, subject)
      const missing: Array<Named & { readonly reason: string }> = []
      for (const file of files) {
        const reason = yield* whyNotThere(folder, file.name, file.size, subject)
        if (reason !== undefined) missing.push({ ...file, reason })
      }
      return missing
    }).pipe(
      Effect.scoped,
      Effect.catchAll((error: StorageError) =>
        Effect.succeed(files.map((file) => ({ ...file, reason: explain(error) })))
      )
    )
  }).pipe(Effect.zipLeft(pause))

const decodeStored = Schema.decodeUnknownEither(Schema.parseJson(Schema.Array(StoredAttachment)))

const missingForAgent = (own: SqlClient, session: string) =>
  Effect.gen(function* () {
    const rows = yield* own<{
      readonly id: string
      readonly status: string | null
      readonly attachments: string
    }>`SELECT m.id, m.status, a.attachments FROM messages_in m JOIN airlock_message a ON a.message_id = m.id
      WHERE a.attachments <> '[]' ORDER BY m.seq DESC LIMIT ${messageLimit}`
    const open: Array<Finding> = []
    const closed: Array<Finding> = []
    for (const { attachments, id, status } of rows) {
      const stored = decodeStored(attachments)
      if (Either.isLeft(stored)) {
        open.push(problem("attachments", `what message ${shown(id)} has of attachments is not readable`, id))
        continue
      }
      for (const { name, reason } of yield* missingOf(session, "inbox", id, stored.right)) {
        const text = `attachment ${quote(name)} of message ${shown(id)} ${reason}`
        if (status === "pending") open.push(problem("attachments", text, id))
        else closed.push(note("attachments", text, id))
      }
    }
    return [...listed(open), ...listed(closed)]
  })

/**
 * The attachments for the agent. A folder in `inbox/` without a row is of a write that failed or still goes on.
 *
 * @since 0.1.0
 * @category checks
 */
export const forAgent = (own: SqlClient, session: string) =>
  Effect.gen(function* () {
    const { findings, folders } = yield* foldersIn(session, "inbox")
    const ids = folders.flatMap(({ id }) => (id === undefined ? [] : [id]))
    const there = yield* idsAmong(inMessagesIn(own), ids)
    const orphans = folders
      .filter(({ id }) => id === undefined || !there.has(id))
      .map(({ name }) => note("attachments", `inbox/${shown(name)} belongs to no message`))
    return [...findings, ...listed(orphans), ...(yield* missingForAgent(own, session))]
  })

const missingFromAgent = (own: SqlClient, agent: SqlClient, session: string) =>
  Effect.gen(function* () {
    const candidates = yield* agent<{
      readonly id: string
      readonly content: string
    }>`SELECT id, content FROM messages_out
      WHERE typeof(id) = 'text' AND octet_length(id) <= 255 AND typeof(content) = 'text'
        AND octet_length(content) <= ${contentBytes} AND instr(content, '"files"') > 0
      ORDER BY seq DESC LIMIT ${messageLimit}`
    const ids = candidates.map(({ id }) => id)
    const settled = new Set(
      (yield* own<{ readonly id: string }>`SELECT message_out_id AS id FROM delivered
        WHERE message_out_id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`).map(({ id }) => id)
    )
    const findings: Array<Finding> = []
    for (const { content, id } of candidates) {
      if (settled.has(id)) continue
      const names = Array.from(new Set(declaredFiles(content))).slice(0, fileLimit)
      const files = names.map((name) => ({ name, size: undefined }))
      if (files.length === 0) continue
      for (const { name, reason } of yield* missingOf(session, "outbox", id, files)) {
        findings.push(
          problem("attachments", `file ${quote(name)} of the agent's message ${shown(id)} ${reason}`, id)
        )
      }
    }
    return listed(findings)
  })

/**
 * The files from the agent. A folder in `outbox/` without a row is of a message that is not sent yet, or never will be;
 * that of a delivered message should be gone.
 *
 * @since 0.1.0
 * @category checks
 */
export const fromAgent = (own: SqlClient, agent: SqlClient, session: string) =>
  Effect.gen(function* () {
    const { findings, folders } = yield* foldersIn(session, "outbox")
    const ids = folders.flatMap(({ id }) => (id === undefined ? [] : [id]))
    const there = yield* idsAmong(inMessagesOut(agent), ids)
    const delivered = yield* idsAmong(inDelivered(own), ids)
    const orphans = folders.flatMap(({ id, name }) => {
      if (id !== undefined && delivered.has(id)) {
        return [note("attachments", `outbox/${shown(name)} is of a message that is delivered`)]
      }
      return id === undefined || !there.has(id)
        ? [note("attachments", `outbox/${shown(name)} belongs to no message`)]
        : []
    })
    return [...findings, ...listed(orphans), ...(yield* missingFromAgent(own, agent, session))]
  })
