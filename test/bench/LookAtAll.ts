/**
 * What the loops do once in their interval.
 */
import { Effect } from "effect"
import type { Session } from "effect-airlock"
import type { Host } from "./Ours.js"

type Look = Effect.Effect<unknown, unknown>

const lookAtAll = ({ registry }: Host, member: unknown, one: (ref: Session.SessionRef) => Look): Look =>
  Effect.isEffect(member)
    ? (member as Look)
    : Effect.flatMap(registry.listActiveSessions(), (all) =>
        Effect.forEach(all, one, { concurrency: 16, discard: true })
      )

export const drainAll = (ours: Host): Look =>
  lookAtAll(ours, "drainAll" in ours.delivery ? ours.delivery.drainAll : undefined, ours.delivery.drain)

export const sweepAll = (ours: Host): Look =>
  lookAtAll(ours, "sweepAll" in ours.sweep ? ours.sweep.sweepAll : undefined, ours.sweep.sweep)
