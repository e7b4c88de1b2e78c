/**
 * The cases in which the host writes to sessions.
 */
import type { Scope } from "effect"
import { Effect } from "effect"
import type { Message, Session } from "effect-airlock"
import type * as Baseline from "./Baseline.js"
import type { Case } from "./Case.js"
import * as History from "./History.js"
import type { Side, Sides } from "./Measure.js"
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

/** Waits until the agent's files of sessions have what was written to them. */
const published = (ours: Host, sessions: () => ReadonlyArray<Session.SessionRef>) =>
  Effect.suspend(() => Effect.forEach(sessions(), (session) => ours.db.publish(session), { discard: true }))

interface Told extends Sides {
  readonly ours: Side & { readonly after: Effect.Effect<void, unknown> }
}

/** Two cases: until the writers are told, and until the agent's files have it. */
const both = (
  told: Omit<Case, "sides"> & { readonly sides: Effect.Effect<Told, unknown, Place.Place | Scope.Scope> }
): ReadonlyArray<Case> => [
  told,
  {
    ...told,
    name: told.name.replace("write", "visible"),
    what: "the same, until the agent's file has it",
    atMost: undefined,
    sides: Effect.map(told.sides, ({ ours, ...sides }) => ({
      ...sides,
      ours: { before: ours.before, run: Effect.zipRight(ours.run, ours.after) }
    }))
  }
]

const single = both({
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
        ),
        after: published(ours, () => [mine.get()])
      },
      baseline: {
        before: theirs.prepare,
        run: times(per, () => baseline.write(theirs.get(), message()))
      }
    }
  })
})

const burst = both({
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
        ),
        after: published(ours, () => [mine.get()])
      },
      baseline: {
        before: theirs.prepare,
        run: times(100, () => baseline.write(theirs.get(), message()))
      }
    }
  })
})

const spread = both({
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
        ),
        after: published(ours, () => mine)
      },
      baseline: {
        run: Effect.sync(() => {
          for (const session of theirs) baseline.write(session, message())
        })
      }
    }
  })
})

const attachment = both({
  name: "write-attachment",
  what: "one message with 1 MiB of bytes as an attachment after the other, to a session that has up to 20; one fsync more on both sides",
  unit: "µs per message",
  atMost: 1.25,
  rounds: { warmUp: 10, rounds: 60 },
  sides: Effect.gen(function* () {
    const { baseline, ours } = yield* Place.both("write-attachment")
    const per = 5
    const { mine, theirs } = sessions(ours, baseline, 20 / per)
    const data = new Uint8Array(1024 * 1024).map((_, index) => (index * 31) % 251)
    const file = { name: "picture.png", data }
    return {
      per,
      ours: {
        before: mine.prepare,
        run: Effect.repeatN(
          Effect.suspend(() =>
            ours.manager.writeMessage(mine.get(), {
              ...message(),
              attachments: [{ name: file.name, source: { bytes: data } }]
            })
          ),
          per - 1
        ),
        after: published(ours, () => [mine.get()])
      },
      baseline: {
        before: theirs.prepare,
        run: times(per, () => baseline.writeWithFile(theirs.get(), message(), file))
      }
    }
  })
})

const history: Case = {
  name: "visible-history",
  what: "one `writeMessage` after the other, each until the agent's file has it, after 10,000 each way; the baseline is ours after 100",
  unit: "µs per message",
  atMost: undefined,
  rounds: { warmUp: 5, rounds: 40 },
  sides: Effect.gen(function* () {
    const { ours } = yield* Place.both("visible-history")
    const per = 10
    const side = (messages: number) =>
      Effect.gen(function* () {
        const session = yield* ours.session(`chat-${messages}`)
        yield* History.ofOurs(ours, session, messages)
        const write = Effect.suspend(() => ours.manager.writeMessage(session, message()))
        return { run: Effect.repeatN(Effect.zipRight(write, ours.db.publish(session)), per - 1) }
      })
    return { per, ours: yield* side(10_000), baseline: yield* side(100) }
  })
}

export const cases = [...single, ...burst, ...spread, ...attachment, history]
