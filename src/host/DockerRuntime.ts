/**
 * Runs the agent of a session in a container of docker or podman, through their command line.
 *
 * @since 0.1.0
 */
import type { CommandExecutor } from "@effect/platform/CommandExecutor"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Session, SessionRef } from "../protocol/Session.js"
import type { SafeDirectories } from "../storage/SafeDirectory.js"
import type { Owner } from "./AirlockConfig.js"
import { AirlockConfig } from "./AirlockConfig.js"
import * as ContainerEngine from "./ContainerEngine.js"
import type { ContainerRuntime } from "./ContainerRuntime.js"
import * as ContainerState from "./ContainerState.js"
import * as DockerArguments from "./DockerArguments.js"
import * as MountPlan from "./MountPlan.js"
import type { SessionPaths } from "./SessionPaths.js"
import * as SessionTurns from "./SessionTurns.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface DockerOptions {
  /** The image of the agent. It should be there already: `containerTimeout` counts while it is fetched. */
  readonly image: string | ((session: Session) => string)
  /** The engine's command, `docker` or `podman`, or its path. Default `docker`. */
  readonly engine?: string | undefined
  /**
   * More arguments for `run`, before the image: environment, limits, network. Default none, which means that the engine's
   * own defaults hold: an agent that you do not trust needs at least `--network none` or a network of its own,
   * `--cap-drop ALL`, `--security-opt no-new-privileges` and limits on memory and processes.
   */
  readonly arguments?: ((session: Session) => ReadonlyArray<string>) | undefined
  /** Arguments for the image, after it. Default none. */
  readonly command?: ReadonlyArray<string> | undefined
  /** Who the agent runs as. Default `owner` of the settings; if that is not set either, what the image says. */
  readonly user?: Owner | undefined
  /** How long a container may take to end when it is told to, in whole seconds, before it is killed. Default 10 seconds. */
  readonly stopTimeout?: Duration.DurationInput | undefined
}

/** How often `run` is tried while the container before it is being removed. */
const removal = Schedule.intersect(Schedule.spaced("200 millis"), Schedule.recurs(50))

/**
 * See `ContainerRuntime.layerDocker`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: DockerOptions
): Effect.Effect<
  Context.Tag.Service<ContainerRuntime>,
  never,
  AirlockConfig | SessionPaths | SafeDirectories | CommandExecutor | Scope.Scope
> =>
  Effect.gen(function* () {
    const { dataDir, owner } = yield* AirlockConfig
    const places = yield* Effect.context<SessionPaths | SafeDirectories>()
    const engine = yield* ContainerEngine.make(options.engine ?? "docker")
    const inTurn = yield* SessionTurns.make
    const scope = yield* Effect.scope
    const exits = yield* Effect.acquireRelease(PubSub.unbounded<SessionRef>(), PubSub.shutdown)
    const user = Option.orElse(Option.fromNullable(options.user), () => owner)
    const seconds = Duration.toSeconds(options.stopTimeout ?? "10 seconds")
    const nameOf = (ref: SessionRef) => DockerArguments.containerName(dataDir, ref)

    const watched = new Set<string>()

    const inspect = (
      name: string
    ): Effect.Effect<Option.Option<DockerArguments.Inspection>, ContainerEngine.ContainerEngineFailed> =>
      engine("inspect", DockerArguments.inspect(name)).pipe(
        Effect.matchEffect({
          onFailure: (error) =>
            ContainerEngine.isNoSuchContainer(error) ? Effect.succeedNone : Effect.fail(error),
          onSuccess: (answer) =>
            Option.match(DockerArguments.parseInspection(answer), {
              onNone: () => ContainerEngine.failed("inspect", 0, `it answered ${JSON.stringify(answer)}`),
              onSome: (found) => Effect.succeedSome(found)
            })
        })
      )

    /** Tells when a container ends, once. If the engine fails, `status` watches it again. */
    const watch = (id: string, { agentGroupId, sessionId }: SessionRef) =>
      Effect.suspend(() => {
        if (watched.has(id)) return Effect.void
        watched.add(id)
        return engine("wait", [id]).pipe(
          Effect.catchIf(ContainerEngine.isNoSuchContainer, () => Effect.void),
          Effect.zipRight(PubSub.publish(exits, { agentGroupId, sessionId })),
          Effect.catchAll((error) => Effect.logDebug("A container is no longer watched", error)),
          Effect.ensuring(Effect.sync(() => watched.delete(id))),
          Effect.interruptible,
          Effect.forkIn(scope)
        )
      }).pipe(Effect.uninterruptible)

    /** Removes what is left of an earlier container, and starts a new one, of which it answers the id. */
    const start = (name: string, container: DockerArguments.Container) =>
      engine("rm", ["--force", name]).pipe(
        Effect.catchIf(
          (error) => ContainerEngine.isNoSuchContainer(error) || ContainerEngine.isBeingRemoved(error),
          () => Effect.void
        ),
        Effect.zipRight(engine("run", DockerArguments.run(container))),
        Effect.retry({ while: ContainerEngine.isBeingRemoved, schedule: removal })
      )

    return {
      status: (session) =>
        Effect.flatMap(
          inspect(nameOf(session)),
          Option.match({
            onNone: () => Effect.succeed(ContainerState.stopped),
            onSome: ({ id, state }) =>
              state._tag === "Running"
                ? Effect.as(watch(id, session), state)
                : Effect.succeed(ContainerState.stopped)
          })
        ),
      wake: Effect.fn("ContainerRuntime.wake")(
        function* (session: Session) {
          const name = nameOf(session)
          const found = yield* inspect(name)
          if (Option.isSome(found) && found.value.state._tag === "Running") {
            yield* watch(found.value.id, session)
            return
          }
          const mounts = yield* Effect.provide(MountPlan.of(session), places)
          const id = yield* start(name, {
            name,
            ref: session,
            mounts,
            image: typeof options.image === "string" ? options.image : options.image(session),
            user,
            extra: options.arguments?.(session) ?? [],
            command: options.command ?? []
          })
          yield* watch(id, session)
        },
        (effect, session) => inTurn(session)(effect)
      ),
      kill: Effect.fn("ContainerRuntime.kill")(
        function* (session: Session) {
          yield* engine("stop", DockerArguments.stop(nameOf(session), seconds)).pipe(
            Effect.catchIf(ContainerEngine.isNoSuchContainer, () => Effect.void)
          )
        },
        (effect, session) => inTurn(session)(effect)
      ),
      exits: Stream.fromPubSub(exits)
    }
  })
