/**
 * What the agent does, what it is told, and whether what it is given is what it should be given.
 */
import { Clock, Effect } from "effect"
import type { Message } from "effect-airlock"
import * as Asked from "./Asked.js"
import type { AgentDoes } from "./Command.js"
import type { KillSwitch } from "./KillSwitch.js"
import type { Inbound, Verdict } from "./Ledger.js"
import * as Ledger from "./Ledger.js"
import type { Agent, World } from "./World.js"

/** More messages than this do not fit into one poll. */
const window = 10

interface Content {
  readonly attachments?: ReadonlyArray<{ readonly localPath: string }>
}

const expectFiles = (
  world: World,
  { mailbox }: Agent,
  life: KillSwitch,
  row: Message.InboundRow,
  message: Inbound
) =>
  Effect.gen(function* () {
    const { attachments = [] } = JSON.parse(row.content) as Content
    const found = yield* Effect.forEach(attachments, ({ localPath }) => mailbox.attachment(localPath))
    const texts = found.map((bytes) => Buffer.from(bytes).toString())
    if (life.isAlive() && texts.join() !== message.files.map(({ text }) => text).join()) {
      world.ledger.problems.push(`${message.id} came without all of its files`)
    }
  })

/** Whether a message may be offered. `isFree`: nobody had claimed or finished it when the poll began. */
const judge = (
  world: World,
  message: Inbound | undefined,
  id: string,
  now: number,
  isFree: boolean
): void => {
  const wrong = (what: string) => void world.ledger.problems.push(`${id} is offered, ${what}`)
  if (message === undefined) return wrong("and nobody wrote it")
  if (message.dueAt > now) wrong("before its time")
  if (!isFree) wrong("and it was claimed or finished before")
}

const poll = (world: World, agent: Agent, life: KillSwitch) =>
  Effect.gen(function* () {
    const { ledger } = world
    const now = yield* Clock.currentTimeMillis
    const taken = new Set(
      Array.from(ledger.inbound.values(), ({ id, verdict }) =>
        verdict !== undefined || agent.claimed.has(id) || ledger.finals.has(id) ? id : ""
      )
    )
    const expected = Array.from(ledger.inbound.values()).filter(
      ({ dueAt, isContext, isPublished, isTouched }) =>
        isPublished && dueAt <= now && !isContext && !isTouched
    )
    const rows = yield* agent.mailbox.poll
    if (!life.isAlive()) return
    for (const row of rows) {
      const message = ledger.inbound.get(row.id)
      judge(world, message, row.id, now, !taken.has(row.id))
      if (message !== undefined) yield* expectFiles(world, agent, life, row, message)
    }
    yield* Asked.told(world, life, () => {
      const ids = rows.map(({ id }) => id)
      if (rows.some(({ seq }, index) => (seq ?? 0) <= (rows[index - 1]?.seq ?? 0))) {
        ledger.problems.push(`${ids.join()} are not in order`)
      }
      const missing = expected.filter(({ id, isTouched }) => !isTouched && !ids.includes(id))
      if (rows.length < window && missing.length > 0) {
        ledger.problems.push(`${missing.map(({ id }) => id).join()} should be offered`)
      }
      agent.hands = ids
    })
  })

const touch = (world: World, ids: ReadonlyArray<string>): ReadonlyArray<Inbound> =>
  ids.flatMap((id) => {
    const message = world.ledger.inbound.get(id)
    if (message === undefined) return []
    message.isTouched = true
    return [message]
  })

const claim = (world: World, agent: Agent, life: KillSwitch) =>
  Effect.gen(function* () {
    if (!life.isAlive()) return
    const wanted = agent.hands
    touch(world, wanted)
    for (const id of wanted) agent.holds.add(id)
    const claimed = yield* agent.mailbox.claim(wanted)
    yield* Asked.told(world, life, () => {
      for (const id of claimed) {
        if (agent.claimed.has(id)) world.ledger.problems.push(`${id} was claimed twice`)
        agent.claimed.add(id)
        if (world.ledger.inbound.get(id)?.verdict !== undefined) {
          world.ledger.problems.push(`${id} was claimed after it was finished`)
        }
      }
    })
  })

const finish = (world: World, agent: Agent, life: KillSwitch, verdict: Verdict, ids: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    if (!life.isAlive()) return
    const messages = touch(world, ids)
    for (const message of messages) if (message.verdict === undefined) message.maybe.add(verdict)
    yield* verdict === "completed" ? agent.mailbox.complete(ids) : agent.mailbox.fail(ids)
    yield* Asked.told(world, life, () => {
      for (const message of messages) {
        message.verdict ??= verdict
        agent.claimed.delete(message.id)
        agent.holds.delete(message.id)
      }
    })
  })

const send = (world: World, agent: Agent, life: KillSwitch, message: Ledger.Outbound) =>
  Effect.gen(function* () {
    const stored = Array.from(world.ledger.inbound.values()).filter(
      ({ isPublished, mayBeGone }) => isPublished && !mayBeGone
    )
    const largest = Math.max(0, ...stored.map(({ seq }) => seq ?? 0))
    const { id, seq } = yield* agent.mailbox.send(Asked.toSend(message))
    yield* Asked.told(world, life, (at) => {
      message.stored = { id, seq, at, kills: world.ledger.kills }
      Ledger.numbered(world.ledger, seq, "odd", message.text)
      if (seq < largest) world.ledger.problems.push(`${message.text} is ${seq}, after ${largest}`)
    })
  })

/** What a poll, a claim and an answer to everything come to. */
const work = (world: World, agent: Agent, life: KillSwitch, lane: Ledger.Outbound["lane"]) =>
  Effect.gen(function* () {
    yield* poll(world, agent, life)
    yield* claim(world, agent, life)
    const ids = agent.hands
    if (ids.length > 0) yield* send(world, agent, life, Asked.newOutbound(world, { source: "agent", lane }))
    yield* finish(world, agent, life, "completed", ids)
  })

export const perform = (
  world: World,
  agent: Agent,
  life: KillSwitch,
  does: AgentDoes
): Effect.Effect<void, unknown> => {
  switch (does._tag) {
    case "poll":
      return poll(world, agent, life)
    case "take":
      return Effect.zipRight(poll(world, agent, life), claim(world, agent, life))
    case "claim":
      return claim(world, agent, life)
    case "finish":
      return Effect.gen(function* () {
        if (agent.hands.length === 0) yield* poll(world, agent, life)
        const { hands } = agent
        yield* finish(world, agent, life, does.verdict, does.onlyFirst ? hands.slice(0, 1) : hands)
      })
    case "send":
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const { afterMinutes, files, lane, times } = does
        const deliverAfter = afterMinutes === 0 ? undefined : now + afterMinutes * Asked.minute
        return Effect.repeatN(
          Effect.suspend(() =>
            send(world, agent, life, Asked.newOutbound(world, { source: "agent", lane, files, deliverAfter }))
          ),
          times - 1
        )
      })
    case "work":
      return work(world, agent, life, does.lane)
    case "beat":
      return agent.mailbox.heartbeat
  }
}
