/**
 * The host's runs. Each is a whole host on the same folder.
 */
import { Effect, Exit, Layer, Schedule, Scope } from "effect"
import {
  AirlockConfig,
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import * as AgentProcess from "./AgentProcess.js"
import * as KillSwitch from "./KillSwitch.js"
import * as MortalStorage from "./MortalStorage.js"
import * as Platform from "./Platform.js"
import * as Running from "./Running.js"
import type { Host, Run, World } from "./World.js"
import * as Worlds from "./World.js"

const settings = ({ dataDir, story }: World): AirlockConfig.Options => ({
  dataDir,
  unknownDeliveries: story.unknownDeliveries,
  limits: { drainMessages: story.drainMessages },
  deliveryRetries: Schedule.exponential("1 second").pipe(
    Schedule.intersect(Schedule.recurs(Worlds.deliveryAttempts - 1))
  ),
  messageRetries: Schedule.exponential("5 seconds").pipe(
    Schedule.intersect(Schedule.recurs(Worlds.messageAttempts - 1))
  )
})

const hostLayer = (world: World, life: KillSwitch.KillSwitch) =>
  AirlockHost.loops.pipe(
    Layer.provideMerge(AirlockHost.sessionsWithoutStorage),
    Layer.provideMerge(SessionRegistry.SessionRegistry.layerSqlite),
    Layer.provideMerge(SessionPaths.SessionPaths.layer),
    Layer.provideMerge(AirlockConfig.AirlockConfig.layer(settings(world))),
    Layer.provide(
      ChannelAdapter.ChannelAdapter.layer(Platform.deliver(world.platform, world.ledger, world.story, life))
    ),
    Layer.provide(Layer.succeed(ContainerRuntime.ContainerRuntime, AgentProcess.containers(world, life))),
    Layer.provide(MortalStorage.layer(life, Worlds.copiesOf(world)))
  )

/** What every start of a host does: whatever of it an earlier one did is there already. */
const open = Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const registry = yield* SessionRegistry.SessionRegistry
  yield* registry.putMessagingGroup({ id: "home", channelType: "test", platformId: "home" })
  const { session } = yield* manager.resolve({
    agentGroupId: "agent",
    messagingGroupId: "home",
    threadId: null,
    mode: "shared"
  })
  yield* manager.writeDestinations(session, [
    { name: "page", type: "channel", channelType: "web", platformId: "page" }
  ])
  return session
})

/** The host that runs, or a new one. */
const hostOf = (world: World, life: KillSwitch.KillSwitch, scope: Scope.CloseableScope) =>
  Effect.gen(function* () {
    if (world.host !== undefined) return world.host.services
    const context = yield* Layer.buildWithScope(hostLayer(world, life), scope)
    const session = yield* Effect.provide(open, context)
    const services: Host = { context, session }
    if (life.isAlive()) world.host = { life, scope, services }
    return services
  })

/** Stops what is left of a killed host. */
const bury = (world: World, { life, scope }: Pick<Run<unknown>, "life" | "scope">) =>
  Effect.gen(function* () {
    world.host = undefined
    world.ledger.kills++
    yield* Scope.close(scope, Exit.void)
    life.bury()
  })

/** Lets the host do something; a dead one is started first. It may be killed at a moment, or else afterwards. */
export const asHost = (
  world: World,
  does: (host: Host, life: KillSwitch.KillSwitch) => Effect.Effect<void, unknown>,
  diesAt?: number
) =>
  Effect.gen(function* () {
    const scope = world.host?.scope ?? (yield* Scope.make())
    const life = world.host?.life ?? KillSwitch.make(world.dataDir, Worlds.graveOf(world, "host"))
    if (diesAt !== undefined) life.dieAt(diesAt)
    const fiber = yield* Running.fork(
      world,
      { life, scope },
      Effect.flatMap(hostOf(world, life, scope), (host) => does(host, life))
    )
    yield* Running.untilQuiet(() => Running.isOver(fiber))
    if (diesAt !== undefined) life.dieNow()
    if (!life.isAlive()) yield* bury(world, { life, scope })
  })

/** Stops it in order. */
export const end = (world: World) =>
  Effect.gen(function* () {
    if (world.host !== undefined) yield* Scope.close(world.host.scope, Exit.void)
    world.host = undefined
  })
