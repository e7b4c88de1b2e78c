/**
 * The agent's side of a session: reading what is due, claiming it, answering, and saying when it is done.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type {
  InvalidMessage,
  SessionDbUnavailable,
  StorageError,
  UnsafeAttachmentName
} from "../protocol/AirlockError.js"
import type { Destination, InboundRow } from "../protocol/Message.js"
import type { Durability } from "../storage/Durability.js"
import * as StorageLayer from "../storage/StorageLayer.js"
import { Acknowledgements } from "./Acknowledgements.js"
import * as DueMessages from "./DueMessages.js"
import * as Heartbeat from "./Heartbeat.js"
import { Inbound } from "./Inbound.js"
import type { Routing } from "./InboundTables.js"
import * as InboxFiles from "./InboxFiles.js"
import * as Outbox from "./Outbox.js"
import type { Reply, Sent } from "./Outgoing.js"
import { Outgoing } from "./Outgoing.js"
import type { Answer, Question } from "./Questions.js"
import * as Questions from "./Questions.js"
import * as Retention from "./Retention.js"
import * as Revisions from "./Revisions.js"
import type { Handler, ServeOptions } from "./Serve.js"
import * as Serve from "./Serve.js"
import { SessionFiles } from "./SessionFiles.js"
import type { SessionState } from "./SessionState.js"
import * as State from "./SessionState.js"
import type { Tool } from "./ToolUse.js"
import * as ToolUse from "./ToolUse.js"

export type { Durability } from "../storage/Durability.js"
export type { Addressed } from "./Addresses.js"
export type { Routing } from "./InboundTables.js"
export type { OutboxFile } from "./Outbox.js"
export type { PlainReply, Reply, Sent } from "./Outgoing.js"
export type { Answer, Question } from "./Questions.js"
export type { Handler, ServeOptions } from "./Serve.js"
export type { SessionState } from "./SessionState.js"
export type { Tool } from "./ToolUse.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface MailboxOptions {
  /** The absolute path at which the session folder is mounted. Default `/workspace`. */
  readonly directory?: string | undefined
  /** How many messages one poll returns at most: the most recent ones. Default 10. */
  readonly window?: number | undefined
  /** How often `serve` looks for messages and `ask` for an answer. Default 500 milliseconds. */
  readonly pollInterval?: Duration.DurationInput | undefined
  /**
   * How long to wait for a file that is locked or keeps changing. Default 5 seconds. An inbound.db beside which a host that
   * writes in place was killed takes two seconds to read, so with less patience it is not read.
   */
  readonly patience?: Duration.DurationInput | undefined
  /** What survives what: `process` (the default), a killed process; `power`, a loss of power as well. See `Durability`. */
  readonly durability?: Durability | undefined
  /** The largest inbound.db that is copied, and the largest attachment that is read. Default 256 MiB. */
  readonly limitBytes?: number | undefined
}

/**
 * The mailbox of one session. One process polls; others may send, ask and claim beside it. What an earlier run
 * of the agent had claimed and not finished is offered again, because the first poll gives those claims up; that poll also
 * removes what earlier runs left in the outbox.
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
     * questions, and not returned. Only the first poll sees `onWake` messages. While nothing changes, a poll opens
     * no database.
     */
    readonly poll: Effect.Effect<ReadonlyArray<InboundRow>, StorageError>
    /**
     * Says that the agent works on these messages, so that no poll returns them. Answers those that this call
     * claimed: the rest had been claimed or finished before.
     */
    readonly claim: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<string>, StorageError>
    /** Says that these messages are done, whether or not they were claimed. What is finished stays as it is. */
    readonly complete: (ids: ReadonlyArray<string>) => Effect.Effect<void, StorageError>
    /** Says that the agent could not process these messages. What is finished stays as it is. */
    readonly fail: (ids: ReadonlyArray<string>) => Effect.Effect<void, StorageError>
    /** Gives back those of these messages that this mailbox claimed and has not finished. */
    readonly release: (ids: ReadonlyArray<string>) => Effect.Effect<void, StorageError>
    /**
     * Sends a message. Its files are in `outbox/<id>/` before the row that names them is visible. Content that JSON
     * cannot hold (a function, a cycle, NaN) fails with `InvalidMessage`.
     */
    readonly send: (reply: Reply) => Effect.Effect<Sent, StorageError | UnsafeAttachmentName | InvalidMessage>
    /** Asks, and waits for the answer. None if there is none in time. */
    readonly ask: (question: Question) => Effect.Effect<Option.Option<Answer>, StorageError | InvalidMessage>
    /**
     * Gives the message with this number another text. Fails with `InvalidMessage` if there is none, or it is the
     * agent's and not delivered yet.
     */
    readonly edit: (seq: number, text: string) => Effect.Effect<Sent, StorageError | InvalidMessage>
    /** Reacts to the message with this number. Fails as `edit` does. */
    readonly react: (seq: number, emoji: string) => Effect.Effect<Sent, StorageError | InvalidMessage>
    /** The session's own chat and thread, where messages go that have no address. */
    readonly routing: Effect.Effect<Routing, StorageError>
    /** To whom the agent may write, by name. */
    readonly destinations: Effect.Effect<ReadonlyArray<Destination>, StorageError>
    /** The agent's own keys and values. */
    readonly state: SessionState
    /**
     * Shows the host which tool the agent uses while an effect runs, whatever becomes of it. Of several at a time
     * the last one that was started and still runs is shown.
     */
    readonly duringTool: (
      tool: Tool
    ) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | StorageError, R>
    /** The bytes of an attachment, by the `localPath` that the message's content names. */
    readonly attachment: (localPath: string) => Effect.Effect<Uint8Array, StorageError>
    /** Shows that the agent lives, by touching a file. */
    readonly heartbeat: Effect.Effect<void, StorageError>
    /**
     * Polls, claims, and hands the handler what it claimed, again and again. What the handler has not finished
     * itself is completed when it succeeds, and failed when it fails or dies; that is logged, and the loop goes
     * on. So it does when a file cannot be read or written. Meanwhile it beats, and once an hour removes what both
     * sides are done with. Interrupted, it interrupts the handler and gives back what it had claimed.
     */
    readonly serve: <E, R>(handler: Handler<E, R>, options?: ServeOptions) => Effect.Effect<void, never, R>
  }
>() {
  /**
   * On the session folder as the container sees it.
   *
   * @since 0.1.0
   */
  static readonly layer = (options: MailboxOptions = {}): Layer.Layer<Mailbox, SessionDbUnavailable> =>
    Layer.provide(layerWithoutStorage(options), StorageLayer.layer)
}

const make = Effect.fnUntraced(function* ({ pollInterval = "500 millis", window = 10 }: MailboxOptions) {
  const interval = Duration.decode(pollInterval)
  const acknowledgements = yield* Acknowledgements
  const inbound = yield* Inbound
  const outgoing = yield* Outgoing
  const outbox = yield* Outbox.make
  const poll = yield* DueMessages.make(window, Effect.ignoreLogged(outbox.clear("Mailbox.poll")))
  const heartbeat = yield* Heartbeat.make
  const prune = yield* Retention.make

  return Mailbox.of({
    poll,
    claim: (ids) => acknowledgements.claim("Mailbox.claim", ids),
    complete: (ids) => acknowledgements.finish("Mailbox.complete", ids, "completed"),
    fail: (ids) => acknowledgements.finish("Mailbox.fail", ids, "failed"),
    release: (ids) => acknowledgements.release("Mailbox.release", ids),
    send: Effect.fn("Mailbox.send")((reply: Reply) => outgoing.send("Mailbox.send", reply)),
    ask: yield* Questions.make(interval),
    ...(yield* Revisions.make),
    routing: Effect.map(inbound.current("Mailbox.routing"), ({ routing }) => routing),
    destinations: Effect.map(inbound.current("Mailbox.destinations"), ({ destinations }) => destinations),
    state: yield* State.make,
    duringTool: yield* ToolUse.make,
    attachment: yield* InboxFiles.make,
    heartbeat,
    serve: yield* Serve.make({ poll, heartbeat, prune, pollInterval: interval })
  })
})

/** @internal */
export const layerWithoutStorage = (
  options: MailboxOptions
): Layer.Layer<Mailbox, never, StorageLayer.Storage> =>
  Layer.effect(Mailbox, make(options)).pipe(
    Layer.provide(Layer.provideMerge(Outgoing.layer, Layer.merge(Inbound.layer, Acknowledgements.layer))),
    Layer.provide(
      SessionFiles.layer({
        directory: options.directory ?? "/workspace",
        patience: Duration.decode(options.patience ?? "5 seconds"),
        durability: options.durability ?? "process",
        limit: options.limitBytes ?? 256 * 1024 * 1024
      })
    )
  )
