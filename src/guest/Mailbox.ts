/**
 * The agent's side of a session: reading what is due, claiming it, answering, and saying when it is done.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { SessionDbUnavailable, StorageError, UnsafeAttachmentName } from "../protocol/AirlockError.js"
import { InvalidMessage, UnsafePath } from "../protocol/AirlockError.js"
import type { JsonObject } from "../protocol/AttachmentContent.js"
import * as AttachmentName from "../protocol/AttachmentName.js"
import { InboundRow } from "../protocol/Message.js"
import * as PathSegment from "../protocol/PathSegment.js"
import * as Sequence from "../protocol/Sequence.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Tables from "../protocol/Tables.js"
import * as Timestamp from "../protocol/Timestamp.js"
import { OwnDatabases } from "../storage/OwnDatabase.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { Snapshots } from "../storage/Snapshot.js"
import * as StorageLayer from "../storage/StorageLayer.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall } from "../storage/StorageFailure.js"
import { SystemCalls } from "../storage/SystemCalls.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface MailboxOptions {
  /** The absolute path at which the session folder is mounted. Default `/workspace`. */
  readonly directory?: string | undefined
  /** How many messages one poll returns at most: the most recent ones. Default 10. */
  readonly window?: number | undefined
  /** How long to wait for a file that is locked or keeps changing. Default 5 seconds. */
  readonly patience?: Duration.DurationInput | undefined
  /** The largest inbound.db that is copied, and the largest attachment that is read. Default 256 MiB. */
  readonly limitBytes?: number | undefined
}

/**
 * A message from the agent. Without an address it goes to the session's own chat. `content` is an object such
 * as `{ text: "…" }`; the names of `files` are added to it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reply {
  readonly content: JsonObject
  readonly kind?: string | undefined
  readonly inReplyTo?: string | undefined
  /** Not to be delivered before this time, in milliseconds since 1970. */
  readonly deliverAfter?: number | undefined
  readonly channelType?: string | undefined
  readonly platformId?: string | undefined
  readonly threadId?: string | undefined
  readonly files?: ReadonlyArray<{ readonly name: string; readonly data: Uint8Array }> | undefined
}

/**
 * The mailbox of one session. What an earlier run of the agent had claimed and not finished, it offers again.
 *
 * @since 0.1.0
 * @category tags
 */
export class Mailbox extends Context.Tag("effect-airlock/Mailbox")<
  Mailbox,
  {
    /**
     * What is due and not claimed: the most recent ones, as many as the window holds, oldest first. Context
     * messages (`trigger` 0) come along with others, never alone. Messages of kind `system` are answers to
     * questions, and not returned. Only the first poll sees `onWake` messages.
     */
    readonly poll: Effect.Effect<ReadonlyArray<InboundRow>, StorageError>
    /** Says that the agent works on these messages, so that no poll returns them. What is finished stays so. */
    readonly claim: (ids: ReadonlyArray<string>) => Effect.Effect<void, StorageError>
    /** Says that these messages are done. */
    readonly complete: (ids: ReadonlyArray<string>) => Effect.Effect<void, StorageError>
    /** Says that the agent could not process these messages. */
    readonly fail: (ids: ReadonlyArray<string>) => Effect.Effect<void, StorageError>
    /** Sends a message. Its files are in `outbox/<id>/` before the row that names them is visible. */
    readonly send: (
      reply: Reply
    ) => Effect.Effect<
      { readonly id: string; readonly seq: number },
      StorageError | UnsafeAttachmentName | InvalidMessage
    >
    /** The bytes of an attachment, by the `localPath` that the message's content names. */
    readonly attachment: (localPath: string) => Effect.Effect<Uint8Array, StorageError>
    /** Shows that the agent lives, by touching a file. */
    readonly heartbeat: Effect.Effect<void, StorageError>
  }
>() {
  /**
   * On the session folder as the container sees it.
   *
   * @since 0.1.0
   */
  static readonly layer = (options: MailboxOptions = {}): Layer.Layer<Mailbox, SessionDbUnavailable> =>
    Layer.effect(Mailbox, make(options)).pipe(Layer.provide(StorageLayer.layer))
}

const decodeRow = Schema.decodeUnknownEither(InboundRow)

const make = Effect.fnUntraced(function* (options: MailboxOptions) {
  const directory = options.directory ?? "/workspace"
  const window = options.window ?? 10
  const patience = Duration.decode(options.patience ?? "5 seconds")
  const limit = options.limitBytes ?? 256 * 1024 * 1024
  const own = yield* OwnDatabases
  const snapshots = yield* Snapshots
  const directories = yield* SafeDirectories
  const calls = yield* SystemCalls
  const hasStarted = yield* Ref.make(false)
  const hasPolled = yield* Ref.make(false)

  /** A program on a copy of the host's file. */
  const withInbound = <A>(operation: string, use: (sql: SqlClient) => Effect.Effect<A, SqlError>) => {
    const subject: Subject = { operation, resource: "inbound" }
    return snapshots
      .open(
        {
          directory,
          name: SessionLayout.inbound,
          view: "mount",
          schemaVersion: Tables.version,
          limit,
          patience
        },
        subject
      )
      .pipe(
        Effect.flatMap(({ client }) => Effect.mapError(use(client), fromSql(subject))),
        Effect.scoped,
        Effect.withTracerEnabled(false)
      )
  }

  /** A program on the agent's own file. The first one finds the claims of an earlier run given up. */
  const withOutbound = <A>(operation: string, use: (sql: SqlClient) => Effect.Effect<A, SqlError>) => {
    const subject: Subject = { operation, resource: "outbound" }
    return own
      .open({ directory, name: SessionLayout.outbound, schemaVersion: Tables.version, patience }, subject)
      .pipe(
        Effect.flatMap(({ client }) =>
          Effect.mapError(Effect.zipRight(giveUpClaims(client), use(client)), fromSql(subject))
        ),
        Effect.scoped,
        Effect.withTracerEnabled(false)
      )
  }

  const giveUpClaims = (sql: SqlClient) =>
    Effect.unlessEffect(
      Effect.zipLeft(sql`DELETE FROM processing_ack WHERE status = 'processing'`, Ref.set(hasStarted, true)),
      Ref.get(hasStarted)
    )

  const poll = Effect.gen(function* () {
    const operation = "Mailbox.poll"
    const isFirst = !(yield* Ref.get(hasPolled))
    const now = yield* Clock.currentTimeMillis
    const pending = yield* withInbound(
      operation,
      (sql) => sql`SELECT * FROM messages_in WHERE status = 'pending' ORDER BY seq DESC`
    )
    const acknowledged = yield* withOutbound(
      operation,
      (sql) => sql<{ readonly id: string }>`SELECT message_id AS id FROM processing_ack`
    )
    const taken = new Set(acknowledged.map(({ id }) => id))
    const due = pending
      .flatMap((row) => Either.match(decodeRow(row), { onLeft: () => [], onRight: (decoded) => [decoded] }))
      .filter(
        (row) =>
          !taken.has(row.id) &&
          row.kind !== "system" &&
          (row.onWake === 0 || isFirst) &&
          Timestamp.hasCome(row.processAfter, now)
      )
      .slice(0, window)
      .reverse()
    yield* Ref.set(hasPolled, true)
    return due.some((row) => row.trigger !== 0) ? due : []
  })

  const acknowledge = (operation: string, ids: ReadonlyArray<string>, status: string) =>
    ids.length === 0
      ? Effect.void
      : Effect.gen(function* () {
          const at = Timestamp.format(yield* Clock.currentTimeMillis)
          yield* withOutbound(
            operation,
            (sql) =>
              sql`INSERT INTO processing_ack ${sql.insert(
                ids.map((id) => ({ message_id: id, status, status_changed: at }))
              )} ON CONFLICT (message_id) DO UPDATE SET status = excluded.status, status_changed = excluded.status_changed
                WHERE status = 'processing'`
          )
        })

  const writeFiles = (id: string, files: NonNullable<Reply["files"]>) =>
    Effect.gen(function* () {
      const subject: Subject = { operation: "Mailbox.send", resource: "outbox" }
      const names = yield* Effect.forEach(files, ({ name }) => AttachmentName.make(name, subject.operation))
      const session = yield* directories.open(directory, subject)
      yield* directories.make(session, SessionLayout.outbox, subject)
      const outbox = yield* directories.openChild(session, SessionLayout.outbox, subject)
      yield* directories.make(outbox, id, subject)
      const own = yield* directories.openChild(outbox, id, subject)
      const placed: Array<string> = []
      for (const [index, { data }] of files.entries()) {
        const wanted = names[index]
        if (wanted === undefined) continue
        const name = AttachmentName.distinct(wanted, placed)
        yield* directories.writeFile(own, name, Stream.make(data), subject)
        placed.push(name)
      }
      return placed
    }).pipe(Effect.scoped)

  const send = Effect.fn("Mailbox.send")(function* (reply: Reply) {
    const operation = "Mailbox.send"
    const millis = yield* Clock.currentTimeMillis
    if (reply.deliverAfter !== undefined && !Timestamp.isStorable(reply.deliverAfter)) {
      return yield* new InvalidMessage({ operation, field: "deliverAfter", reason: "not-a-timestamp" })
    }
    const id = `msg-${millis}-${(yield* Random.nextIntBetween(0, 36 ** 6)).toString(36).padStart(6, "0")}`
    const files =
      reply.files === undefined || reply.files.length === 0 ? [] : yield* writeFiles(id, reply.files)
    const content = yield* Effect.try({
      try: () => JSON.stringify(files.length === 0 ? reply.content : { ...reply.content, files }),
      catch: () => new InvalidMessage({ operation, messageId: id, field: "content", reason: "not-json" })
    })
    type Largest = { readonly seq: number }
    const [host] = yield* withInbound(
      operation,
      (sql) => sql<Largest>`SELECT coalesce(max(seq), 0) AS seq FROM messages_in`
    )
    return yield* withOutbound(operation, (sql) =>
      Effect.gen(function* () {
        const [agent] = yield* sql<Largest>`SELECT coalesce(max(seq), 0) AS seq FROM messages_out`
        const seq = Sequence.nextAgent(Math.max(host?.seq ?? 0, agent?.seq ?? 0))
        yield* sql`INSERT INTO messages_out ${sql.insert({
          id,
          seq,
          in_reply_to: reply.inReplyTo ?? null,
          timestamp: Timestamp.format(millis),
          deliver_after: reply.deliverAfter === undefined ? null : Timestamp.format(reply.deliverAfter),
          kind: reply.kind ?? "chat",
          channel_type: reply.channelType ?? null,
          platform_id: reply.platformId ?? null,
          thread_id: reply.threadId ?? null,
          content
        })}`
        return { id, seq }
      }).pipe(sql.withTransaction)
    )
  })

  const attachment = Effect.fn("Mailbox.attachment")(function* (localPath: string) {
    const subject: Subject = { operation: "Mailbox.attachment", resource: "inbox" }
    const [inbox, folder, name, ...rest] = localPath.split("/")
    if (
      inbox !== SessionLayout.inbox ||
      folder === undefined ||
      name === undefined ||
      rest.length > 0 ||
      !PathSegment.isSafe(folder) ||
      !PathSegment.isSafe(name)
    ) {
      return yield* new UnsafePath({ operation: subject.operation, path: localPath, reason: "not-a-segment" })
    }
    const session = yield* directories.open(directory, subject)
    const parent = yield* directories.openChild(session, inbox, subject)
    const own = yield* directories.openChild(parent, folder, subject)
    return yield* directories.readFile(own, name, limit, subject)
  }, Effect.scoped)

  const heartbeat = Effect.gen(function* () {
    const subject: Subject = { operation: "Mailbox.heartbeat", resource: "folder" }
    const now = yield* Clock.currentTimeMillis
    const session = yield* directories.open(directory, subject)
    const { fd } = yield* directories.openFile(session, SessionLayout.heartbeat, subject).pipe(
      Effect.catchIf(
        (error) => error._tag === "SessionDbUnavailable" && error.reason === "missing",
        () => Effect.map(directories.createFile(session, SessionLayout.heartbeat, subject), (fd) => ({ fd }))
      )
    )
    yield* Effect.mapError(calls.setTimes(fd, now), fromSystemCall(subject, SessionLayout.heartbeat))
  }).pipe(Effect.scoped)

  return Mailbox.of({
    poll,
    claim: (ids) => acknowledge("Mailbox.claim", ids, "processing"),
    complete: (ids) => acknowledge("Mailbox.complete", ids, "completed"),
    fail: (ids) => acknowledge("Mailbox.fail", ids, "failed"),
    send,
    attachment,
    heartbeat
  })
})
