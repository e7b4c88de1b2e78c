/**
 * The cases in which the agent has said one thing more. It is put into outbound.db plainly, outside of the measured time, on
 * both sides.
 */
import { Effect } from "effect"
import type { Baseline } from "./Baseline.js"
import type { Case } from "./Case.js"
import * as History from "./History.js"
import type { Host } from "./Ours.js"
import * as Place from "./Place.js"
import { renewed } from "./Renewed.js"

let count = 0

/** A session gets one message more in each turn; after so many there is a new one. */
const uses = 50

/** How many sessions are drained in a turn, one after the other. */
const sessions = 10

class Drained extends Error {}

interface Session {
  readonly folder: string
  readonly chat: string
}

/** Sessions that get one message more before each turn, in which each is drained. */
const turns = <A extends Session, E>(
  make: (chat: string) => Effect.Effect<A, E>,
  drain: (session: A) => Effect.Effect<number, unknown>
) => {
  const all = Array.from({ length: sessions }, (_, index) =>
    renewed((name) => make(`${name} ${index}`), uses)
  )
  return {
    before: Effect.forEach(
      all,
      (session) =>
        Effect.flatMap(session.prepare, () => {
          const { chat, folder } = session.get()
          return History.say(folder, chat, `more-${count++}`)
        }),
      { discard: true }
    ),
    run: Effect.forEach(
      all,
      (session) =>
        Effect.flatMap(
          Effect.suspend(() => drain(session.get())),
          (delivered) =>
            delivered === 1 ? Effect.void : Effect.fail(new Drained(`${delivered} were delivered`))
        ),
      { discard: true }
    )
  }
}

/** `history` messages each way, all settled. */
const ofOurs = (ours: Host, history: number) =>
  turns(
    (name) =>
      Effect.gen(function* () {
        const chat = `${name} ${history}`
        const ref = yield* ours.session(chat)
        yield* History.ofOurs(ours, ref, history)
        // One drain looks at a few thousand at the most.
        yield* Effect.repeatN(ours.delivery.drain(ref), history / 1000)
        return { chat, ref, folder: yield* ours.folder(ref) }
      }),
    ({ ref }) => Effect.map(ours.delivery.drain(ref), ({ delivered }) => delivered.length)
  )

const ofBaseline = (baseline: Baseline, history: number) =>
  turns(
    (chat) =>
      Effect.gen(function* () {
        const made = yield* Effect.sync(() => baseline.newSession(chat))
        yield* History.ofBaseline(made, history)
        return { ...made, chat: "chat" }
      }),
    (session) => Effect.sync(() => baseline.drain(session, () => {}))
  )

const one: Case = {
  name: "drain-one",
  what: `\`drain\` of one new message, after 100 to 150 each way, in ${sessions} sessions one after the other; ours also commits that it is about to be sent`,
  unit: "µs per message",
  atMost: 1.6,
  rounds: { warmUp: 10, rounds: 100 },
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Place.both("drain-one")
    return { per: sessions, ours: ofOurs(ours, 100), baseline: ofBaseline(baseline, 100) }
  })
}

const long: Case = {
  name: "drain-history",
  what: "the same after 10,000 each way; the baseline is ours after 100",
  unit: "µs per message",
  atMost: 3,
  rounds: { warmUp: 10, rounds: 80 },
  sides: Effect.gen(function* () {
    const { ours } = yield* Place.both("drain-history")
    return { per: sessions, ours: ofOurs(ours, 10_000), baseline: ofOurs(ours, 100) }
  })
}

export const cases = { one, long }
