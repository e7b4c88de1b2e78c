/**
 * A message in and its echo out, through an agent in another process, on the same file system.
 */
import { Deferred, Effect, Random } from "effect"
import { ChannelAdapter } from "effect-airlock"
import * as Agents from "./Agents.js"
import type { Case } from "./Case.js"
import * as Ours from "./Ours.js"
import { Place } from "./Place.js"

const interval = 20

/** There is nothing to compare it with: how often both sides look makes most of it. */
export const roundTrip: Case = {
  name: "round-trip",
  what: `from calling \`writeMessage\` to the adapter's getting the echo of an agent in another process; host and agent look every ${interval} ms`,
  unit: "µs per message",
  atMost: undefined,
  rounds: { warmUp: 10, rounds: 200 },
  sides: Effect.gen(function* () {
    const { fresh } = yield* Place
    const waiting = new Map<string, Deferred.Deferred<void>>()
    const ours = yield* Ours.host({
      dataDir: yield* fresh("round-trip"),
      intervals: { deliverRunning: interval },
      deliver: ({ inReplyTo }) =>
        Effect.gen(function* () {
          const answered = waiting.get(inReplyTo ?? "")
          if (answered !== undefined) yield* Deferred.succeed(answered, undefined)
          return ChannelAdapter.delivered()
        })
    })
    const session = yield* ours.session("chat")
    yield* ours.manager.markContainerRunning(session)
    yield* Agents.start([yield* ours.folder(session)], interval)
    yield* Effect.forkScoped(ours.delivery.run)
    let count = 0
    return {
      per: 1,
      ours: {
        // So that a message may come at any time between two looks.
        before: Effect.flatMap(Random.nextIntBetween(0, 2 * interval), (millis) => Effect.sleep(millis)),
        run: Effect.gen(function* () {
          const id = `message-${count++}`
          const answered = yield* Deferred.make<void>()
          waiting.set(id, answered)
          yield* ours.manager.writeMessage(session, { id, kind: "chat", content: `{"text":"${id}"}` })
          yield* Deferred.await(answered)
        }).pipe(Effect.timeout("30 seconds"))
      },
      baseline: undefined
    }
  })
}
