/**
 * The host's side of sessions: finding them, and writing into them.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type {
  AttachmentTooLarge,
  SessionDbCorrupt,
  SessionDbUnavailable,
  StorageError,
  UnsafeAttachmentName,
  UnsafePath
} from "../protocol/AirlockError.js"
import type { DuplicateMessage } from "../protocol/AirlockError.js"
import { InvalidMessage, SessionNotFound } from "../protocol/AirlockError.js"
import type { JsonObject } from "../protocol/AttachmentContent.js"
import type { InboundMessage } from "../protocol/Message.js"
import type { Destination, DirectMessage } from "../protocol/Message.js"
import type { ContainerStatus, SessionRef } from "../protocol/Session.js"
import { Session } from "../protocol/Session.js"
import * as Timestamp from "../protocol/Timestamp.js"
import type { SafeDirectories } from "../storage/SafeDirectory.js"
import type { SystemCalls } from "../storage/SystemCalls.js"
import * as Tracing from "../storage/Tracing.js"
import type { Routing } from "./Addresses.js"
import * as Addresses from "./Addresses.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { WrittenDirect } from "./DirectReply.js"
import * as DirectReply from "./DirectReply.js"
import { Leftovers } from "./Leftovers.js"
import * as MessageDraft from "./MessageDraft.js"
import type { WrittenMessage } from "./MessageStore.js"
import type { OutboxFiles } from "./Outbox.js"
import { Outbox } from "./Outbox.js"
import { SessionActivity } from "./SessionActivity.js"
import { SessionDb } from "./SessionDb.js"
import { SessionFolder } from "./SessionFolder.js"
import { SessionPaths } from "./SessionPaths.js"
import type { SessionKey } from "./SessionRegistry.js"
import { SessionRegistry, threadOf } from "./SessionRegistry.js"
import * as WriteBatches from "./WriteBatches.js"

export type { Routing } from "./Addresses.js"
export type { WrittenDirect } from "./DirectReply.js"
export type { WrittenMessage } from "./MessageStore.js"
export type { OutboxFile, OutboxFiles, SkippedFile } from "./Outbox.js"

/**
 * What writing a message can fail with. Whatever it is, nothing of the message is on disk or in a database.
 *
 * @since 0.1.0
 * @category errors
 */
export type WriteError =
  | InvalidMessage
  | UnsafeAttachmentName
  | AttachmentTooLarge
  | DuplicateMessage
  | SessionNotFound
  | StorageError

/**
 * @since 0.1.0
 * @category tags
 */
export class SessionManager extends Context.Tag("effect-airlock/SessionManager")<
  SessionManager,
  {
    /**
     * The session of a key (see `SessionMode`), made if there is none, with its folder. Calls with one key at
     * one time, from one process or several, get one session. A messaging group of null makes a new session
     * each time, except in `agent-shared` mode. A folder that was deleted is made again. A new folder has the
     * session's routing in it (see `writeRouting`).
     */
    readonly resolve: (
      key: SessionKey
    ) => Effect.Effect<{ readonly session: Session; readonly created: boolean }, StorageError>
    /** Makes the session's folder, or adds what it lacks, and upgrades an old inbound.db. */
    readonly initFolder: (ref: SessionRef) => Effect.Effect<void, StorageError>
    /**
     * Writes a message for the agent: attachments to `inbox/<id>/` first, then the row, then the session's
     * `lastActive`. When this succeeds the message is stored, and survives a killed process; the agent sees it a few
     * milliseconds later (`SessionDb.publish` waits for that). The same id with
     * the same content again succeeds and changes nothing; with other content it is `DuplicateMessage`. The content
     * is all that the caller says except `timestamp`: another `processAfter` is other content.
     */
    readonly writeMessage: (
      ref: SessionRef,
      message: InboundMessage
    ) => Effect.Effect<WrittenMessage, WriteError>
    /** Writes several messages in one transaction, numbered in their order: all of them, or none. */
    readonly writeMessages: (
      ref: SessionRef,
      messages: ReadonlyArray<InboundMessage>
    ) => Effect.Effect<ReadonlyArray<WrittenMessage>, WriteError>
    /**
     * Writes the session's own chat and thread as the place where replies go, and returns it. The chat is the
     * registry's messaging group of that id; if there is none, replies have no channel.
     */
    readonly writeRouting: (ref: SessionRef) => Effect.Effect<Routing, SessionNotFound | StorageError>
    /** Replaces the whole list of destinations that the agent may write to. */
    readonly writeDestinations: (
      ref: SessionRef,
      destinations: ReadonlyArray<Destination>
    ) => Effect.Effect<void, InvalidMessage | SessionNotFound | StorageError>
    /**
     * Writes the answer to a question that the agent asked, as a message of kind `system`. `result` must be
     * representable as JSON. Each call writes another message. Nobody checks that the question was asked: an
     * answer that no agent takes is cancelled after `answerExpiry`.
     */
    readonly writeSystemResponse: (
      ref: SessionRef,
      response: {
        readonly questionId: string
        readonly status: string
        readonly result: JsonObject
      }
    ) => Effect.Effect<WrittenMessage, WriteError>
    /**
     * Writes a reply of the host's own, such as a refusal, without waking the agent. It lies in inbound.db,
     * takes the next even number, and goes out with the agent's messages. Ids work as in `writeMessage`. The
     * kinds `system` and `task_log`, which are not delivered, are refused.
     */
    readonly writeOutboundDirect: (
      ref: SessionRef,
      message: DirectMessage
    ) => Effect.Effect<WrittenDirect, InvalidMessage | DuplicateMessage | SessionNotFound | StorageError>
    /**
     * Reads files that a message from the agent declares. An unsafe, missing or too large one is skipped, and
     * the result says why. None if no declared file could be read; the message goes out without files then.
     */
    readonly readOutboxFiles: (
      ref: SessionRef,
      messageId: string,
      names: ReadonlyArray<string>
    ) => Effect.Effect<Option.Option<OutboxFiles>, UnsafePath>
    /** Removes the files of a delivered message. Never fails: a failure to clean up is logged. */
    readonly clearOutbox: (ref: SessionRef, messageId: string) => Effect.Effect<void>
    /** Also sets the session's `lastActive`. */
    readonly markContainerRunning: (ref: SessionRef) => Effect.Effect<void, MarkError>
    readonly markContainerIdle: (ref: SessionRef) => Effect.Effect<void, MarkError>
    readonly markContainerStopped: (ref: SessionRef) => Effect.Effect<void, MarkError>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    SessionManager,
    never,
    | AirlockConfig
    | SessionPaths
    | SessionRegistry
    | SessionDb
    | SessionFolder
    | SessionActivity
    | Leftovers
    | Outbox
    | SafeDirectories
    | SystemCalls
  > = Layer.effect(
    SessionManager,
    Effect.suspend(() => make)
  )
}

/**
 * @since 0.1.0
 * @category errors
 */
export type MarkError = SessionNotFound | SessionDbUnavailable | SessionDbCorrupt

const make = Effect.gen(function* () {
  const settings = yield* AirlockConfig
  const paths = yield* SessionPaths
  const registry = yield* SessionRegistry
  const db = yield* SessionDb
  const folders = yield* SessionFolder
  const activity = yield* SessionActivity
  const leftovers = yield* Leftovers
  const outbox = yield* Outbox

  const now = Effect.map(Clock.currentTimeMillis, Timestamp.format)

  const known = (ref: SessionRef, operation: string) =>
    Effect.flatMap(
      registry.getSession(ref.sessionId),
      Option.match({
        onSome: (session) =>
          session.agentGroupId === ref.agentGroupId
            ? Effect.succeed(session)
            : Effect.fail(notFound(operation, ref)),
        onNone: () => Effect.fail(notFound(operation, ref))
      })
    )

  const newSession = (key: SessionKey) =>
    Effect.gen(function* () {
      const millis = yield* Clock.currentTimeMillis
      const session = new Session({
        sessionId: `sess-${millis}-${yield* randomText}`,
        agentGroupId: key.agentGroupId,
        messagingGroupId: key.messagingGroupId,
        threadId: threadOf(key),
        mode: key.mode,
        agentProvider: null,
        status: "active",
        containerStatus: "stopped",
        lastActive: null,
        createdAt: Timestamp.format(millis)
      })
      // An agent group that cannot name a folder must not get a row either.
      return yield* Effect.as(paths.session(session), session)
    })

  /** Writes where replies go: the session's own chat, as the registry knows it now. */
  const route = Effect.fnUntraced(function* (session: Session, operation: string) {
    const chat =
      session.messagingGroupId === null
        ? Option.none()
        : yield* registry.getMessagingGroup(session.messagingGroupId)
    const routing: Routing = {
      channelType: Option.getOrNull(Option.map(chat, ({ channelType }) => channelType)),
      platformId: Option.getOrNull(Option.map(chat, ({ platformId }) => platformId)),
      threadId: session.threadId
    }
    yield* db.transaction(session, (sql) => Addresses.writeRouting(sql, routing), { operation })
    return routing
  })

  const resolve = Effect.fnUntraced(function* (key: SessionKey) {
    const operation = "SessionManager.resolve"
    const found = yield* registry.findOrCreateSession(key, newSession(key))
    if (!found.created) yield* leftovers.clear(found.session)
    if (found.created || !(yield* folders.isComplete(found.session))) {
      yield* folders.init(found.session, operation)
      yield* route(found.session, operation)
    }
    if (found.created) {
      yield* Effect.logInfo("Session created").pipe(
        Effect.annotateLogs({ sessionId: found.session.sessionId, agentGroupId: key.agentGroupId })
      )
    }
    return found
  }, Tracing.span("SessionManager.resolve"))

  const store = yield* WriteBatches.make({
    before: (ref, operation) => Effect.zipRight(known(ref, operation), leftovers.clear(ref)),
    stored: (ref) =>
      Effect.gen(function* () {
        yield* registry.updateSession(ref, { lastActive: yield* now }).pipe(
          // What is stored is stored, which is what success promises.
          Effect.catchAll((error) => Effect.logWarning("The session's last activity was not noted", error))
        )
        yield* activity.tell("inbound", ref)
      })
  })

  const write = (operation: string, ref: SessionRef, messages: ReadonlyArray<unknown>) =>
    Clock.currentTimeMillis.pipe(
      Effect.flatMap((millis) =>
        Either.all(
          messages.map((message) => MessageDraft.make(message, { operation, now: millis, settings }))
        )
      ),
      Effect.flatMap((drafts) =>
        drafts.length === 0 ? Effect.as(known(ref, operation), []) : store(ref, { operation, drafts })
      )
    )

  const writeOne = (operation: string, ref: SessionRef, message: unknown) =>
    Effect.map(write(operation, ref, [message]), ([written]) => written as WrittenMessage)

  const writeRouting = Effect.fn("SessionManager.writeRouting")(function* (ref: SessionRef) {
    const operation = "SessionManager.writeRouting"
    return yield* route(yield* known(ref, operation), operation)
  })

  const writeDestinations = Effect.fn("SessionManager.writeDestinations")(function* (
    ref: SessionRef,
    destinations: ReadonlyArray<Destination>
  ) {
    const operation = "SessionManager.writeDestinations"
    const checked = yield* Addresses.checkDestinations(destinations, operation)
    yield* known(ref, operation)
    yield* db.transaction(ref, (sql) => Addresses.writeDestinations(sql, checked), { operation })
  })

  const writeSystemResponse = Effect.fn("SessionManager.writeSystemResponse")(function* (
    ref: SessionRef,
    response: { readonly questionId: string; readonly status: string; readonly result: JsonObject }
  ) {
    const operation = "SessionManager.writeSystemResponse"
    const id = `sys-resp-${yield* Clock.currentTimeMillis}-${yield* randomText}`
    const { questionId, result, status } = response
    const content = yield* Effect.try({
      try: () => JSON.stringify({ type: "question_response", questionId, status, result }),
      catch: () => new InvalidMessage({ operation, messageId: id, field: "result", reason: "not-json" })
    })
    return yield* writeOne(operation, ref, { id, kind: "system", content })
  })

  const writeOutboundDirect = Effect.fn("SessionManager.writeOutboundDirect")(function* (
    ref: SessionRef,
    input: DirectMessage
  ) {
    const operation = "SessionManager.writeOutboundDirect"
    const message = yield* DirectReply.check(input, operation, settings.limits)
    yield* known(ref, operation)
    const timestamp = yield* now
    const written = yield* db.transaction(
      ref,
      (sql) => DirectReply.store(sql, message, { timestamp, operation, sessionId: ref.sessionId }),
      { operation }
    )
    yield* activity.tell("direct", ref)
    return written
  })

  const mark = (name: string, containerStatus: ContainerStatus) =>
    Effect.fn(`SessionManager.${name}`)(function* (ref: SessionRef) {
      const lastActive = containerStatus === "running" ? { lastActive: yield* now } : {}
      yield* registry
        .updateSession(ref, { containerStatus, ...lastActive })
        .pipe(Effect.catchTag("SessionNotFound", () => Effect.fail(notFound(`SessionManager.${name}`, ref))))
    })

  return SessionManager.of({
    resolve,
    initFolder: Effect.fn("SessionManager.initFolder")((ref: SessionRef) =>
      folders.init(ref, "SessionManager.initFolder")
    ),
    writeMessage: (ref, message) =>
      Tracing.span("SessionManager.writeMessage")(writeOne("SessionManager.writeMessage", ref, message)),
    writeMessages: Effect.fn("SessionManager.writeMessages")(
      (ref: SessionRef, messages: ReadonlyArray<InboundMessage>) =>
        write("SessionManager.writeMessages", ref, messages)
    ),
    writeRouting,
    writeDestinations,
    writeSystemResponse,
    writeOutboundDirect,
    readOutboxFiles: Effect.fn("SessionManager.readOutboxFiles")(
      (ref: SessionRef, messageId: string, names: ReadonlyArray<string>) =>
        Effect.map(
          outbox.read(ref, messageId, names, "SessionManager.readOutboxFiles"),
          Option.liftPredicate(({ files }) => files.length > 0)
        )
    ),
    clearOutbox: Effect.fn("SessionManager.clearOutbox")((ref: SessionRef, messageId: string) =>
      outbox.clear(ref, messageId, "SessionManager.clearOutbox")
    ),
    markContainerRunning: mark("markContainerRunning", "running"),
    markContainerIdle: mark("markContainerIdle", "idle"),
    markContainerStopped: mark("markContainerStopped", "stopped")
  })
})

const notFound = (operation: string, ref: SessionRef) =>
  new SessionNotFound({ operation, agentGroupId: ref.agentGroupId, sessionId: ref.sessionId })

/** Six characters of `0-9a-z`. */
const randomText = Effect.map(Random.nextIntBetween(0, 36 ** 6), (n) => n.toString(36).padStart(6, "0"))
