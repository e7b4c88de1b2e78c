/**
 * The port through which agents are started and stopped: a container engine, a virtual machine, a process. The
 * host implements it, or takes one of the layers beside this file.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { Session, SessionRef } from "../protocol/Session.js"

/**
 * What a session's container does.
 *
 * - `Stopped`: there is none, or it has ended
 * - `Running`: it runs, since `startedAt` (milliseconds since 1970) if the runtime knows
 *
 * @since 0.1.0
 * @category models
 */
export type ContainerState = Data.TaggedEnum<{
  Stopped: object
  Running: { readonly startedAt: Option.Option<number> }
}>

const states = Data.taggedEnum<ContainerState>()

/**
 * @since 0.1.0
 * @category constructors
 */
export const stopped: ContainerState = states.Stopped()

/**
 * @since 0.1.0
 * @category constructors
 */
export const running = (startedAt: Option.Option<number>): ContainerState => states.Running({ startedAt })

/**
 * What it fails with is the implementation's own; the sweep logs it, and tries again later.
 *
 * @since 0.1.0
 * @category tags
 */
export class ContainerRuntime extends Context.Tag("effect-airlock/ContainerRuntime")<
  ContainerRuntime,
  {
    /** Whether the session's container runs now. */
    readonly status: (session: Session) => Effect.Effect<ContainerState, unknown>
    /**
     * Starts the session's container on its folder, and returns when it has started, not when it is ready. Does
     * nothing if it runs already.
     */
    readonly wake: (session: Session) => Effect.Effect<void, unknown>
    /**
     * Ends the session's container, in order if it can be (it may take a while), and returns when it has ended.
     * Does nothing if there is none.
     */
    readonly kill: (session: Session) => Effect.Effect<void, unknown>
    /**
     * The sessions whose containers end, as they end. A runtime that cannot tell gives `Stream.empty`: the sweep
     * then finds out when it looks.
     */
    readonly exits: Stream.Stream<SessionRef>
  }
>() {
  /**
   * Runs nothing. For a process that only writes or delivers, while another one, or somebody else, looks after
   * the containers: every container seems stopped, and starting one fails.
   *
   * @since 0.1.0
   */
  static readonly layerNone: Layer.Layer<ContainerRuntime> = Layer.succeed(ContainerRuntime, {
    status: () => Effect.succeed(stopped),
    wake: () => Effect.fail("this process starts no containers"),
    kill: () => Effect.void,
    exits: Stream.empty
  })
}
