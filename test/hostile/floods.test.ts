/**
 * An agent that does a lot: it fills folders, has messages fail without end, and sends many large files.
 */
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Logger, LogLevel, Ref } from "effect"
import { ChannelAdapter, Delivery, SessionDb, SessionManager } from "effect-airlock"
import * as Fs from "node:fs"
import { mostEntries } from "../../src/storage/SafeDirectory.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

const program = Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const session = yield* TestHost.newSession()
  return { manager, session, folder: yield* TestHost.folderOf(session) }
})

const fill = (folder: string, count: number) => {
  Fs.mkdirSync(folder, { recursive: true })
  for (let n = 0; n < count; n++) Fs.writeFileSync(`${folder}/${n}`, "")
}

/** How often others had their turn while an effect ran. */
const turnsDuring = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    let turns = 0
    let isOver = false
    const count = () => {
      turns++
      if (!isOver) setImmediate(count)
    }
    setImmediate(count)
    yield* effect
    isOver = true
    return turns
  })

const quietly = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(TestHost.withHost({ limits: { failures: 10 } }), Logger.withMinimumLogLevel(LogLevel.None))

describe("an agent that fills a folder", () => {
  it.live("lets others have their turn while the host removes it", () =>
    Effect.gen(function* () {
      const { folder, manager, session } = yield* program
      fill(`${folder}/outbox/m`, 3000)
      expect(yield* turnsDuring(manager.clearOutbox(session, "m"))).toBeGreaterThan(3000 / 64 / 2)
      expect(Fs.readdirSync(`${folder}/outbox`)).toEqual([])
    }).pipe(quietly)
  )

  it.live("lets others have their turn also if it is deep", () =>
    Effect.gen(function* () {
      const { folder, manager, session } = yield* program
      const depth = 1500
      Fs.mkdirSync(`${folder}/outbox/m`)
      // A path of that depth would be too long.
      const before = process.cwd()
      process.chdir(`${folder}/outbox/m`)
      for (let n = 0; n < depth; n++) {
        Fs.mkdirSync("d")
        process.chdir("d")
      }
      process.chdir(before)
      expect(yield* turnsDuring(manager.clearOutbox(session, "m"))).toBeGreaterThan(depth / 64 / 2)
      expect(Fs.readdirSync(`${folder}/outbox`)).toEqual([])
    }).pipe(quietly)
  )

  it.live("keeps it, if there is more in it than the host removes", () =>
    Effect.gen(function* () {
      const { folder, manager, session } = yield* program
      fill(`${folder}/outbox/m`, mostEntries + 1)
      yield* manager.clearOutbox(session, "m")
      expect(Fs.readdirSync(`${folder}/outbox/m`).length).toBe(mostEntries + 1)
    }).pipe(quietly)
  )

  it.live("has one message refused that would go there, and no other", () =>
    Effect.gen(function* () {
      const { folder, manager, session } = yield* program
      const write = (id: string) =>
        manager.writeMessage(session, {
          id,
          kind: "chat",
          content: "x",
          attachments: [{ name: "file", source: { bytes: Buffer.from("x") } }]
        })
      yield* write("first")
      fill(`${folder}/inbox/m`, mostEntries + 1)
      expect(yield* Effect.flip(write("m"))).toMatchObject({
        _tag: "SessionDbUnavailable",
        resource: "inbox",
        reason: "too-large"
      })
      expect((yield* write("other")).seq).toBe(4)
    }).pipe(quietly)
  )
})

describe("an agent whose messages fail", () => {
  const refused = (folder: string, from: number, count: number) =>
    Raw.exec(
      `${folder}/outbound.db`,
      `DELETE FROM messages_out;
       WITH RECURSIVE n (n) AS (SELECT ${from} UNION ALL SELECT n + 1 FROM n WHERE n < ${from + count - 1})
       INSERT INTO messages_out (id, seq, timestamp, kind, channel_type, platform_id, content)
         SELECT 'm' || n, 2 * n + 1, '2026-01-01T00:00:00.000Z', 'chat', 'test', 'elsewhere', '{}' FROM n`
    )

  it.live("is not listened to any more after so many, until the host removes them; others are", () =>
    Effect.gen(function* () {
      const { folder, session } = yield* program
      const delivery = yield* Delivery.Delivery
      const db = yield* SessionDb.SessionDb
      refused(folder, 0, 8)
      expect((yield* delivery.drain(session)).failed.length).toBe(8)
      refused(folder, 100, 4)
      expect((yield* delivery.drain(session)).failed.length).toBe(4)
      refused(folder, 200, 4)
      const size = () => Fs.statSync(TestHost.originalOf(folder)).size
      const before = size()
      expect(yield* Effect.flip(delivery.drain(session))).toMatchObject({
        _tag: "SessionDbUnavailable",
        reason: "too-large"
      })
      expect(size()).toBe(before)
      const other = yield* TestHost.newSession("other")
      expect((yield* delivery.drain(other)).failed).toEqual([])
      yield* db.transaction(session, (sql) => sql`DELETE FROM airlock_delivery WHERE state = 'failed'`)
      expect((yield* delivery.drain(session)).failed.length).toBe(4)
    }).pipe(quietly)
  )
})

describe("an agent that sends many files", () => {
  it.live("has those of one message at a time in the host's memory, and holds up nothing without files", () =>
    Effect.gen(function* () {
      const { folder, session } = yield* program
      const delivery = yield* Delivery.Delivery
      const { answer } = yield* TestHost.Channel
      const mailbox = yield* TestHost.mailboxAt(folder)
      const address = { channelType: "test", platformId: "chat" }
      const files = [{ name: "file", data: Buffer.from("x") }]
      for (const threadId of ["1", "2", "3"]) {
        yield* mailbox.send({ ...address, threadId, content: { text: threadId }, files })
      }
      yield* mailbox.send({ ...address, threadId: "4", content: { text: "plain" } })
      const go = yield* Deferred.make<void>()
      const plain = yield* Deferred.make<void>()
      const inHand = { now: 0, most: 0 }
      yield* Ref.set(answer, (envelope) =>
        Effect.gen(function* () {
          if (envelope.files.length === 0) yield* Deferred.succeed(plain, undefined)
          inHand.now += envelope.files.length
          inHand.most = Math.max(inHand.most, inHand.now)
          yield* Deferred.await(go)
          inHand.now -= envelope.files.length
          return ChannelAdapter.delivered()
        })
      )
      const drain = yield* Effect.fork(delivery.drain(session))
      yield* Deferred.await(plain)
      yield* TestHost.pause
      expect(inHand.now).toBe(1)
      yield* Deferred.succeed(go, undefined)
      expect((yield* Fiber.join(drain)).delivered.length).toBe(4)
      expect(inHand.most).toBe(1)
    }).pipe(Effect.scoped, quietly)
  )
})
