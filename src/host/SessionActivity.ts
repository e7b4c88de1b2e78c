/**
 * Word from one service of a host to another that something was written, so that nobody has to wait for the next
 * look. Looking stays the guarantee: word gets lost when a process is killed, and does not reach another process.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type { SessionRef } from "../protocol/Session.js"

/**
 * - `inbound`: there is a message for the agent
 * - `direct`: there is a reply of the host's own to deliver
 * - `ended`: the session's container has stopped
 *
 * @since 0.1.0
 * @category models
 */
export interface Activity {
  readonly what: "inbound" | "direct" | "ended"
  readonly ref: SessionRef
}

/**
 * @since 0.1.0
 * @category tags
 */
export class SessionActivity extends Context.Tag("effect-airlock/SessionActivity")<
  SessionActivity,
  {
    readonly tell: (what: Activity["what"], ref: SessionRef) => Effect.Effect<void>
    /** What is told from the subscription on. Of a thousand that nobody takes, the oldest are dropped. */
    readonly stream: Stream.Stream<Activity>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<SessionActivity> = Layer.effect(
    SessionActivity,
    Effect.map(PubSub.sliding<Activity>(1000), (hub) => ({
      tell: (what, { agentGroupId, sessionId }) =>
        Effect.asVoid(PubSub.publish(hub, { what, ref: { agentGroupId, sessionId } })),
      stream: Stream.fromPubSub(hub)
    }))
  )
}
