/**
 * What is known of outgoing messages that were tried: in the table `airlock_delivery` of inbound.db until they are
 * delivered, and in `delivered`, which the agent reads, once they are settled. Everything here belongs in a
 * transaction on inbound.db.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"

/**
 * Which of the two tables a message is in: the agent's `messages_out`, or the host's own direct replies. The two have
 * ids of their own: an agent cannot settle a direct reply by using its id.
 *
 * @since 0.1.0
 * @category models
 */
export type Source = "agent" | "direct"

/**
 * @since 0.1.0
 * @category models
 */
export interface MessageKey {
  readonly source: Source
  readonly id: string
}

/**
 * A message that was tried and is neither delivered nor failed. `sending` is an attempt that has begun, and of which
 * nothing is known if nobody is at it. Times are ISO text in UTC; `nextAt` is when it is tried again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Attempted extends MessageKey {
  readonly state: "sending" | "waiting"
  readonly attempts: number
  readonly attemptedAt: string | null
  readonly nextAt: string | null
  readonly reason: string | null
}

/**
 * A message that is given up, and why. `at` is when, as ISO text in UTC.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failure extends MessageKey {
  readonly reason: string
  readonly attempts: number
  readonly at: string | null
}

type Write = Effect.Effect<void, SqlError>

/**
 * One text for the two parts of a key.
 *
 * @since 0.1.0
 * @category models
 */
export const textOf = ({ id, source }: MessageKey): string => `${source}/${id}`

/**
 * What was tried and is neither delivered nor failed, how many messages are in the list of failures, and how many direct
 * replies are not settled.
 *
 * @since 0.1.0
 * @category models
 */
export interface Standing {
  readonly attempted: ReadonlyArray<Attempted>
  readonly failures: number
  readonly replies: number
}

/**
 * @since 0.1.0
 * @category queries
 */
export const standing = (own: SqlClient): Effect.Effect<Standing, SqlError> =>
  Effect.map(
    own<
      Attempted & { readonly failures: number | null; readonly replies: number }
    >`SELECT source, message_id AS id,
        state, attempts, attempted_at AS attemptedAt, next_at AS nextAt, reason, NULL AS failures, 0 AS replies
      FROM airlock_delivery WHERE state <> 'failed'
      UNION ALL SELECT '', '', '', 0, NULL, NULL, NULL,
        (SELECT count(*) FROM airlock_delivery WHERE state = 'failed'),
        (SELECT count(*) FROM airlock_direct WHERE status = 'pending')`,
    (rows) => {
      const [counts] = rows.filter(({ failures }) => failures !== null)
      return {
        attempted: rows.flatMap(({ attemptedAt, attempts, failures, id, nextAt, reason, source, state }) =>
          failures === null ? [{ source, id, state, attempts, attemptedAt, nextAt, reason }] : []
        ),
        failures: counts?.failures ?? 0,
        replies: counts?.replies ?? 0
      }
    }
  )

/**
 * Failures in the order in which they happened, those that another build left included.
 *
 * @since 0.1.0
 * @category queries
 */
export const failures = (own: SqlClient): Effect.Effect<ReadonlyArray<Failure>, SqlError> =>
  own<Failure>`SELECT source, message_id AS id, coalesce(reason, '') AS reason, attempts, attempted_at AS at
      FROM airlock_delivery WHERE state = 'failed'
    UNION ALL
    SELECT 'agent', message_out_id, 'unknown', 0, delivered_at FROM delivered WHERE status = 'failed'
      AND message_out_id NOT IN (SELECT message_id FROM airlock_delivery WHERE source = 'agent')
    ORDER BY at`

/**
 * Which of the agent's messages are settled, delivered or failed.
 *
 * @since 0.1.0
 * @category queries
 */
export const settledAmong = (
  own: SqlClient,
  ids: ReadonlyArray<string>
): Effect.Effect<ReadonlySet<string>, SqlError> =>
  Effect.map(
    own<{ readonly id: string }>`SELECT message_out_id AS id FROM delivered
      WHERE message_out_id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`,
    (rows) => new Set(rows.map(({ id }) => id))
  )

/**
 * Says that an attempt begins, before it does. `attempt` counts from 1.
 *
 * @since 0.1.0
 * @category marks
 */
export const begin = (own: SqlClient, { id, source }: MessageKey, attempt: number, at: string): Write =>
  Effect.asVoid(own`INSERT INTO airlock_delivery (source, message_id, state, attempts, attempted_at)
    VALUES (${source}, ${id}, 'sending', ${attempt}, ${at})
    ON CONFLICT (source, message_id) DO UPDATE SET state = 'sending', attempts = excluded.attempts,
      attempted_at = excluded.attempted_at, next_at = NULL`)

/**
 * Says when a message is tried again, and why it has to be.
 *
 * @since 0.1.0
 * @category marks
 */
export const wait = (own: SqlClient, { id, source }: MessageKey, nextAt: string, reason: string): Write =>
  Effect.asVoid(own`UPDATE airlock_delivery SET state = 'waiting', next_at = ${nextAt}, reason = ${reason}
    WHERE source = ${source} AND message_id = ${id}`)

const settle = (
  own: SqlClient,
  { id, source }: MessageKey,
  mark: {
    readonly status: "delivered" | "failed"
    readonly platformMessageId: string | null
    readonly at: string
  }
) =>
  source === "agent"
    ? own`INSERT OR REPLACE INTO delivered ${own.insert({
        message_out_id: id,
        platform_message_id: mark.platformMessageId,
        status: mark.status,
        delivered_at: mark.at
      })}`
    : own`UPDATE airlock_direct SET status = ${mark.status}, platform_message_id = ${mark.platformMessageId},
        settled_at = ${mark.at} WHERE id = ${id}`

/**
 * Says that a message was delivered.
 *
 * @since 0.1.0
 * @category marks
 */
export const deliver = (
  own: SqlClient,
  key: MessageKey,
  { at, platformMessageId }: { readonly at: string; readonly platformMessageId: string | null }
): Write =>
  Effect.zipRight(
    settle(own, key, { status: "delivered", platformMessageId, at }),
    Effect.asVoid(own`DELETE FROM airlock_delivery WHERE source = ${key.source} AND message_id = ${key.id}`)
  )

/**
 * Puts a message into the list of failures.
 *
 * @since 0.1.0
 * @category marks
 */
export const fail = (own: SqlClient, key: MessageKey, at: string, reason: string): Write =>
  Effect.zipRight(
    settle(own, key, { status: "failed", platformMessageId: null, at }),
    Effect.asVoid(own`INSERT INTO airlock_delivery (source, message_id, state, attempts, attempted_at, reason)
      VALUES (${key.source}, ${key.id}, 'failed', 0, ${at}, ${reason})
      ON CONFLICT (source, message_id) DO UPDATE SET state = 'failed', attempted_at = excluded.attempted_at,
        next_at = NULL, reason = excluded.reason`)
  )

/**
 * Puts messages into the list of failures that were not tried: any number of the agent's with two statements.
 *
 * @since 0.1.0
 * @category marks
 */
export const failAll = (
  own: SqlClient,
  failures: ReadonlyArray<MessageKey & { readonly reason: string }>,
  at: string
): Write =>
  Effect.gen(function* () {
    for (const failure of failures) {
      if (failure.source === "direct") yield* fail(own, failure, at, failure.reason)
    }
    const ofAgent = failures.filter(({ source }) => source === "agent")
    if (ofAgent.length === 0) return
    const all = JSON.stringify(ofAgent)
    yield* own`INSERT OR REPLACE INTO delivered (message_out_id, platform_message_id, status, delivered_at)
      SELECT value ->> 'id', NULL, 'failed', ${at} FROM json_each(${all})`
    yield* own`INSERT INTO airlock_delivery (source, message_id, state, attempts, attempted_at, reason)
      SELECT 'agent', value ->> 'id', 'failed', 0, ${at}, value ->> 'reason' FROM json_each(${all}) WHERE true
      ON CONFLICT (source, message_id) DO UPDATE SET state = 'failed', attempted_at = excluded.attempted_at,
        next_at = NULL, reason = excluded.reason`
  })

/**
 * Takes a message out of the list of failures: its attempts are counted anew, from now on.
 *
 * @since 0.1.0
 * @category marks
 */
export const redrive = (own: SqlClient, { id, source }: MessageKey, at: string): Write =>
  Effect.gen(function* () {
    yield* own`INSERT INTO airlock_delivery (source, message_id, state, attempts, next_at)
      VALUES (${source}, ${id}, 'waiting', 0, ${at})
      ON CONFLICT (source, message_id) DO UPDATE SET state = 'waiting', attempts = 0, next_at = excluded.next_at`
    if (source === "agent")
      yield* own`DELETE FROM delivered WHERE message_out_id = ${id} AND status = 'failed'`
    else yield* own`UPDATE airlock_direct SET status = 'pending', settled_at = NULL WHERE id = ${id}`
  })
