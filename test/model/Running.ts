/**
 * Letting a process do something, and waiting until it has done it or has to wait for time to pass.
 */
import { Cause, Effect } from "effect"
import type { Fiber } from "effect"
import { activity } from "./KillSwitch.js"
import type { Run, World } from "./World.js"

/** Waits until an effect has ended, or everybody waits for time to pass. */
export const untilQuiet = (isOver: () => boolean): Effect.Effect<void> =>
  Effect.promise(async () => {
    let before = -1
    for (let quiet = 0; quiet < 5 && !isOver(); quiet++) {
      if (activity.count !== before) quiet = 0
      before = activity.count
      await new Promise((resolve) => (quiet < 2 ? setImmediate(resolve) : setTimeout(resolve, 0)))
    }
  })

/** Lets an effect of a process run in the process's scope; what goes wrong in it, unless it dies meanwhile, is a problem. */
export const fork = <E>(
  world: World,
  { life, scope }: Pick<Run<unknown>, "life" | "scope">,
  effect: Effect.Effect<void, E>
) =>
  effect.pipe(
    Effect.catchAllCause((cause) =>
      Effect.sync(() => {
        if (life.isAlive() && !Cause.isInterruptedOnly(cause)) world.ledger.problems.push(Cause.pretty(cause))
      })
    ),
    Effect.forkIn(scope)
  )

export const isOver = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => fiber.unsafePoll() !== null
