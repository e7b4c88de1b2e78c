/**
 * What somebody who installed the package writes: a host and, for the sake of the check, its agent in one
 * process, each through its own entry point.
 */
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  Delivery,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import type { AirlockError, Message, Session } from "effect-airlock"
import type { SessionManager as FromHost } from "effect-airlock/host"
import { Mailbox } from "effect-airlock/guest"
import { AttachmentName, Timestamp } from "effect-airlock/protocol"
import { Effect, Layer } from "effect"

/** Declarations of these name the library's types, through the namespaces that this file imports. */
export const write = (manager: SessionManager.SessionManager["Type"], ref: Session.SessionRef) =>
  manager.writeMessage(ref, { id: "m", kind: "chat", content: "x" })

export const readFiles = (manager: SessionManager.SessionManager["Type"], ref: Session.SessionRef) =>
  manager.readOutboxFiles(ref, "m", [])

export const direct = (
  manager: SessionManager.SessionManager["Type"],
  ref: Session.SessionRef,
  message: Message.DirectMessage
) => manager.writeOutboundDirect(ref, message)

export const sessionsAt = (dataDir: string) => AirlockHost.sessions({ dataDir })

export const isRetryable = (error: AirlockError.StorageError): boolean =>
  error._tag === "SessionDbUnavailable" && error.isRetryable

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
  Effect.provide(
    AirlockHost.layer(
      { dataDir: "./data" },
      Layer.merge(channel, ContainerRuntime.ContainerRuntime.layerNone)
    )
  )
)

const drained = await Effect.runPromise(program)
console.log(JSON.stringify({ drained, received }))
if (drained.delivered.length !== 1 || !received[0]?.endsWith("answer.txt")) {
  throw new Error("the message did not make its way through")
}
