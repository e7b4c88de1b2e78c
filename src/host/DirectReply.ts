/**
 * Replies that the host writes itself, without waking the agent. They lie in inbound.db, because outbound.db is
 * the agent's to write, in a table that agents do not look at.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { DuplicateMessage, InvalidMessage } from "../protocol/AirlockError.js"
import * as JsonDepth from "../protocol/JsonDepth.js"
import { DirectMessage } from "../protocol/Message.js"
import * as PathSegment from "../protocol/PathSegment.js"
import * as Sequence from "../protocol/Sequence.js"
import type { Limits } from "./AirlockConfig.js"
import * as MessageStore from "./MessageStore.js"

/**
 * What became of a direct reply. `alreadyThere` is true if it was written before, and nothing was changed.
 *
 * @since 0.1.0
 * @category models
 */
export interface WrittenDirect {
  readonly id: string
  readonly seq: number
  readonly alreadyThere: boolean
}

const decode = Schema.decodeUnknown(DirectMessage)

/**
 * Checks a reply: what it has in common with every message, and that `Delivery` would deliver it.
 *
 * @since 0.1.0
 * @category checks
 */
export const check = (
  input: DirectMessage,
  operation: string,
  limits: Limits
): Effect.Effect<DirectMessage, InvalidMessage> =>
  decode(input).pipe(
    Effect.mapError(() => new InvalidMessage({ operation, field: "message", reason: "wrong-type" })),
    Effect.tap((message) => {
      const { content, id, kind } = message
      const invalid = (field: string, reason: InvalidMessage["reason"]) =>
        Effect.fail(new InvalidMessage({ operation, messageId: id, field, reason }))
      if (id === "") return invalid("id", "empty")
      if (Option.isNone(PathSegment.messageFolder(id))) return invalid("id", "too-long")
      if (kind === "system" || kind === "task_log") return invalid("kind", "unknown-kind")
      if (Buffer.byteLength(content) > limits.contentBytes) return invalid("content", "too-long")
      if (JsonDepth.exceeds(content, limits.jsonDepth)) return invalid("content", "too-deep")
      return Effect.void
    })
  )

/**
 * Stores a reply under the host's next number. Belongs in a transaction.
 *
 * @since 0.1.0
 * @category storing
 */
export const store = (
  sql: SqlClient,
  message: DirectMessage,
  context: { readonly timestamp: string; readonly operation: string; readonly sessionId: string }
): Effect.Effect<WrittenDirect, DuplicateMessage | SqlError> =>
  Effect.gen(function* () {
    const { operation, sessionId, timestamp } = context
    const { id } = message
    const row = {
      id,
      in_reply_to: message.inReplyTo ?? null,
      kind: message.kind,
      platform_id: message.platformId ?? null,
      channel_type: message.channelType ?? null,
      thread_id: message.threadId ?? null,
      content: message.content
    }
    const [stored] = yield* sql<{ readonly seq: number; readonly same: number }>`
      SELECT seq, (kind = ${row.kind} AND content = ${row.content} AND in_reply_to IS ${row.in_reply_to}
        AND platform_id IS ${row.platform_id} AND channel_type IS ${row.channel_type}
        AND thread_id IS ${row.thread_id}) AS same FROM airlock_direct WHERE id = ${id}`
    if (stored !== undefined) {
      return stored.same === 1
        ? { id, seq: stored.seq, alreadyThere: true }
        : yield* new DuplicateMessage({ operation, sessionId, messageId: id })
    }
    const seq = Sequence.nextHost(yield* MessageStore.lastSequence(sql))
    yield* sql`INSERT INTO airlock_direct ${sql.insert({ ...row, seq, timestamp })}`
    yield* MessageStore.rememberSequence(sql, seq)
    return { id, seq, alreadyThere: false }
  })
