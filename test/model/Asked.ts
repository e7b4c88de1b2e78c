/**
 * What commands ask for in so many words: the messages themselves, each noted in the ledger before it is written.
 */
import { Effect } from "effect"
import type { Mailbox, Message } from "effect-airlock"
import { Timestamp } from "effect-airlock"
import type { HostDoes, Lane } from "./Command.js"
import type { KillSwitch } from "./KillSwitch.js"
import type { Inbound, Outbound } from "./Ledger.js"
import type { World } from "./World.js"

export const minute = 60_000

/** Notes what somebody is told, if whoever says so is alive to say it. The count of it is `at`. */
export const told = (world: World, life: KillSwitch, note: (at: number) => void): Effect.Effect<void> =>
  Effect.sync(() => {
    if (life.isAlive()) note(++world.ledger.now)
  })

/** One of several, or undefined if there is none. */
export const pick = <A>(all: Iterable<A>, which: number): A | undefined => {
  const list = Array.from(all)
  return list[which % Math.max(1, list.length)]
}

const filesOf = (count: number, owner: string) =>
  Array.from({ length: count }, (_, index) => ({ name: `${index}.txt`, text: `file ${index} of ${owner}` }))

export const newInbound = (
  world: World,
  { afterMinutes, files, isContext, isYearly }: HostDoes & { readonly _tag: "write" },
  now: number
): Inbound => {
  const id = `m${world.ledger.inbound.size + 1}`
  const message: Inbound = {
    id,
    content: JSON.stringify({ text: id }),
    files: filesOf(files, id),
    dueAt: afterMinutes === 0 ? 0 : now + afterMinutes * minute,
    isContext,
    isYearly,
    seq: undefined,
    verdict: undefined,
    maybe: new Set(),
    isTouched: false,
    isPublished: false,
    abandoned: 0,
    mayBeGone: false
  }
  world.ledger.inbound.set(id, message)
  return message
}

export const toWrite = (message: Inbound, content = message.content): Message.InboundMessage => ({
  id: message.id,
  kind: "chat",
  content,
  trigger: message.isContext ? 0 : 1,
  processAfter: message.dueAt === 0 ? null : Timestamp.format(message.dueAt),
  recurrence: message.isYearly ? "0 0 1 1 *" : null,
  attachments: message.files.map(({ name, text }) => ({ name, source: { bytes: Buffer.from(text) } }))
})

const addressOf = (lane: Lane) => {
  switch (lane) {
    case "home":
      return {}
    case "thread":
      return { threadId: "thread" }
    case "page":
      return { channelType: "web", platformId: "page" }
    case "stranger":
      return { channelType: "web", platformId: "stranger" }
  }
}

export const newOutbound = (
  world: World,
  said: {
    readonly source: Outbound["source"]
    readonly lane: Lane
    readonly files?: number
    readonly deliverAfter?: number | undefined
  }
): Outbound => {
  const text = `${said.source}${world.ledger.outbound.size + 1}`
  const message: Outbound = {
    source: said.source,
    text,
    lane: said.lane,
    files: filesOf(said.files ?? 0, text),
    deliverAfter: said.deliverAfter,
    stored: undefined
  }
  world.ledger.outbound.set(text, message)
  return message
}

export const toReply = ({ lane, text }: Outbound): Message.DirectMessage => ({
  id: text,
  kind: "chat",
  content: JSON.stringify({ text }),
  ...addressOf(lane)
})

export const toSend = ({ deliverAfter, files, lane, text }: Outbound): Mailbox.Reply => ({
  content: { text },
  deliverAfter,
  files: files.map(({ name, text }) => ({ name, data: Buffer.from(text) })),
  ...addressOf(lane)
})
