/**
 * The smallest agent: it answers every message with the same words. Run it with
 * `node --import tsx examples/smallest-agent.ts SESSION_FOLDER`, or without an argument where the folder is `/workspace`.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect } from "effect"
import { Mailbox } from "effect-airlock/guest"

const agent = Effect.gen(function* () {
  const mailbox = yield* Mailbox.Mailbox
  yield* mailbox.serve((messages) =>
    Effect.forEach(
      messages,
      ({ content, id }) =>
        mailbox.send({
          content: { text: `Hello, host. You said ${content}` },
          inReplyTo: id,
          completes: [id]
        }),
      { discard: true }
    )
  )
})

agent.pipe(Effect.provide(Mailbox.Mailbox.layer({ directory: process.argv[2] })), NodeRuntime.runMain)
