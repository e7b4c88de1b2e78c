/**
 * What the figures depend on: the machine, where the data lies, and what each side promises.
 */
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Baseline from "./Baseline.js"
import type { Host } from "./Ours.js"
import * as Measure from "./Measure.js"
import { using, version } from "./Sqlite.js"
import type { Database } from "./Sqlite.js"
import * as Statistics from "./Statistics.js"

/** What kind of file system a folder lies on. */
export const fileSystemOf = (folder: string): string => {
  const path = Fs.realpathSync(folder)
  const type = `type 0x${Fs.statfsSync(path).type.toString(16)}`
  try {
    const mounts = Fs.readFileSync("/proc/self/mounts", "utf8")
      .trim()
      .split("\n")
      .map((line) => line.split(" "))
      .filter(([, at = ""]) => path === at || path.startsWith(at.endsWith("/") ? at : `${at}/`))
      .sort(([, one = ""], [, other = ""]) => one.length - other.length)
    return mounts.at(-1)?.[2] ?? type
  } catch {
    // There is no such list elsewhere than on Linux.
    return type
  }
}

/** How long one page takes to be on disk, in microseconds. */
const fsync = (folder: string) =>
  Effect.gen(function* () {
    const page = new Uint8Array(4096)
    const fd = yield* Effect.acquireRelease(
      Effect.sync(() => Fs.openSync(Path.join(folder, "fsync"), "w")),
      (open) => Effect.sync(() => Fs.closeSync(open))
    )
    const samples: Array<number> = []
    for (let n = 0; n < 200; n++) {
      const write = Effect.sync(() => {
        Fs.writeSync(fd, page, 0, page.length, n * page.length)
        Fs.fsyncSync(fd)
      })
      samples.push(yield* Measure.timed(write))
    }
    return Statistics.of(samples)
  }).pipe(Effect.scoped)

const levels = ["OFF", "NORMAL", "FULL", "EXTRA"]

const promise = (mode: unknown, level: unknown) =>
  `journal_mode ${String(mode).toUpperCase()}, synchronous ${levels[Number(level)] ?? String(level)}`

const plainly = (database: Database): string =>
  promise(database.pragma("journal_mode", { simple: true }), database.pragma("synchronous", { simple: true }))

/** How ours keeps a session's messages, as SQLite tells it. */
export const durabilityOf = (ours: Host, chat: string) =>
  Effect.gen(function* () {
    const sql = yield* ours.db.inbound(yield* ours.session(chat))
    const [mode] = yield* sql<{ readonly journal_mode: string }>`PRAGMA journal_mode`
    const [level] = yield* sql<{ readonly synchronous: number }>`PRAGMA synchronous`
    return promise(mode?.journal_mode, level?.synchronous)
  }).pipe(Effect.scoped)

const gibibyte = 1024 ** 3

/** One line for each fact. `durability` is that of ours. */
export const lines = (root: string, durability: string, template: Baseline.Template) =>
  Effect.gen(function* () {
    const cpus = Os.cpus()
    const { lower, median, upper } = yield* fsync(root)
    const sqlite = using(":memory:", (database) => database.prepare("SELECT sqlite_version()").pluck().get())
    const folder = Path.dirname(template.inbound)
    const inbound = yield* Effect.sync(() => {
      const database = Baseline.openInbound(folder)
      try {
        return plainly(database)
      } finally {
        database.close()
      }
    })
    return [
      `${cpus.length} × ${cpus[0]?.model.trim() ?? "an unknown processor"}, ${(Os.totalmem() / gibibyte).toFixed(1)} GiB, ${Os.type()} ${Os.release()}`,
      `Node ${process.versions.node}, better-sqlite3 ${version}, SQLite ${String(sqlite)}`,
      `data on ${fileSystemOf(root)}, private copies on ${fileSystemOf(Os.tmpdir())}; a page and its fsync take ${median.toFixed(0)} µs (quartiles ${lower.toFixed(0)} to ${upper.toFixed(0)})`,
      `a session's messages: ours ${durability}; baseline ${inbound}`,
      `load average at the start ${Os.loadavg()[0]?.toFixed(1) ?? "unknown"}`
    ]
  })
