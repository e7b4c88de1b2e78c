/**
 * A hostile session and what is beside it: a canary, which must stay as it is, and a process of the agent.
 */
import { Effect } from "effect"
import type { Session } from "effect-airlock"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import { createInterface } from "node:readline"
import * as Path from "node:path"
import * as Bundle from "../support/Bundle.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import * as Forgery from "./Forgery.js"

export { timed } from "./Timed.js"

export const secret = "what nobody in a session may see"

/** Puts a message into the outbound.db of a folder, with a file. */
export const say = (folder: string, id: string, seq: number): void => {
  Fs.mkdirSync(Path.join(folder, "outbox", id), { recursive: true })
  Fs.writeFileSync(Path.join(folder, "outbox", id, "file"), `the file of ${id}`)
  Raw.exec(
    Path.join(folder, "outbound.db"),
    `INSERT INTO messages_out (id, seq, timestamp, kind, content)
     VALUES ('${id}', ${seq}, '2026-01-01T00:00:00.000Z', 'chat', '{"text":"${id}","files":["file"]}')`
  )
}

/** A folder outside of every session, with things of the names that sessions have. */
export const canaryAt = (folder: string): string => {
  Fs.mkdirSync(Path.join(folder, "m"), { recursive: true })
  Fs.mkdirSync(Path.join(folder, "w"))
  Fs.writeFileSync(Path.join(folder, "secret"), secret)
  Fs.writeFileSync(Path.join(folder, "m", "file"), secret)
  Fs.writeFileSync(
    Path.join(folder, "outbound.db"),
    Forgery.database(
      Path.join(folder, "made.db"),
      `INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('stolen', 1, '', 'chat', '${secret}')`
    )
  )
  return folder
}

/** The agent's process, until the scope closes. It does one thing at a time. */
export const planter = Effect.gen(function* () {
  const program = yield* Effect.promise(() => Bundle.make("../hostile/planter.ts"))
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(process.execPath, [program], { stdio: ["pipe", "pipe", "inherit"] })),
    (started) => Effect.sync(() => started.kill("SIGKILL"))
  )
  const lines = createInterface({ input: child.stdout })
  const ask = (command: unknown) =>
    Effect.async<Record<string, unknown>>((resume) => {
      if (child.exitCode !== null) return resume(Effect.dieMessage("the planter has ended"))
      const fail = () => resume(Effect.dieMessage("the planter has ended"))
      lines.once("line", (line: string) => {
        child.off("exit", fail)
        resume(Effect.succeed(JSON.parse(line) as Record<string, unknown>))
      })
      child.once("exit", fail)
      child.stdin.write(`${JSON.stringify(command)}\n`)
    })
  return {
    plant: (name: string, folder: string, canary: string) =>
      Effect.filterOrDieMessage(
        ask({ plant: name, folder, canary }),
        ({ planted }) => planted === name,
        `nothing is called ${name}`
      ),
    /** How often it could swap. */
    swap: (how: "swap" | "churn", path: string, other: string, millis: number) =>
      Effect.map(ask({ [how]: path, with: other, millis }), ({ swaps }) => Number(swaps))
  }
})

/** A session of a host, and its folder. */
export const session = (name: string) =>
  Effect.gen(function* () {
    const made = yield* TestHost.newSession(name)
    const ref: Session.SessionRef = { agentGroupId: made.agentGroupId, sessionId: made.sessionId }
    return { ref, folder: yield* TestHost.folderOf(ref) }
  })
