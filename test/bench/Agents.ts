/**
 * The other process, in which agents answer.
 */
import { Duration, Effect } from "effect"
import { spawn } from "node:child_process"
import * as ReadLine from "node:readline"
import { echoAgents } from "./Programs.js"

/** Starts agents that answer each message; returns once they do. `onAnswer` is told of each, and when it was stored. */
export const start = (
  folders: ReadonlyArray<string>,
  poll: Duration.DurationInput,
  onAnswer: (inReplyTo: string, at: bigint) => void = () => {}
) =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [echoAgents, String(Duration.toMillis(poll)), ...folders], {
          stdio: ["pipe", "pipe", "inherit"]
        })
      ),
      // In order, so that they remove what is theirs.
      (started) =>
        Effect.async<void>((resume) => {
          if (started.exitCode !== null || started.signalCode !== null) return resume(Effect.void)
          started.once("exit", () => resume(Effect.void)).stdin.end()
        }).pipe(
          Effect.timeoutOption("10 seconds"),
          Effect.zipRight(Effect.sync(() => started.kill("SIGKILL")))
        )
    )
    yield* Effect.async<void, Error>((resume) => {
      child.once("exit", (code) => resume(Effect.fail(new Error(`the agents ended with ${code}`))))
      ReadLine.createInterface({ input: child.stdout }).on("line", (line) => {
        const [word, id, at] = line.split(" ")
        if (word === "ready") resume(Effect.void)
        else if (id !== undefined && at !== undefined) onAnswer(id, BigInt(at))
      })
    })
  })
