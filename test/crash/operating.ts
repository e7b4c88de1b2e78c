/**
 * A process that does one operation. It says `ready`, waits for a line, does it, says `success` or `failure` and what it
 * failed with, and is killed then; or ends in order, if it is told so.
 *
 *   tsx test/crash/operating.ts DATA_DIR SIDE OPERATION SCENE [in-order]
 */
import { NodeRuntime } from "@effect/platform-node"
import { Cause, Effect, Exit, Layer, Logger, LogLevel, Option } from "effect"
import { AirlockHost, ChannelAdapter, Mailbox } from "effect-airlock"
import * as Fs from "node:fs"
import { agentOperations, hostOperations } from "./Operations.js"
import type { Scene } from "./Scene.js"
import * as Scenes from "./Scene.js"

const [dataDir = "", side = "", name = "", json = "", ending = ""] = process.argv.slice(2)
const scene = JSON.parse(json) as Scene

const print = (line: string) => Effect.sync(() => Fs.writeSync(1, `${line}\n`))

const line = Effect.async<void>((resume) => {
  process.stdin.once("data", () => resume(Effect.void))
})

const described = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.match(exit, {
    onSuccess: () => "success",
    onFailure: (cause) =>
      `failure ${Option.match(Cause.failureOption(cause), { onNone: () => "defect", onSome: String })}`
  })

const tell = <E, R>(operation: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function* () {
    yield* print("ready")
    yield* line
    yield* print(described(yield* Effect.exit(operation)))
    if (ending === "") process.kill(process.pid, "SIGKILL")
    process.stdin.destroy()
  })

const named = <O extends { readonly name: string }>(operations: ReadonlyArray<O>): O => {
  const found = operations.find((operation) => operation.name === name)
  if (found === undefined) throw new Error(`no operation is called ${name}`)
  return found
}

const program =
  side === "host"
    ? Effect.suspend(() => tell(named(hostOperations).run(scene))).pipe(
        Effect.provide(
          AirlockHost.layer(
            Scenes.settings(dataDir),
            Layer.merge(
              ChannelAdapter.ChannelAdapter.layer(Scenes.deliver(() => undefined)),
              Scenes.shortLived
            )
          )
        )
      )
    : Effect.suspend(() => tell(named(agentOperations).run(scene))).pipe(
        Effect.provide(Mailbox.Mailbox.layer({ directory: Scenes.folderOf(dataDir, scene.session) }))
      )

program.pipe(Logger.withMinimumLogLevel(LogLevel.None), NodeRuntime.runMain)
