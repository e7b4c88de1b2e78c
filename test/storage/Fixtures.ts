/**
 * What the tests of this folder share: files that real SQLite wrote, processes that die, and ways to see what a
 * test left behind.
 */
import type { Scope } from "effect"
import { Clock, Duration, Effect, Fiber, FiberId, FiberStatus, Layer, Schedule, Scheduler } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import type { Subject } from "../../src/storage/StorageFailure.js"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Raw from "../support/Raw.js"

export const subject: Subject = { operation: "test", resource: "inbound" }

/** A temporary directory, as the file system itself calls it. */
export const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "airlock-storage-")))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

/** All of storage, with some system calls replaced. */
export const layerWith = (
  replace: (calls: typeof SystemCalls.Service) => Partial<typeof SystemCalls.Service>
) =>
  StorageLayer.layerWithoutCalls.pipe(
    Layer.provideMerge(
      Layer.merge(
        Layer.effect(
          SystemCalls,
          // What is replaced is asked step by step.
          Effect.map(SystemCalls, (calls) => ({ ...calls, readQuiet: () => undefined, ...replace(calls) }))
        ).pipe(Layer.provide(SystemCalls.layer)),
        SqliteDriver.layer
      )
    )
  )

/** Waits for something that can be looked at. */
export const eventually = (condition: () => boolean) =>
  Effect.sync(condition).pipe(
    Effect.repeat({ until: (is) => is, schedule: Schedule.spaced("1 millis") }),
    Effect.timeoutFail({ duration: "20 seconds", onTimeout: () => new Error("waited for too long") }),
    Effect.orDie
  )

const live = Clock.make()
const hurry = 1000

/** A clock on which a thousand times as much passes. */
const hurriedClock: Clock.Clock = {
  [Clock.ClockTypeId]: Clock.ClockTypeId,
  unsafeCurrentTimeMillis: () => live.unsafeCurrentTimeMillis() * hurry,
  unsafeCurrentTimeNanos: () => live.unsafeCurrentTimeNanos() * BigInt(hurry),
  currentTimeMillis: Effect.sync(() => hurriedClock.unsafeCurrentTimeMillis()),
  currentTimeNanos: Effect.sync(() => hurriedClock.unsafeCurrentTimeNanos()),
  sleep: (duration) => live.sleep(Duration.times(duration, 1 / hurry))
}

/** Waits a thousandth of what the effect waits. */
export const hurried = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.withClock(effect, hurriedClock)

/** Fails, rather than hang, if the effect waits for something that does not come. */
export const atOnce = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.timeoutFail(effect, { duration: "5 seconds", onTimeout: () => "it hangs" as const })

/** Waits until a fiber waits, or is done. One that has not begun looks like one that waits, so it gets some turns. */
export const untilItWaits = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) =>
  Effect.repeatN(Effect.yieldNow(), 20).pipe(
    Effect.zipRight(Fiber.status(fiber)),
    Effect.repeat({ while: FiberStatus.isRunning }),
    Effect.asVoid
  )

/** Interrupts the first fiber that runs on it, after its operation of that number. */
const interruptingAfter = (operation: number, before: () => void) => {
  let first: Fiber.RuntimeFiber<unknown, unknown> | undefined
  let count = 0
  const scheduler: Scheduler.Scheduler = {
    shouldYield: (fiber) => {
      first ??= fiber
      if (fiber === first && ++count === operation) {
        before()
        fiber.unsafeInterruptAsFork(FiberId.none)
      }
      return Scheduler.defaultScheduler.shouldYield(fiber)
    },
    scheduleTask: (task, priority, fiber) => Scheduler.defaultScheduler.scheduleTask(task, priority, fiber)
  }
  return { scheduler, wasReached: () => count >= operation }
}

/**
 * Interrupts an effect after its first operation, after its second, and so on, until it has no more, with something
 * before and after each; with a `stride` not after each of them. Answers how many operations there were.
 */
export const interruptedAtEveryOperation = <A, E, R, E2, R2>(
  effect: Effect.Effect<A, E, R>,
  after: Effect.Effect<void, E2, R2>,
  { before = () => {}, stride = 1 }: { readonly before?: () => void; readonly stride?: number } = {}
) =>
  Effect.gen(function* () {
    for (let operation = 1; ; operation += stride) {
      const { scheduler, wasReached } = interruptingAfter(operation, before)
      const fiber = yield* Effect.fork(Effect.withScheduler(effect, scheduler))
      yield* Fiber.await(fiber)
      yield* after
      if (!wasReached()) return operation - 1
    }
  })

/** What this process has open at or below a path. */
export const openAt = (path: string): ReadonlyArray<string> =>
  Fs.readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = Fs.readlinkSync(`/proc/self/fd/${fd}`)
      return target === path || target.startsWith(`${path}/`) || target.startsWith(`${path}-`) ? [target] : []
    } catch {
      return [] // The descriptor that listed the folder.
    }
  })

const driverRequire = createRequire(createRequire(import.meta.url).resolve("@effect/sql-sqlite-node"))

/** The arguments that make Node run `body`, with better-sqlite3 as `Database` and `args` as `args`. */
const program = (body: string, args: ReadonlyArray<string>) => [
  "-e",
  `const Database = require(process.argv[1])
   const Fs = require("node:fs")
   const args = process.argv.slice(2)
   const die = () => process.kill(process.pid, "SIGKILL")
   ${body}`,
  driverRequire.resolve("better-sqlite3"),
  ...args
]

/** Runs a process that kills itself. */
export const runToDeath = (body: string, ...args: ReadonlyArray<string>): void => {
  const { signal, stderr } = ChildProcess.spawnSync(process.execPath, program(body, args))
  if (signal !== "SIGKILL") throw new Error(`the process should have killed itself: ${stderr.toString()}`)
}

/** Starts a process that says `ready`, and kills it with the scope. */
export const startProcess = (
  body: string,
  ...args: ReadonlyArray<string>
): Effect.Effect<ChildProcess.ChildProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<ChildProcess.ChildProcess>((resume) => {
      const child = ChildProcess.spawn(process.execPath, program(body, args), {
        stdio: ["pipe", "pipe", "inherit"]
      })
      child.stdout.once("data", () => resume(Effect.succeed(child)))
      child.once("exit", () => resume(Effect.dieMessage("the process ended before it was ready")))
    }),
    killed
  )

/** Kills a process, and waits until it is gone. */
export const killed = (child: ChildProcess.ChildProcess): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.removeAllListeners("exit")
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

/**
 * A FIFO. Whoever opens it like a file hangs, and this process with them; so another process ends that after
 * six seconds, in time for the test to see that it took so long.
 */
export const plantFifo = (path: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      ChildProcess.execFileSync("mkfifo", [path])
      const rescue = `setTimeout(() => {
        const fd = Fs.openSync(args[0], Fs.constants.O_RDWR | Fs.constants.O_NONBLOCK)
        Fs.writeSync(fd, "x")
        setTimeout(() => {}, 500)
      }, 6000)`
      return ChildProcess.spawn(process.execPath, program(rescue, [path]), { stdio: "ignore" })
    }),
    killed
  )

/** Runs an effect, and says whether it came back before anybody had to help. */
export const withoutHanging = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.timed(effect).pipe(
    Effect.filterOrDieMessage(([duration]) => Duration.toMillis(duration) < 4_000, "it hung"),
    Effect.map(([, value]) => value)
  )

/** The number of rows in the table that `newTable` makes. */
export const rows = 400

/** A database with a table of a hundred and some pages, in which all rows have the same `v`. */
export const newTable = (path: string): void =>
  Raw.exec(
    path,
    `PRAGMA synchronous = OFF;
     CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER NOT NULL, pad TEXT NOT NULL);
     WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
     INSERT INTO t SELECT i, 0, printf('%.*c', 1200, 'x') FROM n`
  )

/** Leaves next to nothing in the table that `newTable` makes. */
export const shrinkTable = (path: string): void =>
  Raw.exec(path, "PRAGMA synchronous = OFF; DELETE FROM t WHERE id > 1; VACUUM")

/** A process that changes every row, writes part of that to the file, and is killed before it commits. */
export const killWriter = (path: string): void =>
  runToDeath(
    `const database = new Database(args[0])
     database.exec("PRAGMA cache_size = 10; BEGIN IMMEDIATE; UPDATE t SET v = v + 1")
     die()`,
    path
  )

/** A journal that names another file as its super-journal (https://www.sqlite.org/fileformat.html, section 3). */
export const withSuperJournal = (journal: Buffer, name: string): Buffer => {
  const text = Buffer.from(name)
  const record = Buffer.alloc(4 + text.length + 16)
  // The page of SQLite's lock bytes, which no record is about.
  record.writeUInt32BE(2 ** 30 / 4096 + 1, 0)
  text.copy(record, 4)
  record.writeUInt32BE(text.length, 4 + text.length)
  record.writeInt32BE(
    text.reduce((sum, byte) => sum + byte, 0),
    8 + text.length
  )
  Buffer.from("d9d505f920a163d7", "hex").copy(record, 12 + text.length)
  return Buffer.concat([journal, record])
}

/** Copies a database and its journal, if it has one, to another path. */
export const copyPair = (from: string, to: string): void => {
  Fs.copyFileSync(from, to)
  if (Fs.existsSync(`${from}-journal`)) Fs.copyFileSync(`${from}-journal`, `${to}-journal`)
}

/** A folder's files and what is in them; a huge file's size; a dash for what is no file. */
export const listing = (folder: string): Record<string, string> => {
  if (!Fs.existsSync(folder)) return {}
  const contentOf = (path: string) => {
    const stats = Fs.lstatSync(path)
    if (!stats.isFile()) return "-"
    return stats.size > 1e8 ? `${stats.size} bytes` : Fs.readFileSync(path, "latin1")
  }
  const names = Fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()
  return Object.fromEntries(names.map((name) => [name, contentOf(Path.join(folder, name))]))
}

/** How often the event loop has come round, and in how many milliseconds. */
export const eventLoop = Effect.acquireRelease(
  Effect.sync(() => {
    const began = performance.now()
    const seen = { turns: 0, total: 0, stop: false }
    const turn = () => {
      seen.turns++
      seen.total = performance.now() - began
      if (!seen.stop) setImmediate(turn)
    }
    setImmediate(turn)
    return seen
  }),
  (seen) => Effect.sync(() => (seen.stop = true))
)
