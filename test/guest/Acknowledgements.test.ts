import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as TestHost from "../support/TestHost.js"
import { program } from "./Fixtures.js"

describe("Mailbox.claim", () => {
  it.effect("answers what this call claimed: what nobody had claimed or finished", () =>
    Effect.gen(function* () {
      const { acknowledgements, mailbox, open } = yield* program()
      const other = yield* open
      expect(yield* mailbox.claim([])).toEqual([])
      expect(yield* mailbox.claim(["b", "a", "b"])).toEqual(["b", "a"])
      yield* mailbox.complete(["done"])
      yield* mailbox.fail(["failed"])
      expect(yield* other.claim(["a", "done", "c", "failed"])).toEqual(["c"])
      expect(acknowledgements()).toEqual({
        a: "processing",
        b: "processing",
        c: "processing",
        done: "completed",
        failed: "failed"
      })
    }).pipe(TestHost.withHost())
  )

  it.effect("gives each message to one of many who want it", () =>
    Effect.gen(function* () {
      const { mailbox, open } = yield* program()
      const others = yield* Effect.all([open, open])
      const ids = Array.from({ length: 20 }, (_, n) => `m${n}`)
      const claimed = yield* Effect.forEach([mailbox, ...others], ({ claim }) => claim(ids), {
        concurrency: "unbounded"
      })
      expect(claimed.flat().sort()).toEqual(ids.sort())
    }).pipe(TestHost.withHost())
  )

  it.effect("takes more ids at a time than a statement may have parameters", () =>
    Effect.gen(function* () {
      const { mailbox, outbound } = yield* program()
      const ids = Array.from({ length: 40_000 }, (_, n) => `m${n}`)
      expect((yield* mailbox.claim(ids)).length).toBe(ids.length)
      yield* mailbox.complete(ids)
      expect(outbound("SELECT status, count(*) AS n FROM processing_ack GROUP BY status")).toEqual([
        { status: "completed", n: ids.length }
      ])
    }).pipe(TestHost.withHost())
  )
})

describe("Mailbox.complete and Mailbox.fail", () => {
  it.effect("need no claim, and change nothing that is finished", () =>
    Effect.gen(function* () {
      const { acknowledgements, mailbox } = yield* program()
      yield* mailbox.complete(["a"])
      yield* mailbox.fail(["b"])
      yield* mailbox.fail(["a"])
      yield* mailbox.complete(["b"])
      yield* mailbox.complete([])
      yield* mailbox.release(["a", "b"])
      expect(acknowledgements()).toEqual({ a: "completed", b: "failed" })
    }).pipe(TestHost.withHost())
  )
})

describe("Mailbox.release", () => {
  it.effect("gives back what this mailbox claimed and has not finished", () =>
    Effect.gen(function* () {
      const { acknowledgements, due, mailbox, open, write } = yield* program()
      for (const id of ["mine", "done", "other"]) yield* write(id)
      const other = yield* open
      yield* due
      yield* mailbox.claim(["mine", "done"])
      yield* mailbox.complete(["done"])
      yield* other.claim(["other"])
      yield* mailbox.release(["mine", "done", "other"])
      expect(acknowledgements()).toEqual({ done: "completed", other: "processing" })
      expect(yield* due).toEqual(["mine"])
      expect(yield* mailbox.claim(["mine"])).toEqual(["mine"])
    }).pipe(TestHost.withHost())
  )
})
