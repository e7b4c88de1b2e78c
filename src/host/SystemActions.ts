/**
 * What an agent may ask its host to do. A message of kind `system` names an action in its content, and the host's handler
 * of that name does it. The agent sends it as
 *
 * ```ts
 * mailbox.send({ kind: "system", content: { action: "remind", text: "…" } })
 * ```
 *
 * and the host puts the handlers beside its ports: `Layer.mergeAll(channels, agents, SystemActions.layer({ remind }))`. An
 * action may be asked for again after a crash, under the same `idempotencyKey`: what it does under that key should be
 * the same each time, a time that it computes included.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { JsonObject } from "../protocol/AttachmentContent.js"
import type { SessionRef } from "../protocol/Session.js"
import type { Outcome } from "./ChannelAdapter.js"

/**
 * An action that an agent asks for. `content` is the whole message, as the agent wrote it: check all of it.
 * `idempotencyKey` is the same for every attempt at this message, and for no other.
 *
 * @since 0.1.0
 * @category models
 */
export interface SystemAction {
  readonly idempotencyKey: string
  readonly ref: SessionRef
  readonly id: string
  readonly inReplyTo: string | null
  readonly action: string
  readonly content: JsonObject
}

/**
 * Does one action, and says what became of it, in the words of `ChannelAdapter`: `delivered()` when it is done,
 * `rejected(reason)` when it will not be. A failure, a defect or no answer counts as `Unknown`.
 *
 * @since 0.1.0
 * @category models
 */
export type Handler = (action: SystemAction) => Effect.Effect<Outcome, unknown>

/**
 * The actions that a host knows. Without this service it knows none. An action that it does not know fails, with
 * that as its reason.
 *
 * @since 0.1.0
 * @category tags
 */
export class SystemActions extends Context.Tag("effect-airlock/SystemActions")<
  SystemActions,
  { readonly handlers: ReadonlyMap<string, Handler> }
>() {
  /**
   * A handler for each action, by its name.
   *
   * @since 0.1.0
   */
  static readonly layer = (handlers: { readonly [action: string]: Handler }): Layer.Layer<SystemActions> =>
    Layer.succeed(SystemActions, { handlers: new Map(Object.entries(handlers)) })
}
