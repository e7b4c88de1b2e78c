import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, TestClock } from "effect"
import * as Fs from "node:fs"
import * as TestHost from "../support/TestHost.js"
import { program } from "./Fixtures.js"

const watching = Effect.gen(function* () {
  const context = yield* program()
  yield* TestClock.setTime(Date.UTC(2026, 0, 1))
  const shown = () => context.outbound("SELECT * FROM container_state")[0]
  return { ...context, shown, tool: () => shown()?.["current_tool"] }
})

const idle = { id: 1, current_tool: null, tool_declared_timeout_ms: null, tool_started_at: null }

describe("Mailbox.duringTool", () => {
  it.effect("shows the tool while the effect runs, and not after", () =>
    Effect.gen(function* () {
      const { mailbox, shown } = yield* watching
      const seen = yield* Effect.sync(shown).pipe(
        Effect.tap(TestClock.adjust("1 minute")),
        mailbox.duringTool({ name: "shell", timeout: "90 seconds" })
      )
      expect(seen).toEqual({
        id: 1,
        current_tool: "shell",
        tool_declared_timeout_ms: 90_000,
        tool_started_at: "2026-01-01T00:00:00.000Z",
        updated_at: "2026-01-01T00:00:00.000Z"
      })
      expect(shown()).toEqual({ ...idle, updated_at: "2026-01-01T00:01:00.000Z" })
    }).pipe(TestHost.withHost())
  )

  it.effect("declares no timeout that it was not given or that never ends", () =>
    Effect.gen(function* () {
      const { mailbox, shown } = yield* watching
      for (const tool of [{ name: "a" }, { name: "a", timeout: Infinity }]) {
        expect(yield* mailbox.duringTool(tool)(Effect.sync(shown))).toMatchObject({
          current_tool: "a",
          tool_declared_timeout_ms: null
        })
      }
    }).pipe(TestHost.withHost())
  )

  it.effect("ends with the effect, whatever becomes of that", () =>
    Effect.gen(function* () {
      const { mailbox, shown } = yield* watching
      const use = mailbox.duringTool({ name: "tool" })
      expect(yield* Effect.exit(use(Effect.fail("no")))).toEqual(Exit.fail("no"))
      expect(shown()).toMatchObject(idle)
      expect(yield* Effect.exit(use(Effect.die("no")))).toEqual(Exit.die("no"))
      expect(shown()).toMatchObject(idle)
      const started = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        use(Effect.zipRight(Deferred.succeed(started, undefined), Effect.never))
      )
      yield* Deferred.await(started)
      expect(shown()).toMatchObject({ current_tool: "tool" })
      yield* Fiber.interrupt(fiber)
      expect(shown()).toMatchObject(idle)
    }).pipe(TestHost.withHost())
  )

  it.effect("shows the last one that still runs of several", () =>
    Effect.gen(function* () {
      const { mailbox, tool } = yield* watching
      const started = yield* Deferred.make<void>()
      const end = yield* Deferred.make<void>()
      const outer = yield* Effect.fork(
        mailbox.duringTool({ name: "outer" })(
          Effect.zipRight(Deferred.succeed(started, undefined), Deferred.await(end))
        )
      )
      yield* Deferred.await(started)
      expect(yield* mailbox.duringTool({ name: "inner" })(Effect.sync(tool))).toBe("inner")
      expect(tool()).toBe("outer")
      yield* mailbox.duringTool({ name: "last" })(
        Effect.zipRight(Deferred.succeed(end, undefined), Fiber.join(outer))
      )
      expect(tool()).toBe(null)
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "does not run the effect if it cannot show the tool, and keeps the result if it cannot hide it",
    () =>
      Effect.gen(function* () {
        const { folder, mailbox, shown } = yield* watching
        const file = `${folder}/outbound.db`
        const hide = Effect.sync(() => Fs.renameSync(file, `${folder}/aside`))
        const back = Effect.sync(() => Fs.renameSync(`${folder}/aside`, file))
        let runs = 0
        const use = mailbox.duringTool({ name: "tool" })
        yield* hide
        expect(yield* Effect.flip(use(Effect.sync(() => runs++)))).toMatchObject({
          operation: "Mailbox.duringTool",
          reason: "missing"
        })
        yield* back
        expect(runs).toBe(0)
        expect(yield* use(Effect.as(hide, "result"))).toBe("result")
        yield* back
        expect(shown()).toMatchObject({ current_tool: "tool" })
        yield* use(Effect.void)
        expect(shown()).toMatchObject(idle)
      }).pipe(TestHost.withHost())
  )
})
