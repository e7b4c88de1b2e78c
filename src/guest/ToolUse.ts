/**
 * Telling the host which tool the agent is using, so that it does not take a long silence for a dead agent. It is
 * the one row of `container_state`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import type { StorageError } from "../protocol/AirlockError.js"
import * as Timestamp from "../protocol/Timestamp.js"
import { SessionFiles } from "./SessionFiles.js"

/**
 * `timeout` is how long the tool says that it will take at most.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tool {
  readonly name: string
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * Runs an effect while the host sees the tool. It fails before the effect runs if that cannot be written. Of
 * several tools at a time the one that was started last and still runs is shown.
 *
 * @since 0.1.0
 * @category models
 */
export type DuringTool = (
  tool: Tool
) => <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | StorageError, R>

interface Use {
  readonly name: string
  readonly timeoutMillis: number | null
  readonly startedAt: string
}

const operation = "Mailbox.duringTool"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<DuringTool, never, SessionFiles> = Effect.gen(function* () {
  const files = yield* SessionFiles
  const running = yield* Ref.make<ReadonlyArray<Use>>([])

  /** Shows what runs at the moment of writing, so that the last one to write is right. */
  const show = Effect.gen(function* () {
    const at = Timestamp.format(yield* Clock.currentTimeMillis)
    yield* files.outbound(operation, (sql) =>
      Effect.flatMap(Ref.get(running), (all) => {
        const use = all.at(-1)
        return sql`INSERT OR REPLACE INTO container_state ${sql.insert({
          id: 1,
          current_tool: use?.name ?? null,
          tool_declared_timeout_ms: use?.timeoutMillis ?? null,
          tool_started_at: use?.startedAt ?? null,
          updated_at: at
        })}`
      })
    )
  })

  const leave = (use: Use) => Ref.update(running, (all) => all.filter((other) => other !== use))

  const start = Effect.fnUntraced(function* ({ name, timeout }: Tool) {
    const millis = timeout === undefined ? Infinity : Duration.toMillis(timeout)
    const use: Use = {
      name,
      timeoutMillis: Number.isFinite(millis) ? Math.ceil(millis) : null,
      startedAt: Timestamp.format(yield* Clock.currentTimeMillis)
    }
    yield* Ref.update(running, (all) => [...all, use])
    yield* Effect.onError(show, () => leave(use))
    return use
  })

  const end = (use: Use) =>
    Effect.zipRight(
      leave(use),
      Effect.catchAll(show, (error) => Effect.logWarning(error.message))
    )

  return (tool) => (effect) => Effect.acquireUseRelease(start(tool), () => effect, end)
})
