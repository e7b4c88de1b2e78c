/**
 * The files of the agent's messages, in `outbox/<id>/`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { StorageError, UnsafeAttachmentName } from "../protocol/AirlockError.js"
import * as AttachmentName from "../protocol/AttachmentName.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Durability from "../storage/Durability.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSystemCall } from "../storage/StorageFailure.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import * as InboundTables from "./InboundTables.js"
import { SessionFiles } from "./SessionFiles.js"
import * as UniqueId from "./UniqueId.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface OutboxFile {
  readonly name: string
  readonly data: Uint8Array
}

/**
 * A file under the name that it has in the outbox.
 *
 * @since 0.1.0
 * @category models
 */
export interface NamedFile {
  readonly name: AttachmentName.AttachmentName
  readonly data: Uint8Array
}

/**
 * Checks the names of files. Of two that have the same name the second one gets another.
 *
 * @since 0.1.0
 * @category checks
 */
export const named = (
  files: ReadonlyArray<OutboxFile>,
  operation: string
): Effect.Effect<ReadonlyArray<NamedFile>, UnsafeAttachmentName> =>
  Effect.reduce(files, [] as ReadonlyArray<NamedFile>, (before, { data, name }) =>
    Effect.map(AttachmentName.make(name, operation), (safe) => [
      ...before,
      {
        data,
        name: AttachmentName.distinct(
          safe,
          before.map((file) => file.name)
        )
      }
    ])
  )

/**
 * How the ids of the agent's messages begin; see `UniqueId`.
 *
 * @since 0.1.0
 * @category names
 */
export const idPrefix = "msg"

/**
 * `place` writes a message's files, and waits until they are on the disk. `remove` removes what is there of them.
 * `clear` removes what killed processes left: the files of messages that were not stored, and of those that the host
 * has delivered and not cleared away.
 *
 * @since 0.1.0
 * @category models
 */
export interface Outbox {
  readonly place: (
    id: string,
    files: ReadonlyArray<NamedFile>,
    operation: string
  ) => Effect.Effect<void, StorageError>
  readonly remove: (id: string, operation: string) => Effect.Effect<void, StorageError>
  readonly clear: (operation: string) => Effect.Effect<void, StorageError>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Outbox, never, SafeDirectories | SessionFiles | SystemCalls> = Effect.gen(
  function* () {
    const directories = yield* SafeDirectories
    const calls = yield* SystemCalls
    const files = yield* SessionFiles
    const { directory } = files
    const durably = yield* Durability.make(files.durability)

    const place = Effect.fnUntraced(function* (
      id: string,
      files: ReadonlyArray<NamedFile>,
      operation: string
    ) {
      const subject: Subject = { operation, resource: "outbox" }
      const session = yield* directories.open(directory, subject)
      yield* directories.make(session, SessionLayout.outbox, subject)
      const outbox = yield* directories.openChild(session, SessionLayout.outbox, subject)
      yield* directories.make(outbox, id, subject)
      const own = yield* directories.openChild(outbox, id, subject)
      for (const { data, name } of files) {
        yield* directories.writeFile(own, name, data, subject)
      }
      for (const one of [own, outbox, session]) yield* durably.names(one, subject)
    }, Effect.scoped)

    const remove = Effect.fnUntraced(function* (id: string, operation: string) {
      const subject: Subject = { operation, resource: "outbox" }
      const session = yield* directories.open(directory, subject)
      const outbox = yield* directories.openChild(session, SessionLayout.outbox, subject)
      yield* directories.remove(outbox, id, subject)
    }, Effect.scoped)

    const clear = Effect.fnUntraced(function* (operation: string) {
      const subject: Subject = { operation, resource: "outbox" }
      const session = yield* directories.open(directory, subject)
      const outbox = yield* directories.openChild(session, SessionLayout.outbox, subject)
      const names = yield* Effect.mapError(calls.list(outbox.at(".")), fromSystemCall(subject, outbox.path))
      // No other program makes such names.
      const ids = names.filter((name) => UniqueId.isOne(idPrefix, name))
      if (ids.length === 0) return
      const remove = (id: string) => directories.remove(outbox, id, subject)
      const delivered = yield* files.inbound(operation, (sql) => InboundTables.delivered(sql, ids))
      yield* Effect.forEach(delivered, ({ id }) => remove(id), { discard: true })
      yield* files.outbound(operation, (sql) =>
        sql<{ readonly id: string }>`SELECT value AS id FROM json_each(${JSON.stringify(ids)})
        WHERE NOT EXISTS (SELECT 1 FROM messages_out WHERE id = value)`.pipe(
          Effect.flatMap(Effect.forEach(({ id }) => remove(id), { discard: true })),
          sql.withTransaction
        )
      )
    }, Effect.scoped)

    return { place, remove, clear }
  }
)
