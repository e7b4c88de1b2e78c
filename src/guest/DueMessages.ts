/**
 * Which of the host's messages are due for the agent, and not taken.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type { StorageError } from "../protocol/AirlockError.js"
import type { InboundRow } from "../protocol/Message.js"
import * as Timestamp from "../protocol/Timestamp.js"
import * as Turn from "../storage/Turn.js"
import { Acknowledgements } from "./Acknowledgements.js"
import { Inbound } from "./Inbound.js"

const operation = "Mailbox.poll"

/**
 * The poll of a mailbox. The first one gives up the claims of an earlier run, then does what `clear` is, and it alone
 * sees `onWake` messages.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  window: number,
  clear: Effect.Effect<void>
): Effect.Effect<Effect.Effect<ReadonlyArray<InboundRow>, StorageError>, never, Acknowledgements | Inbound> =>
  Effect.gen(function* () {
    const acknowledgements = yield* Acknowledgements
    const inbound = yield* Inbound
    const hasGivenUp = yield* Ref.make(false)
    const hasPolled = yield* Ref.make(false)
    const turns = Turn.makeQueue()

    const poll = Effect.gen(function* () {
      if (!(yield* Ref.get(hasGivenUp))) {
        yield* acknowledgements.giveUpOthers(operation)
        yield* Ref.set(hasGivenUp, true)
        yield* clear
      }
      // In this order: an acknowledgement is removed only after the message has left the host's list.
      const taken = yield* acknowledgements.all(operation)
      const { pending } = yield* inbound.current(operation)
      const now = yield* Clock.currentTimeMillis
      const isFirst = !(yield* Ref.get(hasPolled))
      const due = pending.filter(
        (row) =>
          !taken.has(row.id) &&
          row.kind !== "system" &&
          (row.onWake === 0 || isFirst) &&
          Timestamp.hasCome(row.processAfter, now)
      )
      yield* Ref.set(hasPolled, true)
      return cut(due, window)
    })

    return Turn.during(turns)(poll)
  })

/**
 * The newest of what is due, as many as the window holds, the oldest first; nothing if all of it is context. However
 * much context came after the newest message, that message has a place.
 */
const cut = (newestFirst: ReadonlyArray<InboundRow>, window: number): ReadonlyArray<InboundRow> => {
  const message = newestFirst.find(({ trigger }) => trigger !== 0)
  if (message === undefined) return []
  const recent = newestFirst.slice(0, window)
  return (recent.includes(message) ? recent : [...recent.slice(0, -1), message]).reverse()
}
