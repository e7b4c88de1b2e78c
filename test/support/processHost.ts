/**
 * A host that starts an agent and waits. It prints the agent's process id.
 *
 *   tsx test/support/processHost.ts DATA_DIR SESSION_ID
 */
import { Command } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { AirlockConfig, ContainerRuntime, SessionPaths } from "effect-airlock"
import * as Fs from "node:fs"
import * as Processes from "./Processes.js"

const [dataDir = "", sessionId = ""] = process.argv.slice(2)

Effect.gen(function* () {
  const runtime = yield* ContainerRuntime.ContainerRuntime
  const paths = yield* SessionPaths.SessionPaths
  const session = Processes.session(sessionId)
  const folder = yield* paths.session(session)
  Fs.mkdirSync(folder, { recursive: true })
  yield* runtime.wake(session)
  const pid = yield* Processes.numberIn(folder, "pid")
  yield* Processes.numberIn(folder, "grandchild")
  Fs.writeSync(1, `${pid}\n`)
  return yield* Effect.never
}).pipe(
  Effect.provide(
    ContainerRuntime.ContainerRuntime.layerProcess({
      command: (_session, folder) =>
        Command.make(process.execPath, ...Processes.agent(folder, Processes.obeysTerm + Processes.hasChild))
    }).pipe(
      Layer.provideMerge(SessionPaths.SessionPaths.layer),
      Layer.provide(AirlockConfig.AirlockConfig.layer({ dataDir })),
      Layer.provide(NodeContext.layer)
    )
  ),
  NodeRuntime.runMain
)
