/**
 * Looking at a database file with plain file calls, before or instead of opening it with SQLite.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { crc32 } from "node:zlib"
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

const setMode = (bytes: Uint8Array, mode: 1 | 2): Uint8Array => bytes.fill(mode, 18, 20)

/**
 * The same bytes, of a database in write-ahead-log mode. They are changed in place.
 *
 * @since 0.1.0
 * @category conversions
 */
export const inLogMode = (bytes: Uint8Array): Uint8Array => setMode(bytes, 2)

/**
 * The same bytes, of a database in rollback-journal mode. They are changed in place.
 *
 * In the other mode nobody counts changes. Whoever reads these goes by the counter, which tells any two contents apart.
 *
 * @since 0.1.0
 * @category conversions
 */
export const inRollbackMode = (bytes: Uint8Array): Uint8Array => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, DatabaseHeader.length)
  setMode(bytes, 1)
  // The change counter, and for which value of it the length in the header is right.
  for (const at of [24, 92]) view.setUint32(at, 0)
  const counter = crc32(bytes)
  for (const at of [24, 92]) view.setUint32(at, counter)
  return bytes
}
