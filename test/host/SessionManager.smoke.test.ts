import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { SessionManager } from "effect-airlock"
import * as TestHost from "../support/TestHost.js"

describe("SessionManager", () => {
  it.effect("writes a message", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const session = yield* TestHost.newSession()
      const written = yield* manager.writeMessage(session, { id: "a", kind: "chat", content: "hello" })
      expect(written).toMatchObject({ id: "a", seq: 2, alreadyThere: false })
    }).pipe(TestHost.withHost())
  )
})
