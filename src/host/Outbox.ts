/**
 * The files that an agent sends, in `outbox/<id>/`. The folder is the agent's, so anything may be in it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { StorageError, UnsafePath } from "../protocol/AirlockError.js"
import * as AttachmentName from "../protocol/AttachmentName.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import type { SafeDirectory } from "../storage/SafeDirectory.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import type { Subject } from "../storage/StorageFailure.js"
import { nothing, SystemCalls } from "../storage/SystemCalls.js"
import { AirlockConfig } from "./AirlockConfig.js"
import { SessionFolder } from "./SessionFolder.js"
import { messageFolder, SessionPaths } from "./SessionPaths.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface OutboxFile {
  readonly name: string
  readonly data: Uint8Array
}

/**
 * A declared file that is not among those read. `reason` is why: a reason of `UnsafeAttachmentName`,
 * `UnsafePath` or `SessionDbUnavailable`, most often `missing`; `too-large` also of what goes over the limit for
 * all files of a message, and `too-many` of those beyond the limit on their number. A name counts once.
 *
 * @since 0.1.0
 * @category models
 */
export interface SkippedFile {
  readonly name: string
  readonly reason: string
}

/**
 * @since 0.1.0
 * @category models
 */
export interface OutboxFiles {
  readonly files: ReadonlyArray<OutboxFile>
  readonly skipped: ReadonlyArray<SkippedFile>
}

/**
 * @since 0.1.0
 * @category tags
 */
export class Outbox extends Context.Tag("effect-airlock/Outbox")<
  Outbox,
  {
    readonly read: (
      ref: SessionRef,
      messageId: string,
      names: ReadonlyArray<string>,
      operation: string
    ) => Effect.Effect<OutboxFiles, UnsafePath>
    readonly clear: (ref: SessionRef, messageId: string, operation: string) => Effect.Effect<void>
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    Outbox,
    never,
    AirlockConfig | SafeDirectories | SessionFolder | SessionPaths | SystemCalls
  > = Layer.effect(
    Outbox,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const { limits } = yield* AirlockConfig
  const directories = yield* SafeDirectories
  const folders = yield* SessionFolder
  const paths = yield* SessionPaths
  const calls = yield* SystemCalls

  const openOutbox = Effect.fnUntraced(function* (ref: SessionRef, subject: Subject) {
    const session = yield* folders.open(ref, subject.operation)
    return yield* directories.openChild(session, SessionLayout.outbox, subject)
  })

  const readOne = (directory: SafeDirectory, name: string, limit: number, subject: Subject) =>
    AttachmentName.make(name, subject.operation).pipe(
      Effect.flatMap((safe) => directories.readFile(directory, safe, limit, subject))
    )

  const read = (ref: SessionRef, messageId: string, names: ReadonlyArray<string>, operation: string) =>
    Effect.gen(function* () {
      const subject: Subject = { operation, resource: "outbox" }
      const folder = yield* messageFolder(operation, messageId)
      const outcome: OutboxFiles = yield* Effect.gen(function* () {
        const outbox = yield* openOutbox(ref, subject)
        const own = yield* directories.openChild(outbox, folder, subject)
        const files: Array<OutboxFile> = []
        const skipped: Array<SkippedFile> = []
        let left = limits.messageAttachmentBytes
        for (const [index, name] of Array.from(new Set(names)).entries()) {
          if (index >= limits.attachments) {
            skipped.push({ name, reason: "too-many" })
            continue
          }
          yield* Effect.match(readOne(own, name, Math.min(left, limits.outboxFileBytes), subject), {
            onFailure: (error) => void skipped.push({ name, reason: error.reason }),
            onSuccess: (data) => {
              left -= data.byteLength
              files.push({ name, data })
            }
          })
        }
        return { files, skipped }
      }).pipe(
        Effect.scoped,
        Effect.catchAll((error: StorageError) =>
          Effect.succeed({ files: [], skipped: names.map((name) => ({ name, reason: error.reason })) })
        )
      )
      if (outcome.skipped.length > 0) {
        yield* Effect.logWarning("Outbox files skipped").pipe(
          Effect.annotateLogs({ sessionId: ref.sessionId, messageId, skipped: outcome.skipped })
        )
      }
      return outcome
    })

  const clear = (ref: SessionRef, messageId: string, operation: string) =>
    Effect.gen(function* () {
      const subject: Subject = { operation, resource: "outbox" }
      // Most messages have no files.
      if (calls.glance(yield* paths.outbox(ref, messageId)) === nothing) return
      const folder = yield* messageFolder(operation, messageId)
      yield* Effect.scoped(
        Effect.flatMap(openOutbox(ref, subject), (outbox) => directories.remove(outbox, folder, subject))
      )
    }).pipe(
      Effect.catchAllCause((cause) =>
        Effect.annotateLogs(
          Effect.logWarning("Outbox not cleared; the message is delivered all the same", cause),
          { sessionId: ref.sessionId, messageId }
        )
      )
    )

  return Outbox.of({ read, clear })
})
