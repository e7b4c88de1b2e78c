/**
 * What somebody who installed the package writes: a host and, for the sake of the check, its agent in one
 * process, each through its own entry point.
 */
import {
  AirlockHost,
  ChannelAdapter,
  Delivery,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import type { Message } from "effect-airlock"
import type { SessionManager as FromHost } from "effect-airlock/host"
import { Mailbox } from "effect-airlock/guest"
import { AttachmentName, Timestamp } from "effect-airlock/protocol"
import { Effect, Layer } from "effect"

/** Exported, so that its declaration has to name the types of the library. */
export const write = (session: SessionManager.SessionManager["Type"]) => session.writeMessage

export const readFiles = (session: SessionManager.SessionManager["Type"], id: string) =>
  session.readOutboxFiles({ agentGroupId: "a", sessionId: "s" }, id, [])

export const direct = (session: SessionManager.SessionManager["Type"], message: Message.DirectMessage) =>
  session.writeOutboundDirect({ agentGroupId: "a", sessionId: "s" }, message)

export const hostAt = (dataDir: string) => AirlockHost.layer({ dataDir })

const received: Array<string> = []

const channel = ChannelAdapter.ChannelAdapter.layer((envelope) =>
  Effect.sync(() => {
    received.push(`${envelope.content} ${envelope.files.map(({ name }) => name).join()}`)
    return ChannelAdapter.delivered()
  })
)

const agent = Effect.gen(function* () {
  const mailbox = yield* Mailbox.Mailbox
  for (const message of yield* mailbox.poll) {
    yield* mailbox.claim([message.id])
    yield* mailbox.send({
      content: { text: `got ${message.content}` },
      files: [{ name: yield* AttachmentName.make("answer.txt"), data: new Uint8Array([1, 2, 3]) }]
    })
    yield* mailbox.complete([message.id])
  }
})

const program = Effect.gen(function* () {
  const sessions: FromHost.SessionManager["Type"] = yield* SessionManager.SessionManager
  const registry = yield* SessionRegistry.SessionRegistry
  yield* registry.putMessagingGroup({ id: "home", channelType: "test", platformId: "home" })
  const { session } = yield* sessions.resolve({
    agentGroupId: "agent",
    messagingGroupId: "home",
    threadId: null,
    mode: "shared"
  })
  yield* sessions.writeMessage(session, {
    id: "m",
    kind: "chat",
    content: "hello",
    timestamp: Timestamp.format(0)
  })
  const directory = yield* (yield* SessionPaths.SessionPaths).session(session)
  yield* Effect.provide(agent, Mailbox.Mailbox.layer({ directory }))
  return yield* (yield* Delivery.Delivery).drain(session)
}).pipe(
  Effect.catchTags({
    InvalidMessage: (error) => Effect.dieMessage(error.message),
    SessionDbUnavailable: (error) => Effect.dieMessage(`${error.reason} ${error.isRetryable}`)
  }),
  Effect.provide(AirlockHost.layer({ dataDir: "./data" }).pipe(Layer.provide(channel)))
)

const drained = await Effect.runPromise(program)
console.log(JSON.stringify({ drained, received }))
if (drained.delivered.length !== 1 || !received[0]?.endsWith("answer.txt")) {
  throw new Error("the message did not make its way through")
}
