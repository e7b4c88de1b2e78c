/**
 * The files that the host puts into `inbox/<id>/`. They are on the disk before the row that names them is
 * inserted.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { createHash } from "node:crypto"
import type { AttachmentTooLarge, InvalidMessage, StorageError } from "../protocol/AirlockError.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import type * as Durability from "../storage/Durability.js"
import type { SafeDirectories, SafeDirectory } from "../storage/SafeDirectory.js"
import type { Subject } from "../storage/StorageFailure.js"
import type { SystemCalls } from "../storage/SystemCalls.js"
import { eachPiece } from "../storage/SystemCalls.js"
import type { Limits } from "./AirlockConfig.js"
import { bytesOf } from "./AttachmentSource.js"
import type { MessageDraft } from "./MessageDraft.js"
import { tooLarge } from "./MessageDraft.js"

/**
 * The session folder that files go to, which is opened when there are any, and what writing them needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface InboxTarget {
  readonly folder: Effect.Effect<SafeDirectory, StorageError, Scope.Scope>
  readonly operation: string
  readonly limits: Limits
  readonly directories: SafeDirectories["Type"]
  readonly calls: SystemCalls["Type"]
  readonly durably: Durability.Names
}

/**
 * Writes the attachments of a message that the session does not have; a folder that is there is a leftover.
 * Its name is added to `written`, for `remove` to take back if the message is not stored after all.
 *
 * @since 0.1.0
 * @category files
 */
export const store = Effect.fnUntraced(function* (
  target: InboxTarget,
  draft: MessageDraft,
  written: Array<string>
) {
  const { directories, operation } = target
  const subject: Subject = { operation, resource: "inbox" }
  const folder = yield* target.folder
  yield* directories.make(folder, SessionLayout.inbox, subject)
  const inbox = yield* directories.openChild(folder, SessionLayout.inbox, subject)
  yield* directories.remove(inbox, draft.folder, subject)
  written.push(draft.folder)
  yield* directories.make(inbox, draft.folder, subject)
  const own = yield* directories.openChild(inbox, draft.folder, subject)
  let total = 0
  const isRoom = (bytes: number, name: string) => {
    total += bytes
    const limit = target.limits.messageAttachmentBytes
    return total > limit
      ? Effect.fail(tooLarge(operation, draft.message.id, name, total, limit))
      : Effect.void
  }
  const stored = yield* Effect.forEach(draft.attachments, (attachment) =>
    Effect.gen(function* () {
      const { name, source } = attachment
      const hash = createHash("sha256")
      let size = 0
      if ("bytes" in source) {
        size = source.bytes.byteLength
        yield* isRoom(size, name)
        // Of the two that take long, one is the disk's.
        const hashing = eachPiece(source.bytes, (piece) => Effect.sync(() => hash.update(piece)))
        yield* directories.writeFile(own, name, source.bytes, subject, hashing)
      } else {
        const content = Stream.tap(bytesOf(attachment, draft.message.id, target), (chunk) => {
          hash.update(chunk)
          size += chunk.byteLength
          return isRoom(chunk.byteLength, name)
        })
        yield* directories.writeFile(own, name, content, subject)
      }
      return {
        name,
        localPath: SessionLayout.inboxPath(draft.folder, name),
        size,
        sha256: hash.digest("hex")
      }
    })
  )
  for (const directory of [own, inbox, folder]) yield* target.durably.names(directory, subject)
  return stored
}, Effect.scoped)

/**
 * Removes folders that `store` wrote. A failure to do so is logged.
 *
 * @since 0.1.0
 * @category files
 */
export const remove = (target: InboxTarget, written: ReadonlyArray<string>): Effect.Effect<void> => {
  const subject: Subject = { operation: target.operation, resource: "inbox" }
  return written.length === 0
    ? Effect.void
    : target.folder.pipe(
        Effect.flatMap((folder) => target.directories.openChild(folder, SessionLayout.inbox, subject)),
        Effect.flatMap((inbox) =>
          Effect.forEach(written, (name) => target.directories.remove(inbox, name, subject), {
            discard: true
          })
        ),
        Effect.scoped,
        Effect.catchAll((error) => Effect.logWarning("Attachments of a failed write are left over", error))
      )
}

/**
 * What `store` would say of the bytes of a message's attachments, without writing any.
 *
 * @since 0.1.0
 * @category files
 */
export const hashes = (
  target: InboxTarget,
  draft: MessageDraft
): Effect.Effect<ReadonlyArray<{ readonly sha256: string }>, InvalidMessage | AttachmentTooLarge> =>
  Effect.forEach(draft.attachments, (attachment) =>
    Effect.map(
      Stream.runFold(bytesOf(attachment, draft.message.id, target), createHash("sha256"), (hash, chunk) =>
        hash.update(chunk)
      ),
      (hash) => ({ sha256: hash.digest("hex") })
    )
  )
