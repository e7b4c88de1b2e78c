/**
 * Messages from one agent to another: a reply goes back to the session that its message came from, anything else
 * to the session that the other agent group has for all its chats.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { createHash } from "node:crypto"
import type { StorageError } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import type { Envelope, Outcome } from "./ChannelAdapter.js"
import { delivered, rejected, tryLater } from "./ChannelAdapter.js"
import { SessionManager } from "./SessionManager.js"
import type { RegistryError } from "./SessionRegistry.js"
import { SessionRegistry } from "./SessionRegistry.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class AgentRouter extends Context.Tag("effect-airlock/AgentRouter")<
  AgentRouter,
  {
    /**
     * Writes a message into a session of the agent group that `platformId` names. `returnTo` is the session of
     * the message that it answers, if that came from an agent. Attempts at one message write it once.
     */
    readonly deliver: (envelope: Envelope, returnTo: string | null) => Effect.Effect<Outcome>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<AgentRouter, never, SessionManager | SessionRegistry> = Layer.effect(
    AgentRouter,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const manager = yield* SessionManager
  const registry = yield* SessionRegistry

  const target = (
    agentGroupId: string,
    returnTo: string | null
  ): Effect.Effect<SessionRef, StorageError | RegistryError> =>
    Effect.gen(function* () {
      const asker = returnTo === null ? Option.none() : yield* registry.getSession(returnTo)
      if (
        Option.isSome(asker) &&
        asker.value.agentGroupId === agentGroupId &&
        asker.value.status === "active"
      ) {
        return asker.value
      }
      const key = { agentGroupId, messagingGroupId: null, threadId: null, mode: "agent-shared" } as const
      return (yield* manager.resolve(key)).session
    })

  const deliver = (envelope: Envelope, returnTo: string | null): Effect.Effect<Outcome> =>
    Effect.gen(function* () {
      if (envelope.platformId === null) return rejected("no agent named")
      const id = `agent-${createHash("sha256").update(envelope.idempotencyKey).digest("hex").slice(0, 40)}`
      yield* manager.writeMessage(yield* target(envelope.platformId, returnTo), {
        id,
        kind: "chat",
        content: envelope.content,
        channelType: "agent",
        platformId: envelope.ref.agentGroupId,
        sourceSessionId: envelope.ref.sessionId,
        attachments: envelope.files.map(({ data, name }) => ({ name, source: { bytes: data } }))
      })
      return delivered(id)
    }).pipe(
      Effect.catchTags({
        SessionDbUnavailable: ({ reason, resource }) => Effect.succeed(tryLater(0, `${resource}: ${reason}`)),
        SessionDbCorrupt: ({ reason, resource }) => Effect.succeed(tryLater(0, `${resource}: ${reason}`)),
        UnsafePath: ({ reason }) => Effect.succeed(rejected(`unsafe path: ${reason}`)),
        SessionNotFound: () => Effect.succeed(rejected("no such session"))
      }),
      Effect.catchAll((error) => Effect.succeed(rejected(error._tag)))
    )

  return AgentRouter.of({ deliver })
})
