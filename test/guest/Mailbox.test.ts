import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck, TestClock } from "effect"
import { SessionManager } from "effect-airlock"
import type { Message } from "effect-airlock"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

const program = Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const session = yield* TestHost.newSession()
  const folder = yield* TestHost.folderOf(session)
  const open = TestHost.mailboxAt(folder)
  const mailbox = yield* open
  return {
    manager,
    session,
    folder,
    open,
    mailbox,
    write: (id: string, more: Partial<Message.InboundMessage> = {}) =>
      manager.writeMessage(session, { id, kind: "chat", content: id, ...more }),
    due: Effect.map(mailbox.poll, (rows) => rows.map(({ id }) => id)),
    outbound: (sql: string) => Raw.query(`${folder}/outbound.db`, sql)
  }
})

describe("Mailbox.poll", () => {
  it.effect("returns what is due, oldest first, at most the most recent ten", () =>
    Effect.gen(function* () {
      const { due, write } = yield* program
      const ids = Array.from({ length: 13 }, (_, n) => `m${n}`)
      for (const id of ids) yield* write(id)
      expect(yield* due).toEqual(ids.slice(3))
    }).pipe(TestHost.withHost())
  )

  it.effect("skips what is claimed or finished before it cuts the window", () =>
    Effect.gen(function* () {
      const { due, mailbox, write } = yield* program
      const ids = Array.from({ length: 30 }, (_, n) => `m${n}`)
      for (const id of ids) yield* write(id)
      yield* mailbox.claim(ids.slice(20))
      expect(yield* due).toEqual(ids.slice(10, 20))
      yield* mailbox.complete(ids.slice(15))
      yield* mailbox.fail(ids.slice(10, 15))
      expect(yield* due).toEqual(ids.slice(0, 10))
    }).pipe(TestHost.withHost())
  )

  it.effect("offers what an agent had claimed when it was killed to the agent that is started next", () =>
    Effect.gen(function* () {
      const { due, mailbox, open, outbound, write } = yield* program
      yield* write("claimed")
      yield* write("done")
      yield* write("failed")
      expect(yield* due).toEqual(["claimed", "done", "failed"])
      yield* mailbox.claim(["claimed", "done", "failed"])
      yield* mailbox.complete(["done"])
      yield* mailbox.fail(["failed"])
      yield* mailbox.claim(["done", "failed"])
      expect(outbound("SELECT message_id, status FROM processing_ack ORDER BY message_id")).toEqual([
        { message_id: "claimed", status: "processing" },
        { message_id: "done", status: "completed" },
        { message_id: "failed", status: "failed" }
      ])
      expect(yield* due).toEqual([])
      const restarted = yield* open
      expect((yield* restarted.poll).map(({ id }) => id)).toEqual(["claimed"])
    }).pipe(TestHost.withHost())
  )

  it.effect("brings context along with others, never alone", () =>
    Effect.gen(function* () {
      const { due, write } = yield* program
      yield* write("context", { trigger: 0 })
      expect(yield* due).toEqual([])
      yield* write("message")
      expect(yield* due).toEqual(["context", "message"])
    }).pipe(TestHost.withHost())
  )

  it.effect("gives system rows no place among ten (U4)", () =>
    Effect.gen(function* () {
      const { due, manager, session, write } = yield* program
      yield* write("chat")
      for (let n = 0; n < 12; n++) {
        yield* manager.writeSystemResponse(session, { questionId: `q${n}`, status: "answered", result: {} })
      }
      expect(yield* due).toEqual(["chat"])
    }).pipe(TestHost.withHost())
  )

  it.effect("shows onWake messages to the first poll only", () =>
    Effect.gen(function* () {
      const { due, open, write } = yield* program
      yield* write("wake", { onWake: true })
      yield* write("chat")
      expect(yield* due).toEqual(["wake", "chat"])
      expect(yield* due).toEqual(["chat"])
      const restarted = yield* open
      expect((yield* restarted.poll).map(({ id }) => id)).toEqual(["wake", "chat"])
    }).pipe(TestHost.withHost())
  )

  it.effect.prop(
    "returns a message from the moment when it is due, whichever form its time is stored in (U11)",
    [FastCheck.integer({ min: 0, max: 7200 }), FastCheck.integer({ min: 0, max: 7200 }), FastCheck.boolean()],
    ([dueAfter, waited, isOldForm]) =>
      Effect.gen(function* () {
        const start = Date.UTC(2026, 0, 1, 23, 30)
        yield* TestClock.setTime(start)
        const { due, folder, write } = yield* program
        const processAfter = new Date(start + dueAfter * 1000).toISOString()
        yield* write("m", { processAfter })
        if (isOldForm)
          Raw.exec(`${folder}/inbound.db`, "UPDATE messages_in SET process_after = datetime(process_after)")
        yield* TestClock.adjust(`${waited} seconds`)
        expect(yield* due).toEqual(waited >= dueAfter ? ["m"] : [])
      }).pipe(TestHost.withHost()),
    { fastCheck: { numRuns: 20 } }
  )

  it.effect("passes over rows that are not messages", () =>
    Effect.gen(function* () {
      const { due, folder, write } = yield* program
      Raw.exec(
        `${folder}/inbound.db`,
        "INSERT INTO messages_in (id, seq, kind, timestamp, content) VALUES (NULL, 100, 'chat', 't', x'00')"
      )
      yield* write("good")
      expect(yield* due).toEqual(["good"])
    }).pipe(TestHost.withHost())
  )
})

describe("Mailbox.send", () => {
  it.effect("takes the next odd number over both databases", () =>
    Effect.gen(function* () {
      const { mailbox, outbound, write } = yield* program
      const say = mailbox.send({ content: { text: "x" } })
      expect((yield* say).seq).toBe(1)
      expect((yield* say).seq).toBe(3)
      yield* write("a")
      yield* write("b")
      yield* write("c")
      expect((yield* say).seq).toBe(7)
      expect(outbound("SELECT seq FROM messages_out ORDER BY seq")).toEqual([
        { seq: 1 },
        { seq: 3 },
        { seq: 7 }
      ])
    }).pipe(TestHost.withHost())
  )

  it.effect("gives each of many senders a number of its own", () =>
    Effect.gen(function* () {
      const { mailbox, open } = yield* program
      const other = yield* open
      const sent = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? mailbox : other)),
        (sender) => sender.send({ content: { text: "x" } }),
        { concurrency: "unbounded" }
      )
      const numbers = sent.map(({ seq }) => seq)
      expect(new Set(numbers).size).toBe(20)
      expect(numbers.every((seq) => seq % 2 === 1)).toBe(true)
    }).pipe(TestHost.withHost())
  )

  it.effect("puts files into the outbox and their names into the content", () =>
    Effect.gen(function* () {
      const { folder, mailbox, outbound } = yield* program
      const file = { name: "a.txt", data: Buffer.from("one") }
      const { id } = yield* mailbox.send({
        content: { text: "x" },
        files: [file, { ...file, data: Buffer.from("two") }]
      })
      expect(outbound("SELECT content FROM messages_out")).toEqual([
        { content: `{"text":"x","files":["a.txt","a-2.txt"]}` }
      ])
      expect(Fs.readFileSync(`${folder}/outbox/${id}/a-2.txt`, "utf8")).toBe("two")
      const unsafe = yield* Effect.flip(
        mailbox.send({ content: {}, files: [{ name: "../x", data: Buffer.from("") }] })
      )
      expect(unsafe).toMatchObject({ _tag: "UnsafeAttachmentName", operation: "Mailbox.send" })
      expect(Fs.readdirSync(`${folder}/outbox`)).toEqual([id])
    }).pipe(TestHost.withHost())
  )

  it.effect("refuses a time of delivery that cannot be stored", () =>
    Effect.gen(function* () {
      const { mailbox, outbound } = yield* program
      for (const deliverAfter of [NaN, Infinity, 1e15]) {
        const error = yield* Effect.flip(mailbox.send({ content: { text: "x" }, deliverAfter }))
        expect(error).toMatchObject({
          _tag: "InvalidMessage",
          field: "deliverAfter",
          reason: "not-a-timestamp"
        })
      }
      expect(outbound("SELECT * FROM messages_out")).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("leaves inbound.db as it is, whatever the agent does", () =>
    Effect.gen(function* () {
      const { folder, mailbox, write } = yield* program
      yield* write("m", { attachments: [{ name: "a", source: { bytes: Buffer.from("bytes") } }] })
      const before = Fs.readFileSync(`${folder}/inbound.db`)
      yield* mailbox.poll
      yield* mailbox.claim(["m"])
      expect(Buffer.from(yield* mailbox.attachment("inbox/m/a")).toString()).toBe("bytes")
      yield* mailbox.send({ content: { text: "x" } })
      yield* mailbox.complete(["m"])
      yield* mailbox.heartbeat
      expect(Fs.readFileSync(`${folder}/inbound.db`).equals(before)).toBe(true)
    }).pipe(TestHost.withHost())
  )
})

describe("Mailbox.attachment", () => {
  it.effect("reads only what lies in the inbox", () =>
    Effect.gen(function* () {
      const { folder, mailbox } = yield* program
      Fs.mkdirSync(`${folder}/inbox/m`)
      Fs.symlinkSync("/etc/passwd", `${folder}/inbox/m/link`)
      for (const path of [
        "inbox/../inbound.db",
        "/etc/passwd",
        "inbox/m",
        "outbox/m/a",
        "inbox/m/../x",
        "inbox/m/link"
      ]) {
        expect(yield* Effect.flip(mailbox.attachment(path))).toMatchObject({ _tag: "UnsafePath" })
      }
      expect(yield* Effect.flip(mailbox.attachment("inbox/m/gone"))).toMatchObject({ reason: "missing" })
    }).pipe(TestHost.withHost())
  )
})

describe("Mailbox.heartbeat", () => {
  it.effect("sets the file's time to the Clock's", () =>
    Effect.gen(function* () {
      const { folder, mailbox } = yield* program
      for (const millis of [1_000_000, 2_000_000]) {
        yield* TestClock.setTime(millis)
        yield* mailbox.heartbeat
        expect(Fs.statSync(`${folder}/.heartbeat`).mtimeMs).toBe(millis)
      }
    }).pipe(TestHost.withHost())
  )
})
