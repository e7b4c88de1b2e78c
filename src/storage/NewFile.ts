/**
 * Files and folders that appear whole or not at all, whoever is killed when: they are made under another name first.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import type { SafeDirectory } from "./SafeDirectory.js"
import type { Subject } from "./StorageFailure.js"
import { fromSystemCall } from "./StorageFailure.js"
import type { SystemCallError, SystemCalls } from "./SystemCalls.js"

/**
 * How the name of what is not whole yet begins; see `OwnedNames`.
 *
 * @since 0.1.0
 * @category names
 */
export const unfinished = ".new-"

/**
 * Whether a name could not be given because something has it.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isTaken = (error: SystemCallError): boolean =>
  error.code === "EEXIST" || error.code === "ENOTEMPTY"

/**
 * Gives a file that `write` makes as `temporary` its name, unless something has that name. A link fails then; a rename would not.
 *
 * @since 0.1.0
 * @category files
 */
export const add = (
  calls: SystemCalls["Type"],
  directory: SafeDirectory,
  name: string,
  temporary: string,
  write: (temporary: string) => Effect.Effect<void, StorageError>,
  subject: Subject
): Effect.Effect<void, StorageError> =>
  Effect.gen(function* () {
    // A file with two names is taken for somebody else's.
    const unlink = Effect.retry(calls.unlink(directory.at(temporary)), {
      times: 2,
      while: ({ code }) => code !== "ENOENT"
    })
    yield* Effect.addFinalizer(() => Effect.ignore(unlink))
    yield* write(temporary)
    yield* calls.link(directory.at(temporary), directory.at(name)).pipe(
      Effect.catchIf(isTaken, () => Effect.void),
      Effect.mapError(fromSystemCall(subject, Path.join(directory.path, name)))
    )
  }).pipe(Effect.scoped)
