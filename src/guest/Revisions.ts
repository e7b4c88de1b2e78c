/**
 * Changing what was said before: editing a message and reacting to one, named by its number in the session.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { StorageError } from "../protocol/AirlockError.js"
import { InvalidMessage } from "../protocol/AirlockError.js"
import type { JsonObject } from "../protocol/AttachmentContent.js"
import { Inbound } from "./Inbound.js"
import * as InboundTables from "./InboundTables.js"
import type { Sent } from "./Outgoing.js"
import { Outgoing } from "./Outgoing.js"
import { SessionFiles } from "./SessionFiles.js"

/** A message as the channel knows it, and where it is. */
interface Target extends InboundTables.Routing {
  readonly messageId: string
}

type Revise<A> = (seq: number, change: A) => Effect.Effect<Sent, StorageError | InvalidMessage>

/**
 * `edit` gives a message another text, `react` adds an emoji to one. Odd numbers are the agent's own messages,
 * which must have been delivered; even ones are the host's. Any other fails with `InvalidMessage`, reason
 * `unknown-message`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Revisions {
  readonly edit: Revise<string>
  readonly react: Revise<string>
}

const decodeOwn = Schema.decodeUnknownOption(Schema.Struct({ id: Schema.String }))

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<Revisions, never, Inbound | Outgoing | SessionFiles> = Effect.gen(
  function* () {
    const files = yield* SessionFiles
    const inbound = yield* Inbound
    const outgoing = yield* Outgoing

    const sentBefore = Effect.fnUntraced(function* (operation: string, seq: number) {
      const [row] = yield* files.outbound(
        operation,
        (sql) => sql`SELECT id, channel_type, platform_id, thread_id FROM messages_out WHERE seq = ${seq}`
      )
      const own = decodeOwn(row)
      if (Option.isNone(own)) return Option.none<Target>()
      const { id } = own.value
      const [delivered] = yield* files.inbound(operation, (sql) => InboundTables.delivered(sql, [id]))
      return Option.map(Option.fromNullable(delivered?.platformMessageId), (messageId): Target => ({
        ...InboundTables.routing(row),
        messageId
      }))
    })

    const received = (operation: string, seq: number) =>
      Effect.map(
        inbound.withSeq(operation, seq),
        Option.map(({ channelType, id, platformId, threadId }): Target => ({
          messageId: id,
          channelType,
          platformId,
          threadId
        }))
      )

    const revise = Effect.fnUntraced(function* (
      operation: string,
      seq: number,
      content: (messageId: string) => JsonObject
    ) {
      const target = yield* Number.isSafeInteger(seq) && seq % 2 === 0
        ? received(operation, seq)
        : sentBefore(operation, seq)
      if (Option.isNone(target)) {
        return yield* new InvalidMessage({ operation, field: "seq", reason: "unknown-message" })
      }
      const { channelType, messageId, platformId, threadId } = target.value
      return yield* outgoing.post(operation, {
        content: content(messageId),
        channelType: channelType ?? undefined,
        platformId: platformId ?? undefined,
        threadId: threadId ?? undefined
      })
    })

    return {
      edit: Effect.fn("Mailbox.edit")((seq: number, text: string) =>
        revise("Mailbox.edit", seq, (messageId) => ({ operation: "edit", messageId, text }))
      ),
      react: Effect.fn("Mailbox.react")((seq: number, emoji: string) =>
        revise("Mailbox.react", seq, (messageId) => ({ operation: "reaction", messageId, emoji }))
      )
    }
  }
)
