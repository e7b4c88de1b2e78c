/**
 * Writes to one session that come at the same time: they share a transaction, and nothing else.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import type { Message } from "effect-airlock"
import { SessionDb, SessionManager } from "effect-airlock"
import * as Fs from "node:fs"
import * as FilePermit from "../../src/storage/FilePermit.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

const program = Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const session = yield* TestHost.newSession()
  const folder = yield* TestHost.folderOf(session)
  const original = TestHost.originalOf(folder)
  return {
    session,
    folder,
    original,
    write: (id: string, more: Partial<Message.InboundMessage> = {}) =>
      manager.writeMessage(session, { id, kind: "chat", content: id, ...more }),
    writeAll: (messages: ReadonlyArray<Pick<Message.InboundMessage, "id" | "content" | "attachments">>) =>
      manager.writeMessages(
        session,
        messages.map((message) => ({ kind: "chat" as const, ...message }))
      ),
    stored: () =>
      Raw.query(original, "SELECT id, seq FROM messages_in ORDER BY seq").map(({ id, seq }) => [id, seq]),
    transactions: () => Raw.commitsInLog(original)
  }
})

const unbounded = { concurrency: "unbounded" } as const

const names = (count: number) => Array.from({ length: count }, (_, n) => `m${n}`)

const file = (name: string) => [{ name: "file", source: { bytes: Buffer.from(name) } }]

describe("writes that come together", () => {
  it.effect("share few transactions, and each has its own number, in the order in which they came", () =>
    Effect.gen(function* () {
      const { stored, transactions, write } = yield* program
      const before = transactions()
      const written = yield* Effect.forEach(names(150), (id) => write(id), unbounded)
      expect(written.map(({ id, seq }) => [id, seq])).toEqual(names(150).map((id, n) => [id, 2 * (n + 1)]))
      expect(stored()).toEqual(written.map(({ id, seq }) => [id, seq]))
      expect(transactions() - before).toBe(2)
    }).pipe(TestHost.withHost())
  )

  it.effect("one after the other are a transaction each", () =>
    Effect.gen(function* () {
      const { transactions, write } = yield* program
      const before = transactions()
      yield* Effect.forEach(names(3), (id) => write(id))
      expect(transactions() - before).toBe(3)
    }).pipe(TestHost.withHost())
  )

  it.effect("fail each for itself: what is wrong with one leaves its neighbours alone", () =>
    Effect.gen(function* () {
      const { folder, stored, write, writeAll } = yield* program
      yield* write("old")
      const large = { name: "large", source: { bytes: Buffer.alloc(2000) } }
      const plain = (id: string) => ({ id, content: id })
      const [good, changed, huge, none, both, same, last] = yield* Effect.all(
        [
          Effect.exit(write("good", { attachments: file("good") })),
          Effect.exit(write("old", { content: "other" })),
          Effect.exit(write("huge", { attachments: [...file("huge"), large] })),
          Effect.exit(
            writeAll([
              { ...plain("none"), attachments: file("none") },
              { id: "old", content: "other" }
            ])
          ),
          Effect.exit(writeAll([plain("a"), plain("old"), plain("b")])),
          Effect.exit(write("old")),
          Effect.exit(write("last", { attachments: file("last") }))
        ],
        unbounded
      )
      expect(good).toMatchObject({ value: { seq: 4 } })
      expect(changed).toMatchObject({
        cause: { error: { _tag: "DuplicateMessage", operation: "SessionManager.writeMessage" } }
      })
      expect(huge).toMatchObject({ cause: { error: { _tag: "AttachmentTooLarge" } } })
      expect(none).toMatchObject({ cause: { error: { _tag: "DuplicateMessage" } } })
      expect(both).toMatchObject({ value: [{ seq: 6 }, { seq: 2, alreadyThere: true }, { seq: 8 }] })
      expect(same).toMatchObject({ value: { seq: 2, alreadyThere: true } })
      expect(last).toMatchObject({ value: { seq: 10 } })
      expect(stored()).toEqual([
        ["old", 2],
        ["good", 4],
        ["a", 6],
        ["b", 8],
        ["last", 10]
      ])
      expect(Fs.readdirSync(`${folder}/inbox`).sort()).toEqual(["good", "last"])
    }).pipe(TestHost.withHost({ limits: { attachmentBytes: 1000 } }))
  )

  it.effect("fail each for itself also where SQLite ends the transaction", () =>
    Effect.gen(function* () {
      const { folder, original, stored, write } = yield* program
      Raw.exec(
        original,
        `CREATE TRIGGER refuse BEFORE INSERT ON messages_in WHEN NEW.id = 'bad'
         BEGIN SELECT RAISE(ROLLBACK, 'no'); END`
      )
      const exits = yield* Effect.forEach(
        ["a", "bad", "b"],
        (id) => Effect.exit(write(id, { attachments: file(id) })),
        unbounded
      )
      expect(exits.map(Exit.isSuccess)).toEqual([true, false, true])
      expect(exits[1]).toMatchObject({ cause: { error: { _tag: "SessionDbUnavailable" } } })
      expect(stored().map(([id]) => id)).toEqual(["a", "b"])
      expect(Fs.readdirSync(`${folder}/inbox`).sort()).toEqual(["a", "b"])
    }).pipe(TestHost.withHost())
  )

  it.effect("are told of the same failure if the session cannot be used", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* program
      TestHost.replaceOriginal(folder, "garbage")
      const errors = yield* Effect.forEach(names(5), (id) => Effect.flip(write(id)), unbounded)
      expect(errors.map(({ _tag }) => _tag)).toEqual(Array(5).fill("SessionDbCorrupt"))
      expect(yield* FilePermit.count).toBe(0)
    }).pipe(TestHost.withHost())
  )

  it.effect("that are interrupted are stored or not when the interruption returns, and others are", () =>
    Effect.gen(function* () {
      const { stored, write } = yield* program
      for (let steps = 0; steps < 40; steps++) {
        const ids = names(4).map((name) => `${steps}-${name}`)
        const fibers = yield* Effect.forEach(ids, (id) => Effect.fork(write(id, { attachments: file(id) })))
        const [first, second, ...others] = fibers
        yield* Effect.repeatN(Effect.yieldNow(), steps)
        const isStored = (index: number) => stored().some(([id]) => id === ids[index])
        const told = [false, false]
        // The second first: the first one leads.
        for (const [index, fiber] of Array.from([first, second].entries()).reverse()) {
          const exit = yield* Fiber.interrupt(fiber as NonNullable<typeof first>)
          told[index] = isStored(index)
          if (Exit.isSuccess(exit)) expect(told[index]).toBe(true)
        }
        yield* Fiber.joinAll(others)
        expect([isStored(0), isStored(1)]).toEqual(told)
        expect(stored().map(([id]) => id)).toEqual(expect.arrayContaining(ids.slice(2)))
      }
      expect(yield* FilePermit.count).toBe(0)
    }).pipe(TestHost.withHost())
  )

  it.effect("do not wait for one that holds the file and waits for them", () =>
    Effect.gen(function* () {
      const db = yield* SessionDb.SessionDb
      const { session, write } = yield* program
      const nested = Effect.scoped(Effect.zipRight(db.inbound(session), Effect.flip(write("nested"))))
      const [error] = yield* Effect.all([nested, write("a"), write("b")], unbounded)
      expect(error).toMatchObject({ _tag: "SessionDbUnavailable", reason: "nested" })
    }).pipe(TestHost.withHost())
  )
})
