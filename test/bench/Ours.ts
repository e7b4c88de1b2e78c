/**
 * A whole host of this library on a data directory, until the scope closes.
 */
import { NodeContext } from "@effect/platform-node"
import { Context, Effect, Layer } from "effect"
import type { AirlockConfig, Session } from "effect-airlock"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  Delivery,
  SessionDb,
  SessionManager,
  SessionPaths,
  SessionRegistry,
  Sweep
} from "effect-airlock"

export const agentGroup = "agent"

export interface Options extends AirlockConfig.Options {
  readonly deliver?: ChannelAdapter.Deliver | undefined
  readonly containers?: ContainerRuntime.ContainerRuntime["Type"] | undefined
}

const deliverAll: ChannelAdapter.Deliver = () => Effect.succeed(ChannelAdapter.delivered())

export const host = ({ containers, deliver = deliverAll, ...options }: Options) =>
  Effect.gen(function* () {
    const ports = Layer.merge(
      ChannelAdapter.ChannelAdapter.layer(deliver),
      containers === undefined
        ? ContainerRuntime.ContainerRuntime.layerNone
        : Layer.succeed(ContainerRuntime.ContainerRuntime, containers)
    )
    const services = yield* Layer.build(
      AirlockHost.layer(options, ports).pipe(Layer.provideMerge(NodeContext.layer))
    )
    const manager = Context.get(services, SessionManager.SessionManager)
    const registry = Context.get(services, SessionRegistry.SessionRegistry)
    const paths = Context.get(services, SessionPaths.SessionPaths)
    /** The session of a chat, with its folder and its routing. */
    const session = (chat: string) =>
      Effect.gen(function* () {
        yield* registry.putMessagingGroup({ id: chat, channelType: "bench", platformId: chat })
        return (yield* manager.resolve(keyOf(chat))).session
      })
    return {
      manager,
      registry,
      delivery: Context.get(services, Delivery.Delivery),
      sweep: Context.get(services, Sweep.Sweep),
      db: Context.get(services, SessionDb.SessionDb),
      session,
      folder: (ref: Session.SessionRef) => paths.session(ref)
    }
  })

export const keyOf = (chat: string): SessionRegistry.SessionKey => ({
  agentGroupId: agentGroup,
  messagingGroupId: chat,
  threadId: null,
  mode: "shared"
})

export type Host = Effect.Effect.Success<ReturnType<typeof host>>
