/**
 * Talk to an agent in the terminal: `node --import tsx examples/chat.ts`. Your first line starts it. Ctrl-C, or the end of the
 * input, stops everything in order; what was said is kept, and answered when you come back.
 *
 * Data goes to AIRLOCK_DATA_DIR, by default ./data.
 */
import { Command } from "@effect/platform"
import { NodeContext, NodeRuntime, NodeStream } from "@effect/platform-node"
import { Clock, Console, Effect, Layer, Logger, LogLevel, Schema, Stream } from "effect"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  SessionManager,
  SessionRegistry
} from "effect-airlock"

const Text = Schema.parseJson(Schema.Struct({ text: Schema.String }))

/** Prints what the agent says. What is no text never will be, so it is rejected. */
const terminal = ChannelAdapter.ChannelAdapter.layer((envelope) =>
  Schema.decode(Text)(envelope.content).pipe(
    Effect.flatMap(({ text }) => Console.log(`agent: ${text}`)),
    Effect.as(ChannelAdapter.delivered()),
    Effect.catchTag("ParseError", () => Effect.succeed(ChannelAdapter.rejected("not a text")))
  )
)

const agents = ContainerRuntime.ContainerRuntime.layerProcess({
  command: (_session, folder) =>
    Command.make("node", "--import", "tsx", "examples/chat-agent.ts", folder).pipe(Command.stderr("inherit"))
})

const lines = NodeStream.stdin.pipe(
  Stream.decodeText(),
  Stream.splitLines,
  Stream.map((line) => line.trim()),
  Stream.filter((line) => line !== "")
)

const chat = Effect.gen(function* () {
  const registry = yield* SessionRegistry.SessionRegistry
  const sessions = yield* SessionManager.SessionManager
  yield* registry.putMessagingGroup({ id: "tty", channelType: "terminal", platformId: "tty" })
  const { session } = yield* sessions.resolve({
    agentGroupId: "chat",
    messagingGroupId: "tty",
    threadId: null,
    mode: "shared"
  })
  yield* Console.log("Say something. Ctrl-C ends.")
  const start = yield* Clock.currentTimeMillis
  const conversation = Stream.runForEach(Stream.zipWithIndex(lines), ([text, index]) =>
    sessions.writeMessage(session, {
      id: `line-${start}-${index}`,
      kind: "chat",
      content: JSON.stringify({ text })
    })
  )
  yield* Effect.raceFirst(conversation, AirlockHost.run)
})

chat.pipe(
  Effect.provide(AirlockHost.layerConfig(Layer.merge(terminal, agents))),
  Effect.provide(NodeContext.layer),
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
