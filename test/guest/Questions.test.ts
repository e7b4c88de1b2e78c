import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Option, TestClock } from "effect"
import type { Mailbox } from "effect-airlock"
import { SystemCallError } from "../../src/storage/SystemCalls.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { program, timeUntil } from "./Fixtures.js"

const asking = Effect.gen(function* () {
  const context = yield* program()
  const { mailbox, manager, outbound, session } = context
  const asked = () => outbound("SELECT content FROM messages_out").length
  return {
    ...context,
    ask: (question: Mailbox.Question) =>
      Effect.gen(function* () {
        const before = asked()
        const fiber = yield* Effect.fork(mailbox.ask(question))
        yield* timeUntil(() => asked() > before)
        return fiber
      }),
    answer: (questionId: string, result: Record<string, unknown>) =>
      manager.writeSystemResponse(session, { questionId, status: "answered", result }),
    joined: <A, E>(fiber: Fiber.RuntimeFiber<A, E>) =>
      Effect.zipRight(
        timeUntil(() => fiber.unsafePoll() !== null),
        Fiber.join(fiber)
      )
  }
})

describe("Mailbox.ask", () => {
  it.effect("sends the question, and returns the answer that has its id", () =>
    Effect.gen(function* () {
      const { acknowledgements, answer, ask, joined, outbound } = yield* asking
      const fiber = yield* ask({
        question: "Really?",
        title: "Sure",
        options: ["Yes", { label: "No", value: "n" }],
        questionId: "q1",
        content: { urgent: true }
      })
      expect(outbound("SELECT kind, content FROM messages_out")).toEqual([
        {
          kind: "chat-sdk",
          content: JSON.stringify({
            urgent: true,
            type: "ask_question",
            questionId: "q1",
            title: "Sure",
            question: "Really?",
            options: ["Yes", { label: "No", value: "n" }]
          })
        }
      ])
      const { id } = yield* answer("q1", { choice: "Yes" })
      expect(yield* joined(fiber)).toEqual(
        Option.some({ questionId: "q1", status: "answered", result: { choice: "Yes" } })
      )
      expect(acknowledgements()).toEqual({ [id]: "completed" })
    }).pipe(TestHost.withHost())
  )

  it.effect("gives each of several questions its own answer", () =>
    Effect.gen(function* () {
      const { acknowledgements, answer, ask, joined } = yield* asking
      const ids = ["q1", "q10", "q%", "Q1"]
      const fibers = yield* Effect.forEach(ids, (questionId) => ask({ question: "?", questionId }))
      for (const id of [...ids].reverse()) yield* answer(id, { id })
      const answers = yield* Effect.forEach(fibers, joined)
      expect(answers.map(Option.map(({ result }) => result))).toEqual(ids.map((id) => Option.some({ id })))
      expect(Object.values(acknowledgements())).toEqual(ids.map(() => "completed"))
    }).pipe(TestHost.withHost())
  )

  it.effect("makes up an id when it is given none", () =>
    Effect.gen(function* () {
      const { answer, ask, joined, outbound } = yield* asking
      const first = yield* ask({ question: "a" })
      const second = yield* ask({ question: "b" })
      const ids = outbound("SELECT content ->> 'questionId' AS id FROM messages_out ORDER BY seq").map(
        ({ id }) => String(id)
      )
      expect(new Set(ids).size).toBe(2)
      for (const id of ids) yield* answer(id, { id })
      for (const [index, fiber] of [first, second].entries()) {
        expect(Option.getOrThrow(yield* joined(fiber)).questionId).toBe(ids[index])
      }
    }).pipe(TestHost.withHost())
  )

  it.effect("ignores what is not an answer to it", () =>
    Effect.gen(function* () {
      const { acknowledgements, ask, folder, joined, write } = yield* asking
      const response = { type: "question_response", questionId: "q", status: "answered", result: 1 }
      const fiber = yield* ask({ question: "?", questionId: "q", timeout: "1 minute" })
      const contents = [
        `not JSON, "questionId":"q"`,
        JSON.stringify({ ...response, type: "other" }),
        JSON.stringify({ ...response, questionId: "other", result: { questionId: "q" } }),
        JSON.stringify({ ...response, status: 1 }),
        JSON.stringify([response]),
        "null"
      ]
      for (const [n, content] of contents.entries()) {
        Raw.query(
          `${folder}/inbound.db`,
          `INSERT INTO messages_in (id, seq, kind, timestamp, content) VALUES (?, ?, 'system', 't', ?) RETURNING id`,
          `s${n}`,
          100 + 2 * n,
          content
        )
      }
      yield* write("chat", { content: JSON.stringify(response) })
      expect(yield* joined(fiber)).toEqual(Option.none())
      expect(acknowledgements()).toEqual({})
    }).pipe(TestHost.withHost())
  )

  it.effect("stops waiting after the timeout, five minutes if nothing else is said", () =>
    Effect.gen(function* () {
      const { ask, joined } = yield* asking
      const start = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      const waited = Effect.map(
        Effect.clockWith((clock) => clock.currentTimeMillis),
        (now) => now - start
      )
      const fiber = yield* ask({ question: "?" })
      yield* TestClock.adjust("290 seconds")
      expect(fiber.unsafePoll()).toBe(null)
      expect(yield* joined(fiber)).toEqual(Option.none())
      expect(yield* waited).toBeGreaterThanOrEqual(300_000)
      expect(yield* waited).toBeLessThan(310_000)
    }).pipe(TestHost.withHost())
  )

  it.effect("opens no database while it waits", () =>
    Effect.gen(function* () {
      const { answer, ask, joined, watch } = yield* asking
      const fiber = yield* ask({ question: "?", questionId: "q" })
      yield* timeUntil(() => watch.opened > 0)
      yield* TestClock.adjust("1 second")
      watch.opened = 0
      for (let n = 0; n < 20; n++)
        yield* timeUntil(() => true).pipe(Effect.zipRight(TestClock.adjust("500 millis")))
      expect(watch.opened).toBe(0)
      yield* answer("q", {})
      expect(Option.isSome(yield* joined(fiber))).toBe(true)
    }).pipe(TestHost.withHost())
  )

  it.effect("does not take an answer twice", () =>
    Effect.gen(function* () {
      const { answer, ask, joined } = yield* asking
      const first = yield* ask({ question: "?", questionId: "q" })
      yield* answer("q", { n: 1 })
      expect(Option.isSome(yield* joined(first))).toBe(true)
      const second = yield* ask({ question: "again?", questionId: "q", timeout: "10 seconds" })
      expect(yield* joined(second)).toEqual(Option.none())
    }).pipe(TestHost.withHost())
  )

  it.effect("goes to where it is addressed", () =>
    Effect.gen(function* () {
      const { ask, mailbox, outbound } = yield* asking
      const fiber = yield* ask({ question: "?", channelType: "slack", platformId: "C1", threadId: "T" })
      expect(outbound("SELECT channel_type, platform_id, thread_id FROM messages_out")).toEqual([
        { channel_type: "slack", platform_id: "C1", thread_id: "T" }
      ])
      yield* Fiber.interrupt(fiber)
      expect(yield* Effect.flip(mailbox.ask({ question: "?", to: "nobody" }))).toMatchObject({
        operation: "Mailbox.ask",
        reason: "unknown-destination"
      })
    }).pipe(TestHost.withHost())
  )

  it.effect("goes on waiting while the host's file cannot be read for a moment", () =>
    Effect.gen(function* () {
      let isBroken = false
      let refused = 0
      const { mailbox, manager, outbound, session } = yield* program({}, (calls) => ({
        list: (path) =>
          Effect.suspend(() => {
            if (!isBroken) return calls.list(path)
            refused++
            return Effect.fail(new SystemCallError({ call: "list", code: "EIO" }))
          })
      }))
      const fiber = yield* Effect.fork(mailbox.ask({ question: "?", questionId: "q" }))
      yield* timeUntil(() => outbound("SELECT 1 FROM messages_out").length > 0)
      isBroken = true
      yield* manager.writeSystemResponse(session, { questionId: "q", status: "s", result: {} })
      yield* timeUntil(() => refused > 2)
      expect(fiber.unsafePoll()).toBe(null)
      isBroken = false
      yield* timeUntil(() => fiber.unsafePoll() !== null)
      expect(Option.isSome(yield* Fiber.join(fiber))).toBe(true)
    }).pipe(TestHost.withHost())
  )
})
