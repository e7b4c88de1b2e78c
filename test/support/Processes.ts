/**
 * Real processes, and programs for them to run.
 */
import { Effect } from "effect"
import { Session } from "effect-airlock"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as TestHost from "./TestHost.js"

/** A session that nothing but its ids is known of. */
export const session = (sessionId: string, agentGroupId = "agent") =>
  new Session.Session({
    sessionId,
    agentGroupId,
    messagingGroupId: null,
    threadId: null,
    mode: "shared",
    agentProvider: null,
    status: "active",
    containerStatus: "stopped",
    lastActive: null,
    createdAt: "2026-01-01T00:00:00.000Z"
  })

/** Whether a process runs. One that has ended and that nobody has taken notice of does not. */
export const isRunning = (pid: number): boolean => {
  try {
    return !/\) [ZX] /.test(Fs.readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}

/**
 * An agent, as arguments for Node. It puts its process id into `pid`, appends a line to `starts`, and runs until it is
 * told to end. `more` is JavaScript that it runs before that, in which `put(name, text)` writes a file at once.
 */
export const agent = (folder: string, more = ""): ReadonlyArray<string> => [
  "-e",
  `const fs = require("fs"), { spawn } = require("child_process")
process.chdir(${JSON.stringify(folder)})
const put = (name, text) => { fs.writeFileSync(name + ".new", String(text)); fs.renameSync(name + ".new", name) }
setInterval(() => {}, 1000)
${more}
fs.appendFileSync("starts", process.pid + "\\n")
put("pid", process.pid)`
]

/** Ends by itself as soon as there is a file `end`. */
export const endsWhenTold = `setInterval(() => { if (fs.existsSync("end")) process.exit(3) }, 2)`

/** Says in the file `term` that it was asked to end, and goes on. */
export const ignoresTerm = `process.on("SIGTERM", () => put("term", "no"))`

/** Says so in the file `term`, and ends. */
export const obeysTerm = `process.on("SIGTERM", () => { put("term", "yes"); process.exit(0) })`

/** Starts another process that ignores SIGTERM, whose id is in the file `grandchild`. */
export const hasChild = `
const child = spawn("sh", ["-c", "trap '' TERM; echo; while :; do sleep 1000; done"], { stdio: ["ignore", "pipe", "ignore"] })
child.stdout.once("data", () => put("grandchild", child.pid))`

/** The number that an agent wrote into a file, when it has. */
export const numberIn = (...path: ReadonlyArray<string>) =>
  Effect.suspend(() => {
    const file = Path.join(...path)
    return Effect.map(
      TestHost.until(() => Fs.existsSync(file)),
      () => Number(Fs.readFileSync(file, "utf8"))
    )
  })

/** A process that has nothing to do with any host, in a group of its own, until the scope closes. */
export const stranger = Effect.acquireRelease(
  Effect.sync(() => spawn("sleep", ["1000"], { detached: true, stdio: "ignore" })),
  (child) => Effect.sync(() => child.kill("SIGKILL"))
)

/** A process whose child has ended, and which takes no notice of that, until the scope closes. */
export const negligent = Effect.gen(function* () {
  const program = "exec 3<&0; cat <&3 >/dev/null & echo $!; exec sleep 1000"
  const parent = yield* Effect.acquireRelease(
    Effect.sync(() => spawn("sh", ["-c", program], { stdio: ["pipe", "pipe", "inherit"] })),
    (started) => Effect.sync(() => started.kill("SIGKILL"))
  )
  let printed = ""
  parent.stdout.on("data", (text) => (printed += String(text)))
  // A shell might notice; what it becomes does not.
  yield* TestHost.until(() => Fs.readFileSync(`/proc/${parent.pid}/comm`, "utf8") === "sleep\n")
  yield* TestHost.until(() => printed.includes("\n"))
  parent.stdin.end()
  return { child: Number(printed) }
})

/** A process that runs `test/support/<file>` until the scope closes, and the first line that it prints. */
export const start = (file: string, ...rest: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, ["--import", "tsx", Path.join(import.meta.dirname, file), ...rest], {
          stdio: ["ignore", "pipe", "inherit"]
        })
      ),
      (started) => Effect.sync(() => started.kill("SIGKILL"))
    )
    let printed = ""
    child.stdout.on("data", (text) => (printed += String(text)))
    yield* TestHost.until(() => printed.includes("\n"))
    const ended = Effect.async<void>((resume) => {
      if (child.exitCode !== null || child.signalCode !== null) resume(Effect.void)
      else child.once("exit", () => resume(Effect.void))
    })
    return { child, ended, line: printed.trim() }
  })
