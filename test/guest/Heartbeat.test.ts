import { describe, expect, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import * as Fs from "node:fs"
import * as TestHost from "../support/TestHost.js"
import { program } from "./Fixtures.js"

describe("Mailbox.heartbeat", () => {
  it.effect("sets the file's time to the Clock's", () =>
    Effect.gen(function* () {
      const { folder, mailbox } = yield* program()
      for (const millis of [1_000_000, 2_000_000]) {
        yield* TestClock.setTime(millis)
        yield* mailbox.heartbeat
        expect(Fs.statSync(`${folder}/.heartbeat`).mtimeMs).toBe(millis)
      }
    }).pipe(TestHost.withHost())
  )
})
