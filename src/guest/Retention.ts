/**
 * Removing from outbound.db what both sides are done with, so that it does not grow for ever. What the host has
 * not confirmed stays.
 *
 * Each time the agent's own rows are read before the host's: what was there already when the host's word was read
 * is what that word is about.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import type { StorageError } from "../protocol/AirlockError.js"
import * as InboundTables from "./InboundTables.js"
import { SessionFiles } from "./SessionFiles.js"

interface HasId {
  readonly id: string
}

const operation = "Mailbox.prune"

/** Messages with the highest numbers are kept: they can be edited, and the next number is counted from them. */
const keptMessages = 1000

/** How many rows one transaction removes. The host copies the file between two of them. */
const rowsAtOnce = 500

const sentLongAgo = (sql: SqlClient) => sql<HasId>`SELECT id FROM messages_out WHERE seq <
  (SELECT seq FROM messages_out ORDER BY seq DESC LIMIT 1 OFFSET ${keptMessages - 1})`

const finished = (sql: SqlClient) =>
  sql<HasId>`SELECT message_id AS id FROM processing_ack WHERE status <> 'processing'`

/** A message that is paused becomes pending again. */
const stillOffered = (sql: SqlClient, ids: ReadonlyArray<string>) =>
  sql<HasId>`SELECT id FROM messages_in
    WHERE status IN ('pending', 'paused') AND id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`

const removeMessages = (sql: SqlClient, ids: ReadonlyArray<string>) =>
  sql`DELETE FROM messages_out WHERE id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`

const removeAcknowledgements = (sql: SqlClient, ids: ReadonlyArray<string>) =>
  sql`DELETE FROM processing_ack WHERE message_id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`

const idsOf = (rows: ReadonlyArray<HasId>): ReadonlyArray<string> => rows.map(({ id }) => id)

/**
 * Removes messages that are delivered, but for the thousand last ones, and verdicts about messages that the host
 * does not offer any more.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Effect.Effect<void, StorageError>, never, SessionFiles> = Effect.gen(
  function* () {
    const files = yield* SessionFiles

    const removeAll = (
      ids: ReadonlyArray<string>,
      remove: (sql: SqlClient, ids: ReadonlyArray<string>) => Effect.Effect<unknown, SqlError>
    ) =>
      Effect.forEach(
        Chunk.chunksOf(Chunk.fromIterable(ids), rowsAtOnce),
        (some) => files.outbound(operation, (sql) => remove(sql, Chunk.toReadonlyArray(some))),
        { discard: true }
      )

    const messages = Effect.gen(function* () {
      const candidates = idsOf(yield* files.outbound(operation, sentLongAgo))
      if (candidates.length === 0) return
      const delivered = yield* files.inbound(operation, (sql) => InboundTables.delivered(sql, candidates))
      yield* removeAll(idsOf(delivered), removeMessages)
    })

    const acknowledgements = Effect.gen(function* () {
      const candidates = idsOf(yield* files.outbound(operation, finished))
      if (candidates.length === 0) return
      const offered = new Set(idsOf(yield* files.inbound(operation, (sql) => stillOffered(sql, candidates))))
      yield* removeAll(
        candidates.filter((id) => !offered.has(id)),
        removeAcknowledgements
      )
    })

    return Effect.zipRight(messages, acknowledgements)
  }
)
