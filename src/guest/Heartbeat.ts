/**
 * The agent's sign of life: a file whose modification time the host watches.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { StorageError } from "../protocol/AirlockError.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSystemCall } from "../storage/StorageFailure.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import { SessionFiles } from "./SessionFiles.js"

/**
 * One beat: sets the file's time to the Clock's. A missing file is made.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<
  Effect.Effect<void, StorageError>,
  never,
  SafeDirectories | SessionFiles | SystemCalls
> = Effect.gen(function* () {
  const calls = yield* SystemCalls
  const directories = yield* SafeDirectories
  const { directory } = yield* SessionFiles
  const subject: Subject = { operation: "Mailbox.heartbeat", resource: "folder" }

  return Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const session = yield* directories.open(directory, subject)
    const { fd } = yield* directories.openFile(session, SessionLayout.heartbeat, subject).pipe(
      Effect.catchIf(
        (error) => error._tag === "SessionDbUnavailable" && error.reason === "missing",
        () => Effect.map(directories.createFile(session, SessionLayout.heartbeat, subject), (fd) => ({ fd }))
      )
    )
    yield* Effect.mapError(calls.setTimes(fd, now), fromSystemCall(subject, SessionLayout.heartbeat))
  }).pipe(Effect.scoped)
})
