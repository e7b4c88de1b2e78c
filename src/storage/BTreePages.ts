/**
 * Whether the pages of a database are what SQLite would have written, as far as reading them has to end
 * (https://www.sqlite.org/fileformat.html, sections 1.5 to 2.6). Somebody who makes a file up may let a page be
 * reached in many ways: twenty pages then are a tree of more leaves than can ever be counted, and SQLite, which cannot
 * be interrupted, counts them. A file is sound when each of its pages is reached at most once and its cells do not
 * overlap: whatever reads it all then reads no more than there is.
 *
 * @since 0.1.0
 */
import * as DatabaseHeader from "./DatabaseHeader.js"
import * as SchemaRow from "./SchemaRow.js"
import * as StoredRecord from "./StoredRecord.js"

/**
 * What is wrong with a file: its pages or its schema are none that SQLite would have written, or are more than is
 * read; or a table has more rows than the limit.
 *
 * @since 0.1.0
 * @category models
 */
export type Flaw = "damaged" | "too-many-rows"

/** A tree of SQLite's own is never deeper; SQLite gives up at this depth. */
const deepest = 20

/** Tables, indexes, views and triggers of one file, and the bytes of their definitions. */
const schemaEntries = 256
const schemaBytes = 256 * 1024

/** The rows of statistics that the query planner reads when it opens a file. */
const statisticsRows = 1000

interface Image {
  readonly bytes: Uint8Array
  readonly pageSize: number
  /** What of a page is SQLite's: the end may be reserved for others. */
  readonly usable: number
  readonly pages: number
  readonly reached: Uint8Array
}

const parse = (bytes: Uint8Array, { pageSize }: DatabaseHeader.DatabaseHeader): Image | undefined => {
  const usable = pageSize - (bytes[20] ?? 0)
  const encoding = bytes[59] ?? 0
  if (pageSize < 512 || (pageSize & (pageSize - 1)) !== 0 || usable < 480) return undefined
  // Text in UTF-16 would have to be read as such here too, and nobody who shares a session writes it.
  if (encoding > 1) return undefined
  const pages = Math.floor(bytes.byteLength / pageSize)
  return { bytes, pageSize, usable, pages, reached: new Uint8Array(pages + 1) }
}

const two = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
const four = (bytes: Uint8Array, at: number): number => two(bytes, at) * 65_536 + two(bytes, at + 2)

/** Whether a page is there and is reached for the first time. */
const reach = (image: Image, page: number): boolean => {
  if (page < 1 || page > image.pages || image.reached[page] === 1) return false
  image.reached[page] = 1
  return true
}

const interiorIndex = 2
const interiorTable = 5
const leafIndex = 10
const leafTable = 13

/** Where the pieces of a payload are: on the page of its cell, and on pages of its own. */
interface Payload {
  readonly length: number
  readonly at: number
  readonly local: number
  readonly overflow: number
}

interface Walk {
  readonly mostRows: number
  /** Is given each payload; nothing is looked at behind one for which it answers false. */
  readonly onPayload?: (payload: Payload) => boolean
}

interface Pending {
  readonly page: number
  readonly depth: number
}

/** Goes through one tree. */
const walk = (image: Image, root: number, { mostRows, onPayload }: Walk): Flaw | undefined => {
  const { bytes, pageSize, usable } = image
  const open: Array<Pending> = [{ page: root, depth: 1 }]
  let isTable: boolean | undefined
  let rows = 0
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { depth, page } = next
    if (depth > deepest || !reach(image, page)) return "damaged"
    const start = (page - 1) * pageSize
    const header = start + (page === 1 ? DatabaseHeader.length : 0)
    const type = bytes[header] ?? 0
    const isInterior = type === interiorIndex || type === interiorTable
    const isOfTable = type === interiorTable || type === leafTable
    if (!isInterior && type !== leafIndex && type !== leafTable) return "damaged"
    if (isOfTable !== (isTable ?? isOfTable)) return "damaged"
    isTable = isOfTable

    const cells = two(bytes, header + 3)
    const pointers = header + (isInterior ? 12 : 8)
    const content = pointers + 2 * cells
    const end = start + usable
    let room = end - content
    if (type !== interiorTable) rows += cells
    if (rows > mostRows) return "too-many-rows"
    if (isInterior) open.push({ page: four(bytes, header + 8), depth: depth + 1 })

    const most = isOfTable ? usable - 35 : Math.floor(((usable - 12) * 64) / 255) - 23
    const least = Math.floor(((usable - 12) * 32) / 255) - 23
    for (let cell = 0; cell < cells; cell++) {
      const from = start + two(bytes, pointers + 2 * cell)
      if (from < content || from + 4 > end) return "damaged"
      let at = from
      if (isInterior) {
        open.push({ page: four(bytes, at), depth: depth + 1 })
        at += 4
      }
      let local = 0
      let spilled = 0
      if (type !== interiorTable) {
        let length = 0
        // A length that fits into a file has five bytes at most.
        for (let n = 0; ; n++) {
          const byte = bytes[at++] ?? 0
          length = length * 128 + (byte & 127)
          if (byte < 128) break
          if (n === 4) return "damaged"
        }
        if (length > bytes.byteLength) return "damaged"
        if (isOfTable) at = afterNumber(bytes, at)
        local = length
        if (length > most) {
          const shared = least + ((length - least) % (usable - 4))
          local = shared <= most ? shared : least
          spilled = length - local
        }
        const payload = { length, at, local, overflow: spilled === 0 ? 0 : four(bytes, at + local) }
        if (spilled > 0 && !reachOverflow(image, payload)) return "damaged"
        if (onPayload !== undefined && !onPayload(payload)) return "damaged"
      } else {
        at = afterNumber(bytes, at)
      }
      const size = Math.max(4, at - from + local + (spilled === 0 ? 0 : 4))
      room -= size
      if (from + size > end || room < 0) return "damaged"
    }
    if (room < 0) return "damaged"
  }
  return undefined
}

/** The position after a number of one to nine bytes. */
const afterNumber = (bytes: Uint8Array, at: number): number => {
  for (let n = 0; n < 8; n++) if ((bytes[at + n] ?? 0) < 128) return at + n + 1
  return at + 9
}

const reachOverflow = (image: Image, { length, local, overflow }: Payload): boolean => {
  let page = overflow
  for (let left = length - local; left > 0; left -= image.usable - 4) {
    if (!reach(image, page)) return false
    page = four(image.bytes, (page - 1) * image.pageSize)
  }
  return true
}

/** A payload in one piece. Its pages have been reached, so they are there. */
const whole = (image: Image, { at, length, local, overflow }: Payload): Uint8Array => {
  if (local === length) return image.bytes.subarray(at, at + length)
  const joined = new Uint8Array(length)
  joined.set(image.bytes.subarray(at, at + local))
  let page = overflow
  for (let done = local; done < length; done += image.usable - 4) {
    const start = (page - 1) * image.pageSize
    const piece = image.bytes.subarray(start + 4, start + image.usable)
    joined.set(piece.subarray(0, length - done), done)
    page = four(image.bytes, start)
  }
  return joined
}

/** What the schema lists, or nothing if it is none that SQLite would have written. */
const schemaOf = (image: Image): ReadonlyArray<SchemaRow.SchemaRow> | undefined => {
  const entries: Array<SchemaRow.SchemaRow> = []
  let left = schemaBytes
  const flaw = walk(image, 1, {
    mostRows: schemaEntries,
    onPayload: (payload) => {
      left -= payload.length
      const entry = left < 0 ? undefined : SchemaRow.parse(whole(image, payload))
      if (entry === undefined) return false
      entries.push(entry)
      return true
    }
  })
  return flaw === undefined ? entries : undefined
}

/**
 * What is wrong with a database, or undefined if it can be read to its end. `mostRows` is how many rows a table, or
 * entries an index, may have. A file of 64 MiB takes some hundredths of a second.
 *
 * @since 0.1.0
 * @category checks
 */
export const flawOf = (
  bytes: Uint8Array,
  header: DatabaseHeader.DatabaseHeader,
  mostRows: number
): Flaw | undefined => {
  const image = parse(bytes, header)
  const entries = image === undefined ? undefined : schemaOf(image)
  if (image === undefined || entries === undefined) return "damaged"
  for (const { name, root } of entries) {
    if (root === 0) continue
    const isStatistics = SchemaRow.statistics.has(name)
    const ofTree = walk(image, root, {
      mostRows: isStatistics ? Math.min(mostRows, statisticsRows) : mostRows
    })
    if (ofTree !== undefined) return ofTree
  }
  return undefined
}

/**
 * The rows of a table that is defined by just this text, in no certain order; undefined if there is none, or it cannot be
 * read. For a small file this takes a fraction of what SQLite takes to open it.
 *
 * @since 0.1.0
 * @category queries
 */
export const rowsOf = (
  bytes: Uint8Array,
  header: DatabaseHeader.DatabaseHeader,
  definition: string
): ReadonlyArray<StoredRecord.StoredRecord> | undefined => {
  const image = parse(bytes, header)
  const table = image === undefined ? undefined : schemaOf(image)?.find(({ sql }) => sql === definition)
  if (image === undefined || table === undefined) return undefined
  const rows: Array<StoredRecord.StoredRecord> = []
  const flaw = walk(image, table.root, {
    mostRows: Number.POSITIVE_INFINITY,
    onPayload: (payload) => {
      const row = StoredRecord.parse(whole(image, payload))
      if (row === undefined) return false
      rows.push(row)
      return true
    }
  })
  return flaw === undefined ? rows : undefined
}
