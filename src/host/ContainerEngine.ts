/**
 * The command line of a container engine: docker, podman, or one that answers as they do.
 *
 * @since 0.1.0
 */
import * as Command from "@effect/platform/Command"
import { CommandExecutor } from "@effect/platform/CommandExecutor"
import type { PlatformError } from "@effect/platform/Error"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

const Operation = Schema.Literal("inspect", "run", "rm", "stop", "wait")

/**
 * The commands of an engine that this library uses.
 *
 * @since 0.1.0
 * @category models
 */
export type Operation = typeof Operation.Type

/** How many characters of an error, from its end, which is where engines say what is wrong. */
const maxStderr = 500

/** How many characters of an answer, from its end. All answers that matter are one line. */
const maxStdout = 4000

/**
 * A command of the container engine failed: the engine does not run or may not be used, there is no such image, it
 * refused an argument. `exitCode` is null if the command could not be started, or was ended by a signal. `stderr` is
 * the last 500 characters of what it said.
 *
 * @since 0.1.0
 * @category errors
 */
export class ContainerEngineFailed extends Schema.TaggedError<ContainerEngineFailed>()(
  "ContainerEngineFailed",
  {
    operation: Operation,
    exitCode: Schema.NullOr(Schema.Int),
    stderr: Schema.String.pipe(Schema.maxLength(maxStderr))
  }
) {
  override get message(): string {
    return `${this.operation} failed (${this.exitCode ?? "no exit code"}): ${JSON.stringify(this.stderr)}`
  }
}

/**
 * Runs one command of the engine, and answers what it printed, without the last end of line.
 *
 * @since 0.1.0
 * @category models
 */
export type Engine = (
  operation: Operation,
  rest: ReadonlyArray<string>
) => Effect.Effect<string, ContainerEngineFailed>

/**
 * @since 0.1.0
 * @category constructors
 */
export const failed = (
  operation: Operation,
  exitCode: number | null,
  stderr: string
): ContainerEngineFailed =>
  new ContainerEngineFailed({ operation, exitCode, stderr: stderr.trim().slice(-maxStderr) })

const endOf = (bytes: Stream.Stream<Uint8Array, PlatformError>, length: number) =>
  Stream.runFold(Stream.decodeText(bytes), "", (text, more) => (text + more).slice(-length))

/**
 * The engine whose command is `executable`: a name that is looked up in `PATH`, or a path.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (executable: string): Effect.Effect<Engine, never, CommandExecutor> =>
  Effect.map(
    CommandExecutor,
    (executor): Engine =>
      (operation, rest) =>
        Effect.gen(function* () {
          const process = yield* executor.start(Command.make(executable, operation, ...rest))
          const { exitCode, stderr, stdout } = yield* Effect.all(
            {
              stdout: endOf(process.stdout, maxStdout),
              stderr: endOf(process.stderr, maxStderr + 100),
              exitCode: Effect.orElseSucceed(process.exitCode, () => null)
            },
            { concurrency: "unbounded" }
          )
          if (exitCode !== 0) return yield* failed(operation, exitCode, stderr)
          return stdout.trimEnd()
        }).pipe(
          Effect.scoped,
          Effect.catchTags({
            BadArgument: (error) => failed(operation, null, error.message),
            SystemError: (error) => failed(operation, null, error.message)
          })
        )
  )

/**
 * Whether it failed because there is no such container.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isNoSuchContainer = ({ stderr }: ContainerEngineFailed): boolean =>
  /no such (container|object)/i.test(stderr)

/**
 * Whether it failed because a container that is being removed, which takes a moment after it has ended, still has
 * its name.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isBeingRemoved = ({ stderr }: ContainerEngineFailed): boolean =>
  /removal of container .* is already in progress|name .* is already in use/is.test(stderr)
