import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Ref, TestClock } from "effect"
import type { AirlockConfig } from "effect-airlock"
import { AirlockHost, ChannelAdapter, ContainerRuntime, Delivery, SystemActions } from "effect-airlock"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

const host = (shown: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const delivery = yield* Delivery.Delivery
    const session = yield* TestHost.newSession()
    const folder = yield* TestHost.folderOf(session)
    const mailbox = yield* TestHost.mailboxAt(folder)
    return {
      shown,
      session,
      drain: delivery.drain(session),
      failures: Effect.map(delivery.failures(session), (all) =>
        all.map(({ id, reason }) => ({ id, reason }))
      ),
      act: (content: Record<string, unknown>) => mailbox.send({ kind: "system", content }),
      raw: (id: string, seq: number, content: string) =>
        Raw.exec(
          `${folder}/outbound.db`,
          `INSERT INTO messages_out (id, seq, timestamp, kind, content)
           VALUES ('${id}', ${seq}, '2026-01-01T00:00:00.000Z', 'system', '${content}')`
        ),
      say: (text: string) => mailbox.send({ content: { text } })
    }
  })

/** A handler that throws before there is anything to run. */
const broken = (): Effect.Effect<ChannelAdapter.Outcome> => {
  throw new Error("bug")
}

type Host = Effect.Effect.Success<ReturnType<typeof host>>

/** A host that knows some actions, on a session whose agent asks for them. */
const withActions = <A, E>(
  handlers: Record<string, SystemActions.Handler>,
  use: (its: Host) => Effect.Effect<A, E, AirlockHost.AirlockHost>,
  options: Omit<AirlockConfig.Options, "dataDir"> = {}
) =>
  Effect.gen(function* () {
    const dataDir = yield* TestHost.temporaryDirectory
    const shown: Array<string> = []
    const ports = Layer.mergeAll(
      ChannelAdapter.ChannelAdapter.layer(({ content }) =>
        Effect.sync(() => {
          shown.push(content)
          return ChannelAdapter.delivered()
        })
      ),
      ContainerRuntime.ContainerRuntime.layerNone,
      SystemActions.SystemActions.layer(handlers)
    )
    return yield* Effect.flatMap(host(shown), use).pipe(
      Effect.provide(AirlockHost.layer({ dataDir, ...options }, ports))
    )
  }).pipe(Effect.scoped)

describe("an action that an agent asks for", () => {
  it.effect("goes to the handler of its name, with all that the agent wrote, and never to a channel", () =>
    Effect.gen(function* () {
      const asked = yield* Ref.make<ReadonlyArray<SystemActions.SystemAction>>([])
      yield* withActions(
        {
          schedule: (action) =>
            Effect.as(
              Ref.update(asked, (all) => [...all, action]),
              ChannelAdapter.delivered()
            ),
          other: () => Effect.dieMessage("the wrong one")
        },
        ({ act, drain, session, shown }) =>
          Effect.gen(function* () {
            const { id } = yield* act({ action: "schedule", at: "noon" })
            expect(yield* drain).toMatchObject({ delivered: [id] })
            expect(yield* drain).toMatchObject({ delivered: [] })
            expect(shown).toEqual([])
            expect(yield* Ref.get(asked)).toEqual([
              {
                idempotencyKey: `${session.sessionId}/agent/${id}`,
                ref: { agentGroupId: session.agentGroupId, sessionId: session.sessionId },
                id,
                inReplyTo: null,
                action: "schedule",
                content: { action: "schedule", at: "noon" }
              }
            ])
          })
      )
    })
  )

  it.effect("is a failure with a reason if nobody knows it, or it names none", () =>
    withActions({}, ({ act, drain, failures, raw }) =>
      Effect.gen(function* () {
        const unheard = yield* act({ action: "unheard-of" })
        const inherited = yield* act({ action: "toString" })
        const nameless = yield* act({ text: "please" })
        const odd = yield* act({ action: 7 })
        raw("list", 101, `["action"]`)
        raw("text", 103, "action")
        yield* drain
        expect(yield* failures).toEqual([
          { id: unheard.id, reason: "no handler for this action" },
          { id: inherited.id, reason: "no handler for this action" },
          { id: nameless.id, reason: "names no action" },
          { id: odd.id, reason: "names no action" },
          { id: "list", reason: "names no action" },
          { id: "text", reason: "names no action" }
        ])
      })
    )
  )

  for (const [name, outcome] of [
    ["fails", () => Effect.fail("no")],
    ["dies", () => Effect.die("bug")],
    ["does not even begin", broken],
    ["does not know", () => Effect.succeed(ChannelAdapter.unknown())]
  ] as const) {
    it.effect(`is tried again when its handler ${name}, and holds up no chat`, () =>
      Effect.gen(function* () {
        let attempts = 0
        yield* withActions(
          {
            work: () => {
              attempts += 1
              return attempts === 1 ? outcome() : Effect.succeed(ChannelAdapter.delivered())
            }
          },
          ({ act, drain, say, shown }) =>
            Effect.gen(function* () {
              const work = yield* act({ action: "work" })
              const chat = yield* say("hello")
              expect(yield* drain).toEqual({ delivered: [chat.id], failed: [], waiting: [work.id] })
              expect(shown.length).toBe(1)
              yield* TestClock.adjust("1 second")
              expect(yield* drain).toMatchObject({ delivered: [work.id] })
            })
        )
      })
    )
  }

  it.effect("is tried again when its handler gives no answer, and holds up no chat", () =>
    Effect.gen(function* () {
      const attempts = yield* Ref.make<ReadonlyArray<string>>([])
      yield* withActions(
        {
          work: ({ idempotencyKey }) =>
            Effect.flatMap(
              Ref.updateAndGet(attempts, (all) => [...all, idempotencyKey]),
              (all) => (all.length === 1 ? Effect.never : Effect.succeed(ChannelAdapter.delivered()))
            )
        },
        ({ act, drain, say, shown }) =>
          Effect.gen(function* () {
            const work = yield* act({ action: "work" })
            const fiber = yield* Effect.fork(drain)
            yield* TestHost.until(() => Effect.map(Ref.get(attempts), (all) => all.length === 1))
            yield* say("hello")
            yield* drain
            expect(shown.length).toBe(1)
            yield* TestClock.adjust("1 minute")
            expect(yield* Fiber.join(fiber)).toMatchObject({ waiting: [work.id] })
            yield* TestClock.adjust("1 second")
            expect(yield* drain).toMatchObject({ delivered: [work.id] })
            const [first, second] = yield* Ref.get(attempts)
            expect(second).toBe(first)
          })
      )
    })
  )

  it.effect("is held if nobody knows whether it was done, and the host wants that", () =>
    withActions(
      { work: () => Effect.fail("no") },
      ({ act, drain, failures }) =>
        Effect.gen(function* () {
          const { id } = yield* act({ action: "work" })
          yield* drain
          expect(yield* failures).toEqual([{ id, reason: "may have arrived: the action's handler failed" }])
        }),
      { unknownDeliveries: "hold" }
    )
  )

  it.effect("fails with the reason that its handler gives", () =>
    withActions(
      { work: () => Effect.succeed(ChannelAdapter.rejected("not on a Sunday")) },
      ({ act, drain, failures }) =>
        Effect.gen(function* () {
          const { id } = yield* act({ action: "work" })
          yield* drain
          expect(yield* failures).toEqual([{ id, reason: "not on a Sunday" }])
        })
    )
  )
})
