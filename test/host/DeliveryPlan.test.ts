import { describe, expect, it } from "@effect/vitest"
import { FastCheck } from "effect"
import type { Attempted } from "../../src/host/DeliveryLedger.js"
import * as DeliveryPlan from "../../src/host/DeliveryPlan.js"
import type { Entry } from "../../src/host/OutboundQueue.js"

const chat = { channelType: "test", platformId: "home" }

const entry = (id: string, seq: number, more: Partial<NonNullable<Entry["row"]>> = {}): Entry => ({
  source: "agent",
  id,
  seq,
  bytes: 0,
  whole: undefined,
  row: {
    id,
    kind: "chat",
    inReplyTo: null,
    deliverAfter: null,
    channelType: null,
    platformId: null,
    threadId: null,
    ...more
  }
})

const plan = (entries: ReadonlyArray<Entry>, more: Partial<DeliveryPlan.PlanInput> = {}) =>
  DeliveryPlan.make({
    entries,
    attempted: [],
    addresses: { routing: { ...chat, threadId: null }, allowed: [chat] },
    origins: new Map(),
    busy: new Set(),
    now: 1_000_000,
    limit: 100,
    unknownDeliveries: "resend",
    ...more
  })

const tried = (id: string, more: Partial<Attempted>): Attempted => ({
  source: "agent",
  id,
  state: "waiting",
  attempts: 1,
  attemptedAt: null,
  nextAt: null,
  reason: null,
  ...more
})

const at = (millis: number) => new Date(millis).toISOString()

const idsOf = (all: ReadonlyArray<{ readonly id: string }>) => all.map(({ id }) => id)

describe("DeliveryPlan.make", () => {
  const lane = FastCheck.constantFrom("a", "b", "c")
  const entries = FastCheck.array(FastCheck.record({ lane, due: FastCheck.integer({ min: -2, max: 2 }) }), {
    maxLength: 12
  }).map((all) =>
    all.map(({ due, lane }, index) =>
      entry(`m${index}`, index, {
        threadId: lane,
        deliverAfter: due > 0 ? at(1_000_000 + due * 1000) : due < 0 ? at(0) : null
      })
    )
  )
  const waits = FastCheck.array(FastCheck.integer({ min: 0, max: 11 }), { maxLength: 4 })

  it("puts each message into exactly one place, and lets none overtake another of its lane", () => {
    FastCheck.assert(
      FastCheck.property(entries, waits, FastCheck.integer({ min: 1, max: 12 }), (all, waiting, limit) => {
        const planned = plan([...all].reverse(), {
          limit,
          attempted: waiting.map((n) => tried(`m${n}`, { nextAt: at(1_005_000) }))
        })
        const sent = idsOf(planned.messages)
        const placed = [...sent, ...planned.waiting]
        expect(new Set(placed).size).toBe(placed.length)
        const later = all.filter(({ row }) => row?.deliverAfter !== null && row?.deliverAfter !== at(0))
        if (!planned.isCut) expect(placed.length + later.length).toBe(all.length)
        expect(sent.length).toBeLessThanOrEqual(limit)
        const seqOf = (id: string) => Number(id.slice(1))
        for (const name of ["a", "b", "c"]) {
          const ofLane = (ids: ReadonlyArray<string>) =>
            ids.filter((id) => all[seqOf(id)]?.row?.threadId === name).map(seqOf)
          const going = ofLane(sent)
          expect(going).toEqual([...going].sort((a, b) => a - b))
          for (const waiter of ofLane(planned.waiting)) {
            expect(going.every((seq) => seq < waiter)).toBe(true)
          }
        }
        if (later.length > 0 && !planned.isCut) expect(planned.nextAt).toBeLessThan(Number.POSITIVE_INFINITY)
      })
    )
  })

  it("leaves busy lanes alone, in each respect", () => {
    const busy = plan([entry("a", 1), entry("b", 3, { threadId: "other" })]).messages
    const planned = plan([entry("a", 1), entry("b", 3, { threadId: "other" })], {
      busy: new Set([busy[0]?.lane ?? ""]),
      attempted: [tried("a", { state: "sending" })]
    })
    expect(idsOf(planned.messages)).toEqual(["b"])
    expect(planned.failures).toEqual([])
    expect(planned.waiting).toEqual([])
    expect([...planned.passed]).toEqual([busy[0]?.lane])
  })

  it("holds what was being sent, or sends it again, as the settings say", () => {
    const attempted = [tried("a", { state: "sending", attempts: 3 })]
    expect(plan([entry("a", 1)], { attempted }).messages).toMatchObject([{ id: "a", attempt: 4 }])
    expect(plan([entry("a", 1), entry("b", 3)], { attempted, unknownDeliveries: "hold" })).toMatchObject({
      messages: [{ id: "b" }],
      failures: [{ id: "a", reason: "interrupted while it was sent" }]
    })
  })

  it("lets an agent write to its chat, its destinations, and where a message came from that it answers", () => {
    const elsewhere = { channelType: "test", platformId: "elsewhere" }
    const origins = new Map([["q", { ...elsewhere, sourceSessionId: null }]])
    const refused = (more: Partial<NonNullable<Entry["row"]>>) =>
      plan([entry("a", 1, more)], { origins }).failures.length === 1
    expect(refused({})).toBe(false)
    expect(refused({ ...chat, threadId: "any" })).toBe(false)
    expect(refused(elsewhere)).toBe(true)
    expect(refused({ ...elsewhere, inReplyTo: "other" })).toBe(true)
    expect(refused({ ...elsewhere, inReplyTo: "q" })).toBe(false)
    expect(refused({ channelType: "other", platformId: "elsewhere", inReplyTo: "q" })).toBe(true)
    expect(plan([{ ...entry("d", 2, elsewhere), source: "direct" }]).failures).toEqual([])
  })
})
