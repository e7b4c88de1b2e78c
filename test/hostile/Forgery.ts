/**
 * Database files that SQLite would not have written (https://www.sqlite.org/fileformat.html), as bytes. They are made from
 * one that it has: a whole outbound.db, with a message.
 */
import * as Fs from "node:fs"
import * as Tables from "../../src/protocol/Tables.js"
import * as Raw from "../support/Raw.js"

const pageSize = 4096

/** An outbound.db after some statements, made at `path`. */
export const database = (path: string, sql = ""): Buffer => {
  Fs.rmSync(path, { force: true })
  Raw.exec(path, `PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; ${Tables.outbound.join(";")}; ${sql}`)
  const bytes = Fs.readFileSync(path)
  Fs.rmSync(path)
  return bytes
}

/** The schema changed behind SQLite's back. */
export const withSchema = (path: string, sql: string, before = ""): Buffer => {
  Fs.writeFileSync(path, database(path, before))
  const connection = Raw.open(path)
  connection.unsafeMode()
  connection.exec(`PRAGMA writable_schema = ON; ${sql}`)
  connection.close()
  const bytes = Fs.readFileSync(path)
  Fs.rmSync(path)
  return bytes
}

/** The page that a table begins at. */
export const rootOf = (path: string, bytes: Buffer, name: string): number => {
  Fs.writeFileSync(path, bytes)
  const [row] = Raw.query(path, "SELECT rootpage FROM sqlite_schema WHERE name = ?", name)
  Fs.rmSync(path)
  return Number(row?.["rootpage"])
}

const withPages = (bytes: Buffer, more: ReadonlyArray<Buffer>): Buffer => {
  const whole = Buffer.concat([bytes, ...more])
  whole.writeUInt32BE(whole.length / pageSize, 28)
  return whole
}

/** An inner page of a table, all of whose entries lead to pages of the caller's choice. */
export const interior = (children: ReadonlyArray<number>): Buffer => {
  const page = Buffer.alloc(pageSize)
  page[0] = 5
  page.writeUInt16BE(children.length - 1, 3)
  page.writeUInt16BE(pageSize - 5 * (children.length - 1), 5)
  page.writeUInt32BE(children.at(-1) ?? 0, 8)
  for (const [n, child] of children.slice(0, -1).entries()) {
    const at = pageSize - 5 * (n + 1)
    page.writeUInt16BE(at, 12 + 2 * n)
    page.writeUInt32BE(child, at)
    page[at + 4] = 1
  }
  return page
}

/** A leaf of a table with as many cells as given, which may be in each other's place. */
export const leaf = (cells: ReadonlyArray<Buffer>, areAtOnePlace = false): Buffer => {
  const page = Buffer.alloc(pageSize)
  page[0] = 13
  page.writeUInt16BE(cells.length, 3)
  let at = pageSize
  for (const [n, cell] of cells.entries()) {
    if (!areAtOnePlace || n === 0) at -= Math.max(4, cell.length)
    cell.copy(page, at)
    page.writeUInt16BE(at, 8 + 2 * n)
  }
  page.writeUInt16BE(at, 5)
  return page
}

const put = (bytes: Buffer, page: number, content: Buffer): Buffer => {
  const copy = Buffer.from(bytes)
  content.copy(copy, (page - 1) * pageSize)
  return copy
}

/** A tree of `levels` pages, each of whose entries all lead to the next: 400 to the power of `levels` leaves. */
export const sharedPages = (bytes: Buffer, root: number, levels = 17): Buffer => {
  const first = bytes.length / pageSize + 1
  const to = (page: number) => interior(Array.from({ length: 400 }, () => page))
  const chain = Array.from({ length: levels }, (_, n) =>
    n === levels - 1 ? leaf([Buffer.from([2, 1, 2, 0])]) : to(first + n + 1)
  )
  return withPages(put(bytes, root, to(first)), chain)
}

/** The same in the place of the schema, which SQLite reads before anything else. */
export const sharedSchema = (bytes: Buffer): Buffer => {
  const copy = sharedPages(bytes, bytes.length / pageSize)
  // A root with nothing but its last child, which is the page whose entries are shared.
  copy[100] = 5
  copy.writeUInt16BE(0, 103)
  copy.writeUInt32BE(bytes.length / pageSize, 108)
  return copy
}

/** A tree whose root is its own child. */
export const cyclicPages = (bytes: Buffer, root: number): Buffer => put(bytes, root, interior([root, root]))

/** A tree whose root leads to pages that the file does not have. */
export const missingPages = (bytes: Buffer, root: number): Buffer => put(bytes, root, interior([9999, 9998]))

const varint = (value: number): Buffer => {
  const digits: Array<number> = []
  for (let left = value; ; left = Math.floor(left / 128)) {
    digits.unshift((left % 128) | (digits.length === 0 ? 0 : 128))
    if (left < 128) return Buffer.from(digits)
  }
}

/** A cell whose one text column is said to be so long, and goes on at a page. */
const longCell = (rowId: number, length: number, overflow: number): Buffer => {
  const type = varint(2 * length + 13)
  const header = Buffer.concat([Buffer.from([type.length + 1]), type])
  const payload = header.length + length
  const usable = pageSize
  const least = Math.floor(((usable - 12) * 32) / 255) - 23
  const shared = least + ((payload - least) % (usable - 4))
  const local = shared <= usable - 35 ? shared : least
  const link = Buffer.alloc(4)
  link.writeUInt32BE(overflow)
  return Buffer.concat([
    varint(payload),
    varint(rowId),
    header,
    Buffer.alloc(local - header.length, "x"),
    link
  ])
}

/** Rows whose texts all go on at one page, which goes on at itself: each is nearly as long as the file may be. */
export const sharedOverflow = (bytes: Buffer, root: number, length: number): Buffer => {
  const page = bytes.length / pageSize + 1
  const text = Buffer.alloc(pageSize, "x")
  text.writeUInt32BE(page)
  // Of a length of which little stays on the page of the row.
  const fitting = Array.from({ length: pageSize }, (_, n) => length + n).find(
    (one) => longCell(1, one, page).length < 1000
  )
  const cells = [1, 2, 3].map((rowId) => longCell(rowId, fitting ?? length, page))
  // A hole, because a text longer than the file would be found out by SQLite itself.
  const hole = Array.from({ length: Math.ceil(length / pageSize) + 2 }, () => Buffer.alloc(pageSize))
  return withPages(put(bytes, root, leaf(cells)), [text, ...hole])
}

/** A row whose text is said to be a gigabyte. */
export const hugeText = (bytes: Buffer, root: number): Buffer =>
  put(bytes, root, leaf([longCell(1, 1_000_000_000, 2)]))

/** Many rows of nothing, in a tree that is otherwise as it should be: some ten million in 64 MiB. */
export const tinyRows = (bytes: Buffer, root: number, pages: number): Buffer => {
  // No length, a row id, and what is left of the four bytes that SQLite takes at least.
  const cells = leaf(Array.from({ length: 680 }, (_, n) => Buffer.from([1, n % 128, 1, 0])))
  const fan = 500
  const first = bytes.length / pageSize + 1
  const inner = Math.ceil(pages / fan)
  const groups = Array.from({ length: inner }, (_, n) =>
    interior(Array.from({ length: Math.min(fan, pages - n * fan) }, (_, m) => first + inner + n * fan + m))
  )
  const top = interior(groups.map((_, n) => first + n))
  return withPages(put(bytes, root, top), [...groups, ...Array.from({ length: pages }, () => cells)])
}

/** A cell whose one text column has so many bytes, all of them on its page. */
const shortCell = (length: number): Buffer => {
  const type = varint(2 * length + 13)
  const header = Buffer.concat([Buffer.from([type.length + 1]), type])
  return Buffer.concat([varint(header.length + length), varint(1), header, Buffer.alloc(length, "x")])
}

/** One row in the place of many, on each page. */
export const overlappingCells = (bytes: Buffer, root: number): Buffer =>
  put(
    bytes,
    root,
    leaf(
      Array.from({ length: 600 }, () => shortCell(2000)),
      true
    )
  )

const sum = (nonce: number, page: Buffer): number => {
  let checksum = nonce
  for (let at = page.length - 200; at > 0; at -= 200) checksum = (checksum + (page[at] ?? 0)) >>> 0
  return checksum
}

/** A journal that SQLite rolls back, and that puts `content` in the place of pages. `pages` is how many there were. */
export const journal = (pages: number, content: ReadonlyArray<readonly [page: number, Buffer]>): Buffer => {
  const nonce = 12345
  const header = Buffer.alloc(512)
  Buffer.from("d9d505f920a163d7", "hex").copy(header)
  header.writeUInt32BE(content.length, 8)
  header.writeUInt32BE(nonce, 12)
  header.writeUInt32BE(pages, 16)
  header.writeUInt32BE(512, 20)
  header.writeUInt32BE(pageSize, 24)
  const records = content.map(([page, bytes]) => {
    const number = Buffer.alloc(4)
    number.writeUInt32BE(page)
    const checksum = Buffer.alloc(4)
    checksum.writeUInt32BE(sum(nonce, bytes))
    return Buffer.concat([number, bytes, checksum])
  })
  return Buffer.concat([header, ...records])
}

/** The journal that turns one database into another. */
export const journalTo = (bytes: Buffer): Buffer =>
  journal(
    bytes.length / pageSize,
    Array.from({ length: bytes.length / pageSize }, (_, n) => [
      n + 1,
      bytes.subarray(n * pageSize, (n + 1) * pageSize)
    ])
  )
