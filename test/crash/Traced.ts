/**
 * An operation in a process of its own, under `strace`, which kills it at a call of the system, or lets the call fail.
 * SQLite's own calls are among them.
 */
import { Effect } from "effect"
import { spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as TestHost from "../support/TestHost.js"
import type { Operation } from "./Operations.js"
import type { Stage } from "./Recovery.js"

/** What changes files. */
const changing = ["openat", "pwrite64", "ftruncate", "unlink", "rename", "link", "mkdir", "rmdir"] as const

/** And what waits for them to be on the disk. */
const waiting = ["fsync", "fdatasync"] as const

export const calls = [...changing, ...waiting]

export type Call = (typeof calls)[number]

/** A killed process leaves what it wrote to the system: it makes no difference that it had not waited. */
export const isChange = ({ call }: Moment): boolean => changing.some((one) => one === call)

/** The k-th call of a kind, from when the operation begins. */
export interface Moment {
  readonly call: Call
  readonly k: number
}

/** `said` is what the process said of the operation; nothing, if it was killed in it. */
export interface Traced {
  readonly said: string | undefined
  readonly log: ReadonlyArray<string>
}

/** Fails loudly where `strace` is missing. */
export const needed = Effect.sync(() => {
  const { error, status } = spawnSync("strace", ["-V"])
  if (error !== undefined || status !== 0) throw new Error("strace is missing: apt-get install strace")
})

const isTraced = (pid: number): boolean =>
  Fs.readdirSync(`/proc/${pid}/task`).every((task) =>
    /^TracerPid:\t[1-9]/m.test(Fs.readFileSync(`/proc/${pid}/task/${task}/status`, "utf8"))
  )

const ended = (child: ReturnType<typeof spawn>) =>
  Effect.async<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) resume(Effect.void)
    else child.once("exit", () => resume(Effect.void))
  })

export const temporary = ({ root }: Stage): string => Path.join(root, "tmp")

/** Starts the process. It has one thread that waits for the disk, so that its calls come in one order. */
const starting = (program: string, { place, root, scene }: Stage, operation: Operation, ending?: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      Fs.mkdirSync(Path.join(root, "tmp"), { recursive: true })
      const parameters = [place.dataDir, operation.side, operation.name, JSON.stringify(scene)]
      const child = spawn(
        process.execPath,
        [program, ...parameters, ...(ending === undefined ? [] : [ending])],
        {
          stdio: ["pipe", "pipe", "inherit"],
          env: { ...process.env, TMPDIR: Path.join(root, "tmp"), UV_THREADPOOL_SIZE: "1" }
        }
      )
      const said: Array<string> = []
      child.stdout.on("data", (text) => said.push(...String(text).trim().split("\n")))
      return { child, said }
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  ).pipe(Effect.tap(({ said }) => TestHost.until(() => said.length > 0)))

/** A thread that begins while strace attaches to the others is not traced, and never will be. */
const missed = Effect.promise(() => new Promise((done) => setTimeout(done, 2000))).pipe(
  Effect.zipRight(Effect.fail("a thread is not traced"))
)

/** Does the operation. `what` is what strace is told to do at calls, none if they are only to be seen. */
export const run = (program: string, stage: Stage, operation: Operation, what: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const { child, said } = yield* starting(program, stage, operation)
    const log = Path.join(stage.root, "strace")
    const attached = Effect.gen(function* () {
      const strace = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(
            "strace",
            ["-f", "-qq", "-p", String(child.pid), "-o", log, "-e", `trace=${calls.join()}`, ...what],
            { stdio: ["ignore", "ignore", "inherit"] }
          )
        ),
        (started) => Effect.sync(() => started.kill("SIGKILL"))
      )
      const isComplete = TestHost.until(() => isTraced(child.pid ?? 0))
      yield* Effect.raceFirst(isComplete, missed).pipe(
        Effect.tapError(() =>
          Effect.zipRight(
            Effect.sync(() => strace.kill("SIGKILL")),
            ended(strace)
          )
        )
      )
      return strace
    })
    const strace = yield* Effect.retry(attached, { times: 3 })
    child.stdin.write("go\n")
    yield* Effect.all([ended(child), ended(strace)])
    const traced: Traced = { said: said[1], log: Fs.readFileSync(log, "utf8").split("\n") }
    return traced
  }).pipe(Effect.scoped)

/** A process that is not killed, and does the operation and ends in order. */
export const runInOrder = (program: string, stage: Stage, operation: Operation) =>
  Effect.gen(function* () {
    const { child, said } = yield* starting(program, stage, operation, "in-order")
    child.stdin.write("go\n")
    yield* ended(child)
    return said[1]
  }).pipe(Effect.scoped)

/** The calls that a process made, each the k-th of its kind in its thread. Of those that open files, which make one. */
export const momentsIn = (log: ReadonlyArray<string>): ReadonlyArray<Moment> => {
  const counts = new Map<string, number>()
  const moments = new Map<string, Moment>()
  for (const line of log) {
    const [, thread = "", call = ""] = /^(\d+) +(\w+)\(/.exec(line) ?? []
    const known = calls.find((one) => one === call)
    if (known === undefined) continue
    const k = (counts.get(thread + call) ?? 0) + 1
    counts.set(thread + call, k)
    if (known === "openat" && !line.includes("O_CREAT")) continue
    moments.set(`${call} ${k}`, { call: known, k })
  }
  return Array.from(moments.values())
}
