import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Logger, Ref, TestClock } from "effect"
import { ChannelAdapter, Delivery, SessionDb, SessionManager } from "effect-airlock"
import * as Fs from "node:fs"
import { SessionActivity } from "../../src/host/SessionActivity.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { byText, program, textOf } from "./DeliveryFixtures.js"
import { logged } from "./SweepFixtures.js"

const stuck: ReadonlyArray<readonly [string, Effect.Effect<ChannelAdapter.Outcome, unknown>]> = [
  ["always says later", Effect.succeed(ChannelAdapter.tryLater())],
  ["fails", Effect.fail("offline")],
  ["dies", Effect.die("bug")],
  ["never answers", Effect.never]
]

describe("lanes", () => {
  for (const [name, outcome] of stuck) {
    it.effect(`go on at full speed beside one whose adapter ${name}`, () =>
      Effect.gen(function* () {
        const { answer, drain, envelopes, say, texts } = yield* program
        yield* answer(byText({ stuck: outcome }))
        yield* say("stuck", { threadId: "a" })
        yield* say("after", { threadId: "a" })
        yield* say("other", { threadId: "b" })
        const first = yield* Effect.fork(drain)
        yield* TestHost.until(() => Effect.map(envelopes, (all) => all.length === 2))
        for (const text of ["one", "two", "three"]) {
          yield* say(text, { threadId: "b" })
          // The first drain may still have the lane in hand for an instant.
          yield* TestHost.until(() =>
            Effect.zipRight(
              drain,
              Effect.map(texts, (all) => all.includes(text))
            )
          )
        }
        expect((yield* texts).filter((text) => text !== "stuck")).toEqual(["other", "one", "two", "three"])
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(first)
      }).pipe(TestHost.withHost())
    )
  }

  it.effect("are left to the drain that has them in hand", () =>
    Effect.gen(function* () {
      const { answer, drain, envelopes, say, texts } = yield* program
      const gate = yield* Ref.make<ReadonlyArray<string>>([])
      yield* answer((envelope) =>
        Effect.zipRight(
          TestHost.until(() => Effect.map(Ref.get(gate), (open) => open.includes(textOf(envelope)))),
          Effect.succeed(ChannelAdapter.delivered())
        )
      )
      yield* say("one")
      const first = yield* Effect.fork(drain)
      yield* TestHost.until(() => Effect.map(envelopes, (all) => all.length === 1))
      yield* say("two")
      expect(yield* drain).toEqual({ delivered: [], failed: [], waiting: [] })
      yield* Ref.set(gate, ["one", "two"])
      yield* Fiber.join(first)
      yield* drain
      expect(yield* texts).toEqual(["one", "two"])
    }).pipe(TestHost.withHost())
  )
})

describe("Delivery.run", () => {
  /** Sessions by name, each with something to say. */
  const speaking = (name: string) =>
    Effect.gen(function* () {
      const session = yield* TestHost.newSession(name)
      const mailbox = yield* TestHost.mailboxAt(yield* TestHost.folderOf(session))
      const say = (text: string) => mailbox.send({ content: { text } })
      return { session, say }
    })

  const seen = Effect.gen(function* () {
    const { envelopes } = yield* TestHost.Channel
    return (text: string) => Effect.map(Ref.get(envelopes), (all) => all.some((one) => textOf(one) === text))
  })

  it.effect("drains everything at its start, running sessions every second, and all every minute", () =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const manager = yield* SessionManager.SessionManager
      const arrived = yield* seen
      const runs = yield* speaking("runs")
      const rests = yield* speaking("rests")
      yield* manager.markContainerRunning(runs.session)
      yield* runs.say("first")
      yield* rests.say("second")
      yield* Effect.forkScoped(delivery.run)
      yield* TestHost.until(() => arrived("first"))
      yield* TestHost.until(() => arrived("second"))
      yield* runs.say("third")
      yield* rests.say("fourth")
      yield* TestClock.adjust("1 second")
      yield* TestHost.until(() => arrived("third"))
      expect(yield* arrived("fourth")).toBe(false)
      yield* TestClock.adjust("59 seconds")
      yield* TestHost.until(() => arrived("fourth"))
    }).pipe(TestHost.withHost())
  )

  it.effect("delivers a direct reply at once, and what an agent wrote before it ended (U5)", () =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const manager = yield* SessionManager.SessionManager
      const arrived = yield* seen
      const { say, session } = yield* speaking("one")
      yield* say("start")
      yield* Effect.forkScoped(delivery.run)
      yield* TestHost.until(() => arrived("start"))
      yield* manager.writeOutboundDirect(session, { id: "d", kind: "chat", content: `{"text":"direct"}` })
      yield* TestHost.until(() => arrived("direct"))

      yield* manager.markContainerRunning(session)
      yield* TestClock.adjust("1 minute")
      yield* say("running")
      yield* TestClock.adjust("1 second")
      yield* TestHost.until(() => arrived("running"))
      yield* say("last words")
      yield* manager.markContainerStopped(session)
      yield* TestClock.adjust("1 second")
      yield* TestHost.until(() => arrived("last words"))
    }).pipe(TestHost.withHost())
  )

  it.effect("tries again when the time has come, also where no container runs", () =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const { answer, envelopes } = yield* TestHost.Channel
      const { say, session } = yield* speaking("one")
      yield* Ref.set(answer, () => Effect.succeed(ChannelAdapter.tryLater("7 seconds")))
      yield* say("hello")
      yield* Effect.forkScoped(delivery.run)
      const attempts = (n: number) => Effect.map(Ref.get(envelopes), (all) => all.length === n)
      yield* TestHost.until(() => attempts(1))
      yield* TestHost.until(() =>
        Effect.map(delivery.attempted(session), ([first]) => first?.state === "waiting")
      )
      // The loop sets its alarm after that.
      yield* TestHost.pause
      yield* TestClock.adjust("6999 millis")
      expect(yield* attempts(1)).toBe(true)
      yield* TestClock.adjust("1 milli")
      yield* TestHost.until(() => attempts(2))
    }).pipe(TestHost.withHost())
  )

  it.effect("keeps other sessions at full speed beside more stuck ones than it has places", () =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const { answer } = yield* TestHost.Channel
      const arrived = yield* seen
      yield* Ref.set(answer, byText({ stuck: Effect.never }))
      for (const name of ["a", "b", "c", "d", "e"]) yield* (yield* speaking(name)).say("stuck")
      const free = yield* TestHost.newSession("free", "other")
      const mailbox = yield* TestHost.mailboxAt(yield* TestHost.folderOf(free))
      yield* Effect.forkScoped(delivery.run)
      yield* TestHost.until(() => arrived("stuck"))
      const manager = yield* SessionManager.SessionManager
      yield* manager.markContainerRunning(free)
      for (const text of ["one", "two", "three"]) {
        yield* mailbox.send({ content: { text } })
        yield* TestClock.adjust("1 second")
        yield* TestHost.until(() => arrived(text))
      }
    }).pipe(TestHost.withHost({ concurrency: 2 }))
  )

  it.effect(
    "keeps a session at full speed beside more stuck ones of its own channel than it has places",
    () =>
      Effect.gen(function* () {
        const delivery = yield* Delivery.Delivery
        const { answer } = yield* TestHost.Channel
        const arrived = yield* seen
        yield* Ref.set(answer, byText({ stuck: Effect.never }))
        for (const name of ["a", "b", "c", "d", "e"]) yield* (yield* speaking(name)).say("stuck")
        yield* Effect.forkScoped(delivery.run)
        yield* TestHost.until(() => arrived("stuck"))
        yield* TestHost.pause
        const free = yield* speaking("free")
        const manager = yield* SessionManager.SessionManager
        yield* manager.markContainerRunning(free.session)
        for (const text of ["one", "two", "three"]) {
          yield* free.say(text)
          yield* TestClock.adjust("1 second")
          yield* TestHost.until(() => arrived(text))
        }
      }).pipe(TestHost.withHost({ concurrency: 2 }))
  )

  it.effect("delivers a direct reply as soon as what is sent before it in its chat has gone", () =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const manager = yield* SessionManager.SessionManager
      const { answer } = yield* TestHost.Channel
      const arrived = yield* seen
      const gate = yield* Deferred.make<ChannelAdapter.Outcome>()
      yield* Ref.set(answer, byText({ slow: Deferred.await(gate) }))
      const { say, session } = yield* speaking("one")
      yield* say("slow")
      yield* Effect.forkScoped(delivery.run)
      yield* TestHost.until(() => arrived("slow"))
      yield* manager.writeOutboundDirect(session, { id: "d", kind: "chat", content: `{"text":"direct"}` })
      yield* TestHost.pause
      expect(yield* arrived("direct")).toBe(false)
      yield* Deferred.succeed(gate, ChannelAdapter.delivered())
      yield* TestHost.until(() => arrived("direct"))
    }).pipe(TestHost.withHost())
  )

  it.effect("keeps the time of one lane's retry when another lane of the session is done", () =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const manager = yield* SessionManager.SessionManager
      const { answer, envelopes } = yield* TestHost.Channel
      const gate = yield* Deferred.make<ChannelAdapter.Outcome>()
      yield* Ref.set(
        answer,
        byText({ slow: Deferred.await(gate), direct: Effect.succeed(ChannelAdapter.tryLater("7 seconds")) })
      )
      const times = (text: string) =>
        Effect.map(Ref.get(envelopes), (all) => all.filter((one) => textOf(one) === text).length)
      const { say, session } = yield* speaking("one")
      yield* say("slow")
      yield* Effect.forkScoped(delivery.run)
      yield* TestHost.until(() => Effect.map(times("slow"), (n) => n === 1))
      yield* manager.writeOutboundDirect(session, {
        id: "d",
        kind: "chat",
        content: `{"text":"direct"}`,
        threadId: "other"
      })
      const stateOf = (state: string) =>
        Effect.map(delivery.attempted(session), (all) => all.some((one) => one.state === state))
      yield* TestHost.until(() => stateOf("waiting"))
      yield* TestHost.pause
      yield* Deferred.succeed(gate, ChannelAdapter.delivered())
      yield* TestHost.until(() => Effect.map(stateOf("sending"), (is) => !is))
      yield* TestHost.pause
      yield* TestClock.adjust("7 seconds")
      yield* TestHost.until(() => Effect.map(times("direct"), (n) => n === 2))
    }).pipe(TestHost.withHost())
  )

  it.effect("ends at once when it is interrupted, also what it began because of word meanwhile", () =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const { answer } = yield* TestHost.Channel
      const arrived = yield* seen
      yield* Ref.set(answer, () => Effect.never)
      const activity = yield* SessionActivity
      const db = yield* SessionDb.SessionDb
      const { say, session } = yield* speaking("one")
      const folder = yield* TestHost.folderOf(session)
      yield* say("start")
      const fiber = yield* Effect.fork(delivery.run)
      yield* TestHost.until(() => arrived("start"))
      // While the file is held here, one look waits for it, and the next has to be begun by the end of that one.
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* db.inbound(session)
          for (const n of [1, 2]) {
            Raw.exec(
              `${folder}/outbound.db`,
              `INSERT INTO messages_out (id, seq, timestamp, kind, thread_id, content)
               VALUES ('m${n}', ${100 + n}, '2026-01-01T00:00:00.000Z', 'chat', '${n}', '{"text":"late ${n}"}')`
            )
            yield* activity.tell("direct", session)
            yield* TestHost.pause
          }
        })
      )
      yield* TestHost.until(() => arrived("late 2"))
      yield* Fiber.interrupt(fiber)
    }).pipe(TestHost.withHost({ limits: { drainMessages: 1 } }))
  )

  it.effect("logs which session it could not drain (U2)", () =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const arrived = yield* seen
      const broken = yield* speaking("broken")
      Fs.writeFileSync(`${yield* TestHost.folderOf(broken.session)}/outbound.db`, "no database")
      yield* (yield* speaking("good")).say("good")
      const { lines } = yield* logged(
        Effect.gen(function* () {
          const fiber = yield* Effect.fork(delivery.run)
          yield* TestHost.until(() => arrived("good"))
          yield* TestHost.pause
          yield* Fiber.interrupt(fiber)
        })
      )
      expect(lines).toEqual([
        `Delivery.run: a session was left out agentGroupId=agent sessionId=${broken.session.sessionId}`
      ])
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "tells once of trouble that stays as it is, and again when it is another one, or comes back",
    () =>
      Effect.gen(function* () {
        const delivery = yield* Delivery.Delivery
        const { session } = yield* speaking("broken")
        const path = `${yield* TestHost.folderOf(session)}/outbound.db`
        const whole = Fs.readFileSync(path)
        yield* Effect.flatMap(SessionManager.SessionManager, (manager) =>
          manager.markContainerRunning(session)
        )
        const told: Array<string> = []
        const logger = Logger.make<unknown, void>(({ message }) => {
          if (String(message).includes("was left out")) told.push(String(message))
        })
        yield* Effect.fork(Effect.provide(delivery.run, Logger.replace(Logger.defaultLogger, logger)))
        const during = (bytes: string | Buffer) =>
          Effect.gen(function* () {
            Fs.writeFileSync(path, bytes)
            const before = told.length
            for (let second = 0; second < 5; second++) {
              yield* TestClock.adjust("1 second")
              yield* TestHost.pause
            }
            return told.slice(before)
          })
        expect(yield* during("no database")).toEqual([expect.stringContaining("not-a-database")])
        expect(yield* during(whole)).toEqual([])
        expect(yield* during("no database")).toEqual([expect.stringContaining("not-a-database")])
        expect(yield* during(whole.subarray(0, 5000))).toEqual([expect.stringMatching(/busy|damaged/)])
      }).pipe(TestHost.withHost({ patience: 0 }))
  )

  it.effect("leaves the trouble of one session there (U2), and nothing behind when it is interrupted", () =>
    Effect.gen(function* () {
      const delivery = yield* Delivery.Delivery
      const { answer } = yield* TestHost.Channel
      const arrived = yield* seen
      const broken = yield* speaking("broken")
      Fs.writeFileSync(`${yield* TestHost.folderOf(broken.session)}/outbound.db`, "no database")
      const good = yield* speaking("good")
      yield* good.say("good")
      const fiber = yield* Effect.fork(delivery.run)
      yield* TestHost.until(() => arrived("good"))
      yield* Ref.set(answer, () => Effect.never)
      yield* good.say("hanging")
      yield* TestClock.adjust("1 minute")
      yield* TestHost.until(() => arrived("hanging"))
      yield* Fiber.interrupt(fiber)
      yield* Ref.set(answer, () => Effect.succeed(ChannelAdapter.delivered()))
      const again = yield* Effect.fork(delivery.run)
      yield* TestHost.until(() => Effect.map(delivery.attempted(good.session), (all) => all.length === 0))
      yield* Fiber.interrupt(again)
      expect(Fs.readdirSync("/proc/self/fd").filter((fd) => readlink(fd).includes("/v2-sessions/"))).toEqual(
        []
      )
    }).pipe(TestHost.withHost())
  )
})

const readlink = (fd: string): string => {
  try {
    return Fs.readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return ""
  }
}
