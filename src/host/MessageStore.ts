/**
 * Storing drafts in inbound.db and `inbox/`, inside the caller's transaction.
 *
 * The writes of many callers are stored together, because a statement costs more than a row. What becomes of each is
 * decided before anything is inserted, in the order in which they came, as if each had been stored before the next one
 * was looked at. So one that fails leaves nothing, and takes no number.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { hash } from "node:crypto"
import type { AttachmentTooLarge, InvalidMessage, StorageError } from "../protocol/AirlockError.js"
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
 * Drafts of one caller, which are stored all or none. `operation` is what errors name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Write {
  readonly operation: string
  readonly drafts: ReadonlyArray<MessageDraft.MessageDraft>
}

/**
 * What a write can fail with while others succeed.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = AttachmentTooLarge | DuplicateMessage | InvalidMessage | StorageError

/**
 * What became of a write.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = Exit.Exit<ReadonlyArray<WrittenMessage>, Failure>

/**
 * What storing needs besides the writes. `sql` is in a transaction on the session's inbound.db.
 *
 * @since 0.1.0
 * @category models
 */
export interface Target extends Omit<Inbox.InboxTarget, "operation"> {
  readonly sql: SqlClient
  readonly sessionId: string
}

const StoredRow = Schema.Struct({
  seq: Schema.Number,
  kind: Schema.String,
  content: Schema.String,
  digest: Schema.NullOr(Schema.String),
  attachments: Schema.NullOr(Schema.parseJson(Schema.Array(StoredAttachment))),
  renamed: Schema.NullOr(Schema.parseJson(Schema.Array(RenamedAttachment)))
})
const decodeStored = Schema.decodeUnknown(StoredRow)

/** A message that the session has. */
type Stored = typeof StoredRow.Type

/** A message that it will have. */
interface Staged extends Stored {
  readonly draft: MessageDraft.MessageDraft
  readonly digest: string
  readonly attachments: ReadonlyArray<StoredAttachment>
}

/** Whose turn it is, and what was there and was decided before: rows that are not decoded yet, and messages by id. */
interface Batch {
  readonly rows: ReadonlyMap<string, unknown>
  readonly staged: Map<string, Staged>
  last: number
}

/** One row, whatever there is. Rows that are gone count too. */
const highest = `SELECT max(
  coalesce((SELECT last FROM airlock_sequence), 0),
  coalesce((SELECT max(seq) FROM messages_in), 0),
  coalesce((SELECT max(seq) FROM airlock_direct), 0)) AS last`

/**
 * The highest number that the host has given out in this session, 0 if none.
 *
 * @since 0.1.0
 * @category sequence
 */
export const lastSequence = (sql: SqlClient): Effect.Effect<number, SqlError> =>
  Effect.map(sql.unsafe<{ readonly last: number }>(highest), (rows) => rows[0]?.last ?? 0)

/**
 * Remembers the highest number given out, for when the row that has it is gone.
 *
 * @since 0.1.0
 * @category sequence
 */
export const rememberSequence = (sql: SqlClient, last: number): Effect.Effect<unknown, SqlError> =>
  sql`INSERT INTO airlock_sequence (id, last) VALUES (1, ${last}) ON CONFLICT (id) DO UPDATE SET last = excluded.last`

/**
 * Stores writes in their order, and tells what became of each. What it writes to `inbox/` is added to `files`, for
 * `Inbox.remove` to take back if the transaction does not commit.
 *
 * @since 0.1.0
 * @category storing
 */
export const storeAll = Effect.fnUntraced(function* (
  target: Target,
  writes: Arr.NonEmptyReadonlyArray<Write>,
  files: Array<string>
) {
  const { sql } = target
  const batch = yield* look(sql, writes)
  const outcomes = yield* Effect.forEach(writes, (write) => decide(target, write, batch, files))
  if (batch.staged.size > 0) {
    yield* insert(sql, Array.from(batch.staged.values()))
    yield* rememberSequence(sql, batch.last)
  }
  return outcomes
})

const look = (sql: SqlClient, writes: ReadonlyArray<Write>): Effect.Effect<Batch, SqlError> => {
  const ids = writes.flatMap(({ drafts }) => drafts.map(({ message }) => message.id))
  return Effect.map(
    sql<{ readonly last: number; readonly id: string | null }>`WITH highest AS (${sql.literal(highest)})
      SELECT last, m.id, m.seq, m.kind, m.content, a.digest, a.attachments, a.renamed
      FROM highest LEFT JOIN messages_in m ON m.id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))
      LEFT JOIN airlock_message a ON a.message_id = m.id`,
    (rows) => ({
      rows: new Map(rows.flatMap((row) => (row.id === null ? [] : [[row.id, row]]))),
      staged: new Map(),
      last: rows[0]?.last ?? 0
    })
  )
}

const decide = (target: Target, write: Write, batch: Batch, files: Array<string>): Effect.Effect<Outcome> => {
  const inbox = { ...target, operation: write.operation }
  const own: Array<string> = []
  return Effect.flatMap(Effect.exit(stage(inbox, write, batch, own)), (outcome): Effect.Effect<Outcome> => {
    if (Exit.isFailure(outcome)) return Effect.as(Inbox.remove(inbox, own), outcome)
    files.push(...own)
    return Effect.succeed(outcome)
  })
}

/** Adds the drafts of one write to the batch, if all of them can be stored. */
const stage = Effect.fnUntraced(function* (
  target: Target & Inbox.InboxTarget,
  { drafts, operation }: Write,
  batch: Batch,
  files: Array<string>
) {
  const staged = new Map<string, Staged>()
  const written: Array<WrittenMessage> = []
  let { last } = batch
  for (const draft of drafts) {
    const { id } = draft.message
    const row = batch.rows.get(id)
    const there =
      staged.get(id) ?? batch.staged.get(id) ?? (row === undefined ? row : yield* decode(row, operation))
    if (there !== undefined) {
      if (!(yield* isSame(target, draft, there))) {
        return yield* new DuplicateMessage({ operation, sessionId: target.sessionId, messageId: id })
      }
      written.push(writtenOf(id, there, true))
      continue
    }
    last = Sequence.nextHost(last)
    const { kind } = draft.message
    const { attachments, content } =
      draft.attachments.length === 0
        ? { attachments: [], content: draft.message.content }
        : yield* place(target, draft, files)
    const digest = digestOf(draft, attachments)
    const fresh: Staged = { draft, seq: last, kind, content, digest, attachments, renamed: draft.renamed }
    staged.set(id, fresh)
    written.push(writtenOf(id, fresh, false))
  }
  batch.last = last
  for (const [id, message] of staged) batch.staged.set(id, message)
  return written
})

const writtenOf = (
  id: string,
  { attachments, renamed, seq }: Stored,
  alreadyThere: boolean
): WrittenMessage => ({ id, seq, attachments: attachments ?? [], renamed: renamed ?? [], alreadyThere })

const decode = (row: unknown, operation: string): Effect.Effect<Stored, SessionDbCorrupt> =>
  Effect.mapError(
    decodeStored(row),
    () => new SessionDbCorrupt({ operation, resource: "inbound", reason: "unexpected-row" })
  )

const isSame = (target: Inbox.InboxTarget, draft: MessageDraft.MessageDraft, stored: Stored) => {
  const { content, kind } = draft.message
  return stored.digest === null
    ? // Another build wrote it, and left no digest.
      Effect.succeed(stored.kind === kind && stored.content === content && draft.attachments.length === 0)
    : Effect.map(Inbox.hashes(target, draft), (hashes) => stored.digest === digestOf(draft, hashes))
}

/** Writes the attachments of a message, and names them in its content. */
const place = Effect.fnUntraced(function* (
  target: Inbox.InboxTarget,
  draft: MessageDraft.MessageDraft,
  files: Array<string>
) {
  const { message } = draft
  const attachments = yield* Inbox.store(target, draft, files)
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
  return { attachments, content }
})

/** How many rows a statement inserts: so many, or one. Each other number would have to be compiled anew. */
const rowsAtOnce = 10

const insert = Effect.fnUntraced(function* (sql: SqlClient, staged: ReadonlyArray<Staged>) {
  const [full, rest] = Arr.splitAt(staged, staged.length - (staged.length % rowsAtOnce))
  for (const rows of [...Arr.chunksOf(full, rowsAtOnce), ...rest.map(Arr.of)]) {
    yield* sql`INSERT INTO messages_in ${sql.insert(rows.map(messageRow))}`
    yield* sql`INSERT OR REPLACE INTO airlock_message ${sql.insert(rows.map(noteRow))}`
  }
})

const messageRow = ({ content, draft, kind, seq }: Staged) => ({
  id: draft.message.id,
  seq,
  kind,
  timestamp: draft.timestamp,
  status: "pending",
  process_after: draft.processAfter,
  recurrence: draft.message.recurrence ?? null,
  series_id: draft.message.id,
  tries: 0,
  trigger: draft.message.trigger ?? 1,
  platform_id: draft.message.platformId ?? null,
  channel_type: draft.message.channelType ?? null,
  thread_id: draft.message.threadId ?? null,
  content,
  source_session_id: draft.message.sourceSessionId ?? null,
  on_wake: draft.message.onWake === true ? 1 : 0
})

const noteRow = ({ attachments, digest, draft, renamed }: Staged) => ({
  message_id: draft.message.id,
  digest,
  attachments: JSON.stringify(attachments),
  renamed: JSON.stringify(renamed)
})

/**
 * What makes two messages the same: everything that the caller said, except when. A platform that sends a
 * message again stamps it anew.
 */
const digestOf = (
  { attachments, message, processAfter }: MessageDraft.MessageDraft,
  stored: ReadonlyArray<{ readonly sha256: string }>
): string =>
  hash(
    "sha256",
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
