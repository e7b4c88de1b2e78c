import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, TestClock } from "effect"
import type { Mailbox } from "effect-airlock"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { program, timeUntil } from "./Fixtures.js"

/** A session in which the agent has sent messages, all of them delivered but for a few. */
const longSession = (count: number, options: Omit<Mailbox.MailboxOptions, "directory"> = {}) =>
  Effect.gen(function* () {
    const context = yield* program(options)
    const { folder, outbound } = context
    const numbers = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`
    Raw.exec(
      `${folder}/outbound.db`,
      `INSERT INTO messages_out (id, seq, timestamp, kind, content)
       ${numbers} SELECT 'm' || i, 2 * i - 1, 't', 'chat', '{}' FROM n`
    )
    Raw.exec(
      `${folder}/inbound.db`,
      `INSERT INTO delivered (message_out_id, status, delivered_at)
       ${numbers} SELECT 'm' || i, CASE WHEN i = 2 THEN 'failed' ELSE 'delivered' END, 't' FROM n WHERE i <> 3`
    )
    return {
      ...context,
      left: () => outbound("SELECT count(*) AS n FROM messages_out")[0]?.["n"],
      ids: () => outbound("SELECT id FROM messages_out ORDER BY seq").map(({ id }) => String(id))
    }
  })

const serving = <A, E, R>(serve: Effect.Effect<void>, use: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(serve)
    yield* use
    yield* Fiber.interrupt(fiber)
  })

describe("Mailbox.serve", () => {
  it.effect("removes messages that are delivered, but for the thousand last ones", () =>
    Effect.gen(function* () {
      const { ids, left, mailbox } = yield* longSession(2700)
      yield* serving(
        mailbox.serve(() => Effect.void),
        timeUntil(() => left() === 1002)
      )
      expect(ids().slice(0, 3)).toEqual(["m2", "m3", "m1701"])
      expect((yield* mailbox.send({ content: {} })).seq).toBe(5401)
    }).pipe(TestHost.withHost())
  )

  it.effect("removes them again each hour", () =>
    Effect.gen(function* () {
      const { folder, ids, left, mailbox } = yield* longSession(1010, { pollInterval: "1 minute" })
      yield* serving(
        mailbox.serve(() => Effect.void, { heartbeatInterval: "1 minute" }),
        Effect.gen(function* () {
          yield* timeUntil(() => left() === 1002, "1 millis")
          Raw.exec(`${folder}/inbound.db`, "UPDATE delivered SET status = 'delivered'")
          yield* TestClock.adjust("50 minutes")
          expect(ids().slice(0, 2)).toEqual(["m2", "m3"])
          yield* TestClock.adjust("11 minutes")
          yield* timeUntil(() => left() === 1001, "1 millis")
          expect(ids()[0]).toBe("m3")
        })
      )
    }).pipe(TestHost.withHost())
  )

  it.effect("removes five hundred rows at a time, so that the host can copy the file in between", () =>
    Effect.gen(function* () {
      const { folder, left, mailbox } = yield* longSession(2700)
      const transactions = () => Fs.readFileSync(`${folder}/outbound.db`).readUInt32BE(24)
      const before = transactions()
      yield* serving(
        mailbox.serve(() => Effect.void),
        timeUntil(() => left() === 1002)
      )
      expect(transactions() - before).toBe(4)
    }).pipe(TestHost.withHost())
  )

  it.effect("removes verdicts about what the host does not offer any more", () =>
    Effect.gen(function* () {
      const { acknowledgements, folder, mailbox, write } = yield* program()
      for (const id of ["pending", "paused", "completed", "claimed"]) yield* write(id)
      yield* mailbox.claim(["claimed", "claimed and gone"])
      yield* mailbox.complete(["pending", "paused", "completed", "gone"])
      yield* mailbox.fail(["failed and gone"])
      Raw.exec(
        `${folder}/inbound.db`,
        `UPDATE messages_in SET status = id WHERE id IN ('paused', 'completed')`
      )
      Raw.exec(
        `${folder}/outbound.db`,
        "INSERT INTO processing_ack VALUES ('script', 'script-skip:error', 't')"
      )
      yield* serving(
        mailbox.serve(() => Effect.void),
        timeUntil(() => !("gone" in acknowledgements()))
      )
      expect(acknowledgements()).toEqual({
        pending: "completed",
        paused: "completed",
        claimed: "processing",
        "claimed and gone": "processing"
      })
    }).pipe(TestHost.withHost())
  )
})
