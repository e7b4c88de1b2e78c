/**
 * The data directory that every operation is tried on: one session in which something of everything is under way, and
 * one whose folder lacks things.
 */
import { Effect, Layer, Schedule, Stream } from "effect"
import type { AirlockConfig } from "effect-airlock"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  Delivery,
  Mailbox,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as TestHost from "../support/TestHost.js"

/** What the operations need to know of it. Plain data, so that another process can be told. */
export interface Scene {
  readonly session: { readonly agentGroupId: string; readonly sessionId: string }
  readonly incomplete: { readonly agentGroupId: string; readonly sessionId: string }
  /** A delivered message of the agent, whose files the host has not cleared away. */
  readonly delivered: { readonly id: string; readonly seq: number }
  /** Two that wait, each with files: one for the chat, one for another agent. */
  readonly reply: string
  readonly toAgent: string
}

/** The bytes of a file, which nothing but its name and its message tell. */
export const bytesOf = (message: string, name: string): Uint8Array =>
  Buffer.from(`${message}/${name} `.repeat(400))

export const attachments = (message: string) =>
  ["one", "two"].map((name) => ({ name, source: { bytes: bytesOf(message, name) } }))

export const files = (message: string) =>
  ["one", "two"].map((name) => ({ name, data: bytesOf(message, name) }))

export const chat = (id: string) => ({
  agentGroupId: "agent",
  messagingGroupId: id,
  threadId: null,
  mode: "shared" as const
})

export const destinations = [
  { name: "other", type: "agent" as const, agentGroupId: "other" },
  { name: "page", type: "channel" as const, channelType: "test", platformId: "page" }
]

const soon = Schedule.spaced("1 millis")

export const settings = (dataDir: string): AirlockConfig.Options => ({
  dataDir,
  deliveryRetries: soon,
  messageRetries: soon
})

/** A platform that knows every message by its idempotency key, and refuses one. */
export const deliver =
  (note: (envelope: ChannelAdapter.Envelope) => void): ChannelAdapter.Deliver =>
  (envelope) =>
    Effect.sync(() => {
      note(envelope)
      return envelope.content.includes("refuse me")
        ? ChannelAdapter.rejected("refused")
        : ChannelAdapter.delivered(`p-${envelope.id}`)
    })

/** Agents that end at once, so that everything that is claimed is offered again. */
export const shortLived = Layer.succeed(ContainerRuntime.ContainerRuntime, {
  status: () => Effect.succeed(ContainerRuntime.stopped),
  wake: () => Effect.void,
  kill: () => Effect.void,
  exits: Stream.empty
})

export const folderOf = (dataDir: string, ref: Scene["session"]): string =>
  Path.join(dataDir, "v2-sessions", ref.agentGroupId, ref.sessionId)

/** Makes it. */
export const make = (dataDir: string) =>
  Effect.gen(function* () {
    const manager = yield* SessionManager.SessionManager
    const registry = yield* SessionRegistry.SessionRegistry
    const delivery = yield* Delivery.Delivery
    for (const id of ["home", "second"]) {
      yield* registry.putMessagingGroup({ id, channelType: "test", platformId: id })
    }
    const { session } = yield* manager.resolve(chat("home"))
    const { session: incomplete } = yield* manager.resolve(chat("second"))
    yield* manager.writeDestinations(session, destinations)
    const folder = yield* TestHost.folderOf(session)
    const write = (id: string, more: object = {}) =>
      manager.writeMessage(session, {
        id,
        kind: "chat",
        content: JSON.stringify({ text: id }),
        attachments: attachments(id),
        ...more
      })
    yield* write("claimed")
    yield* write("answered")
    yield* write("task", { kind: "task", content: "{}", attachments: [], recurrence: "0 9 * * *" })
    const scene = yield* Effect.gen(function* () {
      const mailbox = yield* Mailbox.Mailbox
      const send = (text: string, to?: string) => mailbox.send({ content: { text }, files: files(text), to })
      yield* mailbox.poll
      yield* mailbox.state.set("key", "before")
      yield* mailbox.claim(["claimed"])
      yield* mailbox.complete(["answered", "task"])
      const delivered = yield* send("delivered")
      yield* manager.writeOutboundDirect(session, {
        id: "refused",
        kind: "chat",
        content: JSON.stringify({ text: "refuse me" })
      })
      const left = Path.join(folder, "outbox", delivered.id)
      Fs.cpSync(left, `${folder}-kept`, { recursive: true })
      yield* delivery.drain(session)
      Fs.renameSync(`${folder}-kept`, left)
      const reply = yield* send("reply")
      const toAgent = yield* send("toAgent", "other")
      return { delivered, reply: reply.id, toAgent: toAgent.id }
    }).pipe(Effect.provide(Mailbox.Mailbox.layer({ directory: folder })))
    yield* write("offered")
    yield* manager.writeOutboundDirect(session, {
      id: "direct",
      kind: "chat",
      content: JSON.stringify({ text: "direct" })
    })
    const paths = yield* SessionPaths.SessionPaths
    const second = yield* paths.session(incomplete)
    Fs.rmSync(Path.join(second, "outbound.db"))
    Fs.rmSync(Path.join(second, "inbox"), { recursive: true })
    const ref = ({ agentGroupId, sessionId }: Scene["session"]) => ({ agentGroupId, sessionId })
    return { ...scene, session: ref(session), incomplete: ref(incomplete) } satisfies Scene
  }).pipe(
    Effect.provide(
      AirlockHost.layer(
        settings(dataDir),
        Layer.provideMerge(ChannelAdapter.ChannelAdapter.layer(deliver(() => undefined)), TestHost.ports)
      )
    )
  )
