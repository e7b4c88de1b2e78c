/**
 * Storing drafts in inbound.db and `inbox/`, inside the caller's transaction.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { DuplicateMessage, SessionDbCorrupt } from "../protocol/AirlockError.js"
import * as AttachmentContent from "../protocol/AttachmentContent.js"
import { RenamedAttachment, StoredAttachment } from "../protocol/Message.js"
import * as Sequence from "../protocol/Sequence.js"
import * as Inbox from "./Inbox.js"
import * as MessageDraft from "./MessageDraft.js"

/**
 * What became of a message. `seq` is its number in the session; `alreadyThere` is true if the session had it
 * before, with the same content, and nothing was changed.
 *
 * @since 0.1.0
 * @category models
 */
export interface WrittenMessage {
  readonly id: string
  readonly seq: number
  readonly attachments: ReadonlyArray<StoredAttachment>
  readonly renamed: ReadonlyArray<RenamedAttachment>
  readonly alreadyThere: boolean
}

/**
 * What storing needs besides the drafts. `sql` is in a transaction on the session's inbound.db.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target extends Inbox.InboxTarget {
  readonly sql: SqlClient
  readonly sessionId: string
}

const Attachments = Schema.parseJson(Schema.Array(StoredAttachment))
const Renamed = Schema.parseJson(Schema.Array(RenamedAttachment))

const StoredRow = Schema.Struct({
  seq: Schema.Number,
  kind: Schema.String,
  content: Schema.String,
  digest: Schema.NullOr(Schema.String),
  attachments: Schema.NullOr(Attachments),
  renamed: Schema.NullOr(Renamed)
})
const decodeStored = Schema.decodeUnknown(StoredRow)
const encodeAttachments = Schema.encodeSync(Attachments)
const encodeRenamed = Schema.encodeSync(Renamed)

/**
 * The highest number that the host has given out in this session, 0 if none. Rows that are gone count too.
 *
 * @since 0.1.0
 * @category sequence
 */
export const lastSequence = (sql: SqlClient): Effect.Effect<number, SqlError> =>
  Effect.map(
    sql<{ readonly last: number }>`SELECT max(
      coalesce((SELECT last FROM airlock_sequence), 0),
      coalesce((SELECT max(seq) FROM messages_in), 0),
      coalesce((SELECT max(seq) FROM airlock_direct), 0)) AS last`,
    (rows) => rows[0]?.last ?? 0
  )

/**
 * Remembers the highest number given out, for when the row that has it is gone.
 *
 * @since 0.1.0
 * @category sequence
 */
export const rememberSequence = (sql: SqlClient, last: number): Effect.Effect<unknown, SqlError> =>
  sql`INSERT INTO airlock_sequence (id, last) VALUES (1, ${last}) ON CONFLICT (id) DO UPDATE SET last = excluded.last`

/**
 * Stores drafts in their order. What it writes to `inbox/` is added to `files`, for `Inbox.remove` to take back
 * if the transaction does not commit.
 *
 * @since 0.1.0
 * @category storing
 */
export const storeAll = (
  target: Target,
  drafts: ReadonlyArray<MessageDraft.MessageDraft>,
  files: Array<string>
) =>
  Effect.gen(function* () {
    const { sql } = target
    let last = yield* lastSequence(sql)
    const written: Array<WrittenMessage> = []
    for (const draft of drafts) {
      const stored = yield* findStored(target, draft)
      if (Option.isSome(stored)) {
        written.push(stored.value)
        continue
      }
      last = Sequence.nextHost(last)
      written.push(yield* insert(target, draft, last, files))
    }
    if (written.some(({ alreadyThere }) => !alreadyThere)) yield* rememberSequence(sql, last)
    return written
  })

const findStored = Effect.fnUntraced(function* (target: Target, draft: MessageDraft.MessageDraft) {
  const { operation, sessionId, sql } = target
  const { content, id, kind } = draft.message
  const rows = yield* sql`SELECT m.seq, m.kind, m.content, a.digest, a.attachments, a.renamed
    FROM messages_in m LEFT JOIN airlock_message a ON a.message_id = m.id WHERE m.id = ${id}`
  if (rows.length === 0) return Option.none<WrittenMessage>()
  const stored = yield* Effect.mapError(
    decodeStored(rows[0]),
    () => new SessionDbCorrupt({ operation, resource: "inbound", reason: "unexpected-row" })
  )
  const same =
    stored.digest === null
      ? // Another build wrote it, and left no digest.
        stored.kind === kind && stored.content === content && draft.attachments.length === 0
      : stored.digest === digestOf(draft, yield* Inbox.hashes(target, draft))
  if (!same) return yield* new DuplicateMessage({ operation, sessionId, messageId: id })
  return Option.some<WrittenMessage>({
    id,
    seq: stored.seq,
    attachments: stored.attachments ?? [],
    renamed: stored.renamed ?? [],
    alreadyThere: true
  })
})

const insert = Effect.fnUntraced(function* (
  target: Target,
  draft: MessageDraft.MessageDraft,
  seq: number,
  files: Array<string>
) {
  const { sql } = target
  const { message } = draft
  const attachments = draft.attachments.length === 0 ? [] : yield* Inbox.store(target, draft, files)
  const entries = draft.attachments.map(({ entry, index, name }, position) => ({
    index,
    entry: AttachmentContent.placed(entry, name, attachments[position]?.localPath ?? "")
  }))
  const content = yield* Effect.try({
    try: () =>
      AttachmentContent.rewrite(
        message.content,
        draft.content,
        new Map(entries.flatMap(({ entry, index }) => (index === undefined ? [] : [[index, entry]]))),
        entries.flatMap(({ entry, index }) => (index === undefined ? [entry] : []))
      ),
    catch: () => MessageDraft.tooDeep(target.operation, message.id)
  })
  yield* sql`INSERT INTO messages_in ${sql.insert({
    id: message.id,
    seq,
    kind: message.kind,
    timestamp: draft.timestamp,
    status: "pending",
    process_after: draft.processAfter,
    recurrence: message.recurrence ?? null,
    series_id: message.id,
    tries: 0,
    trigger: message.trigger ?? 1,
    platform_id: message.platformId ?? null,
    channel_type: message.channelType ?? null,
    thread_id: message.threadId ?? null,
    content,
    source_session_id: message.sourceSessionId ?? null,
    on_wake: message.onWake === true ? 1 : 0
  })}`
  yield* sql`INSERT OR REPLACE INTO airlock_message ${sql.insert({
    message_id: message.id,
    digest: digestOf(draft, attachments),
    attachments: encodeAttachments(attachments),
    renamed: encodeRenamed(draft.renamed)
  })}`
  const written: WrittenMessage = {
    id: message.id,
    seq,
    attachments,
    renamed: draft.renamed,
    alreadyThere: false
  }
  return written
})

/**
 * What makes two messages the same: everything that the caller said, except when. A platform that sends a
 * message again stamps it anew.
 */
const digestOf = (
  { attachments, message, processAfter }: MessageDraft.MessageDraft,
  stored: ReadonlyArray<{ readonly sha256: string }>
): string =>
  createHash("sha256")
    .update(
      JSON.stringify([
        message.kind,
        message.content,
        processAfter,
        message.recurrence ?? null,
        message.trigger ?? 1,
        message.onWake ?? false,
        message.channelType ?? null,
        message.platformId ?? null,
        message.threadId ?? null,
        message.sourceSessionId ?? null,
        attachments.map(({ entry, givenName, index }, position) => [
          index ?? null,
          givenName ?? null,
          entry["mimeType"] ?? null,
          stored[position]?.sha256
        ])
      ])
    )
    .digest("hex")
