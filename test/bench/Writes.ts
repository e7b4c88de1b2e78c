/**
 * The cases in which the host writes to sessions.
 */
import { Effect } from "effect"
import type { Message } from "effect-airlock"
import type * as Baseline from "./Baseline.js"
import type { Case } from "./Case.js"
import type { Host } from "./Ours.js"
import * as Place from "./Place.js"
import { renewed } from "./Renewed.js"

let count = 0

const message = (): Message.InboundMessage => ({
  id: `message-${count++}`,
  kind: "chat",
  content: JSON.stringify({ text: "A sentence of the length that people write to each other in a chat." }),
  channelType: "bench",
  platformId: "chat"
})

const times = (count: number, run: () => void) =>
  Effect.sync(() => {
    for (let n = 0; n < count; n++) run()
  })

/** A session of each side, both renewed after so many turns. */
const sessions = (ours: Host, baseline: Baseline.Baseline, turns: number) => ({
  mine: renewed(ours.session, turns),
  theirs: renewed((chat) => Effect.sync(() => baseline.newSession(chat)), turns)
})

const single: Case = {
  name: "write-single",
  what: "one `writeMessage` after the other, to a session that has up to 100 messages",
  unit: "µs per message",
  atMost: 1.25,
  rounds: { warmUp: 20, rounds: 160 },
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Place.both("write-single")
    const per = 10
    const { mine, theirs } = sessions(ours, baseline, 100 / per)
    return {
      per,
      ours: {
        before: mine.prepare,
        run: Effect.repeatN(
          Effect.suspend(() => ours.manager.writeMessage(mine.get(), message())),
          per - 1
        )
      },
      baseline: {
        before: theirs.prepare,
        run: times(per, () => baseline.write(theirs.get(), message()))
      }
    }
  })
}

const burst: Case = {
  name: "write-burst",
  what: "100 concurrent `writeMessage` to one new session, beside 100 writes one after the other",
  unit: "µs per 100 messages",
  atMost: 0.1,
  rounds: { warmUp: 5, rounds: 60 },
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Place.both("write-burst")
    const { mine, theirs } = sessions(ours, baseline, 1)
    return {
      per: 1,
      ours: {
        before: mine.prepare,
        run: Effect.suspend(() =>
          Effect.all(
            Array.from({ length: 100 }, () => ours.manager.writeMessage(mine.get(), message())),
            { concurrency: "unbounded" }
          )
        )
      },
      baseline: {
        before: theirs.prepare,
        run: times(100, () => baseline.write(theirs.get(), message()))
      }
    }
  })
}

const spread: Case = {
  name: "write-spread",
  what: "100 concurrent `writeMessage` to 100 sessions that have up to 50 messages, beside 100 writes one after the other",
  unit: "µs per 100 messages",
  atMost: 1.25,
  rounds: { warmUp: 5, rounds: 45 },
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Place.both("write-spread")
    const chats = Array.from({ length: 100 }, (_, index) => `chat-${index}`)
    const mine = yield* Effect.forEach(chats, ours.session)
    const theirs = yield* Effect.sync(() => chats.map(baseline.newSession))
    return {
      per: 1,
      ours: {
        run: Effect.suspend(() =>
          Effect.forEach(mine, (session) => ours.manager.writeMessage(session, message()), {
            concurrency: "unbounded",
            discard: true
          })
        )
      },
      baseline: {
        run: Effect.sync(() => {
          for (const session of theirs) baseline.write(session, message())
        })
      }
    }
  })
}

const attachment: Case = {
  name: "write-attachment",
  what: "one message with 1 MiB of bytes as an attachment, to a session that has up to 20; one fsync more on both sides",
  unit: "µs per message",
  atMost: 1.25,
  rounds: { warmUp: 10, rounds: 150 },
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Place.both("write-attachment")
    const { mine, theirs } = sessions(ours, baseline, 20)
    const data = new Uint8Array(1024 * 1024).map((_, index) => (index * 31) % 251)
    const file = { name: "picture.png", data }
    return {
      per: 1,
      ours: {
        before: mine.prepare,
        run: Effect.suspend(() =>
          ours.manager.writeMessage(mine.get(), {
            ...message(),
            attachments: [{ name: file.name, source: { bytes: data } }]
          })
        )
      },
      baseline: {
        before: theirs.prepare,
        run: times(1, () => baseline.writeWithFile(theirs.get(), message(), file))
      }
    }
  })
}

export const cases = [single, burst, spread, attachment]
