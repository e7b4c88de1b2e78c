/**
 * What becomes of messages after they were written: acknowledged, recurring, expired, or offered again because their
 * agent ended without a verdict. Everything here belongs in a transaction on inbound.db.
 *
 * Only a pending message changes its status; what is completed, failed or cancelled stays so.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as Sequence from "../protocol/Sequence.js"
import * as Timestamp from "../protocol/Timestamp.js"
import type { Acknowledgement } from "./AgentReport.js"
import type { Settings } from "./AirlockConfig.js"
import * as MessageStore from "./MessageStore.js"
import * as Recurrence from "./Recurrence.js"
import * as RetryDelay from "./RetryDelay.js"

const PendingRow = Schema.Struct({
  id: Schema.String,
  kind: Schema.String,
  timestamp: Schema.String,
  trigger: Schema.Number,
  processAfter: Schema.NullOr(Schema.String),
  tries: Schema.Number,
  claimedAt: Schema.NullOr(Schema.String)
})

/**
 * A message that the agent has not finished. `claimedAt` is the stamp of a claim that ended without a verdict and has
 * been counted.
 *
 * @since 0.1.0
 * @category models
 */
export type Pending = typeof PendingRow.Type

/** The rows that are what they should be. What somebody else put into the file is left alone. */
const decoded = <A, I>(schema: Schema.Schema<A, I>) => {
  const decode = Schema.decodeUnknownEither(schema)
  return (rows: ReadonlyArray<unknown>): ReadonlyArray<A> => Arr.getRights(rows.map((row) => decode(row)))
}

/**
 * @since 0.1.0
 * @category queries
 */
export const pending = (own: SqlClient): Effect.Effect<ReadonlyArray<Pending>, SqlError> =>
  Effect.map(
    own`SELECT m.id, m.kind, m.timestamp, m.trigger, m.process_after AS processAfter, coalesce(m.tries, 0) AS tries,
      c.claimed_at AS claimedAt
    FROM messages_in m LEFT JOIN airlock_claim c ON c.message_id = m.id
    WHERE m.status = 'pending' ORDER BY m.seq`,
    decoded(PendingRow)
  )

/**
 * Takes over the agent's verdicts on pending messages. `script-skip:error` counts as `failed`.
 *
 * @since 0.1.0
 * @category changes
 */
export const acknowledge = (
  own: SqlClient,
  acknowledgements: ReadonlyArray<Acknowledgement>
): Effect.Effect<void, SqlError> =>
  Effect.forEach(
    acknowledgements.filter(({ verdict }) => verdict !== "processing"),
    ({ id, verdict }) =>
      Effect.zipRight(
        own`UPDATE messages_in SET status = ${verdict} WHERE id = ${id} AND status = 'pending'`,
        own`DELETE FROM airlock_claim WHERE message_id = ${id}`
      ),
    { discard: true }
  )

/**
 * Cancels those of some messages that are answers, and were written before `before` (milliseconds since 1970). The
 * ids of those.
 *
 * @since 0.1.0
 * @category changes
 */
export const expire = (
  own: SqlClient,
  rows: ReadonlyArray<Pending>,
  before: number
): Effect.Effect<ReadonlyArray<string>, SqlError> => {
  const expired = rows
    .filter(({ kind, timestamp }) => kind === "system" && Timestamp.hasCome(timestamp, before))
    .map(({ id }) => id)
  return Effect.as(
    Effect.forEach(
      expired,
      (id) => own`UPDATE messages_in SET status = 'cancelled' WHERE id = ${id} AND status = 'pending'`,
      { discard: true }
    ),
    expired
  )
}

/**
 * Counts a try for each claim whose agent ended without a verdict, once: the message is offered again after a while,
 * or has failed if it was tried often enough. The ids of both.
 *
 * @since 0.1.0
 * @category changes
 */
export const giveUpClaims = (
  own: SqlClient,
  claims: ReadonlyArray<Acknowledgement>,
  context: { readonly now: number; readonly messageRetries: Settings["messageRetries"] }
): Effect.Effect<
  { readonly retried: ReadonlyArray<string>; readonly failed: ReadonlyArray<string> },
  SqlError
> =>
  Effect.gen(function* () {
    const claimed = new Map(claims.map(({ at, id }) => [id, at]))
    const retried: Array<string> = []
    const failed: Array<string> = []
    for (const row of yield* pending(own)) {
      const at = claimed.get(row.id)
      if (at === undefined || at === row.claimedAt) continue
      const tries = row.tries + 1
      const delay = yield* RetryDelay.after(context.messageRetries, tries)
      if (Option.isNone(delay)) {
        yield* own`UPDATE messages_in SET status = 'failed', tries = ${tries} WHERE id = ${row.id}`
        failed.push(row.id)
      } else {
        const after = Timestamp.format(
          notBefore(row.processAfter, context.now + Duration.toMillis(delay.value))
        )
        yield* own`UPDATE messages_in SET process_after = ${after}, tries = ${tries} WHERE id = ${row.id}`
        retried.push(row.id)
      }
      yield* own`INSERT INTO airlock_claim (message_id, claimed_at) VALUES (${row.id}, ${at})
        ON CONFLICT (message_id) DO UPDATE SET claimed_at = excluded.claimed_at`
    }
    return { retried, failed }
  })

/** A time, or the one at which the message was due if that is later. */
const notBefore = (processAfter: string | null, millis: number): number =>
  Math.max(
    millis,
    Option.getOrElse(Option.flatMap(Option.fromNullable(processAfter), Timestamp.parse), () => millis)
  )

const Ended = Schema.Struct({
  id: Schema.String,
  series: Schema.String,
  recurrence: Schema.String,
  processAfter: Schema.NullOr(Schema.String)
})

const occurrenceId = (series: string, millis: number): string =>
  `rec-${millis}-${createHash("sha256").update(series).digest("hex").slice(0, 16)}`

/**
 * Writes the next occurrence of each recurring message that is completed or failed, into the same series: the first
 * one after now, and after the one that ended. The old one loses its recurrence in the same transaction, so each has
 * one successor, however often this runs. The ids of those written.
 *
 * @since 0.1.0
 * @category changes
 */
export const recur = (
  own: SqlClient,
  context: { readonly now: number; readonly timeZone: string }
): Effect.Effect<ReadonlyArray<string>, SqlError> =>
  Effect.gen(function* () {
    const ended =
      yield* own`SELECT id, coalesce(series_id, id) AS series, recurrence, process_after AS processAfter
      FROM messages_in
      WHERE recurrence IS NOT NULL AND status IN ('completed', 'failed') ORDER BY seq`
    const written: Array<string> = []
    for (const { id, processAfter, recurrence, series } of decoded(Ended)(ended)) {
      yield* own`UPDATE messages_in SET recurrence = NULL WHERE id = ${id}`
      const after = notBefore(processAfter, context.now)
      const next = Recurrence.next(recurrence, context.timeZone, after)
      if (Option.isNone(next)) {
        yield* Effect.logWarning("A series ends: its cron expression names no instant").pipe(
          Effect.annotateLogs({ messageId: id, recurrence })
        )
        continue
      }
      const seq = Sequence.nextHost(yield* MessageStore.lastSequence(own))
      const fresh = occurrenceId(series, next.value)
      const added =
        yield* own`INSERT INTO messages_in (id, seq, kind, timestamp, status, process_after, recurrence, series_id, tries,
          trigger, platform_id, channel_type, thread_id, content, source_session_id, on_wake)
        SELECT ${fresh}, ${seq}, kind, ${Timestamp.format(context.now)}, 'pending', ${Timestamp.format(next.value)},
          ${recurrence}, ${series}, 0, trigger, platform_id, channel_type, thread_id, content, source_session_id, 0
        FROM messages_in WHERE id = ${id}
        ON CONFLICT (id) DO NOTHING RETURNING id`
      // Two messages of one series that ended have one successor.
      if (added.length === 0) continue
      yield* MessageStore.rememberSequence(own, seq)
      written.push(fresh)
    }
    return written
  })

/**
 * Whether a message wakes the agent once its time has come: context does not, and neither does an answer, which only an
 * agent that waits for it can take.
 *
 * @since 0.1.0
 * @category predicates
 */
export const wakes = ({ kind, trigger }: Pending): boolean => trigger !== 0 && kind !== "system"
