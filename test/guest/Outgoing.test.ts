import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import { SystemCallError } from "../../src/storage/SystemCalls.js"
import { interruptedAtEveryOperation } from "../storage/Fixtures.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { program, watchedMailbox } from "./Fixtures.js"

const sender = fileURLToPath(new URL("sender.ts", import.meta.url))

describe("Mailbox.send", () => {
  it.effect("takes the next odd number over both databases", () =>
    Effect.gen(function* () {
      const { mailbox, outbound, write } = yield* program()
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
      const { mailbox, open } = yield* program()
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
      const { folder, mailbox, outbound } = yield* program()
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
      const { mailbox, outbound } = yield* program()
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
      const { folder, mailbox, write } = yield* program()
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

  it.live(
    "gives each of several processes that send at once numbers of its own",
    () =>
      Effect.gen(function* () {
        const { folder, mailbox, outbound, write } = yield* program({ patience: "20 seconds" })
        yield* write("m")
        const child = Effect.async<ReadonlyArray<number>>((resume) => {
          execFile(process.execPath, ["--import", "tsx", sender, folder, "30"], (error, stdout, stderr) =>
            resume(
              error === null
                ? Effect.succeed(stdout.trim().split("\n").map(Number))
                : Effect.dieMessage(`the sender ended: ${stdout}${stderr}`)
            )
          )
        })
        const here = Effect.forEach(Array.from({ length: 30 }), () =>
          Effect.delay(
            Effect.map(mailbox.send({ content: { text: "x" } }), ({ seq }) => seq),
            "50 millis"
          )
        )
        const numbers = yield* Effect.all([child, child, here], { concurrency: "unbounded" })
        const all = numbers.flat()
        expect(all.length).toBe(90)
        expect(new Set(all).size).toBe(90)
        expect(all.every((seq) => seq % 2 === 1 && seq > 2)).toBe(true)
        expect(outbound("SELECT count(*) AS n FROM messages_out")).toEqual([{ n: 90 }])
        expect(Fs.readdirSync(`${folder}/outbox`).length).toBe(60)
      }).pipe(TestHost.withHost()),
    60_000
  )

  it.effect("writes nothing of a message whose content JSON cannot hold", () =>
    Effect.gen(function* () {
      const { folder, mailbox, outbound } = yield* program()
      const cycle: Record<string, unknown> = {}
      cycle["self"] = cycle
      const files = [{ name: "file", data: Buffer.from("bytes") }]
      for (const bad of [cycle, { n: 1n }, { n: NaN }, { n: Infinity }, { f: () => 1 }, { s: Symbol("s") }]) {
        for (const more of [{}, { files }]) {
          expect(yield* Effect.flip(mailbox.send({ content: bad, ...more }))).toMatchObject({
            _tag: "InvalidMessage",
            operation: "Mailbox.send",
            field: "content",
            reason: "not-json"
          })
        }
      }
      expect(yield* Effect.flip(mailbox.send({ content: { toJSON: () => "text" } }))).toMatchObject({
        reason: "not-an-object"
      })
      expect(outbound("SELECT * FROM messages_out")).toEqual([])
      expect(Fs.readdirSync(`${folder}/outbox`)).toEqual([])
      yield* mailbox.send({ content: { text: "x", absent: undefined } })
      expect(outbound("SELECT content FROM messages_out")).toEqual([{ content: `{"text":"x"}` }])
    }).pipe(TestHost.withHost())
  )

  it.effect("leaves no files of a message whose row cannot be written", () =>
    Effect.gen(function* () {
      const { folder, mailbox } = yield* program({ patience: 0 })
      Raw.exec(
        `${folder}/outbound.db`,
        `CREATE TRIGGER refuse BEFORE INSERT ON messages_out BEGIN SELECT RAISE(ABORT, 'no'); END`
      )
      const message = { content: { text: "x" }, files: [{ name: "file", data: Buffer.from("bytes") }] }
      expect(yield* Effect.flip(mailbox.send(message))).toMatchObject({
        _tag: "SessionDbUnavailable",
        reason: "constraint"
      })
      expect(Fs.readdirSync(`${folder}/outbox`)).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("leaves a whole message or nothing of it, whichever file call fails", () =>
    Effect.gen(function* () {
      const { folder, outbound } = yield* program()
      let left = 0
      let hasFailed = false
      const failing =
        <Arguments extends Array<unknown>, A>(
          call: (...parameters: Arguments) => Effect.Effect<A, SystemCallError>
        ) =>
        (...parameters: Arguments) =>
          Effect.suspend(() => {
            if (left === 0 || --left > 0) return call(...parameters)
            hasFailed = true
            return Effect.fail(new SystemCallError({ call: "call", code: "EIO" }))
          })
      const { mailbox } = yield* watchedMailbox({ directory: folder, patience: 0 }, (calls) => ({
        open: failing(calls.open),
        fstat: failing(calls.fstat),
        lstat: failing(calls.lstat),
        read: failing(calls.read),
        write: failing(calls.write),
        sync: failing(calls.sync),
        makeDirectory: failing(calls.makeDirectory)
      }))
      const files = [
        { name: "one", data: Buffer.from("1") },
        { name: "two", data: Buffer.from("2") }
      ]
      let failures = 0
      for (let k = 1; ; k++) {
        left = k
        hasFailed = false
        const exit = yield* Effect.exit(mailbox.send({ content: { text: "x" }, files }))
        left = 0
        const stored = outbound("SELECT id FROM messages_out").map(({ id }) => id)
        expect(Fs.readdirSync(`${folder}/outbox`).sort()).toEqual(stored.sort())
        if (!hasFailed) break
        if (exit._tag === "Failure") failures++
      }
      expect(failures).toBeGreaterThan(15)
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "leaves a whole message or nothing of it, whenever it is interrupted",
    () =>
      Effect.gen(function* () {
        const { folder, mailbox, outbound } = yield* program()
        const files = [{ name: "one", data: Buffer.from("1") }]
        const whole = Effect.sync(() => {
          const stored = outbound("SELECT id FROM messages_out").map(({ id }) => id)
          expect(Fs.readdirSync(`${folder}/outbox`).sort()).toEqual(stored.sort())
          for (const id of stored)
            expect(Fs.readFileSync(`${folder}/outbox/${String(id)}/one`, "utf8")).toBe("1")
        })
        // From now on it remembers what is in inbound.db, so that each time it does the same.
        yield* mailbox.send({ content: { text: "x" }, files })
        const operations = yield* interruptedAtEveryOperation(
          mailbox.send({ content: { text: "x" }, files }),
          whole,
          { stride: 3 }
        )
        expect(operations).toBeGreaterThan(100)
        expect(outbound("SELECT id FROM messages_out").length).toBeGreaterThan(10)
      }).pipe(TestHost.withHost()),
    120_000
  )

  it.effect(
    "finishes what it answers in the same transaction: at no instant is one there without the other",
    () =>
      Effect.gen(function* () {
        const { mailbox, outbound, write } = yield* program()
        yield* write("question")
        yield* mailbox.poll
        yield* mailbox.claim(["question"])
        const state = () => [
          outbound("SELECT count(*) AS n FROM messages_out")[0]?.["n"],
          outbound("SELECT status FROM processing_ack")[0]?.["status"]
        ]
        expect(state()).toEqual([0, "processing"])
        yield* interruptedAtEveryOperation(
          mailbox.send({ content: { text: "answer" }, completes: ["question"] }),
          Effect.sync(() => {
            const [answers, status] = state()
            expect(status).toBe(answers === 0 ? "processing" : "completed")
          }),
          { stride: 5 }
        )
        expect(state()[1]).toBe("completed")
        yield* mailbox.release(["question"])
        expect(state()[1]).toBe("completed")
      }).pipe(TestHost.withHost())
  )
})
