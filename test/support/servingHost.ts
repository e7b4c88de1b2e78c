/**
 * A host that writes messages while it runs its loops. It prints the session's folder, and then the id of each message
 * once it is stored. What the agent answers goes into a file, as a line of the idempotency key and the text, once for each
 * key: the file is a platform that honours keys.
 *
 * Its agent is started by somebody else, who writes its process id to `agent.pid` in the data directory.
 *
 *   tsx test/support/servingHost.ts DATA_DIR ANSWERS RUN COUNT
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Layer, Logger, LogLevel, Option, Schedule, Stream } from "effect"
import { AirlockHost, ChannelAdapter, ContainerRuntime, SessionManager, SessionPaths } from "effect-airlock"
import * as Fs from "node:fs"
import * as Path from "node:path"

const [dataDir = "", answers = "", run = "", count = ""] = process.argv.slice(2)

const print = (line: string) => Effect.sync(() => Fs.writeSync(1, `${line}\n`))

const keys = new Set(
  Fs.existsSync(answers)
    ? Fs.readFileSync(answers, "utf8")
        .split("\n")
        .map((line) => line.split("\t")[0] ?? "")
    : []
)

const platform = ChannelAdapter.ChannelAdapter.layer(({ content, files, idempotencyKey, skipped }) =>
  Effect.sync(() => {
    if (keys.has(idempotencyKey)) return ChannelAdapter.delivered()
    const { text } = JSON.parse(content) as { readonly text: string }
    const whole = skipped.length === 0 && files.every(({ data }) => Buffer.from(data).toString() === text)
    const fd = Fs.openSync(answers, "a")
    Fs.writeSync(fd, `${idempotencyKey}\t${text}\t${whole ? "whole" : "torn"}\n`)
    Fs.fsyncSync(fd)
    Fs.closeSync(fd)
    keys.add(idempotencyKey)
    return ChannelAdapter.delivered()
  })
)

const isRunning = (): boolean => {
  try {
    return process.kill(Number(Fs.readFileSync(Path.join(dataDir, "agent.pid"), "utf8")), 0)
  } catch {
    return false
  }
}

const containers = Layer.succeed(ContainerRuntime.ContainerRuntime, {
  status: () =>
    Effect.sync(() => (isRunning() ? ContainerRuntime.running(Option.none()) : ContainerRuntime.stopped)),
  wake: () => Effect.void,
  kill: () => Effect.void,
  exits: Stream.empty
})

const soon = Schedule.spaced("100 millis")

Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const paths = yield* SessionPaths.SessionPaths
  const { session } = yield* manager.resolve({
    agentGroupId: "agent",
    messagingGroupId: "chat",
    threadId: null,
    mode: "shared"
  })
  yield* Effect.forkScoped(AirlockHost.run)
  yield* print(yield* paths.session(session))
  for (let n = 0; n < Number(count); n++) {
    const id = `${run}-${n}`
    yield* manager.writeMessage(session, {
      id,
      kind: "chat",
      content: JSON.stringify({ text: id }),
      attachments: [{ name: "file", source: { bytes: Buffer.from(id) } }]
    })
    yield* print(id)
    yield* Effect.sleep("20 millis")
  }
  return yield* Effect.never
}).pipe(
  Effect.scoped,
  Effect.provide(
    AirlockHost.layer(
      {
        dataDir,
        deliveryRetries: soon,
        messageRetries: soon,
        intervals: {
          deliverRunning: "50 millis",
          deliverAll: "200 millis",
          sweepRunning: "50 millis",
          sweepAll: "200 millis"
        }
      },
      Layer.merge(platform, containers)
    )
  ),
  Logger.withMinimumLogLevel(LogLevel.None),
  NodeRuntime.runMain
)
