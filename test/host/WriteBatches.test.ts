/**
 * Writes to one session that come at the same time: they share a transaction, and nothing else.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, FastCheck, Fiber } from "effect"
import type { Message, Session } from "effect-airlock"
import { SessionDb, SessionManager } from "effect-airlock"
import * as Fs from "node:fs"
import * as Path from "node:path"
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

  it.effect("to a session that nobody knows are told so each, and nothing is made for them", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const { folder, session } = yield* program
      const before = TestHost.contentsOf(Path.resolve(folder, "../../.."))
      const message = (id: string): Message.InboundMessage => ({ id, kind: "chat", content: id })
      const of = (ref: Session.SessionRef): ReadonlyArray<Effect.Effect<unknown, unknown>> => [
        manager.writeMessage(ref, message("a")),
        manager.writeMessages(ref, [message("b"), message("c")]),
        manager.writeMessages(ref, []),
        manager.writeMessage(ref, { ...message("d"), kind: "task" }),
        manager.writeSystemResponse(ref, { questionId: "q", status: "x", result: {} })
      ]
      for (const ref of [
        { agentGroupId: "agent", sessionId: "nobody" },
        { agentGroupId: "other", sessionId: session.sessionId },
        { agentGroupId: "..", sessionId: "../.." }
      ]) {
        const errors = yield* Effect.all(
          of(ref).map((write) => Effect.flip(write)),
          unbounded
        )
        const unknown = { _tag: "SessionNotFound", ...ref }
        expect(errors).toMatchObject([
          { ...unknown, operation: "SessionManager.writeMessage" },
          { ...unknown, operation: "SessionManager.writeMessages" },
          { ...unknown, operation: "SessionManager.writeMessages" },
          { _tag: "InvalidMessage", field: "content" },
          { ...unknown, operation: "SessionManager.writeSystemResponse" }
        ])
      }
      expect(TestHost.contentsOf(Path.resolve(folder, "../../.."))).toEqual(before)
      expect(yield* FilePermit.count).toBe(0)
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

describe("writes that come together with one id", () => {
  const missing = [{ name: "file", source: { file: "/nonexistent" } }]
  const isThere = (seq: number) => ({ value: { seq, alreadyThere: true } })
  const isNew = (seq: number) => ({ value: { seq, alreadyThere: false } })
  const isDuplicate = { cause: { error: { _tag: "DuplicateMessage", messageId: "m" } } }
  const isUnreadable = { cause: { error: { _tag: "InvalidMessage", reason: "unreadable-file" } } }
  const other = { content: "other" }

  const cases: ReadonlyArray<{
    readonly what: string
    readonly writes: ReadonlyArray<Partial<Message.InboundMessage>>
    readonly outcomes: ReadonlyArray<object>
    /** What the folder `inbox/m` has then. */
    readonly file?: string
  }> = [
    { what: "are the same message", writes: [{}, {}, {}], outcomes: [isNew(2), isThere(2), isThere(2)] },
    {
      what: "are another message, unless they come first",
      writes: [{}, other, {}, other],
      outcomes: [isNew(2), isDuplicate, isThere(2), isDuplicate]
    },
    {
      what: "are the same with the same files",
      writes: [{ attachments: file("m") }, { attachments: file("m") }],
      outcomes: [isNew(2), isThere(2)],
      file: "m"
    },
    {
      what: "are another message with other files, which are not written",
      writes: [{ attachments: file("m") }, { attachments: file("n") }, {}],
      outcomes: [isNew(2), isDuplicate, isDuplicate],
      file: "m"
    },
    {
      what: "take the place of one whose file cannot be read",
      writes: [{ attachments: missing }, {}],
      outcomes: [isUnreadable, isNew(2)]
    },
    {
      what: "take the place of one whose file cannot be read, with their files",
      writes: [{ attachments: [...file("m"), ...missing] }, { attachments: file("n") }, other],
      outcomes: [isUnreadable, isNew(2), isDuplicate],
      file: "n"
    },
    {
      what: "are not the same if a file cannot be read",
      writes: [{ attachments: file("m") }, { attachments: missing }],
      outcomes: [isNew(2), isUnreadable],
      file: "m"
    }
  ]

  for (const { file: expected, outcomes, what, writes } of cases) {
    it.effect(what, () =>
      Effect.gen(function* () {
        const { folder, stored, transactions, write } = yield* program
        const before = transactions()
        const exits = yield* Effect.forEach(
          [...writes, { id: "last", attachments: file("last") }],
          (more) => Effect.exit(write("m", more)),
          unbounded
        )
        expect(transactions() - before).toBe(1)
        expect(exits).toMatchObject([...outcomes, isNew(4)])
        expect(stored()).toEqual([
          ["m", 2],
          ["last", 4]
        ])
        const files = TestHost.contentsOf(`${folder}/inbox`)
        expect(files).toEqual({
          ...(expected === undefined ? {} : { "m/file": expected }),
          "last/file": "last"
        })
      }).pipe(TestHost.withHost())
    )
  }

  it.effect("fail as a whole, and leave what they alone have to the next", () =>
    Effect.gen(function* () {
      const { folder, stored, writeAll } = yield* program
      const plain = (id: string, content = id) => ({ id, content })
      const exits = yield* Effect.forEach(
        [
          [{ ...plain("a"), attachments: file("first") }, plain("b"), plain("b", "other")],
          [plain("b", "second"), { ...plain("a"), attachments: file("second") }, plain("b", "second")],
          [plain("c"), { ...plain("a"), attachments: file("first") }],
          [plain("c", "last"), { ...plain("a"), attachments: file("second") }]
        ],
        (messages) => Effect.exit(writeAll(messages)),
        unbounded
      )
      expect(exits).toMatchObject([
        { cause: { error: { _tag: "DuplicateMessage", messageId: "b" } } },
        { value: [{ seq: 2 }, { seq: 4, alreadyThere: false }, { seq: 2, alreadyThere: true }] },
        { cause: { error: { _tag: "DuplicateMessage", messageId: "a" } } },
        {
          value: [
            { seq: 6, alreadyThere: false },
            { seq: 4, alreadyThere: true }
          ]
        }
      ])
      expect(stored()).toEqual([
        ["b", 2],
        ["a", 4],
        ["c", 6]
      ])
      expect(TestHost.contentsOf(`${folder}/inbox`)).toEqual({ "a/file": "second" })
    }).pipe(TestHost.withHost())
  )

  it.effect("find what was stored before, by this build or another, and tell it from what was not", () =>
    Effect.gen(function* () {
      const { original, stored, write } = yield* program
      yield* write("old", { attachments: file("old") })
      Raw.exec(
        original,
        `INSERT INTO messages_in (id, seq, kind, timestamp, content) VALUES
           ('theirs', 4, 'chat', '2026-01-01 00:00:00', 'theirs'),
           ('broken', NULL, 'chat', '2026-01-01 00:00:00', 'broken')`
      )
      const exits = yield* Effect.forEach(
        [
          write("new"),
          write("old", { attachments: file("old") }),
          write("old"),
          write("theirs"),
          write("theirs", other),
          write("broken"),
          write("OLD"),
          write("newer")
        ],
        Effect.exit,
        unbounded
      )
      expect(exits).toMatchObject([
        isNew(6),
        isThere(2),
        { cause: { error: { _tag: "DuplicateMessage", messageId: "old" } } },
        isThere(4),
        { cause: { error: { _tag: "DuplicateMessage", messageId: "theirs" } } },
        { cause: { error: { _tag: "SessionDbCorrupt", reason: "unexpected-row" } } },
        isNew(8),
        isNew(10)
      ])
      expect(stored().filter(([, seq]) => seq !== null)).toEqual([
        ["old", 2],
        ["theirs", 4],
        ["new", 6],
        ["OLD", 8],
        ["newer", 10]
      ])
    }).pipe(TestHost.withHost())
  )

  it.effect.prop(
    "are found by any id, and numbered in their order",
    [
      FastCheck.uniqueArray(FastCheck.fullUnicodeString({ minLength: 1, maxLength: 20 }), {
        minLength: 1,
        maxLength: 120
      })
    ],
    ([ids]) =>
      Effect.gen(function* () {
        const { stored, writeAll } = yield* program
        const messages = ids.map((id) => ({ id, content: `content of ${id}` }))
        const first = yield* writeAll(messages)
        const again = yield* writeAll(messages)
        expect(first.map(({ id, seq }) => [id, seq])).toEqual(ids.map((id, n) => [id, 2 * (n + 1)]))
        expect(again).toEqual(first.map((written) => ({ ...written, alreadyThere: true })))
        expect(stored()).toEqual(first.map(({ id, seq }) => [id, seq]))
      }).pipe(TestHost.withHost()),
    { fastCheck: { numRuns: 20 } }
  )
})
