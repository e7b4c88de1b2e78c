/**
 * The cases in which the agent has said one thing more. It is put into outbound.db plainly, outside of the measured time, on
 * both sides.
 */
import { Effect } from "effect"
import type { Case } from "./Case.js"
import * as History from "./History.js"
import type { Host } from "./Ours.js"
import * as Place from "./Place.js"
import { renewed } from "./Renewed.js"

let count = 0

/** Sessions that get one message more after the other; a new one after so many. */
const uses = 50

class Drained extends Error {}

/** A session that has `history` messages each way, all settled, and then one more with each turn. */
const drainOf = (ours: Host, history: number) => {
  const session = renewed(
    (chat) =>
      Effect.gen(function* () {
        const name = `${chat} ${history}`
        const ref = yield* ours.session(name)
        yield* History.ofOurs(ours, ref, history)
        // One drain looks at a few thousand at the most.
        yield* Effect.repeatN(ours.delivery.drain(ref), history / 1000)
        return { chat: name, ref, folder: yield* ours.folder(ref) }
      }),
    uses
  )
  return {
    before: Effect.gen(function* () {
      yield* session.prepare
      const { chat, folder } = session.get()
      yield* History.say(folder, chat, `more-${count++}`)
    }),
    run: Effect.gen(function* () {
      const { delivered } = yield* ours.delivery.drain(session.get().ref)
      if (delivered.length !== 1) return yield* Effect.fail(new Drained(`${delivered.length} were delivered`))
    })
  }
}

const one: Case = {
  name: "drain-one",
  what: "`drain` of one new message, after 100 to 150 each way; ours also commits that it is about to be sent",
  unit: "µs per message",
  atMost: 1.6,
  rounds: { warmUp: 20, rounds: 200 },
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Place.both("drain-one")
    const session = renewed(
      (chat) =>
        Effect.gen(function* () {
          const made = yield* Effect.sync(() => baseline.newSession(chat))
          yield* History.ofBaseline(made, 100)
          return made
        }),
      uses
    )
    return {
      per: 1,
      ours: drainOf(ours, 100),
      baseline: {
        before: Effect.gen(function* () {
          yield* session.prepare
          yield* History.say(session.get().folder, "chat", `more-${count++}`)
        }),
        run: Effect.suspend(() => {
          const delivered = baseline.drain(session.get(), () => {})
          return delivered === 1 ? Effect.void : Effect.fail(new Drained(`${delivered} were delivered`))
        })
      }
    }
  })
}

const long: Case = {
  name: "drain-history",
  what: "the same after 10,000 each way; the baseline is ours after 100",
  unit: "µs per message",
  atMost: 3,
  rounds: { warmUp: 20, rounds: 200 },
  sides: Effect.gen(function* () {
    const { ours } = yield* Place.both("drain-history")
    return { per: 1, ours: drainOf(ours, 10_000), baseline: drainOf(ours, 100) }
  })
}

export const cases = { one, long }
