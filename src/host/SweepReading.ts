/**
 * Reading a session's two files once, and bringing inbound.db up to date with what the agent says.
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

/**
 * What a session looked like. It stays true while the files have these `stamps`, and until `until` (milliseconds since
 * 1970).
 *
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
  readonly until: number
  readonly isDue: boolean
  readonly claims: ReadonlyArray<Acknowledgement>
  readonly hasProgress: boolean
  readonly toolTimeout: number
  readonly expired: ReadonlyArray<string>
  readonly recurred: ReadonlyArray<string>
}

/**
 * Gives the function that reads.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (operation: string) =>
  Effect.gen(function* () {
    const { answerExpiry, timeZone } = yield* AirlockConfig
    const db = yield* SessionDb
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

    return Effect.fnUntraced(function* (ref: SessionRef, stamps: string, now: number) {
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
      const reading: Reading = {
        stamps,
        until,
        isDue,
        claims,
        hasProgress,
        toolTimeout,
        expired,
        recurred
      }
      return reading
    }, Effect.scoped)
  })
