/**
 * The agent's own keys and values. They stay in the session's folder when the agent stops.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { StorageError } from "../protocol/AirlockError.js"
import * as Timestamp from "../protocol/Timestamp.js"
import { SessionFiles } from "./SessionFiles.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface SessionState {
  readonly get: (key: string) => Effect.Effect<Option.Option<string>, StorageError>
  readonly set: (key: string, value: string) => Effect.Effect<void, StorageError>
  readonly remove: (key: string) => Effect.Effect<void, StorageError>
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<SessionState, never, SessionFiles> = Effect.gen(function* () {
  const files = yield* SessionFiles

  const get = Effect.fn("Mailbox.state.get")((key: string) =>
    Effect.map(
      files.outbound(
        "Mailbox.state.get",
        (sql) => sql<{ readonly value: string }>`SELECT value FROM session_state WHERE key = ${key}`
      ),
      ([row]) => Option.map(Option.fromNullable(row), ({ value }) => value)
    )
  )

  const set = Effect.fn("Mailbox.state.set")(function* (key: string, value: string) {
    const row = { key, value, updated_at: Timestamp.format(yield* Clock.currentTimeMillis) }
    yield* files.outbound(
      "Mailbox.state.set",
      (sql) => sql`INSERT OR REPLACE INTO session_state ${sql.insert(row)}`
    )
  })

  const remove = Effect.fn("Mailbox.state.remove")((key: string) =>
    Effect.asVoid(
      files.outbound("Mailbox.state.remove", (sql) => sql`DELETE FROM session_state WHERE key = ${key}`)
    )
  )

  return { get, set, remove }
})
