/**
 * An agent that asks before it acts, and a gate that answers in its stead. Run it with
 * `node --import tsx examples/approvals.ts`; it ends by itself.
 *
 * The agent is told to delete two files and asks about each; somebody says yes to one and no to the other. A message
 * that is a command is answered by the host itself, and the agent never sees it. What the agent asks its host to do
 * goes to a handler of `SystemActions`.
 *
 * Data goes to AIRLOCK_DATA_DIR, by default ./data.
 */
import { Command } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Clock, Console, Deferred, Effect, Layer, Logger, LogLevel, Option, Schema } from "effect"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  Message,
  SessionManager,
  SessionRegistry,
  SystemActions
} from "effect-airlock"
import type { Session } from "effect-airlock"

const Question = Schema.parseJson(Message.AskedQuestion)
const Text = Schema.parseJson(Schema.Struct({ text: Schema.String }))

/** The chat, and the person in it: whoever is asked about notes says yes, and to anything else no. */
const chat = Layer.effect(
  ChannelAdapter.ChannelAdapter,
  Effect.gen(function* () {
    const sessions = yield* SessionManager.SessionManager
    return {
      deliver: (envelope: ChannelAdapter.Envelope) =>
        Effect.gen(function* () {
          const question = Schema.decodeOption(Question)(envelope.content)
          if (Option.isNone(question)) {
            const { text } = yield* Schema.decode(Text)(envelope.content)
            yield* Console.log(`agent:  ${text}`)
            return ChannelAdapter.delivered()
          }
          const answer = question.value.question.includes("notes") ? "yes" : "no"
          yield* Console.log(`agent:  ${question.value.question}`)
          yield* Console.log(`person: ${answer}`)
          yield* sessions.writeSystemResponse(envelope.ref, {
            questionId: question.value.questionId,
            status: "answered",
            result: { answer }
          })
          return ChannelAdapter.delivered()
        })
    }
  })
)

const agents = ContainerRuntime.ContainerRuntime.layerProcess({
  command: (_session, folder) =>
    Command.make("node", "--import", "tsx", "examples/careful-agent.ts", folder).pipe(
      Command.stderr("inherit")
    )
})

/** Takes messages from a person. A command is for the host, and answered at once. */
const say = Effect.fn("say")(function* (session: Session.Session, id: string, text: string) {
  const sessions = yield* SessionManager.SessionManager
  yield* Console.log(`person: ${text}`)
  const content = (words: string) => JSON.stringify({ text: words })
  yield* text.startsWith("/")
    ? sessions.writeOutboundDirect(session, {
        id: `${id}-refused`,
        kind: "chat",
        content: content(`You may not use ${text}.`)
      })
    : sessions.writeMessage(session, { id, kind: "chat", content: content(text) })
})

const approvals = Effect.gen(function* () {
  const finished = yield* Deferred.make<void>()
  const actions = SystemActions.SystemActions.layer({
    finish: () => Effect.as(Deferred.succeed(finished, undefined), ChannelAdapter.delivered())
  })
  const program = Effect.gen(function* () {
    const registry = yield* SessionRegistry.SessionRegistry
    const sessions = yield* SessionManager.SessionManager
    yield* registry.putMessagingGroup({ id: "approvals", channelType: "terminal", platformId: "approvals" })
    const { session } = yield* sessions.resolve({
      agentGroupId: "careful",
      messagingGroupId: "approvals",
      threadId: null,
      mode: "shared"
    })
    const run = (yield* Clock.currentTimeMillis).toString(36)
    yield* say(session, `${run}-command`, "/shutdown")
    yield* say(session, `${run}-delete`, "delete notes.txt and accounts.txt")
    yield* Effect.raceFirst(Deferred.await(finished), AirlockHost.run)
  })
  yield* Effect.provide(program, AirlockHost.layerConfig(Layer.mergeAll(chat, agents, actions)))
})

approvals.pipe(
  Effect.provide(NodeContext.layer),
  Logger.withMinimumLogLevel(LogLevel.Warning),
  NodeRuntime.runMain
)
