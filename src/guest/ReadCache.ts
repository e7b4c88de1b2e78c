/**
 * What was last read of a file, good for as long as the file stays as it was.
 *
 * The stamp is taken before the file is read. If somebody writes in between, what was read is newer than its stamp,
 * and is read again the next time; the reverse cannot happen.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type { StorageError } from "../protocol/AirlockError.js"
import type { ChangeStamp } from "../storage/Snapshot.js"
import * as Turn from "../storage/Turn.js"

/**
 * The two ways to look at a file: what it looks like, which is cheap, and what is in it. The argument is the
 * operation that errors name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Source<A> {
  readonly stamp: (operation: string) => Effect.Effect<ChangeStamp, StorageError>
  readonly read: (operation: string) => Effect.Effect<A, StorageError>
}

/** A file that is being written to has no stamp, so what is read of it is not kept. */
const isChanging = (error: StorageError): boolean =>
  error._tag === "SessionDbUnavailable" && error.reason === "busy"

/**
 * Reads the file if it changed since the last time. Of those who ask at the same time only the first one reads.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A>(
  source: Source<A>
): Effect.Effect<(operation: string) => Effect.Effect<A, StorageError>> =>
  Effect.gen(function* () {
    const turns = Turn.makeQueue()
    const last = yield* Ref.make(Option.none<{ readonly stamp: ChangeStamp; readonly value: A }>())

    const current = Effect.fnUntraced(function* (operation: string) {
      const stamp = yield* source.stamp(operation).pipe(
        Effect.asSome,
        Effect.catchIf(isChanging, () => Effect.succeedNone)
      )
      const known = yield* Ref.get(last)
      if (Option.isSome(known) && Option.isSome(stamp) && known.value.stamp === stamp.value) {
        return known.value.value
      }
      const value = yield* source.read(operation)
      yield* Ref.set(
        last,
        Option.map(stamp, (stamp) => ({ stamp, value }))
      )
      return value
    })

    return (operation) => Turn.during(turns)(current(operation))
  })
