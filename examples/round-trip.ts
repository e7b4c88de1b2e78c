/**
 * A host and its agents, as separate processes, talking through real files. Run it with `npm start`.
 *
 * Three sessions (a shared one, one per thread, one for the whole agent) get messages with attachments, one
 * of which tries to leave its folder, and one message that is not due at first. Each session's agent sends
 * back what it counted. The host checks the hashes, and exits with 0 only if everything arrived and matched.
 *
 * Data goes to AIRLOCK_DATA_DIR, by default ./data. Look around in it with any SQLite shell.
 */
import { Command, FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Clock, Console, Context, Data, Effect, Layer, Logger, LogLevel, Ref, Schedule, Schema } from "effect"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  Delivery,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import type { Message, Session } from "effect-airlock"
import * as Path from "node:path"

class RoundTripFailed extends Data.TaggedError("RoundTripFailed")<{ readonly message: string }> {}

interface SentFile {
  readonly name: string
  readonly sha256: string
}

/** What the host expects to come back, and what has come back so far. */
class Ledger extends Context.Tag("example/Ledger")<
  Ledger,
  {
    readonly start: number
    /** The files that each message took along. */
    readonly sent: Ref.Ref<ReadonlyMap<string, ReadonlyArray<SentFile>>>
    /** When the reply to each message arrived. */
    readonly replies: Ref.Ref<ReadonlyMap<string, number>>
    readonly files: Ref.Ref<number>
    readonly failures: Ref.Ref<ReadonlyArray<string>>
  }
>() {
  static readonly layer = Layer.effect(
    Ledger,
    Effect.all({
      start: Clock.currentTimeMillis,
      sent: Ref.make<ReadonlyMap<string, ReadonlyArray<SentFile>>>(new Map()),
      replies: Ref.make<ReadonlyMap<string, number>>(new Map()),
      files: Ref.make(0),
      failures: Ref.make<ReadonlyArray<string>>([])
    })
  )
}

const print = Effect.fn("print")(function* (text: string) {
  const { start } = yield* Ledger
  const seconds = ((yield* Clock.currentTimeMillis) - start) / 1000
  yield* Console.log(`${`+${seconds.toFixed(2)} s`.padStart(9)}  ${text}`)
})

const Counts = Schema.parseJson(
  Schema.Array(
    Schema.Struct({
      name: Schema.String,
      lines: Schema.Number,
      bytes: Schema.Number,
      sha256: Schema.String
    })
  )
)

/** The channel: it prints, and checks what the agent counted against what was sent. */
const terminal = Layer.unwrapEffect(
  Effect.map(Ledger, (ledger) =>
    ChannelAdapter.ChannelAdapter.layerByChannel({
      terminal: (envelope) =>
        Effect.gen(function* () {
          const { text } = yield* Schema.decodeUnknown(
            Schema.parseJson(Schema.Struct({ text: Schema.String }))
          )(envelope.content)
          yield* print(`<- ${(envelope.platformId ?? "").padEnd(8)} ${text}`)
          const expected = (yield* Ref.get(ledger.sent)).get(envelope.inReplyTo ?? "") ?? []
          const counts = yield* Effect.forEach(envelope.files, ({ data }) =>
            Schema.decodeUnknown(Counts)(new TextDecoder().decode(data))
          )
          const matched = counts
            .flat()
            .filter(({ name, sha256 }) =>
              expected.some((file) => file.name === name && file.sha256 === sha256)
            )
          for (const { bytes, lines, name, sha256 } of counts.flat()) {
            yield* print(`              ${name}: ${lines} lines, ${bytes} bytes, ${sha256.slice(0, 12)}…`)
          }
          yield* Ref.update(ledger.files, (n) => n + envelope.files.length)
          if (matched.length !== expected.length || counts.flat().length !== expected.length) {
            yield* Ref.update(ledger.failures, (all) => [...all, `${envelope.inReplyTo}: files do not match`])
          }
          const now = yield* Clock.currentTimeMillis
          yield* Ref.update(ledger.replies, (all) => new Map(all).set(envelope.inReplyTo ?? envelope.id, now))
          return ChannelAdapter.delivered(envelope.idempotencyKey)
        }).pipe(Effect.provideService(Ledger, ledger))
    })
  )
)

const agents = ContainerRuntime.ContainerRuntime.layerProcess({
  command: (_session, folder) =>
    Command.make("node", "--import", "tsx", "examples/counting-agent.ts", folder).pipe(
      Command.stdout("inherit"),
      Command.stderr("inherit")
    )
})

const roundTrip = Effect.gen(function* () {
  const ledger = yield* Ledger
  const manager = yield* SessionManager.SessionManager
  const registry = yield* SessionRegistry.SessionRegistry
  const delivery = yield* Delivery.Delivery
  const fileSystem = yield* FileSystem.FileSystem
  const paths = yield* SessionPaths.SessionPaths
  const run = ledger.start.toString(36)

  yield* registry.putAgentGroup({ id: "counter", name: "Counting agent" })
  for (const chat of ["team", "support", "office", "night"]) {
    yield* registry.putMessagingGroup({ id: chat, channelType: "terminal", platformId: chat })
  }
  const open = (mode: Session.SessionMode, messagingGroupId: string, threadId: string | null) =>
    Effect.tap(
      manager.resolve({ agentGroupId: "counter", messagingGroupId, threadId, mode }),
      ({ session }) => manager.writeRouting(session)
    )
  const { session: shared } = yield* open("shared", "team", "morning")
  const { session: again } = yield* open("shared", "team", "evening")
  const { session: thread } = yield* open("per-thread", "support", "ticket-1")
  const { session: everywhere } = yield* open("agent-shared", "office", null)
  if (again.sessionId !== shared.sessionId) {
    return yield* new RoundTripFailed({ message: "two threads of a shared session got two sessions" })
  }

  const send = Effect.fn("send")(function* (
    session: Session.Session,
    name: string,
    text: string,
    more: Partial<Message.InboundMessage> = {}
  ) {
    const id = `${run}-${name}`
    const written = yield* manager.writeMessage(session, {
      id,
      kind: "chat",
      content: JSON.stringify({ text }),
      ...more
    })
    yield* Ref.update(ledger.sent, (all) => new Map(all).set(id, written.attachments))
    const files = written.attachments.map((file) => file.name).join(", ")
    yield* print(`-> ${(session.messagingGroupId ?? "").padEnd(8)} ${text}${files && ` [${files}]`}`)
    for (const { from, reason, to } of written.renamed) {
      yield* print(`              ${from} is now ${to} (${reason})`)
    }
  })

  yield* Effect.forkScoped(AirlockHost.run)
  yield* send(shared, "files", "count these files", {
    attachments: [
      { name: "README.md", source: { file: "README.md" } },
      { name: "package.json", mimeType: "application/json", source: { file: "package.json" } }
    ]
  })
  yield* send(shared, "evening", "good evening, from another thread", { threadId: "evening" })
  const secret = Buffer.from("one line\nand another\n").toString("base64")
  yield* send(thread, "escape", "mind the name", {
    content: JSON.stringify({
      text: "mind the name",
      attachments: [{ name: "../../../escape.txt", mimeType: "text/plain", data: secret }]
    })
  })
  const later = (yield* Clock.currentTimeMillis) + 7000
  yield* send(everywhere, "later", "not before seven seconds have passed", {
    processAfter: new Date(later).toISOString()
  })
  yield* send(everywhere, "now", "hello from the office")
  const { id: refusal } = yield* manager.writeOutboundDirect(thread, {
    id: `${run}-refusal`,
    kind: "chat",
    content: JSON.stringify({ text: "You may not use /shutdown. (The agent was not asked.)" }),
    channelType: "terminal",
    platformId: "support",
    threadId: "ticket-1"
  })

  const expected = [...(yield* Ref.get(ledger.sent)).keys(), refusal]
  // Printed, and marked as delivered: what is being sent is among what was attempted.
  const isComplete = Effect.gen(function* () {
    const replies = yield* Ref.get(ledger.replies)
    const open = yield* Effect.forEach([shared, thread, everywhere], delivery.attempted)
    return expected.every((id) => replies.has(id)) && open.flat().length === 0
  })
  yield* Effect.repeat(isComplete, {
    until: (done) => done,
    schedule: Schedule.spaced("50 millis")
  }).pipe(Effect.timeoutOption("25 seconds"))

  const replies = yield* Ref.get(ledger.replies)
  const missing = expected.filter((id) => !replies.has(id))
  const isEarly = (replies.get(`${run}-later`) ?? later) < later
  const failures = [
    ...(yield* Ref.get(ledger.failures)),
    ...((yield* fileSystem.exists(Path.join(yield* paths.session(thread), "..", "escape.txt")))
      ? ["an attachment left its folder"]
      : []),
    ...missing.map((id) => `${id}: no reply`),
    ...(isEarly ? ["the scheduled message was answered before its time"] : [])
  ]
  const seconds = ((yield* Clock.currentTimeMillis) - ledger.start) / 1000
  const filesIn = [...(yield* Ref.get(ledger.sent)).values()].flat().length
  const filesOut = yield* Ref.get(ledger.files)
  yield* Effect.forEach(failures, (failure) => Console.error(`FAILED ${failure}`), { discard: true })
  yield* Console.log(
    `${expected.length - 1} messages and ${filesIn} files in, ${replies.size} messages and ${filesOut} files out, ` +
      `${failures.length} failures, ${seconds.toFixed(1)} s`
  )
  if (failures.length > 0) {
    return yield* new RoundTripFailed({ message: "not everything arrived as it was sent" })
  }
})

roundTrip.pipe(
  Effect.scoped,
  Effect.provide(AirlockHost.layerConfig(Layer.merge(terminal, agents))),
  Effect.provide(Layer.merge(Ledger.layer, NodeContext.layer)),
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
