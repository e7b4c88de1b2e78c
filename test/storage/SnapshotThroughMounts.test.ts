/**
 * Snapshots of files that change while a mount says nothing of it, or something else than it is asked.
 */
import { beforeEach, describe, expect, it } from "@effect/vitest"
import type { Duration, Layer, Scope } from "effect"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Snapshots as SnapshotsTag } from "../../src/storage/Snapshot.js"
import { Snapshots } from "../../src/storage/Snapshot.js"
import { flags, SystemCallError } from "../../src/storage/SystemCalls.js"
import * as Raw from "../support/Raw.js"
import * as Fixtures from "./Fixtures.js"

const { subject } = Fixtures

const testWith =
  <E>(services: Layer.Layer<SnapshotsTag, E>) =>
  (name: string, body: (path: string) => Effect.Effect<void, unknown, Scope.Scope | SnapshotsTag>) =>
    it.scopedLive(name, () =>
      Effect.gen(function* () {
        const folder = Path.join(yield* Fixtures.temporaryDirectory, "session")
        Fs.mkdirSync(folder)
        const path = Path.join(folder, "agent.db")
        Fixtures.newTable(path)
        yield* Effect.provide(Effect.scoped(body(path)), services)
      })
    )

const read = (path: string, view: "local" | "mount", patience: Duration.DurationInput = "1 second") =>
  Effect.gen(function* () {
    const snapshots = yield* Snapshots
    const { client } = yield* snapshots.open(
      {
        directory: Path.dirname(path),
        name: Path.basename(path),
        view,
        limit: 64 << 20,
        patience
      },
      subject
    )
    const rows = yield* client<{ v: number; n: number }>`SELECT v, count(*) AS n FROM t GROUP BY v`
    const [check] = yield* client`PRAGMA integrity_check`
    expect(check).toEqual({ integrity_check: "ok" })
    return rows
  }).pipe(Effect.scoped)

const pageSize = 4096
const sectorSize = 512

/** The journal of a transaction that changes all pages of a database (https://www.sqlite.org/fileformat.html, section 3). */
const journalOf = (database: Buffer): Buffer => {
  const nonce = 12345
  const pages = database.length / pageSize
  const header = Buffer.alloc(sectorSize)
  Buffer.from("d9d505f920a163d7", "hex").copy(header)
  for (const [index, value] of [pages, nonce, pages, sectorSize, pageSize].entries()) {
    header.writeUInt32BE(value, 8 + 4 * index)
  }
  const records = Array.from({ length: pages }, (_, index) => {
    const record = Buffer.alloc(pageSize + 8)
    const page = database.subarray(index * pageSize, (index + 1) * pageSize)
    record.writeUInt32BE(index + 1, 0)
    page.copy(record, 4)
    let sum = nonce
    for (let at = pageSize - 200; at > 0; at -= 200) sum += page[at] ?? 0
    record.writeUInt32BE(sum, 4 + pageSize)
    return record
  })
  return Buffer.concat([header, ...records])
}

/** Writes part of a file in place, and leaves its times as they were. */
const overwrite = (path: string, bytes: Uint8Array, position: number) => {
  const { atime, mtime } = Fs.statSync(path)
  const fd = Fs.openSync(path, "r+")
  Fs.writeSync(fd, bytes, 0, bytes.byteLength, position)
  Fs.futimesSync(fd, atime, mtime)
  Fs.closeSync(fd)
}

/** A transaction on a small file: what it finds, what it leaves, and its journal. */
const transactionAt = (path: string) => {
  Raw.exec(path, "PRAGMA synchronous = OFF; DELETE FROM t WHERE id > 12; VACUUM")
  const before = Fs.readFileSync(path)
  Raw.exec(path, "PRAGMA synchronous = OFF; UPDATE t SET v = v + 1")
  const after = Fs.readFileSync(path)
  expect(after.length).toBe(before.length)
  return {
    before,
    after,
    journal: journalOf(before),
    half: Math.ceil(after.length / pageSize / 2) * pageSize
  }
}

/** More system calls than a reader makes for one attempt. */
const longest = 40

/** What the mount said of how long files are, by their inodes. */
const said = new Map<bigint, { readonly size: bigint; readonly until: number }>()

/** What another party does at the n-th system call of a reader. */
const moments = new Map<number, () => void>()
let count = 0
beforeEach(() => {
  moments.clear()
  said.clear()
  count = 0
})
const around = <A, E>(call: Effect.Effect<A, E>) =>
  Effect.suspend(() => {
    moments.get(++count)?.()
    return call
  })

const interrupted = Fixtures.layerWith((calls) => ({
  open: (...parameters) => around(calls.open(...parameters)),
  fstat: (fd) =>
    around(Effect.map(calls.fstat(fd), (stats) => Object.assign(stats, { mtimeNs: 0n, ctimeNs: 0n }))),
  read: (...parameters) => around(calls.read(...parameters)),
  list: (path) => around(calls.list(path))
}))

describe("a snapshot through a mount that tells no times", () => {
  for (const [view, first] of [
    ["local", "header"],
    ["local", "end"],
    ["mount", "header"],
    ["mount", "end"]
  ] as const) {
    testWith(interrupted)(
      `is one state that existed, whenever a transaction writes the ${first} first, and whenever the rest, view "${view}"`,
      (path) =>
        Effect.gen(function* () {
          const { after, before, half, journal } = transactionAt(path)
          const write = (isHeader: boolean) =>
            isHeader
              ? overwrite(path, after.subarray(0, half), 0)
              : overwrite(path, after.subarray(half), half)
          for (let begin = 1, isOver = false; !isOver; begin++) {
            for (let end = begin + 1, isLast = false; !isLast; end++) {
              Fs.rmSync(`${path}-journal`, { force: true })
              overwrite(path, before, 0)
              count = 0
              moments.clear()
              moments.set(begin, () => {
                Fs.writeFileSync(`${path}-journal`, journal)
                write(first === "header")
              })
              moments.set(end, () => {
                write(first === "end")
                Fs.unlinkSync(`${path}-journal`)
              })
              const rows = yield* read(path, view)
              expect({ begin, end, rows }).toEqual({ begin, end, rows: [{ v: rows[0]?.v, n: 12 }] })
              // A reader that sees the journal waits for its end.
              isLast = end > count || end > begin + longest
              isOver = begin > count
            }
          }
        })
    )
  }
})

/** A mount whose client goes on saying for a second how long a file was when it was first asked for, and reads no further. */
const remembering = Fixtures.layerWith((calls) => {
  const remembered = (stats: Fs.BigIntStats): Fs.BigIntStats => {
    const now = performance.now()
    const before = said.get(stats.ino)
    const answer =
      before !== undefined && now < before.until ? before : { size: stats.size, until: now + 1000 }
    said.set(stats.ino, answer)
    return Object.assign(stats, { size: answer.size, mtimeNs: 0n, ctimeNs: 0n })
  }
  return {
    open: (...parameters) =>
      around(Effect.tap(calls.open(...parameters), (fd) => Effect.map(calls.fstat(fd), remembered))),
    fstat: (fd) => around(Effect.map(calls.fstat(fd), remembered)),
    read: (fd, buffer, position) =>
      around(
        Effect.flatMap(calls.fstat(fd), (stats) => {
          const rest = Number(remembered(stats).size) - position
          return rest <= 0 ? Effect.succeed(0) : calls.read(fd, buffer.subarray(0, rest), position)
        })
      ),
    list: (path) => around(calls.list(path))
  }
})

describe("a snapshot through a mount that remembers how long files were", () => {
  const steps = [1, 2, 3, 5, 8, 13, 21]

  testWith(remembering)("is one state that existed, whenever a transaction begins, writes and ends", (path) =>
    Effect.gen(function* () {
      const { after, before, half, journal } = transactionAt(path)
      yield* read(path, "mount")
      const undisturbed = count
      for (let begin = 1; begin <= undisturbed; begin++) {
        for (const [toWrite, toEnd] of steps.flatMap((a) => steps.map((b) => [a, b] as const))) {
          said.clear()
          overwrite(path, before, 0)
          count = 0
          moments.clear()
          moments.set(begin, () => Fs.writeFileSync(`${path}-journal`, ""))
          moments.set(begin + toWrite, () => {
            Fs.writeFileSync(`${path}-journal`, journal)
            overwrite(path, after.subarray(0, half), 0)
          })
          moments.set(begin + toWrite + toEnd, () => {
            overwrite(path, after.subarray(half), half)
            Fs.unlinkSync(`${path}-journal`)
          })
          const rows = yield* read(path, "mount")
          expect({ begin, toWrite, toEnd, rows }).toEqual({
            begin,
            toWrite,
            toEnd,
            rows: [{ v: rows[0]?.v, n: 12 }]
          })
          Fs.rmSync(`${path}-journal`, { force: true })
        }
      }
    })
  )

  testWith(remembering)(
    "is there beside a journal that was never written to, once the mount knows better",
    (path) =>
      Effect.gen(function* () {
        Fs.writeFileSync(`${path}-journal`, "")
        said.clear()
        said.set(Fs.statSync(path, { bigint: true }).ino, { size: 8192n, until: performance.now() + 100 })
        expect(yield* Fixtures.hurried(read(path, "mount", "2 hours"))).toEqual([{ v: 0, n: Fixtures.rows }])
      })
  )

  testWith(remembering)("does not wait where the header of a journal was removed", (path) =>
    Effect.gen(function* () {
      Raw.exec(path, "PRAGMA journal_mode = PERSIST; UPDATE t SET v = v + 1")
      expect(Fs.statSync(`${path}-journal`).size).toBeGreaterThan(0)
      expect(yield* read(path, "mount")).toEqual([{ v: 1, n: Fixtures.rows }])
    })
  )
})

describe("a snapshot of a file whose name is given to another all the time", () => {
  let replace = () => {}
  let name = ""
  let attempts = 0
  /** `ofFile` is what the mount says of an open file, given what is so of it and of what has its name now. */
  const replacing = (ofFile: (itself: Fs.BigIntStats, named: Fs.BigIntStats) => Fs.BigIntStats) =>
    Fixtures.layerWith((calls) => ({
      open: (path, how, mode) => {
        if (how === flags.directory) attempts++
        return calls.open(path, how, mode)
      },
      fstat: (fd) =>
        Effect.zipWith(calls.fstat(fd), calls.lstat(name), (itself, named) =>
          itself.isFile() ? ofFile(itself, named) : itself
        ),
      read: (...parameters) =>
        Effect.suspend(() => {
          replace()
          return calls.read(...parameters)
        })
    }))

  for (const [what, services] of [
    ["tells what is so of it", replacing((itself) => itself)],
    ["tells what is so of the other", replacing((_, named) => named)],
    [
      "tells the other's times and size",
      replacing((itself, named) => Object.assign(named, { ino: itself.ino }))
    ]
  ] as const) {
    testWith(services)(`is there at the first attempt, where the mount ${what}`, (path) =>
      Effect.gen(function* () {
        name = path
        const states = [1, 2].map((v) => {
          Raw.exec(path, `UPDATE t SET v = ${v}`)
          return Fs.readFileSync(path)
        })
        let replaced = 0
        attempts = 0
        replace = () => {
          Fs.writeFileSync(`${path}.new`, states[replaced++ % 2] ?? "")
          Fs.renameSync(`${path}.new`, path)
        }
        const rows = yield* read(path, "mount")
        expect(rows).toEqual([{ v: rows[0]?.v, n: Fixtures.rows }])
        // The header, the file, its end, and the header again.
        expect(replaced).toBeGreaterThanOrEqual(4)
        expect(attempts).toBe(1)
      })
    )
  }

  for (const code of ["ESTALE", "ENOENT"]) {
    let failures = 0
    let opened = 0
    testWith(
      Fixtures.layerWith((calls) => ({
        open: (path, how, mode) => {
          if (how === flags.directory) opened++
          return calls.open(path, how, mode)
        },
        read: (fd, buffer, position) =>
          failures++ === 1
            ? Effect.fail(new SystemCallError({ call: "read", code }))
            : calls.read(fd, buffer, position)
      }))
    )(`is made again, where the mount then takes away what was open (${code})`, (path) =>
      Effect.gen(function* () {
        failures = opened = 0
        expect(yield* read(path, "mount")).toEqual([{ v: 0, n: Fixtures.rows }])
        expect(opened).toBe(2)
      })
    )
  }
})
