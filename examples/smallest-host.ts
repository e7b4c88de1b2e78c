/**
 * The smallest host: one session, one message, and an agent that is started when it comes. Run it with
 * `node --import tsx examples/smallest-host.ts`; Ctrl-C stops it.
 */
import { Command } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  SessionManager,
  SessionRegistry
} from "effect-airlock"

/** Where the agent's messages go. A real adapter posts them to a chat, and says what became of them. */
const terminal = ChannelAdapter.ChannelAdapter.layer((envelope) =>
  Effect.as(Console.log(`agent: ${envelope.content}`), ChannelAdapter.delivered())
)

/** Where agents come from. `ContainerRuntime.layerDocker` starts them in containers. */
const agents = ContainerRuntime.ContainerRuntime.layerProcess({
  command: (_session, folder) => Command.make("node", "--import", "tsx", "examples/smallest-agent.ts", folder)
})

const program = Effect.gen(function* () {
  const registry = yield* SessionRegistry.SessionRegistry
  const sessions = yield* SessionManager.SessionManager

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
  return yield* AirlockHost.run
})

program.pipe(
  Effect.provide(AirlockHost.layer({ dataDir: "./data" }, Layer.merge(terminal, agents))),
  Effect.provide(NodeContext.layer),
  NodeRuntime.runMain
)
