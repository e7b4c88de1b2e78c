/**
 * The smallest host: one session, one message, and whatever its agent answers. Run it with
 * `npx tsx examples/smallest-host.ts`, and the agent beside it on the folder that it prints.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Schedule } from "effect"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  Delivery,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"

/** Where the agent's messages go. A real adapter posts them to a chat, and says what became of them. */
const terminal = ChannelAdapter.ChannelAdapter.layer((envelope) =>
  Effect.as(Console.log(`agent: ${envelope.content}`), ChannelAdapter.delivered())
)

const program = Effect.gen(function* () {
  const registry = yield* SessionRegistry.SessionRegistry
  const sessions = yield* SessionManager.SessionManager
  const delivery = yield* Delivery.Delivery
  const paths = yield* SessionPaths.SessionPaths

  yield* registry.putMessagingGroup({ id: "chat-1", channelType: "terminal", platformId: "tty" })
  const { session } = yield* sessions.resolve({
    agentGroupId: "assistant",
    messagingGroupId: "chat-1",
    threadId: null,
    mode: "shared"
  })
  yield* sessions.writeMessage(session, {
    id: "message-1",
    kind: "chat",
    content: JSON.stringify({ text: "Hello, agent" })
  })
  yield* Console.log(`mount ${yield* paths.session(session)} at /workspace; Ctrl-C to stop`)
  yield* Effect.repeat(delivery.drain(session), Schedule.spaced("1 second"))
})

program.pipe(
  Effect.provide(
    AirlockHost.layer({ dataDir: "./data" }).pipe(
      Layer.provide(Layer.merge(terminal, ContainerRuntime.ContainerRuntime.layerNone))
    )
  ),
  NodeRuntime.runMain
)
