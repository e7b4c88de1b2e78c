/**
 * The loop over all sessions.
 */
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Stream, TestClock } from "effect"
import { AirlockHost, ContainerRuntime, SessionPaths, Sweep } from "effect-airlock"
import * as Fs from "node:fs"
import * as FilePermit from "../../src/storage/FilePermit.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { asked, logged, on, program } from "./SweepFixtures.js"

/** Lets fibers, and reading and writing, have their turn, without time passing. */
const settle = Effect.repeatN(
  Effect.promise(() => new Promise((resolve) => setImmediate(resolve))),
  50
)

const running = Effect.gen(function* () {
  const { run } = yield* Sweep.Sweep
  return yield* Effect.forkScoped(run)
})

describe("Sweep.run", () => {
  it.effect("looks at every session when it starts", () =>
    Effect.gen(function* () {
      const { containers, write } = yield* program
      const other = yield* on(yield* TestHost.newSession("other"))
      yield* write("hello")
      yield* other.write("hello")
      yield* running
      yield* TestHost.until(() => containers.running.size === 2)
    }).pipe(TestHost.withHost())
  )

  it.effect("looks at agents that run every five seconds, and at all sessions every minute", () =>
    Effect.gen(function* () {
      const busy = yield* program
      const idle = yield* on(yield* TestHost.newSession("idle"))
      let looks = 0
      busy.containers.onStatus = () => Effect.sync(() => looks++)
      yield* busy.write("hello")
      yield* running
      yield* TestHost.until(() => busy.containers.running.size === 1)
      for (let n = 1; n <= 5; n++) {
        yield* TestClock.adjust("4999 millis")
        yield* settle
        expect(looks).toBe(n - 1)
        yield* TestClock.adjust("1 millis")
        yield* TestHost.until(() => looks === n)
      }
      // Somebody else writes, so that nobody tells of it.
      idle.host(`INSERT INTO messages_in (id, seq, kind, timestamp, content)
        VALUES ('hello', 2, 'chat', '1970-01-01T00:00:00.000Z', '')`)
      yield* TestClock.adjust("30 seconds")
      yield* settle
      expect(busy.containers.running.size).toBe(1)
      yield* TestClock.adjust("5 seconds")
      yield* TestHost.until(() => busy.containers.running.size === 2)
    }).pipe(TestHost.withHost())
  )

  it.effect("looks at once when an agent has ended, so that nothing waits that came just before (U5)", () =>
    Effect.gen(function* () {
      const { containers, mailbox, session, statuses, write } = yield* program
      yield* running
      yield* settle
      yield* write("first")
      yield* TestHost.until(() => containers.running.size === 1)
      yield* mailbox.complete(["first"])
      yield* write("second")
      yield* TestHost.until(() => statuses()["first"] === "completed")
      yield* settle
      yield* containers.end(session)
      yield* TestHost.until(() => containers.running.size === 1 && asked(containers).length === 2)
      expect(statuses()).toEqual({ first: "completed", second: "pending" })
    }).pipe(TestHost.withHost())
  )

  it.effect("starts an agent at the very millisecond at which a message is due", () =>
    Effect.gen(function* () {
      const { containers, session, write } = yield* program
      yield* running
      yield* write("odd time", { processAfter: "1970-01-01T00:00:33.337Z" })
      yield* settle
      yield* TestClock.adjust("33336 millis")
      yield* settle
      expect(containers.running.size).toBe(0)
      yield* TestClock.adjust("1 millis")
      yield* TestHost.until(() => containers.running.get(session.sessionId) === 33_337)
    }).pipe(TestHost.withHost())
  )

  it.effect("offers a message again when its time has come, without a look in between", () =>
    Effect.gen(function* () {
      const { containers, mailbox, session, takeAndEnd, write } = yield* program
      yield* running
      yield* settle
      yield* write("hard")
      yield* TestHost.until(() => containers.running.size === 1)
      expect(yield* takeAndEnd).toEqual(["hard"])
      yield* TestHost.until(() => containers.running.size === 1)
      yield* settle
      yield* mailbox.poll
      yield* containers.end(session)
      yield* settle
      yield* TestClock.adjust("4999 millis")
      yield* settle
      expect(asked(containers).length).toBe(2)
      yield* TestClock.adjust("1 millis")
      yield* TestHost.until(() => asked(containers).length === 3)
    }).pipe(TestHost.withHost({ intervals: { sweepRunning: "1 hour", sweepAll: "1 hour" } }))
  )

  it.effect("looks once more when there was word of a session while it was looked at", () =>
    Effect.gen(function* () {
      const { containers, write } = yield* program
      yield* running
      yield* settle
      let looks = 0
      containers.onStatus = () =>
        Effect.gen(function* () {
          if (++looks > 1) return
          yield* Effect.orDie(write("third"))
          yield* settle
        })
      yield* write("first")
      yield* TestHost.until(() => containers.running.size === 1)
      yield* settle
      expect(looks).toBe(0)
      yield* write("second")
      yield* TestHost.until(() => looks === 2)
    }).pipe(TestHost.withHost({ intervals: { sweepRunning: "1 hour", sweepAll: "1 hour" } }))
  )

  it.effect("sees what an agent had finished that ended while it was being started", () =>
    Effect.gen(function* () {
      const { containers, mailbox, session, write } = yield* program
      yield* running
      yield* settle
      containers.onWake = () =>
        Effect.gen(function* () {
          containers.onWake = () => Effect.void
          yield* mailbox.complete(["first"])
          yield* Effect.orDie(write("second"))
          yield* containers.end(session)
        })
      yield* write("first")
      yield* TestHost.until(() => asked(containers).length === 2 && containers.running.size === 1)
    }).pipe(TestHost.withHost({ intervals: { sweepRunning: "1 hour", sweepAll: "1 hour" } }))
  )

  it.effect("goes on with the others while one session is corrupt, and one runtime call hangs (U2)", () =>
    Effect.gen(function* () {
      const corrupt = yield* program
      const hanging = yield* on(yield* TestHost.newSession("hanging"))
      const gone = yield* on(yield* TestHost.newSession("gone"))
      const good = yield* on(yield* TestHost.newSession("good"))
      for (const { write } of [corrupt, hanging, gone, good]) yield* write("hello")
      TestHost.replaceOriginal(corrupt.folder, "nothing of the kind".repeat(1000))
      Fs.rmSync(gone.folder, { recursive: true })
      const { containers } = good
      containers.onWake = ({ sessionId }) =>
        sessionId === hanging.session.sessionId ? Effect.never : Effect.void
      const { lines } = yield* logged(
        Effect.gen(function* () {
          yield* running
          yield* TestHost.until(() => containers.running.has(good.session.sessionId))
          yield* good.mailbox.complete(["hello"])
          yield* containers.end(good.session)
          yield* settle
          yield* good.write("again")
          yield* TestHost.until(() => containers.running.has(good.session.sessionId))
        })
      )
      expect(new Set(lines.map((line) => line.split(" ").slice(0, 6).join(" ")))).toEqual(
        new Set(["Sweep.run: a session was left out"])
      )
      expect(lines.length).toBe(2)
    }).pipe(TestHost.withHost({ concurrency: 1 }))
  )

  it.effect("goes on when the sessions cannot be listed for a while", () =>
    Effect.gen(function* () {
      const { containers, session, write } = yield* program
      const { central } = yield* SessionPaths.SessionPaths
      yield* write("hello")
      const rename = (from: string, to: string) => Raw.exec(central, `ALTER TABLE ${from} RENAME TO ${to}`)
      rename("sessions", "elsewhere")
      const { lines } = yield* logged(
        Effect.gen(function* () {
          yield* running
          yield* settle
        })
      )
      expect(lines).toEqual(["Sweep.run: no list of sessions"])
      rename("elsewhere", "sessions")
      yield* TestClock.adjust("5 seconds")
      yield* TestHost.until(() => containers.running.has(session.sessionId))
    }).pipe(TestHost.withHost())
  )

  it.effect("goes on when the runtime stops telling of exits", () =>
    Effect.gen(function* () {
      const { containers, session, write } = yield* program
      const runtime = ContainerRuntime.ContainerRuntime.of({
        ...(yield* ContainerRuntime.ContainerRuntime),
        exits: Stream.die("bug")
      })
      const layer = Layer.provide(
        Sweep.Sweep.layer,
        Layer.succeed(ContainerRuntime.ContainerRuntime, runtime)
      )
      const sweep = Context.get(yield* Layer.build(layer), Sweep.Sweep)
      yield* Effect.forkScoped(sweep.run)
      yield* settle
      yield* write("hello")
      yield* TestHost.until(() => containers.running.has(session.sessionId))
    }).pipe(TestHost.withHost())
  )

  it.effect("leaves nothing open or running when it is interrupted, wherever it is", () =>
    Effect.gen(function* () {
      const all = yield* Effect.forEach([1, 2, 3, 4], (n) => TestHost.newSession(`chat ${n}`))
      const sessions = yield* Effect.forEach(all, on)
      for (let steps = 0; steps < 200; steps += 7) {
        for (const { write } of sessions) yield* write(`m${steps}`)
        const { run } = yield* Sweep.Sweep
        const fiber = yield* Effect.fork(run)
        yield* Effect.repeatN(Effect.yieldNow(), steps)
        yield* Fiber.interrupt(fiber)
        expect(yield* FilePermit.count).toBe(0)
        const open = Fs.readdirSync("/proc/self/fd").flatMap((fd) => {
          try {
            return [Fs.readlinkSync(`/proc/self/fd/${fd}`)]
          } catch {
            return []
          }
        })
        expect(open.filter((path) => sessions.some(({ folder }) => path.startsWith(folder)))).toEqual([])
        for (const { containers, session } of sessions) yield* containers.end(session)
      }
      // What it was at when it was interrupted is done by the next one.
      yield* TestClock.adjust("1 hour")
      yield* running
      yield* TestHost.until(() =>
        sessions.every(({ containers, session }) => containers.running.has(session.sessionId))
      )
    }).pipe(TestHost.withHost())
  )

  it.effect("is run by the host together with deliveries", () =>
    Effect.gen(function* () {
      const { containers, mailbox, write } = yield* program
      const { envelopes } = yield* TestHost.Channel
      yield* Effect.forkScoped(AirlockHost.run)
      yield* settle
      yield* write("hello")
      yield* TestHost.until(() => containers.running.size === 1)
      yield* mailbox.send({ content: { text: "hi" }, inReplyTo: "hello" })
      yield* TestClock.adjust("1 second")
      yield* TestHost.until(() => Effect.map(envelopes.get, (all) => all.length === 1))
    }).pipe(TestHost.withHost())
  )
})
