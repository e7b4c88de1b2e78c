/**
 * Everything of `Plants`, planted by another process in a session of its own. What the host does there ends within
 * a second, in a typed error or in clean data; the session beside it goes on; and what is outside stays as it is.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Logger, LogLevel, Option, Ref } from "effect"
import { Delivery, SessionManager, Sweep } from "effect-airlock"
import * as Path from "node:path"
import * as TestHost from "../support/TestHost.js"
import * as Place from "./Place.js"
import { plants } from "./Plants.js"

const millisLimit = Number(process.env["AIRLOCK_HOSTILE_MILLIS"] ?? 1000)

/** In one plant, and in all of them, however many there are. */
const megabytesLimit = 700

const errors = ["UnsafePath", "SessionDbUnavailable", "SessionDbCorrupt"]

/** What an operation came to, in words; a defect is none of them. */
const inWords = <A>(exit: Exit.Exit<A, unknown>, words: (value: A) => string): string =>
  Exit.match(exit, {
    onSuccess: words,
    onFailure: (cause) =>
      Option.match(Cause.failureOption(cause), {
        onNone: () => `a defect: ${Cause.pretty(cause)}`,
        onSome: (error) => {
          const { _tag, reason } = error as { readonly _tag: string; readonly reason: string }
          return errors.includes(_tag) ? `${_tag} ${reason}` : `another error: ${String(error)}`
        }
      })
  })

const program = Effect.gen(function* () {
  const delivery = yield* Delivery.Delivery
  const manager = yield* SessionManager.SessionManager
  const sweep = yield* Sweep.Sweep
  const { envelopes } = yield* TestHost.Channel
  const agent = yield* Place.planter
  const outside = yield* TestHost.temporaryDirectory
  const healthy = yield* Place.session("healthy")
  const mailbox = yield* TestHost.mailboxAt(healthy.folder)

  /** A round trip of the healthy session, as long as something goes on beside it. */
  const healthyMessage = (id: string) =>
    Effect.gen(function* () {
      yield* manager.writeMessage(healthy.ref, { id, kind: "chat", content: "{}" })
      const sent = yield* mailbox.send({ content: { text: id } })
      const { delivered } = yield* delivery.drain(healthy.ref)
      return delivered.includes(sent.id)
    })

  const deliveredBy = (from: string) =>
    Effect.map(Ref.get(envelopes), (all) => all.filter(({ ref }) => ref.sessionId === from))

  return { delivery, manager, sweep, agent, outside, healthyMessage, deliveredBy }
})

/** Every so many-th of the list; 1 is all of it. */
const every = Number(process.env["AIRLOCK_HOSTILE_EVERY"] ?? 3)
const planted = plants.filter((_, n) => n % every === 0)

describe("a session in which there is", () => {
  it.live(
    `any one thing of the list${every === 1 ? "" : `, one in ${every}`}`,
    () =>
      Effect.gen(function* () {
        const { agent, delivery, deliveredBy, healthyMessage, manager, outside, sweep } = yield* program
        yield* healthyMessage("before")
        const rss = process.memoryUsage().rss
        let longest = { name: "", millis: 0 }
        for (const [n, plant] of planted.entries()) {
          const { folder, ref } = yield* Place.session(`hostile-${n}`)
          const canary = Place.canaryAt(Path.join(outside, `canary-${n}`))
          Place.say(folder, "m", 1)
          const untouched = TestHost.contentsOf(canary)
          yield* agent.plant(plant.name, folder, canary)

          const hostile = Effect.gen(function* () {
            const write = yield* Place.timed(
              manager.writeMessage(ref, {
                id: "w",
                kind: "chat",
                content: "{}",
                attachments: [{ name: "a.txt", source: { bytes: Buffer.from("for the agent") } }]
              })
            )
            const drain = yield* Place.timed(delivery.drain(ref))
            const sweeping = yield* Place.timed(sweep.sweep(ref))
            const again = yield* Place.timed(delivery.drain(ref))
            const read = yield* Place.timed(
              manager.readOutboxFiles(ref, "m", ["file", "../../secret", Path.join(canary, "secret")])
            )
            const clear = yield* Place.timed(manager.clearOutbox(ref, "m"))
            return { write, drain, sweeping, again, read, clear }
          })
          const [done, beside] = yield* Effect.all([hostile, Place.timed(healthyMessage(`beside-${n}`))], {
            concurrency: 2
          })
          const sent = yield* deliveredBy(ref.sessionId)
          const drained = inWords(done.drain.exit, ({ delivered, failed }) => {
            if (failed.length > 0) return `failed: ${failed.map(({ reason }) => reason).join(", ")}`
            if (delivered.length === 0) return "nothing"
            const [skipped] = sent[0]?.skipped ?? []
            return skipped === undefined ? "delivered" : `delivered without file: ${skipped.reason}`
          })
          const words = (value: unknown) => (value === undefined ? "" : "fine")
          const seen = {
            name: plant.name,
            drain: drained,
            write: inWords(done.write.exit, () => "stored"),
            others: [
              inWords(done.sweeping.exit, words),
              inWords(done.again.exit, words),
              inWords(done.read.exit, words),
              inWords(done.clear.exit, words)
            ].filter((outcome) => outcome.startsWith("a")),
            tooLong: Object.entries({ ...done, beside }).flatMap(([what, { millis }]) =>
              millis > millisLimit ? [`${what}: ${millis.toFixed(0)} ms`] : []
            ),
            healthy: inWords(beside.exit, (isDelivered) => (isDelivered ? "delivered" : "not delivered")),
            outside: TestHost.contentsOf(canary),
            stolen: sent.some(
              ({ content, files }) =>
                content.includes(Place.secret) ||
                files.some(({ data }) => Buffer.from(data).includes(Place.secret))
            )
          }
          if (process.env["AIRLOCK_HOSTILE_SHOW"] !== undefined) {
            console.log(
              plant.name,
              Object.entries({ ...done, beside })
                .map(([what, { millis }]) => `${what} ${millis.toFixed(0)}`)
                .join(" ")
            )
          }
          expect.soft(seen).toEqual({
            name: plant.name,
            drain: plant.drain,
            write: plant.write,
            others: [],
            tooLong: [],
            healthy: "delivered",
            outside: untouched,
            stolen: false
          })
          for (const { millis } of Object.values(done)) {
            if (millis > longest.millis) longest = { name: plant.name, millis }
          }
          expect.soft((process.memoryUsage().rss - rss) / 2 ** 20, plant.name).toBeLessThan(megabytesLimit)
        }
        console.log(
          `${planted.length} plants of ${plants.length}; the longest operation took ${longest.millis.toFixed(0)} ms (${longest.name})`
        )
      }).pipe(TestHost.withHost({ patience: "300 millis" }), Logger.withMinimumLogLevel(LogLevel.None)),
    180_000
  )
})
