/**
 * Looking at a database file with plain file calls, before or instead of opening it with SQLite.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { SessionDbCorrupt, SessionDbUnavailable } from "../protocol/AirlockError.js"
import * as DatabaseHeader from "./DatabaseHeader.js"
import type { Subject } from "./StorageFailure.js"

/**
 * A database that both sides can read: an SQLite file, not in write-ahead-log mode, of a schema no newer than
 * `schemaVersion`. Anything else fails, and the error says what it is.
 *
 * @since 0.1.0
 * @category checks
 */
export const check = (
  bytes: Uint8Array,
  schemaVersion: number,
  subject: Subject
): Effect.Effect<DatabaseHeader.DatabaseHeader, SessionDbCorrupt | SessionDbUnavailable> =>
  Option.match(DatabaseHeader.parse(bytes), {
    onNone: () => Effect.fail(new SessionDbCorrupt({ ...subject, reason: "not-a-database" })),
    onSome: (header) => {
      if (header.isWal) return Effect.fail(new SessionDbUnavailable({ ...subject, reason: "wal-mode" }))
      if (header.userVersion > schemaVersion) {
        return Effect.fail(new SessionDbUnavailable({ ...subject, reason: "newer-schema" }))
      }
      return Effect.succeed(header)
    }
  })

/**
 * The name of the file that SQLite keeps beside a database during a transaction.
 *
 * @since 0.1.0
 * @category names
 */
export const journalName = (name: string): string => `${name}-journal`

/**
 * The name of the file that SQLite keeps beside a database in write-ahead-log mode.
 *
 * @since 0.1.0
 * @category names
 */
export const logName = (name: string): string => `${name}-wal`
