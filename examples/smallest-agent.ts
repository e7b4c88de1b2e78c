/**
 * The smallest agent: it answers every message with the same words. Run it with
 * `npx tsx examples/smallest-agent.ts SESSION_FOLDER`, or without an argument where the folder is `/workspace`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect, Schedule } from "effect"
import { Mailbox } from "effect-airlock/guest"

const turn = Effect.gen(function* () {
  const mailbox = yield* Mailbox.Mailbox
  for (const message of yield* mailbox.poll) {
    yield* mailbox.claim([message.id])
    yield* mailbox.send({
      content: { text: `Hello, host. You said ${message.content}` },
      inReplyTo: message.id
    })
    yield* mailbox.complete([message.id])
  }
})

Effect.repeat(turn, Schedule.spaced("1 second")).pipe(
  Effect.provide(Mailbox.Mailbox.layer({ directory: process.argv[2] })),
  NodeRuntime.runMain
)
