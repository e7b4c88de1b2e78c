/**
 * A session, its agent in the same process, and a channel that does what the test says.
 */
import { Effect, Ref } from "effect"
import type { Mailbox } from "effect-airlock"
import { ChannelAdapter, Delivery, SessionManager } from "effect-airlock"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

export const program = Effect.gen(function* () {
  const { answer, envelopes } = yield* TestHost.Channel
  const delivery = yield* Delivery.Delivery
  const manager = yield* SessionManager.SessionManager
  const session = yield* TestHost.newSession()
  const folder = yield* TestHost.folderOf(session)
  const mailbox = yield* TestHost.mailboxAt(folder)
  return {
    delivery,
    manager,
    session,
    folder,
    mailbox,
    drain: delivery.drain(session),
    failures: delivery.failures(session),
    attempted: delivery.attempted(session),
    envelopes: Ref.get(envelopes),
    texts: Effect.map(Ref.get(envelopes), (all) => all.map(textOf)),
    answer: (deliver: ChannelAdapter.Deliver) => Ref.set(answer, deliver),
    say: (text: string, more: Partial<Mailbox.Reply> = {}) => mailbox.send({ content: { text }, ...more }),
    outbound: (sql: string) => Raw.exec(`${folder}/outbound.db`, sql),
    delivered: () =>
      Raw.query(TestHost.originalOf(folder), "SELECT message_out_id AS id, status FROM delivered")
  }
})

export const textOf = ({ content }: { readonly content: string }): string =>
  (JSON.parse(content) as { text: string }).text

/** An outcome for each text, `delivered` for any other. */
export const byText =
  (outcomes: Record<string, Effect.Effect<ChannelAdapter.Outcome, unknown>>): ChannelAdapter.Deliver =>
  (envelope) =>
    outcomes[textOf(envelope)] ?? Effect.succeed(ChannelAdapter.delivered())
