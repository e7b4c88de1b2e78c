/**
 * The mounts: what each needs of the machine, what is asked of it, and how the agent's program is started behind it.
 */
import type { Scope } from "effect"
import { Deferred, Effect, FiberId } from "effect"
import { spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Bundle from "../support/Bundle.js"
import * as TestHost from "../support/TestHost.js"

/**
 * The side that writes commits up to `rate` times a second, and for `seconds` the other side reads; if it does not come
 * to commit `least` times a second, nothing is shown. A reader has to see a fresh state every `longestGap` milliseconds,
 * and to read `reads` times for each commit.
 */
export interface Mount {
  readonly name: string
  readonly rate: number
  readonly least: { readonly host: number; readonly agent: number }
  readonly seconds: number
  readonly controlSeconds: number
  readonly longestGap: number
  readonly reads: number
  /** One page cache for whatever had a name, so that processes which read it at once get each other's pages. */
  readonly sharesPages: boolean
  /** What is not there that it needs. */
  readonly missing: () => ReadonlyArray<string>
  /** Starts the program behind the mount, until the scope closes. */
  readonly start: (share: string, program: string) => Effect.Effect<Program, never, Scope.Scope>
}

/** A program that runs. `ended` dies with what it printed. */
export interface Program {
  readonly ended: Effect.Effect<never>
}

const parts = Path.resolve(import.meta.dirname, "../../node_modules/.cache/airlock-machine")

const isThere = (program: string): boolean =>
  spawnSync("sh", ["-c", `command -v ${program}`], { stdio: "ignore" }).status === 0

const without = (...programs: ReadonlyArray<string>) => programs.filter((program) => !isThere(program))

const root = (): ReadonlyArray<string> => (process.getuid?.() === 0 ? [] : ["to be root"])

const run = (command: string, ...parameters: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(command, parameters, { stdio: ["ignore", "pipe", "pipe"] })),
      (started) =>
        Effect.promise(async () => {
          if (started.exitCode !== null || started.signalCode !== null) return
          const exited = new Promise((done) => started.once("exit", done))
          started.kill("SIGTERM")
          await exited
        })
    )
    let printed = ""
    child.stdout.on("data", (text) => (printed += String(text)))
    child.stderr.on("data", (text) => (printed += String(text)))
    const end = Deferred.unsafeMake<never>(FiberId.none)
    child.once("close", (code, signal) =>
      Deferred.unsafeDone(end, Effect.dieMessage(`${command} ended (${code ?? signal}): ${printed}`))
    )
    return { ended: Deferred.await(end) }
  })

const bindfs: Mount = {
  name: "bindfs",
  rate: 100,
  least: { host: 25, agent: 5 },
  seconds: 6,
  controlSeconds: 2,
  longestGap: 250,
  reads: 1,
  sharesPages: true,
  missing: () => [
    ...root(),
    ...without("bindfs", "umount"),
    ...(Fs.existsSync("/dev/fuse") ? [] : ["/dev/fuse"])
  ],
  start: (share, program) =>
    Effect.gen(function* () {
      const mounted = `${share}-mounted`
      Fs.mkdirSync(mounted)
      const daemon = yield* run("bindfs", "-f", share, mounted)
      yield* Effect.addFinalizer(() => Effect.sync(() => spawnSync("umount", ["--lazy", mounted])))
      const isMounted = TestHost.until(() => Fs.statSync(mounted).dev !== Fs.statSync(share).dev)
      yield* Effect.raceFirst(isMounted, daemon.ended)
      return yield* run(process.execPath, program, mounted)
    })
}

const machine = (name: string): Mount => ({
  name,
  rate: 20,
  // An emulated processor takes a quarter of a second for a transaction of 150 pages.
  least: { host: 5, agent: 1 },
  seconds: 6,
  controlSeconds: 3,
  longestGap: 1000,
  reads: 0,
  sharesPages: false,
  missing: () => [
    ...root(),
    ...without("qemu-system-x86_64", "busybox", "cpio", "/usr/lib/qemu/virtiofsd"),
    ...(Fs.existsSync(Path.join(parts, "complete")) ? [] : ["a kernel"])
  ],
  start: (share, program) => run(Path.join(import.meta.dirname, "machine"), name, share, program)
})

export const all: ReadonlyArray<Mount> = [bindfs, machine("virtiofs"), machine("9p")]

/** The agent's program, as one file. */
export const program = Effect.promise(() => Bundle.make("../mount/mountAgent.ts"))
