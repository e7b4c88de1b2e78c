/**
 * The smallest host: one session, one message, and what its agent has answered so far. Run it with
 * `npx tsx examples/smallest-host.ts`, as often as you like.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { AirlockHost, ChannelAdapter, Delivery, SessionManager, SessionPaths } from "effect-airlock"

/** Where the agent's messages go. A real adapter posts them to a chat, and says what became of them. */
const terminal = ChannelAdapter.ChannelAdapter.layer((envelope) =>
  Effect.as(Console.log(`agent: ${envelope.content}`), ChannelAdapter.delivered())
)

const program = Effect.gen(function* () {
  const sessions = yield* SessionManager.SessionManager
  const delivery = yield* Delivery.Delivery
  const paths = yield* SessionPaths.SessionPaths

  const { session } = yield* sessions.resolve({
    agentGroupId: "assistant",
    messagingGroupId: "chat-1",
    threadId: null,
    mode: "shared"
  })
  yield* sessions.writeRouting(session)
  yield* sessions.writeMessage(session, {
    id: "message-1",
    kind: "chat",
    content: JSON.stringify({ text: "Hello, agent" })
  })
  yield* Console.log(`mount ${yield* paths.session(session)} at /workspace`)
  yield* delivery.drain(session)
})

program.pipe(
  Effect.provide(AirlockHost.layer({ dataDir: "./data" }).pipe(Layer.provide(terminal))),
  NodeRuntime.runMain
)
