/**
 * The agent's runs: started and ended by the host's container runtime, which is nothing but these functions.
 */
import { Clock, Context, Effect, Exit, Layer, Option, Scope, Stream } from "effect"
import type { Session } from "effect-airlock"
import { ContainerRuntime, Mailbox } from "effect-airlock"
import * as KillSwitch from "./KillSwitch.js"
import * as MortalStorage from "./MortalStorage.js"
import * as Running from "./Running.js"
import type { Agent, World } from "./World.js"
import * as Worlds from "./World.js"

const start = (world: World, session: Session.Session) =>
  Effect.gen(function* () {
    const directory = Worlds.folderOf(world, session)
    const life = KillSwitch.make(directory, Worlds.graveOf(world, "agent"))
    const scope = yield* Scope.make()
    const layer = Layer.provide(
      Mailbox.layerWithoutStorage({ directory }),
      MortalStorage.layer(life, Worlds.copiesOf(world))
    )
    const mailbox = Context.get(yield* Layer.buildWithScope(layer, scope), Mailbox.Mailbox)
    const startedAt = yield* Clock.currentTimeMillis
    const services: Agent = { mailbox, startedAt, hands: [], claimed: new Set(), holds: new Set() }
    world.agent = { life, scope, services }
  })

/** Ends the agent in order, or buries it when it was killed. What it had claimed is without an agent. */
export const end = (world: World) =>
  Effect.suspend(() => {
    const agent = world.agent
    if (agent === undefined) return Effect.void
    world.agent = undefined
    for (const id of agent.services.holds) {
      const message = world.ledger.inbound.get(id)
      if (message !== undefined) message.abandoned++
    }
    return Effect.zipRight(
      Scope.close(agent.scope, Exit.void),
      Effect.sync(() => {
        if (!agent.life.isAlive()) agent.life.bury()
      })
    )
  })

/** Containers outlive the host, and a dead host starts and stops none. */
export const containers = (world: World, life: KillSwitch.KillSwitch) => {
  const ifAlive = <A>(effect: Effect.Effect<A, unknown>): Effect.Effect<A, unknown> =>
    Effect.suspend(() => {
      life.moment()
      return life.isAlive() ? effect : Effect.fail("nobody asks any more")
    })
  return ContainerRuntime.ContainerRuntime.of({
    status: () =>
      ifAlive(
        Effect.sync(() =>
          world.agent === undefined
            ? ContainerRuntime.stopped
            : ContainerRuntime.running(Option.some(world.agent.services.startedAt))
        )
      ),
    wake: (session) =>
      ifAlive(Effect.suspend(() => (world.agent === undefined ? start(world, session) : Effect.void))),
    kill: () => ifAlive(end(world)),
    exits: Stream.empty
  })
}

/** Lets the agent do something, if one runs. */
export const asAgent = (
  world: World,
  does: (agent: Agent, life: KillSwitch.KillSwitch) => Effect.Effect<void, unknown>,
  diesAt?: number
) =>
  Effect.gen(function* () {
    const agent = world.agent
    if (agent === undefined) return
    if (diesAt !== undefined) agent.life.dieAt(diesAt)
    const fiber = yield* Running.fork(world, agent, does(agent.services, agent.life))
    yield* Running.untilQuiet(() => Running.isOver(fiber))
    if (diesAt !== undefined) agent.life.dieNow()
    if (!agent.life.isAlive()) {
      world.ledger.kills++
      yield* end(world)
    }
  })
