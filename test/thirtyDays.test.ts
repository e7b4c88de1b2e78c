/**
 * Thirty days in the life of a host, on the test clock: a series at three hours of the night and one a day, in a time zone
 * whose clocks change meanwhile, a message now and then, agents that end after each piece of work, and a channel
 * that is down for two days.
 */
import { expect, it } from "@effect/vitest"
import { Clock, Effect, Logger, LogLevel, Ref, Schedule, TestClock } from "effect"
import { AirlockHost, ChannelAdapter, Delivery, SessionManager, SessionRegistry } from "effect-airlock"
import type { Mailbox, Session } from "effect-airlock"
import * as Raw from "./support/Raw.js"
import * as TestHost from "./support/TestHost.js"

const hour = 3_600_000
const day = 24 * hour
/** The 11th of October in Zurich. The clocks go back on the 25th. */
const begin = Date.UTC(2026, 9, 10, 22)
const end = begin + 30 * day
const down = { from: begin + 10 * day, to: begin + 12 * day }

/** A session in a chat of its own channel, so that one channel can be down alone. */
const sessionIn = (name: string) =>
  Effect.gen(function* () {
    const manager = yield* SessionManager.SessionManager
    const registry = yield* SessionRegistry.SessionRegistry
    yield* registry.putMessagingGroup({ id: name, channelType: name, platformId: name })
    const key = { agentGroupId: "agent", messagingGroupId: name, threadId: null, mode: "shared" as const }
    return (yield* manager.resolve(key)).session
  })

/** An agent that answers whatever is due, and ends when nothing is. */
const agentOf = (session: Session.Session, mailbox: Mailbox.Mailbox["Type"]) =>
  Effect.gen(function* () {
    const containers = yield* TestHost.Containers
    for (let due = yield* mailbox.poll; due.length > 0; due = yield* mailbox.poll) {
      yield* mailbox.claim(due.map(({ id }) => id))
      for (const { id } of due) yield* mailbox.send({ content: {}, inReplyTo: id })
      yield* mailbox.complete(due.map(({ id }) => id))
    }
    yield* containers.end(session)
  }).pipe(Effect.orDie)

const rowsIn = (folder: string) => Raw.query(`${folder}/inbound.db`, "SELECT * FROM messages_in ORDER BY seq")

/** When the next of the series is due, if that is all that is left to do. */
const nextIn = (folder: string, now: number): number | undefined => {
  const dates = Raw.query(
    `${folder}/inbound.db`,
    "SELECT coalesce(process_after, '1970') AS date FROM messages_in WHERE status = 'pending'"
  ).map(({ date }) => Date.parse(String(date)))
  const [next] = dates
  return dates.length === 1 && next !== undefined && next > now ? next : undefined
}

it.effect(
  "thirty days pass, and everything was done exactly once",
  () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(begin)
      const containers = yield* TestHost.Containers
      const manager = yield* SessionManager.SessionManager
      const delivery = yield* Delivery.Delivery
      const { answer } = yield* TestHost.Channel
      const steady = yield* sessionIn("steady")
      const flaky = yield* sessionIn("flaky")
      const folders = yield* Effect.forEach([steady, flaky], TestHost.folderOf)

      const delivered: Array<ChannelAdapter.Envelope> = []
      yield* Ref.set(answer, (envelope) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const isDown = envelope.channelType === "flaky" && now >= down.from && now < down.to
          if (isDown) return ChannelAdapter.tryLater()
          delivered.push(envelope)
          return ChannelAdapter.delivered()
        })
      )
      const services = yield* Effect.context<TestHost.Services>()
      const mailboxes = new Map<string, Mailbox.Mailbox["Type"]>()
      for (const [index, { sessionId }] of [steady, flaky].entries()) {
        mailboxes.set(sessionId, yield* TestHost.mailboxAt(folders[index] ?? ""))
      }
      containers.onWake = (session) => {
        const mailbox = mailboxes.get(session.sessionId)
        return mailbox === undefined
          ? Effect.fail("no such session")
          : Effect.asVoid(Effect.forkDaemon(Effect.provide(agentOf(session, mailbox), services)))
      }
      const write = (session: Session.Session, id: string, recurrence: string | null = null) =>
        manager.writeMessage(session, { id, kind: "task", content: "{}", recurrence })

      const warnings: Array<unknown> = []
      const log = Logger.make<unknown, void>(({ logLevel, message }) => {
        if (LogLevel.greaterThanEqual(logLevel, LogLevel.Warning)) warnings.push(message)
      })
      yield* Effect.provide(Effect.forkScoped(AirlockHost.run), Logger.replace(Logger.defaultLogger, log))
      yield* write(steady, "hourly", "0 1-3 * * *")
      yield* write(flaky, "daily", "30 2 * * *")

      /** Waits until nothing is left to do now, and answers when there is. */
      const settled = Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        const dates = () => folders.flatMap((folder) => nextIn(folder, now) ?? [])
        yield* TestHost.until(() => containers.running.size === 0 && dates().length === folders.length)
        return Math.min(...dates())
      })

      for (let now = begin, oneOffs = 0; now < end;) {
        now = Math.min(yield* settled, now + 6 * hour, end)
        yield* TestClock.setTime(now)
        if (now < begin + (5 * oneOffs + 0.5) * day) continue
        yield* write(steady, `steady ${oneOffs}`)
        yield* write(flaky, `flaky ${oneOffs++}`)
      }
      yield* settled
      for (const session of [steady, flaky]) {
        expect(yield* delivery.drain(session)).toMatchObject({ failed: [], waiting: [] })
        expect(yield* delivery.failures(session)).toEqual([])
        expect(yield* delivery.attempted(session)).toEqual([])
      }

      const series = (name: string) => (row: Record<string, unknown>) => row["series_id"] === name
      const [steadily, flakily] = folders.map(rowsIn)
      // The first is due at once; in one night an hour comes twice; one is still to come.
      expect(steadily?.filter(series("hourly")).length).toBe(1 + (3 * 30 + 1) + 1)
      expect(flakily?.filter(series("daily")).map(({ process_after }) => process_after)).toEqual([
        null,
        ...Array.from({ length: 31 }, (_, index) =>
          new Date(Date.UTC(2026, 9, 11 + index, index < 15 ? 0 : 1, 30)).toISOString()
        )
      ])
      for (const [index, rows] of [steadily ?? [], flakily ?? []].entries()) {
        const done = rows.slice(0, -1)
        expect(done.every(({ status, tries }) => status === "completed" && tries === 0)).toBe(true)
        expect(rows.at(-1)).toMatchObject({ status: "pending" })
        const channel = ["steady", "flaky"][index]
        const answers = delivered.filter(({ channelType }) => channelType === channel)
        expect(answers.map(({ inReplyTo }) => inReplyTo).sort()).toEqual(done.map(({ id }) => id).sort())
        const sent = Raw.query(`${folders[index]}/outbound.db`, "SELECT id FROM messages_out ORDER BY seq")
        expect(answers.map(({ id }) => id)).toEqual(sent.map(({ id }) => id))
      }
      expect(delivered.length).toBe(92 + 31 + 2 * 6)
      expect(new Set(delivered.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(delivered.length)
      expect(new Set(containers.asked.map((line) => line.split(" ")[0]))).toEqual(new Set(["wake"]))
      expect(warnings).toEqual([])
    }).pipe(
      TestHost.withHost({
        timeZone: "Europe/Zurich",
        deliveryRetries: Schedule.exponential("1 minute").pipe(
          Schedule.union(Schedule.spaced("1 hour")),
          Schedule.upTo("3 days")
        ),
        intervals: {
          sweepRunning: "1 day",
          sweepAll: "1 day",
          deliverRunning: "6 hours",
          deliverAll: "6 hours"
        }
      })
    ),
  60_000
)
