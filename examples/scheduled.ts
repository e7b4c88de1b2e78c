/**
 * Messages that come by themselves: one that recurs every two seconds, and one for a certain time. Their agent is
 * started for each, and stops when it has nothing to do. Run it with `node --import tsx examples/scheduled.ts`; it ends by itself
 * after a dozen seconds.
 *
 * Data goes to AIRLOCK_DATA_DIR, by default ./data.
 */
import { Command } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Clock, Console, Deferred, Effect, Layer, Logger, LogLevel, Ref, Schema } from "effect"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  SessionDb,
  SessionManager,
  SessionRegistry
} from "effect-airlock"
import { Timestamp } from "effect-airlock/protocol"

const Text = Schema.parseJson(Schema.Struct({ text: Schema.String }))

const agents = ContainerRuntime.ContainerRuntime.layerProcess({
  command: (_session, folder) =>
    Command.make("node", "--import", "tsx", "examples/smallest-agent.ts", folder).pipe(
      Command.stderr("inherit")
    )
})

const scheduled = Effect.gen(function* () {
  const start = yield* Clock.currentTimeMillis
  const reports = yield* Ref.make(0)
  const reminded = yield* Deferred.make<void>()

  const terminal = ChannelAdapter.ChannelAdapter.layer((envelope) =>
    Effect.gen(function* () {
      const { text } = yield* Schema.decode(Text)(envelope.content)
      const seconds = ((yield* Clock.currentTimeMillis) - start) / 1000
      yield* Console.log(`+${seconds.toFixed(1)} s  ${text}`)
      if (text.includes("reminder")) yield* Deferred.succeed(reminded, undefined)
      else yield* Ref.update(reports, (n) => n + 1)
      return ChannelAdapter.delivered()
    })
  )

  const program = Effect.gen(function* () {
    const registry = yield* SessionRegistry.SessionRegistry
    const sessions = yield* SessionManager.SessionManager
    const db = yield* SessionDb.SessionDb
    yield* registry.putMessagingGroup({ id: "schedule", channelType: "terminal", platformId: "schedule" })
    const { session } = yield* sessions.resolve({
      agentGroupId: "scheduled",
      messagingGroupId: "schedule",
      threadId: null,
      mode: "shared"
    })
    const run = start.toString(36)
    const series = `report-${run}`
    yield* sessions.writeMessage(session, {
      id: series,
      kind: "task",
      content: JSON.stringify({ prompt: "report" }),
      recurrence: "*/2 * * * * *"
    })
    yield* sessions.writeMessage(session, {
      id: `reminder-${run}`,
      kind: "task",
      content: JSON.stringify({ prompt: "reminder" }),
      processAfter: Timestamp.format(start + 9000)
    })
    yield* Effect.raceFirst(Deferred.await(reminded), AirlockHost.run)
    // A series goes on until somebody ends it. What has no function of its own is a statement on a scoped handle.
    yield* db.transaction(
      session,
      (sql) =>
        sql`UPDATE messages_in SET status = 'cancelled' WHERE series_id = ${series} AND status = 'pending'`
    )
    yield* Console.log(`${yield* Ref.get(reports)} reports, and the reminder`)
  })

  yield* Effect.provide(program, AirlockHost.layerConfig(Layer.merge(terminal, agents)))
})

scheduled.pipe(
  Effect.provide(NodeContext.layer),
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
