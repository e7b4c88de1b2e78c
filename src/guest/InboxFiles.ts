/**
 * The files that came with the host's messages, in `inbox/<id>/`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { StorageError } from "../protocol/AirlockError.js"
import { UnsafePath } from "../protocol/AirlockError.js"
import * as PathSegment from "../protocol/PathSegment.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import type { Subject } from "../storage/StorageFailure.js"
import { SessionFiles } from "./SessionFiles.js"

/**
 * Reads a file by the `localPath` that a message's content names.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<
  (localPath: string) => Effect.Effect<Uint8Array, StorageError>,
  never,
  SafeDirectories | SessionFiles
> = Effect.gen(function* () {
  const directories = yield* SafeDirectories
  const { directory, limit } = yield* SessionFiles

  return Effect.fn("Mailbox.attachment")(function* (localPath: string) {
    const subject: Subject = { operation: "Mailbox.attachment", resource: "inbox" }
    const [inbox, folder, name, ...rest] = localPath.split("/")
    if (
      inbox !== SessionLayout.inbox ||
      folder === undefined ||
      name === undefined ||
      rest.length > 0 ||
      !PathSegment.isSafe(folder) ||
      !PathSegment.isSafe(name)
    ) {
      return yield* new UnsafePath({ operation: subject.operation, path: localPath, reason: "not-a-segment" })
    }
    const session = yield* directories.open(directory, subject)
    const parent = yield* directories.openChild(session, inbox, subject)
    const own = yield* directories.openChild(parent, folder, subject)
    return yield* directories.readFile(own, name, limit, subject)
  }, Effect.scoped)
})
