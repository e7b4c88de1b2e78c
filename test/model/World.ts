/**
 * A host and an agent on one session folder, each of which can be killed and started again, and the platform.
 */
import type { Fiber } from "effect"
import { Clock, Context, Effect, Exit, Layer, Option, Scope, Stream } from "effect"
import type { Session } from "effect-airlock"
import type { Delivery, SessionDb, Sweep } from "effect-airlock"
import {
  AirlockConfig,
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  Mailbox,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import { Cause, Schedule } from "effect"
import * as Path from "node:path"
import type { Story } from "./Command.js"
import * as KillSwitch from "./KillSwitch.js"
import * as Ledger from "./Ledger.js"
import * as MortalStorage from "./MortalStorage.js"
import * as Platform from "./Platform.js"

/** One run of a process. What it has begun runs in its scope. */
export interface Run<A> {
  readonly life: KillSwitch.KillSwitch
  readonly scope: Scope.CloseableScope
  readonly services: A
}

export interface Host {
  readonly context: Context.Context<
    SessionDb.SessionDb | SessionManager.SessionManager | Delivery.Delivery | Sweep.Sweep
  >
  readonly session: Session.Session
}

export interface Agent {
  readonly mailbox: Mailbox.Mailbox["Type"]
  readonly startedAt: number
  /** What its last poll gave. */
  hands: ReadonlyArray<string>
  /** What it was told that it has claimed, and has not finished. */
  readonly claimed: Set<string>
  /** The same, and what it may have claimed. */
  readonly holds: Set<string>
}

export interface World {
  readonly root: string
  readonly dataDir: string
  readonly story: Story
  readonly ledger: Ledger.Ledger
  readonly platform: Platform.Platform
  host: Run<Host> | undefined
  agent: Run<Agent> | undefined
}

export const make = (root: string, story: Story): World => ({
  root,
  dataDir: Path.join(root, "data"),
  story,
  ledger: Ledger.make(),
  platform: Platform.make(),
  host: undefined,
  agent: undefined
})

/** An attempt at a message fails for good after this many of them. */
export const deliveryAttempts = 4
/** And a message whose agents end without a verdict after this many. */
export const messageAttempts = 3

const settings = ({ dataDir, story }: World): AirlockConfig.Options => ({
  dataDir,
  unknownDeliveries: story.unknownDeliveries,
  limits: { drainMessages: story.drainMessages },
  deliveryRetries: Schedule.exponential("1 second").pipe(
    Schedule.intersect(Schedule.recurs(deliveryAttempts - 1))
  ),
  messageRetries: Schedule.exponential("5 seconds").pipe(
    Schedule.intersect(Schedule.recurs(messageAttempts - 1))
  )
})

/** The folder of the session, which is the same in all stories. */
export const folderOf = (
  world: Pick<World, "dataDir">,
  { agentGroupId, sessionId }: Session.SessionRef
): string => Path.join(world.dataDir, "v2-sessions", agentGroupId, sessionId)

const copiesOf = ({ root }: World): string => Path.join(root, "copies")

const graveOf = (world: World, whose: string): string => Path.join(world.root, `left-by-${whose}`)

const startAgent = (world: World, session: Session.Session) =>
  Effect.gen(function* () {
    const directory = folderOf(world, session)
    const life = KillSwitch.make(directory, graveOf(world, "agent"))
    const scope = yield* Scope.make()
    const layer = Layer.provide(
      Mailbox.layerWithoutStorage({ directory }),
      MortalStorage.layer(life, copiesOf(world))
    )
    const mailbox = Context.get(yield* Layer.buildWithScope(layer, scope), Mailbox.Mailbox)
    const startedAt = yield* Clock.currentTimeMillis
    const services: Agent = { mailbox, startedAt, hands: [], claimed: new Set(), holds: new Set() }
    world.agent = { life, scope, services }
  })

/** Ends the agent in order, or buries it when it was killed. What it had claimed is without an agent. */
export const endAgent = (world: World) =>
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
const containers = (world: World, life: KillSwitch.KillSwitch) => {
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
      ifAlive(Effect.suspend(() => (world.agent === undefined ? startAgent(world, session) : Effect.void))),
    kill: () => ifAlive(endAgent(world)),
    exits: Stream.empty
  })
}

const hostLayer = (world: World, life: KillSwitch.KillSwitch) =>
  AirlockHost.loops.pipe(
    Layer.provideMerge(AirlockHost.sessionsWithoutStorage),
    Layer.provideMerge(SessionRegistry.SessionRegistry.layerSqlite),
    Layer.provideMerge(SessionPaths.SessionPaths.layer),
    Layer.provideMerge(AirlockConfig.AirlockConfig.layer(settings(world))),
    Layer.provide(
      ChannelAdapter.ChannelAdapter.layer(Platform.deliver(world.platform, world.ledger, world.story, life))
    ),
    Layer.provide(Layer.succeed(ContainerRuntime.ContainerRuntime, containers(world, life))),
    Layer.provide(MortalStorage.layer(life, copiesOf(world)))
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

/** Waits until an effect has ended, or everybody waits for time to pass. */
export const untilQuiet = (isOver: () => boolean): Effect.Effect<void> =>
  Effect.promise(async () => {
    let before = -1
    for (let quiet = 0; quiet < 5 && !isOver(); quiet++) {
      if (KillSwitch.activity.count !== before) quiet = 0
      before = KillSwitch.activity.count
      await new Promise((resolve) => (quiet < 2 ? setImmediate(resolve) : setTimeout(resolve, 0)))
    }
  })

/** Lets an effect of a process run in the process's scope; what goes wrong in it, unless it dies meanwhile, is a problem. */
const fork = <E>(
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

const isOver = (fiber: Fiber.RuntimeFiber<unknown, unknown>) => fiber.unsafePoll() !== null

/** Stops what is left of a killed host. */
const buryHost = (world: World, { life, scope }: Pick<Run<unknown>, "life" | "scope">) =>
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
    const life = world.host?.life ?? KillSwitch.make(world.dataDir, graveOf(world, "host"))
    if (diesAt !== undefined) life.dieAt(diesAt)
    const fiber = yield* fork(
      world,
      { life, scope },
      Effect.flatMap(hostOf(world, life, scope), (host) => does(host, life))
    )
    yield* untilQuiet(() => isOver(fiber))
    if (diesAt !== undefined) life.dieNow()
    if (!life.isAlive()) yield* buryHost(world, { life, scope })
  })

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
    const fiber = yield* fork(world, agent, does(agent.services, agent.life))
    yield* untilQuiet(() => isOver(fiber))
    if (diesAt !== undefined) agent.life.dieNow()
    if (!agent.life.isAlive()) {
      world.ledger.kills++
      yield* endAgent(world)
    }
  })

/** Stops both, as if the machine went down in order. */
export const end = (world: World) =>
  Effect.gen(function* () {
    yield* endAgent(world)
    if (world.host !== undefined) yield* Scope.close(world.host.scope, Exit.void)
    world.host = undefined
  })
