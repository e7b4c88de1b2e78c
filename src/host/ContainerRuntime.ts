/**
 * The port through which agents are started and stopped: a container engine, a virtual machine, a process. The
 * host takes one of the layers here, or implements it.
 *
 * @since 0.1.0
 */
import type { CommandExecutor } from "@effect/platform/CommandExecutor"
import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { Session, SessionRef } from "../protocol/Session.js"
import type { SafeDirectories } from "../storage/SafeDirectory.js"
import type { AirlockConfig } from "./AirlockConfig.js"
import { stopped } from "./ContainerState.js"
import type { ContainerState } from "./ContainerState.js"
import * as DockerRuntime from "./DockerRuntime.js"
import * as ProcessRuntime from "./ProcessRuntime.js"
import type { SessionPaths } from "./SessionPaths.js"

export type { SafeDirectories } from "../storage/SafeDirectory.js"
export { running, stopped } from "./ContainerState.js"
export type { ContainerState } from "./ContainerState.js"
export { ContainerEngineFailed } from "./ContainerEngine.js"
export type { DockerOptions } from "./DockerRuntime.js"
export type { ProcessOptions } from "./ProcessRuntime.js"

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

  /**
   * Runs each agent as a child process of the host, in a process group of its own. That keeps agents apart from each
   * other's crashes, and from nothing else: an agent can do what the host can. For trusted agents and for
   * development.
   *
   * An agent that ends takes along what it has started, as far as that has stayed in its process group. `kill` sends
   * SIGTERM to the group, and SIGKILL after `stopTimeout`. When the layer's scope closes, all agents are stopped like
   * that, side by side.
   *
   * A host that is killed leaves its agents behind. On Linux, the next one kills them before it does anything else (see
   * `ProcessRecords`), except for one that was started in the last instant before, and for what remains of one
   * that has ended since. Elsewhere nobody does. Two hosts on one data directory at the same time are not
   * supported, but neither kills the other's agents.
   *
   * @since 0.1.0
   */
  static readonly layerProcess = (
    options: ProcessRuntime.ProcessOptions
  ): Layer.Layer<
    ContainerRuntime,
    PlatformError,
    AirlockConfig | SessionPaths | CommandExecutor | FileSystem
  > => Layer.scoped(ContainerRuntime, ProcessRuntime.make(options))

  /**
   * Runs each agent in a container of docker or podman, with the session's folder at `/workspace`. Uses the
   * engine's command line, which must be installed and allowed to the host. What `status`, `wake` and `kill` fail with
   * is `ContainerEngineFailed`, and what `MountPlan.of` fails with.
   *
   * Containers run on when the layer's scope closes, and when the host is killed, unlike the processes of `layerProcess`:
   * the next host finds them by their name, which is made from the data directory and the session.
   * `exits` tells of those that this layer started or that `status` found running.
   *
   * The only thing that is set to protect anybody from the agent are the mounts: see `DockerOptions.arguments`.
   *
   * @since 0.1.0
   */
  static readonly layerDocker = (
    options: DockerRuntime.DockerOptions
  ): Layer.Layer<ContainerRuntime, never, AirlockConfig | SessionPaths | SafeDirectories | CommandExecutor> =>
    Layer.scoped(ContainerRuntime, DockerRuntime.make(options))
}
