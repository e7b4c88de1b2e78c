/**
 * What the host has written for the agent. It is read once for each change of inbound.db.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { StorageError } from "../protocol/AirlockError.js"
import type { Destination, InboundRow } from "../protocol/Message.js"
import * as InboundTables from "./InboundTables.js"
import * as ReadCache from "./ReadCache.js"
import { SessionFiles } from "./SessionFiles.js"

/**
 * `pending` are the messages that the host has not settled, the newest first; `largest` is the largest number
 * of any message.
 *
 * @since 0.1.0
 * @category models
 */
export interface InboundView {
  readonly pending: ReadonlyArray<InboundRow>
  readonly largest: number
  readonly routing: InboundTables.Routing
  readonly destinations: ReadonlyArray<Destination>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Inbound extends Context.Tag("effect-airlock/guest/Inbound")<
  Inbound,
  {
    /** What is there now. An unchanged file is not opened. */
    readonly current: (operation: string) => Effect.Effect<InboundView, StorageError>
    /** A message by its id, whatever became of it. */
    readonly withId: (operation: string, id: string) => Effect.Effect<Option.Option<InboundRow>, StorageError>
    /** A message by its number, whatever became of it. */
    readonly withSeq: (
      operation: string,
      seq: number
    ) => Effect.Effect<Option.Option<InboundRow>, StorageError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<Inbound, never, SessionFiles> = Layer.effect(
    Inbound,
    Effect.suspend(() => make)
  )
}

const read = Effect.fnUntraced(function* (sql: SqlClient) {
  const pending = yield* sql`SELECT * FROM messages_in WHERE status = 'pending' ORDER BY seq DESC`
  const [last] = yield* sql<{
    readonly seq: number
  }>`SELECT coalesce(max(seq), 0) AS seq FROM messages_in`
  const [routing] = yield* InboundTables.ifThere(
    sql,
    "session_routing",
    sql`SELECT * FROM session_routing WHERE id = 1`
  )
  const destinations = yield* InboundTables.ifThere(
    sql,
    "destinations",
    sql`SELECT * FROM destinations ORDER BY name`
  )
  const view: InboundView = {
    pending: InboundTables.messages(pending),
    largest: last?.seq ?? 0,
    routing: InboundTables.routing(routing),
    destinations: InboundTables.destinations(destinations)
  }
  return view
})

const make = Effect.gen(function* () {
  const files = yield* SessionFiles
  const current = yield* ReadCache.make({
    stamp: files.inboundStamp,
    read: (operation) => files.inbound(operation, read)
  })

  /** Most often it is one of those that are pending. */
  const find = Effect.fnUntraced(function* (
    operation: string,
    isIt: (row: InboundRow) => boolean,
    query: (sql: SqlClient) => Effect.Effect<ReadonlyArray<object>, SqlError>
  ) {
    const { pending } = yield* current(operation)
    const known = pending.find(isIt)
    if (known !== undefined) return Option.some(known)
    const rows = yield* files.inbound(operation, query)
    return Option.fromNullable(InboundTables.messages(rows)[0])
  })

  return Inbound.of({
    current,
    withId: (operation, id) =>
      find(
        operation,
        (row) => row.id === id,
        (sql) => sql`SELECT * FROM messages_in WHERE id = ${id}`
      ),
    withSeq: (operation, seq) =>
      find(
        operation,
        (row) => row.seq === seq,
        (sql) => sql`SELECT * FROM messages_in WHERE seq = ${seq}`
      )
  })
})
