/**
 * A host as a process of its own, which does what `loopingHost.ts` says, and whose system calls are written down.
 */
import { Deferred, Effect } from "effect"
import { execFileSync, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import * as Bundle from "../support/Bundle.js"

interface Folders {
  readonly hostile: string
  readonly healthy: string
}

interface Done {
  readonly session: "hostile" | "healthy"
  readonly what: string
  readonly outcome: string
  readonly millis: number
  readonly rss: number
}

interface Sent {
  readonly envelope: string
  readonly content: string
  readonly files: ReadonlyArray<string>
}

/** A host under strace, until the scope closes, and what it said. Without strace there is nothing to test. */
export const start = (dataDir: string, trace: string) =>
  Effect.gen(function* () {
    execFileSync("strace", ["-V"], { stdio: "ignore" })
    const program = yield* Effect.promise(() => Bundle.make("../hostile/loopingHost.ts"))
    const parameters = ["-f", "-y", "-s", "4096", "-e", "trace=%file", "-o", trace]
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn("strace", [...parameters, process.execPath, program, dataDir], {
          stdio: ["pipe", "pipe", "inherit"]
        })
      ),
      (started) => Effect.sync(() => started.kill("SIGKILL"))
    )
    const folders = yield* Deferred.make<Folders>()
    const done: Array<Done> = []
    const sent: Array<Sent> = []
    createInterface({ input: child.stdout }).on("line", (text) => {
      const line = JSON.parse(text) as Folders | Done | Sent
      if ("envelope" in line) sent.push(line)
      else if ("what" in line) done.push(line)
      else Effect.runSync(Deferred.succeed(folders, line))
    })
    child.once("exit", () => Effect.runSync(Deferred.die(folders, "the host has ended")))
    const end = Effect.async<number | null>((resume) => {
      if (child.exitCode !== null) return resume(Effect.succeed(child.exitCode))
      child.once("exit", (code) => resume(Effect.succeed(code)))
      child.stdin.end()
    })
    return { ...(yield* Deferred.await(folders)), done, sent, end }
  })
