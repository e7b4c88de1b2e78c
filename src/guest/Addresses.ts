/**
 * Where a message of the agent goes.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { StorageError } from "../protocol/AirlockError.js"
import { InvalidMessage } from "../protocol/AirlockError.js"
import type { Destination, InboundRow } from "../protocol/Message.js"
import { Inbound } from "./Inbound.js"
import type { Routing } from "./InboundTables.js"

/**
 * How the agent says where a message goes; the first of these that it says anything about decides.
 *
 * - `to`: the name of a destination
 * - `channelType` and `platformId`: a channel, and a chat there
 * - `inReplyTo`: the id of a message; the answer goes to where that came from, if it came from anywhere
 *
 * Without any, the host sends it to the session's own chat. `threadId` is a thread there.
 *
 * @since 0.1.0
 * @category models
 */
export interface Addressed {
  readonly to?: string | undefined
  readonly channelType?: string | undefined
  readonly platformId?: string | undefined
  readonly threadId?: string | undefined
  readonly inReplyTo?: string | undefined
}

const ofDestination = (destination: Destination): Omit<Routing, "threadId"> =>
  destination.type === "agent"
    ? { channelType: "agent", platformId: destination.agentGroupId }
    : { channelType: destination.channelType, platformId: destination.platformId }

const isFromSomewhere = (row: InboundRow): boolean => row.channelType !== null && row.platformId !== null

/**
 * Finds addresses. A destination that the host has not listed fails with `InvalidMessage`, reason
 * `unknown-destination`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<
  (operation: string, message: Addressed) => Effect.Effect<Routing, StorageError | InvalidMessage>,
  never,
  Inbound
> = Effect.gen(function* () {
  const inbound = yield* Inbound

  return Effect.fnUntraced(function* (operation: string, message: Addressed) {
    const { channelType = null, inReplyTo, platformId = null, threadId = null, to } = message
    if (to !== undefined) {
      const { destinations } = yield* inbound.current(operation)
      const destination = destinations.find(({ name }) => name === to)
      if (destination === undefined) {
        return yield* new InvalidMessage({ operation, field: "to", reason: "unknown-destination" })
      }
      return { ...ofDestination(destination), threadId }
    }
    if (channelType === null && platformId === null && inReplyTo !== undefined) {
      const origin = Option.filter(yield* inbound.withId(operation, inReplyTo), isFromSomewhere)
      if (Option.isSome(origin)) {
        const { value } = origin
        return {
          channelType: value.channelType,
          platformId: value.platformId,
          threadId: threadId ?? value.threadId
        }
      }
    }
    return { channelType, platformId, threadId }
  })
})
