/**
 * A host that writes messages with attachments until it is killed. It prints an id once the message is stored.
 *
 *   tsx test/support/writer.ts DATA_DIR RUN
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Logger, LogLevel } from "effect"
import { AirlockHost, SessionManager } from "effect-airlock"
import * as Fs from "node:fs"

const [dataDir = "", run = ""] = process.argv.slice(2)

Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const { session } = yield* manager.resolve({
    agentGroupId: "agent",
    messagingGroupId: "chat",
    threadId: null,
    mode: "shared"
  })
  for (let n = 0; ; n++) {
    const id = `${run}-${n}`
    yield* manager.writeMessage(session, {
      id,
      kind: "chat",
      content: "x".repeat(5000),
      attachments: [{ name: "file", source: { bytes: Buffer.alloc(20_000, id) } }]
    })
    Fs.writeSync(1, `${id}\n`)
  }
}).pipe(
  Effect.provide(AirlockHost.sessions({ dataDir })),
  Logger.withMinimumLogLevel(LogLevel.None),
  NodeRuntime.runMain
)
