/**
 * Reading a session's two files, once for each time that they change, and bringing inbound.db up to date with what the
 * agent says.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { SessionRef } from "../protocol/Session.js"
import * as Timestamp from "../protocol/Timestamp.js"
import { fromSql } from "../storage/StorageFailure.js"
import type { Acknowledgement } from "./AgentReport.js"
import * as AgentReport from "./AgentReport.js"
import { AirlockConfig } from "./AirlockConfig.js"
import * as MessageLifecycle from "./MessageLifecycle.js"
import { SessionDb } from "./SessionDb.js"
import type { Glance } from "./SessionGlance.js"
import * as SessionGlance from "./SessionGlance.js"

/**
 * What a session looked like. It stays true while the files have these `stamps`, and until `until` (milliseconds since
 * 1970).
 *
 * - `glance`: what the files look like from outside, if that tells that they have these stamps
 * - `isDue`: there is a message that wakes the agent
 * - `claims`: on messages that are not finished; those of agents that are known to have ended are left out
 * - `hasProgress`: whether the agent was seen, while reading, to have taken or finished anything
 * - `toolTimeout`: what the agent declares for the tool that it is using, in milliseconds; 0 for none
 * - `expired`, `recurred`: the ids of what was written while reading
 *
 * @since 0.1.0
 * @category models
 */
export interface Reading {
  readonly stamps: string
  readonly glance: Glance | undefined
  readonly until: number
  readonly isDue: boolean
  readonly claims: ReadonlyArray<Acknowledgement>
  readonly hasProgress: boolean
  readonly toolTimeout: number
  readonly expired: ReadonlyArray<string>
  readonly recurred: ReadonlyArray<string>
}

/**
 * What is remembered of a session: what its files looked like from outside at the last look, and what was read last.
 *
 * @since 0.1.0
 * @category models
 */
export interface Known {
  seen: Glance | undefined
  reading: Reading | undefined
}

/**
 * - `read`: what the session looks like now. What is known may still be true; then nothing was written while reading
 * - `isStill`: whether it is, as far as can be told without opening a file
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (operation: string) =>
  Effect.gen(function* () {
    const { answerExpiry, timeZone } = yield* AirlockConfig
    const db = yield* SessionDb
    const glances = yield* SessionGlance.make
    const expiry = Duration.toMillis(answerExpiry)

    const ofAgent = <A>(query: Effect.Effect<A, SqlError>) =>
      Effect.mapError(query, fromSql({ operation, resource: "outbound" }))

    const update = Effect.fnUntraced(function* (own: SqlClient, agent: SqlClient, now: number) {
      const before = yield* MessageLifecycle.pending(own)
      const acknowledgements = yield* ofAgent(
        AgentReport.acknowledgements(
          agent,
          before.map(({ id }) => id)
        )
      )
      const counted = new Map(before.map(({ claimedAt, id }) => [id, claimedAt]))
      const news = acknowledgements.filter(
        ({ at, id, verdict }) => verdict !== "processing" || counted.get(id) !== at
      )
      const taken = new Set(news.map(({ id }) => id))
      yield* MessageLifecycle.acknowledge(own, acknowledgements)
      const expired = yield* MessageLifecycle.expire(
        own,
        before.filter(({ id }) => !taken.has(id)),
        now - expiry
      )
      const recurred = yield* MessageLifecycle.recur(own, { now, timeZone })
      const pending = yield* MessageLifecycle.pending(own)
      return {
        expired,
        recurred,
        pending,
        claims: news.filter(({ verdict }) => verdict === "processing"),
        hasProgress: news.length > 0,
        toolTimeout: yield* ofAgent(AgentReport.toolTimeout(agent))
      }
    })

    const readAnew = Effect.fnUntraced(function* (ref: SessionRef, now: number) {
      const agent = yield* db.outbound(ref, operation)
      const { claims, expired, hasProgress, pending, recurred, toolTimeout } = yield* db.transaction(
        ref,
        (own) => update(own, agent, now),
        { operation }
      )
      const instant = (text: string) => Option.getOrElse(Timestamp.parse(text), () => now)
      const claimed = new Set(claims.map(({ id }) => id))
      let until = Number.POSITIVE_INFINITY
      let isDue = false
      for (const message of pending) {
        const { id, kind, processAfter, timestamp } = message
        if (kind === "system" && !claimed.has(id)) until = Math.min(until, instant(timestamp) + expiry)
        if (!MessageLifecycle.wakes(message)) continue
        if (processAfter === null || instant(processAfter) <= now) isDue = true
        else until = Math.min(until, instant(processAfter))
      }
      return { until, isDue, claims, hasProgress, toolTimeout, expired, recurred }
    }, Effect.scoped)

    const isStill = (ref: SessionRef, { reading }: Known, now: number): boolean =>
      reading?.glance !== undefined && now < reading.until && glances.isStill(ref, reading.glance)

    const read = Effect.fnUntraced(function* (ref: SessionRef, known: Known, now: number) {
      const before = known.reading && { ...known.reading, hasProgress: false, expired: [], recurred: [] }
      if (before !== undefined && isStill(ref, known, now)) return before
      yield* db.publish(ref, operation)
      known.seen = yield* glances.take(ref, known.seen)
      const outbound = yield* db.outboundStamp(ref, operation)
      const stamps = `${outbound} ${yield* db.inboundStamp(ref, operation)}`
      const glance = glances.tells(known.seen, outbound)
      const reading: Reading =
        before?.stamps === stamps && now < before.until
          ? { ...before, glance }
          : { ...(yield* readAnew(ref, now)), stamps, glance }
      known.reading = reading
      return reading
    })

    return { read, isStill }
  })
