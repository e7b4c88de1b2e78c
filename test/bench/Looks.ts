/**
 * The cases in which nothing happens: looking at sessions that have nothing new, finding one, opening its database.
 */
import { Effect } from "effect"
import * as Baseline from "./Baseline.js"
import type { Case } from "./Case.js"
import { Idle, sessions } from "./Idle.js"
import { keyOf } from "./Ours.js"
import * as Place from "./Place.js"

const looks = { warmUp: 6, rounds: 40 }

const poll: Case = {
  name: "poll-idle",
  what: `one look at ${sessions} sessions with 10 messages each way and nothing new, beside opening both files of each`,
  unit: "µs per session",
  atMost: 0.05,
  rounds: looks,
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Effect.flatten(Idle)
    return {
      per: sessions,
      ours: { run: ours.delivery.drainAll },
      baseline: { run: Effect.sync(() => baseline.drainAll(() => {})) }
    }
  })
}

const sweep: Case = {
  name: "sweep-idle",
  what: `one sweep of the same ${sessions} sessions`,
  unit: "µs per session",
  atMost: 0.1,
  rounds: looks,
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Effect.flatten(Idle)
    return {
      per: sessions,
      ours: { run: ours.sweep.sweepAll },
      baseline: { run: Effect.sync(() => baseline.sweepAll()) }
    }
  })
}

const resolve: Case = {
  name: "resolve-hit",
  what: "`resolve` of sessions that exist, one after the other",
  unit: "µs per session",
  atMost: 5,
  rounds: { warmUp: 10, rounds: 100 },
  sides: Effect.gen(function* () {
    const { baseline, chats, ours } = yield* Effect.flatten(Idle)
    const some = chats.slice(0, 100)
    return {
      per: some.length,
      ours: { run: Effect.forEach(some, (chat) => ours.manager.resolve(keyOf(chat)), { discard: true }) },
      baseline: {
        run: Effect.sync(() => {
          for (const chat of some) baseline.resolve(chat)
        })
      }
    }
  })
}

const handle: Case = {
  name: "open-handle",
  what: "`SessionDb.inbound`, acquired and released, beside opening a file, setting it up and closing it",
  unit: "µs per handle",
  atMost: undefined,
  rounds: { warmUp: 10, rounds: 100 },
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Place.both("open-handle")
    const session = yield* ours.session("chat")
    const { folder } = yield* Effect.sync(() => baseline.newSession("chat"))
    const per = 20
    return {
      per,
      ours: { run: Effect.repeatN(Effect.scoped(ours.db.inbound(session)), per - 1) },
      baseline: {
        run: Effect.sync(() => {
          for (let n = 0; n < per; n++) Baseline.openInbound(folder).close()
        })
      }
    }
  })
}

export const cases = { poll, sweep, resolve, handle }
