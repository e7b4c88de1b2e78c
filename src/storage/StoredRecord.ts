/**
 * The rows of a database as they are stored (https://www.sqlite.org/fileformat.html, section 2.1).
 *
 * @since 0.1.0
 */

/**
 * Integers beyond 2^53 are as near as a number comes, as the driver reads them too.
 *
 * @since 0.1.0
 * @category models
 */
export type Value = null | number | string | Uint8Array

/**
 * What SQLite's `typeof` answers.
 *
 * @since 0.1.0
 * @category models
 */
export type Type = "null" | "integer" | "real" | "text" | "blob"

const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** The lengths of what kinds 0 to 9 stand for. */
const numberLengths = [0, 1, 2, 3, 4, 6, 8, 8, 0, 0]

const lengthOf = (kind: number): number | undefined =>
  kind >= 12 ? Math.floor((kind - 12) / 2) : numberLengths[kind]

/** A whole number, of which the first bit is the sign. */
const integer = (bytes: Uint8Array): number => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteLength === 8) return Number(view.getBigInt64(0))
  let value = view.getInt8(0)
  for (let at = 1; at < bytes.byteLength; at++) value = value * 256 + view.getUint8(at)
  return value
}

/**
 * One row. Its columns are read when they are asked for; one that it does not have is null.
 *
 * @since 0.1.0
 * @category models
 */
export class StoredRecord {
  readonly #bytes: Uint8Array
  readonly #kinds: ReadonlyArray<number>
  readonly #starts: ReadonlyArray<number>

  constructor(bytes: Uint8Array, kinds: ReadonlyArray<number>, starts: ReadonlyArray<number>) {
    this.#bytes = bytes
    this.#kinds = kinds
    this.#starts = starts
  }

  /** How many columns it has. */
  get length(): number {
    return this.#kinds.length
  }

  type(column: number): Type {
    const kind = this.#kinds[column] ?? 0
    if (kind === 0) return "null"
    if (kind >= 12) return kind % 2 === 1 ? "text" : "blob"
    if (kind !== 7) return "integer"
    return this.#real(column) === null ? "null" : "real"
  }

  /** How many bytes a column of text or bytes has, 0 for all else. */
  octets(column: number): number {
    const kind = this.#kinds[column] ?? 0
    return kind >= 12 ? (lengthOf(kind) ?? 0) : 0
  }

  value(column: number): Value {
    const kind = this.#kinds[column] ?? 0
    if (kind === 0) return null
    if (kind === 8 || kind === 9) return kind - 8
    const start = this.#starts[column] ?? 0
    const bytes = this.#bytes.subarray(start, start + (lengthOf(kind) ?? 0))
    if (kind >= 12) return kind % 2 === 1 ? decoder.decode(bytes) : bytes
    return kind === 7 ? this.#real(column) : integer(bytes)
  }

  /** One that is no number is null to SQLite. */
  #real(column: number): number | null {
    const { buffer, byteOffset } = this.#bytes
    const real = new DataView(buffer, byteOffset + (this.#starts[column] ?? 0), 8).getFloat64(0)
    return Number.isNaN(real) ? null : real
  }
}

/**
 * The row that is stored in some bytes, or undefined if they are none.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (bytes: Uint8Array): StoredRecord | undefined => {
  let at = 0
  /** A number of one to nine bytes; those above five are none that a file has. */
  const number = (): number | undefined => {
    let value = 0
    for (let n = 0; n < 5; n++) {
      const byte = bytes[at++]
      if (byte === undefined) return undefined
      value = value * 128 + (byte & 127)
      if (byte < 128) return value
    }
    return undefined
  }
  const header = number()
  if (header === undefined || header > bytes.byteLength) return undefined
  const kinds: Array<number> = []
  const starts: Array<number> = []
  let body = header
  while (at < header) {
    const kind = number()
    const length = kind === undefined ? undefined : lengthOf(kind)
    if (kind === undefined || length === undefined || body + length > bytes.byteLength) return undefined
    kinds.push(kind)
    starts.push(body)
    body += length
  }
  return new StoredRecord(bytes, kinds, starts)
}
