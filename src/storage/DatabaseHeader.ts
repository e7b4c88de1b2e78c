/**
 * The first hundred bytes of an SQLite database (https://www.sqlite.org/fileformat.html, section 1.3): what
 * can be known about a file without opening it with SQLite.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"

/**
 * The length of the header, in bytes.
 *
 * @since 0.1.0
 * @category constants
 */
export const length = 100

/**
 * `changeCounter` grows with each transaction that changes the file; `pages` of `pageSize` bytes are what the
 * file should have; `isWal` is true of a database in write-ahead-log mode.
 *
 * @since 0.1.0
 * @category models
 */
export interface DatabaseHeader {
  readonly pageSize: number
  readonly pages: number
  readonly changeCounter: number
  readonly userVersion: number
  readonly isWal: boolean
}

const magic = "SQLite format 3\u0000"

/**
 * Reads a header, or none if the bytes are not one.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (bytes: Uint8Array): Option.Option<DatabaseHeader> => {
  if (bytes.byteLength < length) return Option.none()
  if (!Array.from(magic).every((character, index) => bytes[index] === character.charCodeAt(0))) {
    return Option.none()
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, length)
  const pageSize = view.getUint16(16)
  return Option.some({
    pageSize: pageSize === 1 ? 65_536 : pageSize,
    pages: view.getUint32(28),
    changeCounter: view.getUint32(24),
    userVersion: view.getUint32(60),
    isWal: view.getUint8(18) === 2 || view.getUint8(19) === 2
  })
}
