/**
 * What the agent has said about the host's messages: that it works on them, and what became of them. They are
 * the rows of `processing_ack`, in outbound.db.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import type { StorageError } from "../protocol/AirlockError.js"
import * as Timestamp from "../protocol/Timestamp.js"
import * as ReadCache from "./ReadCache.js"
import { SessionFiles } from "./SessionFiles.js"

type Ids = ReadonlyArray<string>

/**
 * What became of a message.
 *
 * @since 0.1.0
 * @category models
 */
export type Verdict = "completed" | "failed"

/**
 * @since 0.1.0
 * @category tags
 */
export class Acknowledgements extends Context.Tag("effect-airlock/guest/Acknowledgements")<
  Acknowledgements,
  {
    /** The messages that somebody has claimed or finished. An unchanged file is not opened. */
    readonly all: (operation: string) => Effect.Effect<ReadonlySet<string>, StorageError>
    /** Claims messages that nobody has claimed or finished, and answers which those were. */
    readonly claim: (operation: string, ids: Ids) => Effect.Effect<Ids, StorageError>
    /** Finishes messages, claimed or not. What is finished stays so. */
    readonly finish: (operation: string, ids: Ids, verdict: Verdict) => Effect.Effect<void, StorageError>
    /** Finishes messages inside the caller's transaction. Once that is committed, `whenFinished` has to run. */
    readonly finishWithin: (sql: SqlClient, ids: Ids, verdict: Verdict) => Effect.Effect<void, SqlError>
    readonly whenFinished: (ids: Ids) => Effect.Effect<void>
    /** Finishes those of the messages that are claimed still. */
    readonly settle: (operation: string, ids: Ids, verdict: Verdict) => Effect.Effect<void, StorageError>
    /** Gives back those of the messages that were claimed here and are not finished. */
    readonly release: (operation: string, ids: Ids) => Effect.Effect<void, StorageError>
    /** Gives back whatever is claimed and was not claimed here: an earlier run of the agent left it. */
    readonly giveUpOthers: (operation: string) => Effect.Effect<void, StorageError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<Acknowledgements, never, SessionFiles> = Layer.effect(
    Acknowledgements,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const files = yield* SessionFiles
  /** Claimed here, and not finished. It changes with the file, and nothing can come in between. */
  const claimed = yield* Ref.make<ReadonlySet<string>>(new Set())
  const forget = (ids: Ids) =>
    Ref.update(claimed, (all) => {
      const gone = new Set(ids)
      return new Set(Array.from(all).filter((id) => !gone.has(id)))
    })

  const all = yield* ReadCache.make<ReadonlySet<string>>({
    stamp: files.outboundStamp,
    read: (operation) =>
      files.outbound(operation, (sql) =>
        Effect.map(
          sql<{ readonly id: string }>`SELECT message_id AS id FROM processing_ack`,
          (rows) => new Set(rows.map(({ id }) => id))
        )
      )
  })

  const claim = Effect.fnUntraced(function* (operation: string, ids: Ids) {
    const at = Timestamp.format(yield* Clock.currentTimeMillis)
    return yield* files.outbound(operation, (sql) =>
      sql<{ readonly id: string }>`INSERT INTO processing_ack (message_id, status, status_changed)
        SELECT value, 'processing', ${at} FROM ${each(sql, ids)} WHERE true
        ON CONFLICT (message_id) DO NOTHING RETURNING message_id AS id`.pipe(
        Effect.map((rows) => {
          const fresh = new Set(rows.map(({ id }) => id))
          return Array.from(new Set(ids)).filter((id) => fresh.has(id))
        }),
        Effect.tap((fresh) => Ref.update(claimed, (all) => new Set([...all, ...fresh]))),
        Effect.uninterruptible
      )
    )
  })

  const finishWithin = Effect.fnUntraced(function* (sql: SqlClient, ids: Ids, verdict: Verdict) {
    const at = Timestamp.format(yield* Clock.currentTimeMillis)
    yield* sql`INSERT INTO processing_ack (message_id, status, status_changed)
      SELECT value, ${verdict}, ${at} FROM ${each(sql, ids)} WHERE true
      ON CONFLICT (message_id) DO UPDATE SET status = excluded.status, status_changed = excluded.status_changed
      WHERE status = 'processing'`
  })

  const finish = (operation: string, ids: Ids, verdict: Verdict) =>
    files.outbound(operation, (sql) =>
      Effect.uninterruptible(Effect.zipRight(finishWithin(sql, ids, verdict), forget(ids)))
    )

  const settle = Effect.fnUntraced(function* (operation: string, ids: Ids, verdict: Verdict) {
    const at = Timestamp.format(yield* Clock.currentTimeMillis)
    yield* files.outbound(operation, (sql) =>
      sql`UPDATE processing_ack SET status = ${verdict}, status_changed = ${at}
        WHERE status = 'processing' AND message_id IN (SELECT value FROM ${each(sql, ids)})`.pipe(
        Effect.zipRight(forget(ids)),
        Effect.uninterruptible
      )
    )
  })

  const release = Effect.fnUntraced(function* (operation: string, ids: Ids) {
    const mine = yield* Ref.get(claimed)
    const held = ids.filter((id) => mine.has(id))
    if (held.length === 0) return
    yield* files.outbound(operation, (sql) =>
      sql`DELETE FROM processing_ack
        WHERE status = 'processing' AND message_id IN (SELECT value FROM ${each(sql, held)})`.pipe(
        Effect.zipRight(forget(held)),
        Effect.uninterruptible
      )
    )
  })

  const giveUpOthers = (operation: string) =>
    files.outbound(operation, (sql) =>
      Effect.flatMap(
        Ref.get(claimed),
        (mine) => sql`DELETE FROM processing_ack
          WHERE status = 'processing' AND message_id NOT IN (SELECT value FROM ${each(sql, [...mine])})`
      )
    )

  return Acknowledgements.of({
    all,
    claim: (operation, ids) => (ids.length === 0 ? Effect.succeed([]) : claim(operation, ids)),
    finish: (operation, ids, verdict) =>
      Effect.unless(finish(operation, ids, verdict), () => ids.length === 0),
    finishWithin,
    whenFinished: forget,
    settle,
    release,
    giveUpOthers
  })
})

/** Many ids as one parameter: SQLite limits how many of those a statement may have. */
const each = (sql: SqlClient, ids: Ids) => sql`json_each(${JSON.stringify(ids)})`
