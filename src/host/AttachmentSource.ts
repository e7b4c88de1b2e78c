/**
 * The bytes of an attachment that a caller handed over.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { AttachmentTooLarge } from "../protocol/AirlockError.js"
import { InvalidMessage } from "../protocol/AirlockError.js"
import * as Closing from "../storage/Closing.js"
import type { SystemCalls } from "../storage/SystemCalls.js"
import { flags } from "../storage/SystemCalls.js"
import type { Limits } from "./AirlockConfig.js"
import type { DraftAttachment } from "./MessageDraft.js"
import { tooLarge } from "./MessageDraft.js"

const chunkBytes = 1 << 20

/**
 * Streams an attachment. A file is the host's own: links are followed, and it is read as it is now. A file
 * that is not a regular one, or cannot be read, is an `InvalidMessage`; one that grows past
 * `limits.attachmentBytes` is `AttachmentTooLarge`.
 *
 * @since 0.1.0
 * @category streams
 */
export const bytesOf = (
  { field, name, source }: DraftAttachment,
  messageId: string,
  host: {
    readonly operation: string
    readonly limits: Limits
    readonly calls: SystemCalls["Type"]
  }
): Stream.Stream<Uint8Array, InvalidMessage | AttachmentTooLarge> => {
  if ("bytes" in source) return Stream.make(source.bytes)
  const { calls, limits, operation } = host
  const unreadable = new InvalidMessage({ operation, messageId, field, reason: "unreadable-file" })
  return Stream.unwrapScoped(
    Effect.gen(function* () {
      const fd = yield* Closing.acquire(calls.open(source.file, flags.readFollowing), calls.close)
      const stats = yield* calls.fstat(fd)
      if (!stats.isFile()) return yield* unreadable
      return Stream.unfoldEffect(0, (at) => chunkAt(fd, at))
    }).pipe(Effect.catchTag("SystemCallError", () => Effect.fail(unreadable)))
  )

  function chunkAt(
    fd: number,
    at: number
  ): Effect.Effect<Option.Option<readonly [Uint8Array, number]>, InvalidMessage | AttachmentTooLarge> {
    const chunk = new Uint8Array(chunkBytes)
    return calls.read(fd, chunk, at).pipe(
      Effect.mapError(() => unreadable),
      Effect.flatMap((count) => {
        const read = at + count
        if (read > limits.attachmentBytes) {
          return Effect.fail(tooLarge(operation, messageId, name, read, limits.attachmentBytes))
        }
        return Effect.succeed(
          count === 0 ? Option.none() : Option.some([chunk.subarray(0, count), read] as const)
        )
      })
    )
  }
}
