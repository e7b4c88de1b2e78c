/**
 * A thousand sessions in which nothing happens, on both sides, made once for all cases that look at them.
 */
import { Context, Effect, Layer, Scope } from "effect"
import * as History from "./History.js"
import * as Place from "./Place.js"

export const sessions = 1000

/** Messages in each direction. */
const history = 10

const chats = Array.from({ length: sessions }, (_, index) => `chat-${index}`)

const make = Effect.gen(function* () {
  const { baseline, ours } = yield* Place.both("idle")
  yield* Effect.forEach(
    chats,
    (chat) =>
      Effect.gen(function* () {
        yield* History.ofOurs(ours, yield* ours.session(chat), history)
        const session = yield* Effect.sync(() => baseline.newSession(chat))
        yield* History.ofBaseline(session, history)
      }),
    { discard: true }
  )
  // Files that were written within the same tick of the clock do not count as unchanged.
  yield* Effect.sleep("1 second")
  return { baseline, ours, chats }
})

type Sessions = Effect.Effect.Success<typeof make>

export class Idle extends Context.Tag("bench/Idle")<Idle, Effect.Effect<Sessions, unknown>>() {
  static readonly layer = Layer.scoped(
    Idle,
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const place = yield* Place.Place
      return yield* Effect.cached(make.pipe(Effect.provideService(Place.Place, place), Scope.extend(scope)))
    })
  )
}
