/**
 * The file beside a database that holds the pages as they were before the transaction that is being written
 * (https://www.sqlite.org/fileformat.html, section 3).
 *
 * @since 0.1.0
 */

const magic = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]

const hasMagic = (bytes: Uint8Array, at: number): boolean =>
  magic.every((byte, index) => bytes[at + index] === byte)

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/**
 * The length of a journal's header, in bytes, without the padding up to the sector.
 *
 * @since 0.1.0
 * @category constants
 */
export const headerLength = 28

/**
 * The random number that a journal's checksums start from; it differs from one transaction to the next. None
 * (undefined) if there is no header yet.
 *
 * @since 0.1.0
 * @category parsing
 */
export const nonce = (bytes: Uint8Array): number | undefined =>
  bytes.byteLength >= headerLength && hasMagic(bytes, 0) ? viewOf(bytes).getUint32(12) : undefined

/**
 * Whether a journal is as long as its own headers say: after each header, which fills one sector, come as
 * many records of a page number, a page and a checksum as the header counts.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isWhole = (bytes: Uint8Array): boolean => {
  if (nonce(bytes) === undefined) return false
  const view = viewOf(bytes)
  const sectorSize = view.getUint32(20)
  const pageSize = view.getUint32(24)
  if (sectorSize < headerLength || pageSize === 0) return false
  for (let at = 0; at + headerLength <= bytes.byteLength && hasMagic(bytes, at);) {
    const records = view.getUint32(at + 8)
    // All ones: written without syncing, and the records go on to the end of the file.
    if (records === 0 || records === 0xffffffff) return true
    const end = at + sectorSize + records * (pageSize + 8)
    if (bytes.byteLength < end) return false
    at = Math.ceil(end / sectorSize) * sectorSize
  }
  return true
}

/**
 * Whether a journal ends with the name of a super-journal, the file of a transaction over several databases.
 * SQLite deletes the file of that name when it rolls the journal back (from 3.54 on, only one that is named as a
 * super-journal and has the journal's name in it), so a journal that somebody else wrote must not have one. The record
 * ends with its checksum and the journal's magic bytes.
 *
 * @since 0.1.0
 * @category predicates
 */
export const namesSuperJournal = (bytes: Uint8Array): boolean =>
  bytes.byteLength >= 16 && hasMagic(bytes, bytes.byteLength - magic.length)
