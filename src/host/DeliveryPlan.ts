/**
 * What to do about the messages of a session that are not settled: which go out now, in which lanes, which have to
 * wait, and which never will go out. Pure.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Timestamp from "../protocol/Timestamp.js"
import type { Addresses, Origin, Routing } from "./Addresses.js"
import type { Attempted, MessageKey } from "./DeliveryLedger.js"
import { textOf } from "./DeliveryLedger.js"
import type { Entry } from "./OutboundQueue.js"

/**
 * A message that goes out now. `attempt` counts from 1; `returnTo` is the session of the message that it answers, if
 * another agent wrote that.
 *
 * @since 0.1.0
 * @category models
 */
export interface Planned extends MessageKey {
  readonly address: Routing
  readonly lane: string
  readonly attempt: number
  readonly returnTo: string | null
}

/**
 * - `messages`: to be sent, lowest number first; those of one lane one after the other
 * - `failures`: never to be sent, and why
 * - `waiting`: the ids of those that wait for a retry of their own, or of one before them in their lane
 * - `nextAt`: when something is due that is not now, in milliseconds since 1970; infinite if nothing is
 * - `isCut`: there is more to send than the limit allows
 * - `passed`: the busy lanes that something was left in
 *
 * @since 0.1.0
 * @category models
 */
export interface Plan {
  readonly messages: ReadonlyArray<Planned>
  readonly failures: ReadonlyArray<MessageKey & { readonly reason: string }>
  readonly waiting: ReadonlyArray<string>
  readonly nextAt: number
  readonly isCut: boolean
  readonly passed: ReadonlySet<string>
}

/**
 * `busy` are the lanes that somebody is sending in; what is in them is left to them.
 *
 * @since 0.1.0
 * @category models
 */
export interface PlanInput {
  readonly entries: ReadonlyArray<Entry>
  readonly attempted: ReadonlyArray<Attempted>
  readonly addresses: Addresses
  readonly origins: ReadonlyMap<string, Origin>
  readonly busy: ReadonlySet<string>
  readonly now: number
  readonly limit: number
  readonly unknownDeliveries: "resend" | "hold"
}

type Row = NonNullable<Entry["row"]>

const namesNoAddress = (row: Row): boolean => row.channelType === null && row.platformId === null

/** Where a message says that it goes, or the session's own chat if it says nothing. */
const addressOf = (row: Row, { routing }: Addresses): Routing =>
  namesNoAddress(row)
    ? { ...routing, threadId: row.threadId ?? routing.threadId }
    : { channelType: row.channelType, platformId: row.platformId, threadId: row.threadId }

const laneOf = (row: Row, { channelType, platformId, threadId }: Routing): string =>
  row.kind === "system" ? "system" : JSON.stringify([channelType, platformId, threadId])

const instant = (text: string | null): number =>
  text === null ? 0 : Option.getOrElse(Timestamp.parse(text), () => 0)

/**
 * @since 0.1.0
 * @category planning
 */
export const make = (input: PlanInput): Plan => {
  const { addresses, attempted, busy, entries, limit, now, origins, unknownDeliveries } = input
  const tried = new Map(attempted.map((one) => [textOf(one), one]))
  const messages: Array<Planned> = []
  const failures: Array<MessageKey & { readonly reason: string }> = []
  const waiting: Array<string> = []
  const blocked = new Set<string>()
  const passed = new Set<string>()
  let nextAt = Number.POSITIVE_INFINITY
  let isCut = false

  const isAllowed = (entry: Entry, row: Row, address: Routing): boolean => {
    if (entry.source === "direct" || row.kind === "system" || namesNoAddress(row)) return true
    const origin = row.inReplyTo === null ? undefined : origins.get(row.inReplyTo)
    const chats = origin === undefined ? addresses.allowed : [...addresses.allowed, origin]
    return chats.some(
      (chat) => chat.channelType === address.channelType && chat.platformId === address.platformId
    )
  }

  for (const entry of [...entries].sort((a, b) => a.seq - b.seq)) {
    const { id, row, source } = entry
    const before = tried.get(textOf(entry))
    const fail = (reason: string) => failures.push({ source, id, reason })
    if (row === undefined) {
      fail("not a message")
      continue
    }
    const address = addressOf(row, addresses)
    const lane = laneOf(row, address)
    if (busy.has(lane)) {
      passed.add(lane)
      continue
    }
    if (!Timestamp.hasCome(row.deliverAfter, now)) {
      nextAt = Math.min(nextAt, instant(row.deliverAfter))
      continue
    }
    if (blocked.has(lane)) {
      waiting.push(id)
      continue
    }
    if (before?.state === "sending" && unknownDeliveries === "hold") {
      fail("interrupted while it was sent")
      continue
    }
    if (before?.state === "waiting" && instant(before.nextAt) > now) {
      nextAt = Math.min(nextAt, instant(before.nextAt))
      blocked.add(lane)
      waiting.push(id)
      continue
    }
    if (!isAllowed(entry, row, address)) {
      fail("not a destination of this session")
      continue
    }
    if (messages.length === limit) {
      isCut = true
      break
    }
    const returnTo =
      (row.inReplyTo === null ? undefined : origins.get(row.inReplyTo))?.sourceSessionId ?? null
    messages.push({ source, id, address, lane, attempt: (before?.attempts ?? 0) + 1, returnTo })
  }
  return { messages, failures, waiting, nextAt, isCut, passed }
}
