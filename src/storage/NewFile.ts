/**
 * Files and folders that appear whole or not at all, whoever is killed when: they are made under another name first.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import type { SafeDirectory } from "./SafeDirectory.js"
import type { Subject } from "./StorageFailure.js"
import { fromSystemCall } from "./StorageFailure.js"
import type { SystemCallError, SystemCalls } from "./SystemCalls.js"

/**
 * A name for what is not whole yet.
 *
 * @since 0.1.0
 * @category names
 */
export const temporaryName: Effect.Effect<string> = Effect.map(
  Random.nextIntBetween(0, 2 ** 48),
  (n) => `.new-${n.toString(36)}`
)

/**
 * Whether a name could not be given because something has it.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isTaken = (error: SystemCallError): boolean =>
  error.code === "EEXIST" || error.code === "ENOTEMPTY"

/**
 * Gives a file that `write` makes its name, unless something has that name. A link fails then; a rename would not.
 *
 * @since 0.1.0
 * @category files
 */
export const add = (
  calls: SystemCalls["Type"],
  directory: SafeDirectory,
  name: string,
  write: (temporary: string) => Effect.Effect<void, StorageError>,
  subject: Subject
): Effect.Effect<void, StorageError> =>
  Effect.gen(function* () {
    const temporary = yield* temporaryName
    yield* Effect.addFinalizer(() => Effect.ignore(calls.unlink(directory.at(temporary))))
    yield* write(temporary)
    yield* calls.link(directory.at(temporary), directory.at(name)).pipe(
      Effect.catchIf(isTaken, () => Effect.void),
      Effect.mapError(fromSystemCall(subject, Path.join(directory.path, name)))
    )
  }).pipe(Effect.scoped)
