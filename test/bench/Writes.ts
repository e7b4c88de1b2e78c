/**
 * The cases in which the host writes to sessions.
 */
import { Effect } from "effect"
import type { Message } from "effect-airlock"
import type { Case } from "./Case.js"
import * as Place from "./Place.js"

let count = 0

const message = (): Message.InboundMessage => ({
  id: `message-${count++}`,
  kind: "chat",
  content: JSON.stringify({ text: "A sentence of the length that people write to each other in a chat." }),
  channelType: "bench",
  platformId: "chat"
})

/** Something that is made anew after it was used so many times. */
const renewed = <A, E>(make: (name: string) => Effect.Effect<A, E>, uses: number) => {
  let current: A | undefined
  let used = 0
  return {
    prepare: Effect.suspend(() =>
      current !== undefined && used++ % uses !== 0
        ? Effect.void
        : Effect.map(make(`chat-${used}`), (made) => (current = made))
    ),
    get: () => {
      if (current === undefined) throw new Error("nothing was prepared")
      return current
    }
  }
}

const single: Case = {
  name: "write-single",
  what: "one `writeMessage` after the other to a session with 0 to 100 messages",
  unit: "µs per message",
  atMost: 1.25,
  rounds: { warmUp: 10, rounds: 50 },
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Place.both("write-single")
    const per = 10
    const mine = renewed(ours.session, 10)
    const theirs = renewed((name) => Effect.sync(() => baseline.newSession(name)), 10)
    return {
      per,
      ours: {
        before: mine.prepare,
        run: Effect.suspend(() => {
          const session = mine.get()
          const one = Effect.suspend(() => ours.manager.writeMessage(session, message()))
          return Effect.repeatN(one, per - 1)
        })
      },
      baseline: {
        before: theirs.prepare,
        run: Effect.sync(() => {
          const session = theirs.get()
          for (let n = 0; n < per; n++) baseline.write(session, message())
        })
      }
    }
  })
}

export const cases: ReadonlyArray<Case> = [single]
