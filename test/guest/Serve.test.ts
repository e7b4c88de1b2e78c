import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Layer, Logger, TestClock } from "effect"
import type { Message } from "effect-airlock"
import * as Fs from "node:fs"
import { Acknowledgements } from "../../src/guest/Acknowledgements.js"
import * as Serve from "../../src/guest/Serve.js"
import { SessionFiles } from "../../src/guest/SessionFiles.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import { SystemCallError } from "../../src/storage/SystemCalls.js"
import { interruptedAtEveryOperation } from "../storage/Fixtures.js"
import * as TestHost from "../support/TestHost.js"
import { program, timeUntil } from "./Fixtures.js"

type Messages = ReadonlyArray<Message.InboundRow>

const idsOf = (messages: Messages) => messages.map(({ id }) => id)

/** What is logged while an effect runs. */
const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ cause, message }) => {
    lines.push(`${String(message)} ${Cause.pretty(cause)}`)
  })
  return { lines, layer: Logger.replace(Logger.defaultLogger, logger) }
}

describe("Mailbox.serve", () => {
  it.effect("hands over what is due in batches, and completes it", () =>
    Effect.gen(function* () {
      const { acknowledgements, mailbox, write } = yield* program()
      const batches: Array<ReadonlyArray<string>> = []
      yield* write("context", { trigger: 0 })
      yield* write("a")
      const fiber = yield* Effect.fork(
        mailbox.serve((messages) => Effect.sync(() => void batches.push(idsOf(messages))))
      )
      yield* timeUntil(() => Object.keys(acknowledgements()).length === 2)
      yield* write("b")
      yield* timeUntil(() => acknowledgements()["b"] === "completed")
      expect(batches).toEqual([["context", "a"], ["b"]])
      expect(acknowledgements()).toEqual({ context: "completed", a: "completed", b: "completed" })
      yield* Fiber.interrupt(fiber)
    }).pipe(TestHost.withHost())
  )

  it.effect("works off what waits without a pause between batches", () =>
    Effect.gen(function* () {
      const { acknowledgements, mailbox, write } = yield* program()
      const ids = Array.from({ length: 35 }, (_, n) => `m${n}`)
      for (const id of ids) yield* write(id)
      const sizes: Array<number> = []
      yield* mailbox.serve((messages) => Effect.sync(() => void sizes.push(messages.length)), { idle: 0 })
      expect(sizes).toEqual([10, 10, 10, 5])
      expect(Object.keys(acknowledgements()).sort()).toEqual(ids.sort())
    }).pipe(TestHost.withHost())
  )

  it.effect("leaves what the handler finished or gave back as it is", () =>
    Effect.gen(function* () {
      const { acknowledgements, mailbox, write } = yield* program()
      for (const id of ["good", "bad", "back"]) yield* write(id)
      const started = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        mailbox.serve((messages) =>
          messages.length === 3
            ? Effect.zipRight(mailbox.fail(["bad"]), mailbox.release(["back"]))
            : Effect.zipRight(Deferred.succeed(started, undefined), Effect.never)
        )
      )
      yield* timeUntil(() => Object.keys(acknowledgements()).length === 3)
      expect(acknowledgements()).toEqual({ good: "completed", bad: "failed", back: "processing" })
      yield* Deferred.await(started)
      yield* Fiber.interrupt(fiber)
      expect(acknowledgements()).toEqual({ good: "completed", bad: "failed" })
    }).pipe(TestHost.withHost())
  )

  it.effect("fails what the handler fails, dies or stops over, says so, and goes on", () =>
    Effect.gen(function* () {
      const { acknowledgements, mailbox, write } = yield* program({ window: 1 })
      const { layer, lines } = logged()
      const endings: Record<string, Effect.Effect<void, string>> = {
        fails: Effect.fail("a failure"),
        dies: Effect.die(new Error("a defect")),
        throws: Effect.void,
        stops: Effect.interrupt,
        succeeds: Effect.void
      }
      for (const id of Object.keys(endings)) yield* write(id)
      yield* mailbox
        .serve(
          ([{ id }]) => {
            if (id === "throws") throw new Error("an exception")
            return endings[id] ?? Effect.void
          },
          { idle: 0 }
        )
        .pipe(Effect.provide(layer))
      expect(acknowledgements()).toEqual({
        fails: "failed",
        dies: "failed",
        throws: "failed",
        stops: "failed",
        succeeds: "completed"
      })
      for (const word of ["a failure", "a defect", "an exception"]) {
        expect(lines.some((line) => line.includes(word))).toBe(true)
      }
    }).pipe(TestHost.withHost())
  )

  it.effect("completes what the handler had completed before it failed, and fails the rest", () =>
    Effect.gen(function* () {
      const { acknowledgements, mailbox, write } = yield* program()
      for (const id of ["a", "b"]) yield* write(id)
      yield* mailbox.serve(() => Effect.zipRight(mailbox.complete(["a"]), Effect.fail("no")), { idle: 0 })
      expect(acknowledgements()).toEqual({ a: "completed", b: "failed" })
    }).pipe(TestHost.withHost())
  )

  it.effect("gives back what it claimed when it is interrupted, at once and for whoever comes next", () =>
    Effect.gen(function* () {
      const { acknowledgements, mailbox, open, write } = yield* program()
      for (const id of ["done", "open"]) yield* write(id)
      const started = yield* Deferred.make<void>()
      let wasInterrupted = false
      const fiber = yield* Effect.fork(
        mailbox.serve(() =>
          mailbox.complete(["done"]).pipe(
            Effect.zipRight(Deferred.succeed(started, undefined)),
            Effect.zipRight(Effect.never),
            Effect.onInterrupt(() => Effect.sync(() => (wasInterrupted = true)))
          )
        )
      )
      yield* Deferred.await(started)
      expect(acknowledgements()).toEqual({ done: "completed", open: "processing" })
      const beside = yield* open
      yield* Fiber.interrupt(fiber)
      expect(wasInterrupted).toBe(true)
      expect(acknowledgements()).toEqual({ done: "completed" })
      expect(yield* beside.claim(["open"])).toEqual(["open"])
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "leaves no claim behind, whenever it is interrupted",
    () =>
      Effect.gen(function* () {
        const { acknowledgements, mailbox, write } = yield* program()
        yield* write("m0")
        let n = 0
        let runs = 0
        const operations = yield* interruptedAtEveryOperation(
          mailbox.serve(() => Effect.sync(() => void runs++), { idle: 0 }),
          Effect.gen(function* () {
            expect(Object.values(acknowledgements())).not.toContain("processing")
            if (acknowledgements()[`m${n}`] !== undefined) yield* write(`m${++n}`)
          }),
          { stride: 7 }
        )
        expect(operations).toBeGreaterThan(100)
        expect(runs).toBeGreaterThan(0)
      }).pipe(TestHost.withHost()),
    120_000
  )

  it.effect("hands over only what it managed to claim, and never context alone", () =>
    Effect.gen(function* () {
      const { acknowledgements, folder, mailbox, open, write } = yield* program()
      const other = yield* open
      /** What somebody else claims between the poll and the claim. */
      let faster: ReadonlyArray<string> = ["a"]
      const serve = yield* Serve.make({
        poll: Effect.tap(mailbox.poll, () => other.claim(faster)),
        heartbeat: Effect.void,
        prune: Effect.void,
        pollInterval: Duration.seconds(1)
      }).pipe(
        Effect.provide(
          Acknowledgements.layer.pipe(
            Layer.provide(
              SessionFiles.layer({
                directory: folder,
                patience: Duration.seconds(5),
                limit: 1e9,
                durability: "process"
              })
            ),
            Layer.provide(StorageLayer.layer)
          )
        )
      )
      const batches: Array<ReadonlyArray<string>> = []
      const run = serve((messages) => Effect.sync(() => void batches.push(idsOf(messages))), { idle: 0 })

      yield* write("context", { trigger: 0 })
      yield* write("a")
      yield* run
      expect(batches).toEqual([])
      expect(acknowledgements()).toEqual({ a: "processing" })
      yield* write("b")
      yield* write("c")
      faster = ["b"]
      yield* run
      expect(batches).toEqual([["context", "c"]])
      expect(acknowledgements()).toEqual({
        a: "processing",
        b: "processing",
        c: "completed",
        context: "completed"
      })
    }).pipe(TestHost.withHost())
  )

  it.effect("ends when nothing came for as long as it should wait", () =>
    Effect.gen(function* () {
      const { acknowledgements, mailbox, write } = yield* program()
      const fiber = yield* Effect.fork(mailbox.serve(() => Effect.void, { idle: "10 seconds" }))
      yield* TestClock.adjust("9 seconds")
      yield* write("a")
      yield* timeUntil(() => acknowledgements()["a"] === "completed", "10 millis")
      yield* TestClock.adjust("9 seconds")
      expect(fiber.unsafePoll()).toBe(null)
      yield* timeUntil(() => fiber.unsafePoll() !== null, "10 millis")
      expect(yield* Fiber.await(fiber)).toEqual(Exit.void)
    }).pipe(TestHost.withHost())
  )

  it.effect("beats also while the handler runs, and stops when it stops", () =>
    Effect.gen(function* () {
      const { folder, mailbox, write } = yield* program()
      const started = yield* Deferred.make<void>()
      const beat = () => Fs.statSync(`${folder}/.heartbeat`).mtimeMs
      yield* write("a")
      const fiber = yield* Effect.fork(
        mailbox.serve(() => Effect.zipRight(Deferred.succeed(started, undefined), Effect.never), {
          heartbeatInterval: "3 seconds"
        })
      )
      yield* Deferred.await(started)
      yield* timeUntil(() => Fs.existsSync(`${folder}/.heartbeat`), "1 millis")
      for (let n = 0; n < 4; n++) {
        const before = beat()
        yield* TestClock.adjust("3 seconds")
        expect(beat()).toBe(before + 3000)
      }
      yield* Fiber.interrupt(fiber)
      const last = beat()
      yield* TestClock.adjust("1 minute")
      expect(beat()).toBe(last)
    }).pipe(TestHost.withHost())
  )

  it.effect("stops beating when it ends by itself", () =>
    Effect.gen(function* () {
      const { folder, mailbox } = yield* program()
      yield* mailbox.heartbeat
      const last = Fs.statSync(`${folder}/.heartbeat`).mtimeMs
      yield* mailbox.serve(() => Effect.void, { idle: 0 })
      yield* TestClock.adjust("1 minute")
      expect(Fs.statSync(`${folder}/.heartbeat`).mtimeMs).toBe(last)
    }).pipe(TestHost.withHost())
  )

  it.effect("goes on when a file cannot be read or written for a while", () =>
    Effect.gen(function* () {
      let isBroken = false
      let refused = 0
      const { acknowledgements, folder, mailbox, write } = yield* program({ patience: 0 }, (calls) => ({
        open: (path, flags, mode) =>
          Effect.suspend(() => {
            if (!isBroken) return calls.open(path, flags, mode)
            refused++
            return Effect.fail(new SystemCallError({ call: "open", code: "EIO" }))
          })
      }))
      const { layer, lines } = logged()
      const fiber = yield* Effect.fork(
        Effect.provide(
          mailbox.serve((messages) => Effect.sync(() => void (isBroken = messages[0].id === "breaks"))),
          layer
        )
      )
      const breakAndMend = Effect.gen(function* () {
        refused = 0
        yield* timeUntil(() => refused > 20)
        expect(fiber.unsafePoll()).toBe(null)
        isBroken = false
      })
      yield* write("before")
      yield* timeUntil(() => acknowledgements()["before"] === "completed")
      isBroken = true
      yield* breakAndMend
      yield* write("breaks")
      yield* timeUntil(() => isBroken)
      yield* breakAndMend
      yield* timeUntil(() => acknowledgements()["breaks"] === "completed")
      yield* write("after")
      yield* timeUntil(() => acknowledgements()["after"] === "completed")
      const time = Fs.statSync(`${folder}/.heartbeat`).mtimeMs
      yield* TestClock.adjust("10 seconds")
      expect(Fs.statSync(`${folder}/.heartbeat`).mtimeMs).toBeGreaterThan(time)
      for (const operation of ["Mailbox.poll", "Mailbox.heartbeat", "Mailbox.serve"]) {
        expect(lines.some((line) => line.includes(operation))).toBe(true)
      }
      yield* Fiber.interrupt(fiber)
    }).pipe(TestHost.withHost())
  )
})
