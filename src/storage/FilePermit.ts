/**
 * In one process, operations on one database file never overlap: SQLite's locks are per process, and closing
 * any descriptor of a file drops all of them (https://www.sqlite.org/howtocorrupt.html, section 2.2). So
 * the permits are per process too, not per layer.
 *
 * A fiber that asks for a file that it already holds is told so at once, because it would wait for itself.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import type * as Scope from "effect/Scope"
import { SessionDbUnavailable } from "../protocol/AirlockError.js"
import * as Closing from "./Closing.js"
import type { Subject } from "./StorageFailure.js"
import * as Turn from "./Turn.js"

interface Holding {
  readonly path: string
  readonly queue: Turn.Queue
  readonly turn: Turn.Turn
  released: boolean
}

const queues = globalValue(
  Symbol.for("effect-airlock/FilePermit/queues"),
  () => new Map<string, Turn.Queue>()
)

const isHeld = (holding: Holding): boolean => !holding.released

const holdings = globalValue(Symbol.for("effect-airlock/FilePermit/holdings"), () =>
  FiberRef.unsafeMake<ReadonlyArray<Holding>>([], {
    // What fibers have opened side by side, the one that joins them holds.
    join: (own, joined) => Array.from(new Set([...own, ...joined])).filter(isHeld)
  })
)

const join = (path: string): Holding => {
  const queue = queues.get(path) ?? Turn.makeQueue()
  queues.set(path, queue)
  return { path, queue, turn: Turn.come(queue), released: false }
}

const leave = (holding: Holding): void => {
  holding.released = true
  const { path, queue, turn } = holding
  Turn.leave(queue, turn)
  if (queue.present.length === 0) queues.delete(path)
}

/**
 * Fails with the reason `nested` if this fiber, or the one that forked it, holds the file at `path`.
 *
 * @since 0.1.0
 * @category permits
 */
export const refuseNested = (path: string, subject: Subject): Effect.Effect<void, SessionDbUnavailable> =>
  Effect.flatMap(FiberRef.get(holdings), (all) =>
    all.some((holding) => holding.path === path && isHeld(holding))
      ? Effect.fail(new SessionDbUnavailable({ ...subject, reason: "nested" }))
      : Effect.void
  )

/**
 * Waits for the file at `path` (absolute), and answers how to leave it, which has to be done. It belongs where nothing can
 * be interrupted but what `restore` says, which is the wait. Fails as `hold` does.
 *
 * @since 0.1.0
 * @category permits
 */
export const take = (
  path: string,
  subject: Subject,
  restore: (wait: Effect.Effect<void>) => Effect.Effect<void>
): Effect.Effect<() => void, SessionDbUnavailable> =>
  Effect.withFiberRuntime((fiber) => {
    const held = fiber.getFiberRef(holdings).filter(isHeld)
    if (held.some((holding) => holding.path === path)) {
      return Effect.fail(new SessionDbUnavailable({ ...subject, reason: "nested" }))
    }
    const holding = join(path)
    const end = () => leave(holding)
    const begin = Effect.as(FiberRef.set(holdings, [...held, holding]), end)
    const { queue, turn } = holding
    if (Turn.hasCome(queue, turn)) return begin
    return Effect.zipRight(
      Effect.onInterrupt(restore(Turn.wait(queue, turn)), () => Effect.sync(end)),
      begin
    )
  })

/**
 * Waits for the file at `path` (absolute), and holds it until the scope closes. Waiting can be interrupted.
 * Fails with the reason `nested` if this fiber, or the one that forked it, holds the file.
 *
 * @since 0.1.0
 * @category permits
 */
export const hold = (
  path: string,
  subject: Subject
): Effect.Effect<void, SessionDbUnavailable, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(take(path, subject, restore), (end) => Closing.add(() => Effect.sync(end)))
  )

/**
 * Waits for the file at `path` (absolute), and holds it while an effect runs. Fails as `hold` does.
 *
 * @since 0.1.0
 * @category permits
 */
export const during = <A, E, R>(
  path: string,
  subject: Subject,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | SessionDbUnavailable, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(take(path, subject, restore), (end) => Effect.ensuring(restore(effect), Effect.sync(end)))
  )

/**
 * Whether somebody in this process holds the file at `path` (absolute).
 *
 * @since 0.1.0
 * @category inspection
 */
export const isTaken = (path: string): boolean => queues.has(path)

/**
 * How many files are held or waited for in this process.
 *
 * @since 0.1.0
 * @category inspection
 */
export const count: Effect.Effect<number> = Effect.sync(() => queues.size)
