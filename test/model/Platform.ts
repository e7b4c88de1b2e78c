/**
 * A chat platform that honours idempotency keys: it shows a message once for each key, however often it is given it. It
 * does with a message what the test has said for its chat or thread.
 */
import type { ChannelAdapter } from "effect-airlock"
import { ChannelAdapter as Channel } from "effect-airlock"
import { Clock, Effect, FiberRef } from "effect"
import type { Answer, Lane, Story } from "./Command.js"
import type { KillSwitch } from "./KillSwitch.js"
import type { Ledger } from "./Ledger.js"

interface Attempt {
  readonly at: number
  /** When the drain began that it came with, by the ledger's count. */
  readonly since: number
  readonly answer: Answer
}

interface Shown {
  readonly key: string
  readonly text: string
  /** When the drain began that it came with, by the ledger's count. */
  readonly since: number
}

export interface Platform {
  readonly answers: Map<Lane, Answer>
  readonly shown: Array<Shown>
  readonly attempts: Map<string, Array<Attempt>>
  /** Messages of which the host said that they are settled, and that therefore must not come again. */
  readonly settled: Set<string>
  /** Not before this time, by key, because the host was told so and lived on. */
  readonly notBefore: Map<string, number>
  /** When a message was last taken out of the list of failures, by key and the ledger's count. */
  readonly redriven: Map<string, number>
  /** Whether a host may die in the middle of an answer. */
  mayKill: boolean
}

/** When the drain began that a fiber works for, by the ledger's count. */
export const drainBegan = FiberRef.unsafeMake(0)

export const make = (): Platform => ({
  answers: new Map(),
  shown: [],
  attempts: new Map(),
  settled: new Set(),
  notBefore: new Map(),
  redriven: new Map(),
  mayKill: true
})

/** "much later" is after so many milliseconds. */
export const muchLater = 2 * 60 * 60 * 1000

const laneOf = ({ platformId, threadId }: ChannelAdapter.Envelope): Lane => {
  if (platformId === "page") return "page"
  if (platformId === "stranger") return "stranger"
  return threadId === null ? "home" : "thread"
}

export const textOf = (content: string): string => (JSON.parse(content) as { readonly text: string }).text

const isShowing = (answer: Answer): boolean =>
  answer === "delivered" || answer.startsWith("shown") || answer.startsWith("one shown")

export const isSafeToRepeat = (answer: Answer): boolean => answer === "later" || answer === "much later"

const judge = (
  platform: Platform,
  ledger: Ledger,
  story: Story,
  envelope: ChannelAdapter.Envelope,
  now: number
): void => {
  const { content, files, idempotencyKey: key, skipped } = envelope
  const text = textOf(content)
  const sent = ledger.outbound.get(text)
  const wrong = (what: string) => void ledger.problems.push(`${text} was handed over, ${what}`)
  if (sent === undefined) return wrong("and nobody sent it")
  if (sent.lane !== laneOf(envelope)) wrong(`but in ${laneOf(envelope)}`)
  if (sent.lane === "stranger" && sent.source === "agent") wrong("to where the agent may not write")
  if ((sent.deliverAfter ?? 0) > now) wrong("before its time")
  const declared = sent.files.map(({ name, text }) => `${name}: ${text}`)
  const given = files.map(({ data, name }) => `${name}: ${Buffer.from(data).toString()}`)
  if (skipped.length > 0 || declared.join() !== given.join()) wrong("without all of its files")
  if (platform.settled.has(key)) wrong("and it was settled before")
  if ((platform.notBefore.get(key) ?? 0) > now) wrong("though the platform had said much later")
  const last = platform.attempts.get(key)?.at(-1)
  if (story.unknownDeliveries === "hold" && last !== undefined && !isSafeToRepeat(last.answer)) {
    wrong("and may have arrived before")
  }
}

const show = (platform: Platform, ledger: Ledger, shown: Shown): void => {
  const before = platform.shown.find(({ text }) => text === shown.text)
  if (before?.key === shown.key) return
  if (before !== undefined) ledger.problems.push(`${shown.text} was shown twice, with two keys`)
  platform.shown.push(shown)
}

/** What a host that is alive, or was, gets to hear. */
export const deliver =
  (platform: Platform, ledger: Ledger, story: Story, life: KillSwitch): ChannelAdapter.Deliver =>
  (envelope) =>
    Effect.gen(function* () {
      life.moment()
      if (!life.isAlive()) return Channel.unknown()
      const at = yield* Clock.currentTimeMillis
      const since = yield* FiberRef.get(drainBegan)
      const key = envelope.idempotencyKey
      const text = textOf(envelope.content)
      judge(platform, ledger, story, envelope, at)
      const isShown = platform.shown.some((one) => one.key === key)
      const asked = platform.answers.get(laneOf(envelope)) ?? "delivered"
      if (asked === "one shown, and of the next host dies") {
        platform.answers.set(laneOf(envelope), "shown, host dies")
      }
      const answer = isShown && asked === "rejected" ? "delivered" : asked
      platform.attempts.set(key, [...(platform.attempts.get(key) ?? []), { at, since, answer }])
      if (isShowing(answer)) show(platform, ledger, { key, text, since })
      if (answer === "shown, host dies" && platform.mayKill) life.dieNow()
      life.moment()
      if (!life.isAlive()) return Channel.unknown()
      switch (answer) {
        case "delivered":
        case "one shown, and of the next host dies":
          return Channel.delivered(`at ${key}`)
        case "later":
          return Channel.tryLater()
        case "much later":
          return Channel.tryLater(muchLater)
        case "rejected":
          return Channel.rejected("the platform does not want it")
        case "unknown":
        case "shown, unknown":
          return Channel.unknown()
        case "throws":
          return yield* Effect.fail("the platform is broken")
        case "shown, throws":
        case "shown, host dies":
          return yield* Effect.die("the platform's client is broken")
        case "hangs":
        case "shown, hangs":
          return yield* Effect.as(life.death, Channel.unknown())
      }
    })
