/**
 * The port through which agents are started and stopped: a container engine, a virtual machine, a process. The
 * host implements it, or takes one of the layers beside this file.
 *
 * @since 0.1.0
 */
import type * as CommandExecutor from "@effect/platform/CommandExecutor"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Session, SessionRef } from "../protocol/Session.js"
import { stopped } from "./ContainerState.js"
import type { ContainerState } from "./ContainerState.js"
import type { AirlockConfig } from "./AirlockConfig.js"
import type { ProcessOptions } from "./ProcessRuntime.js"
import * as ProcessRuntime from "./ProcessRuntime.js"
import type { SessionPaths } from "./SessionPaths.js"

export type { ProcessOptions } from "./ProcessRuntime.js"

export { running, stopped } from "./ContainerState.js"
export type { ContainerState } from "./ContainerState.js"

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
   * Runs agents as child processes of the host, each in a process group of its own, which is stopped as a whole. They
   * are stopped when the layer's scope closes. Those of a host that was killed are ended when the layer is built the
   * next time (where there is a `/proc`; one that was being started at that very moment is not found). Only one host may
   * do this on a data directory.
   *
   * @since 0.1.0
   */
  static readonly layerProcess = (
    options: ProcessOptions
  ): Layer.Layer<
    ContainerRuntime,
    never,
    AirlockConfig | SessionPaths | CommandExecutor.CommandExecutor | FileSystem.FileSystem
  > => Layer.scoped(ContainerRuntime, ProcessRuntime.make(options))

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
