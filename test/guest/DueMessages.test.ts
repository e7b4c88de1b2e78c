import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck, TestClock } from "effect"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { program } from "./Fixtures.js"

describe("Mailbox.poll", () => {
  it.effect("returns what is due, oldest first, at most the most recent ten", () =>
    Effect.gen(function* () {
      const { due, write } = yield* program()
      const ids = Array.from({ length: 13 }, (_, n) => `m${n}`)
      for (const id of ids) yield* write(id)
      expect(yield* due).toEqual(ids.slice(3))
    }).pipe(TestHost.withHost())
  )

  it.effect("skips what is claimed or finished before it cuts the window", () =>
    Effect.gen(function* () {
      const { due, mailbox, write } = yield* program()
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
      const { due, mailbox, open, outbound, write } = yield* program()
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
      const { due, write } = yield* program()
      yield* write("context", { trigger: 0 })
      expect(yield* due).toEqual([])
      yield* write("message")
      expect(yield* due).toEqual(["context", "message"])
    }).pipe(TestHost.withHost())
  )

  it.effect("keeps a place for a message, however much context came after it", () =>
    Effect.gen(function* () {
      const { due, mailbox, write } = yield* program({ window: 3 })
      for (const id of ["first", "message"]) yield* write(id)
      for (const id of ["c1", "c2", "c3", "c4"]) yield* write(id, { trigger: 0 })
      expect(yield* due).toEqual(["message", "c3", "c4"])
      yield* mailbox.complete(["message", "c3", "c4"])
      expect(yield* due).toEqual(["first", "c1", "c2"])
      yield* mailbox.complete(["first"])
      expect(yield* due).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("gives system rows no place among ten (U4)", () =>
    Effect.gen(function* () {
      const { due, manager, session, write } = yield* program()
      yield* write("chat")
      for (let n = 0; n < 12; n++) {
        yield* manager.writeSystemResponse(session, { questionId: `q${n}`, status: "answered", result: {} })
      }
      expect(yield* due).toEqual(["chat"])
    }).pipe(TestHost.withHost())
  )

  it.effect("shows onWake messages to the first poll only", () =>
    Effect.gen(function* () {
      const { due, open, write } = yield* program()
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
        const { due, folder, write } = yield* program()
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
      const { due, folder, write } = yield* program()
      Raw.exec(
        `${folder}/inbound.db`,
        "INSERT INTO messages_in (id, seq, kind, timestamp, content) VALUES (NULL, 100, 'chat', 't', x'00')"
      )
      yield* write("good")
      expect(yield* due).toEqual(["good"])
    }).pipe(TestHost.withHost())
  )

  it.effect("opens no database while nothing changes, and answers the same", () =>
    Effect.gen(function* () {
      const { due, mailbox, watch, write } = yield* program()
      for (const id of ["a", "b"]) yield* write(id)
      yield* write("later", { processAfter: new Date(60_000).toISOString() })
      expect(yield* due).toEqual(["a", "b"])
      watch.opened = 0
      for (let n = 0; n < 5; n++) expect(yield* due).toEqual(["a", "b"])
      yield* TestClock.adjust("1 minute")
      expect(yield* due).toEqual(["a", "b", "later"])
      expect(watch.opened).toBe(0)

      yield* mailbox.claim(["a"])
      watch.opened = 0
      expect(yield* due).toEqual(["b", "later"])
      expect(watch.opened).toBe(1)
      yield* write("c")
      expect(yield* due).toEqual(["b", "later", "c"])
      expect(watch.opened).toBe(2)
    }).pipe(TestHost.withHost())
  )

  it.effect("sees what another process writes, though it remembers what it read", () =>
    Effect.gen(function* () {
      const { due, folder, open, write } = yield* program()
      yield* write("a")
      yield* write("b")
      expect(yield* due).toEqual(["a", "b"])
      const other = yield* open
      yield* other.complete(["a"])
      expect(yield* due).toEqual(["b"])
      Raw.exec(`${folder}/inbound.db`, "UPDATE messages_in SET status = 'cancelled' WHERE id = 'b'")
      expect(yield* due).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("keeps what is claimed from processes beside it that do not poll", () =>
    Effect.gen(function* () {
      const { acknowledgements, due, mailbox, open, write } = yield* program()
      yield* write("a")
      yield* due
      yield* mailbox.claim(["a"])
      const beside = yield* open
      yield* beside.send({ content: { text: "x" } })
      yield* beside.state.set("key", "value")
      expect(yield* beside.claim(["a"])).toEqual([])
      yield* beside.release(["a"])
      yield* beside.heartbeat
      expect(acknowledgements()).toEqual({ a: "processing" })
      expect(yield* due).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("keeps what was claimed before the first poll", () =>
    Effect.gen(function* () {
      const { due, mailbox, write } = yield* program()
      yield* write("a")
      yield* write("b")
      expect(yield* mailbox.claim(["a"])).toEqual(["a"])
      expect(yield* due).toEqual(["b"])
    }).pipe(TestHost.withHost())
  )

  it.effect("is the first one until one has succeeded", () =>
    Effect.gen(function* () {
      const { due, folder, write } = yield* program({ patience: 0 })
      yield* write("wake", { onWake: true })
      Fs.renameSync(`${folder}/inbound.db`, `${folder}/aside`)
      expect(yield* Effect.flip(due)).toMatchObject({ reason: "missing" })
      Fs.renameSync(`${folder}/aside`, `${folder}/inbound.db`)
      expect(yield* due).toEqual(["wake"])
      expect(yield* due).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("fails with what stands in its way, and goes on when that is gone", () =>
    Effect.gen(function* () {
      const { due, folder, write } = yield* program({ patience: 0 })
      yield* write("a")
      expect(yield* due).toEqual(["a"])
      const bytes = Fs.readFileSync(`${folder}/inbound.db`)
      Fs.writeFileSync(`${folder}/inbound.db`, "nothing that SQLite knows")
      expect(yield* Effect.flip(due)).toMatchObject({ _tag: "SessionDbCorrupt", operation: "Mailbox.poll" })
      Fs.writeFileSync(`${folder}/inbound.db`, bytes)
      expect(yield* due).toEqual(["a"])
    }).pipe(TestHost.withHost())
  )
})
