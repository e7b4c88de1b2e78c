/**
 * Runs the agent of a session as a child process of the host.
 *
 * @since 0.1.0
 */
import type { Command, CommandOutput, StandardCommand } from "@effect/platform/Command"
import type { Process } from "@effect/platform/CommandExecutor"
import { CommandExecutor } from "@effect/platform/CommandExecutor"
import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Session, SessionRef } from "../protocol/Session.js"
import type { AirlockConfig } from "./AirlockConfig.js"
import type { ContainerRuntime } from "./ContainerRuntime.js"
import * as ContainerState from "./ContainerState.js"
import * as ProcessRecords from "./ProcessRecords.js"
import { keyOf } from "./SessionMemories.js"
import { SessionPaths } from "./SessionPaths.js"
import * as SessionTurns from "./SessionTurns.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ProcessOptions {
  /**
   * What starts the agent on its session's folder. One command, not several in a pipe. It has the host's environment
   * and working directory unless it says otherwise. Output that goes to no other place (`"pipe"`, which is what a
   * command says if nobody else does) is thrown away.
   */
  readonly command: (session: Session, folder: string) => Command
  /** How long a process may take to end after SIGTERM, before it gets SIGKILL. Default 10 seconds. */
  readonly stopTimeout?: Duration.DurationInput | undefined
}

interface Child {
  readonly process: Process
  /** By the host's clock, in milliseconds since 1970. */
  readonly startedAt: number
  /** Done when the process and its group have ended, and everybody can know. */
  readonly ended: Deferred.Deferred<void>
}

/**
 * See `ContainerRuntime.layerProcess`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = ({
  command,
  stopTimeout = "10 seconds"
}: ProcessOptions): Effect.Effect<
  Context.Tag.Service<ContainerRuntime>,
  PlatformError,
  AirlockConfig | SessionPaths | CommandExecutor | FileSystem | Scope.Scope
> =>
  Effect.gen(function* () {
    const executor = yield* CommandExecutor
    const paths = yield* SessionPaths
    const records = yield* ProcessRecords.make
    const inTurn = yield* SessionTurns.make
    const exits = yield* Effect.acquireRelease(PubSub.unbounded<SessionRef>(), PubSub.shutdown)
    // Output is read for as long as anybody may write it: until after the last child has ended.
    const outputs = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const children = new Map<string, Child>()
    let isClosed = false

    /** Sees a process to its end, whoever or whatever ends it. */
    const attend = (ref: SessionRef, child: Child, scope: Scope.CloseableScope) =>
      Effect.exit(child.process.exitCode).pipe(
        // What the agent has started goes with it, as it would with a container.
        Effect.zipRight(Effect.ignore(child.process.kill("SIGKILL"))),
        Effect.zipRight(records.remove(ref)),
        Effect.zipRight(Effect.sync(() => children.delete(keyOf(ref)))),
        Effect.zipRight(Scope.close(scope, Exit.void)),
        // Once the layer has closed there is nobody to tell, and telling is interrupted.
        Effect.zipRight(PubSub.publish(exits, ref)),
        Effect.ensuring(Deferred.succeed(child.ended, undefined))
      )

    const read = (output: CommandOutput, bytes: Stream.Stream<Uint8Array, PlatformError>) =>
      output === "inherit"
        ? Effect.void
        : Stream.runDrain(output === "pipe" ? bytes : Stream.transduce(bytes, output)).pipe(
            Effect.catchAllCause((cause) =>
              Effect.logWarning("The output of an agent is no longer read", cause)
            ),
            Effect.interruptible,
            Effect.forkIn(outputs)
          )

    const destroy = (child: Child) =>
      Effect.zipRight(Effect.ignore(child.process.kill("SIGKILL")), Deferred.await(child.ended))

    const stop = (child: Child) =>
      Effect.ignore(child.process.kill("SIGTERM")).pipe(
        // Also where nothing else may be interrupted: while the layer closes.
        Effect.interruptible,
        Effect.timeoutOption(stopTimeout),
        Effect.flatMap(
          Option.match({ onNone: () => destroy(child), onSome: () => Deferred.await(child.ended) })
        )
      )

    const start = (session: Session, standard: StandardCommand) =>
      Effect.gen(function* () {
        const ref = { agentGroupId: session.agentGroupId, sessionId: session.sessionId }
        const scope = yield* Scope.make()
        const started = yield* Scope.extend(executor.start(standard), scope)
        const ended = yield* Deferred.make<void>()
        const child: Child = { process: started, startedAt: yield* Clock.currentTimeMillis, ended }
        children.set(keyOf(ref), child)
        yield* read(standard.stdout, started.stdout)
        yield* read(standard.stderr, started.stderr)
        const recorded = yield* Effect.exit(records.put(ref, started.pid))
        yield* Effect.forkDaemon(attend(ref, child, scope))
        // A process that nobody would find or stop must not run.
        if (Exit.isFailure(recorded) || isClosed) yield* destroy(child)
        yield* recorded
        if (isClosed) return yield* closed
      }).pipe(Effect.uninterruptible)

    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        isClosed = true
        return Effect.forEach(children.values(), stop, { concurrency: "unbounded", discard: true })
      })
    )

    return {
      status: (session) =>
        Effect.suspend(() => {
          const child = children.get(keyOf(session))
          if (child === undefined) return Effect.succeed(ContainerState.stopped)
          return Effect.map(child.process.isRunning, (isRunning) =>
            isRunning ? ContainerState.running(Option.some(child.startedAt)) : ContainerState.stopped
          )
        }),
      wake: Effect.fn("ContainerRuntime.wake")(
        function* (session: Session) {
          if (isClosed) return yield* closed
          const child = children.get(keyOf(session))
          if (child !== undefined) {
            if (yield* child.process.isRunning) return
            yield* Deferred.await(child.ended)
          }
          const standard = command(session, yield* paths.session(session))
          if (standard._tag === "PipedCommand") {
            return yield* Effect.dieMessage("an agent is one command, not several in a pipe")
          }
          yield* start(session, standard)
        },
        (effect, session) => inTurn(session)(effect)
      ),
      kill: Effect.fn("ContainerRuntime.kill")(
        function* (session: Session) {
          const child = children.get(keyOf(session))
          if (child !== undefined) yield* stop(child)
        },
        (effect, session) => inTurn(session)(effect)
      ),
      exits: Stream.fromPubSub(exits)
    }
  })

const closed = Effect.fail("this runtime has been closed")
