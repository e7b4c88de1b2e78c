/**
 * Whether a running container is stuck. What counts is what the host saw itself, by its own clock: that the heartbeat
 * file changed, and since when there is a claim. Pure.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type { StuckPolicy } from "./AirlockConfig.js"

/**
 * What the host has seen of one run of a container. Times are in milliseconds since 1970, by the host's clock.
 *
 * - `heartbeat`: the heartbeat file's modification time when it was last looked at; undefined if there was none
 * - `aliveAt`: when it last changed, or when the container started
 * - `claims`: since when there is a claim on a message, by its id and the agent's stamp
 * - `toolTimeout`: what the agent declares for the tool that it is using, in milliseconds; 0 for none
 *
 * @since 0.1.0
 * @category models
 */
export interface Liveness {
  readonly heartbeat: bigint | undefined
  readonly aliveAt: number
  readonly claims: ReadonlyMap<string, number>
  readonly toolTimeout: number
}

/**
 * A container that has just been started, or is seen for the first time. A heartbeat file that is there is an earlier
 * run's, until it changes.
 *
 * @since 0.1.0
 * @category constructors
 */
export const started = (heartbeat: bigint | undefined, at: number): Liveness => ({
  heartbeat,
  aliveAt: at,
  claims: new Map(),
  toolTimeout: 0
})

/**
 * What the runtime says of when the container started. If that is later than the last sign of life it is another run:
 * no silence is older than its start, and claims that were there before are not its own.
 *
 * @since 0.1.0
 * @category observations
 */
export const startedAgain = (seen: Liveness, at: number): Liveness =>
  at > seen.aliveAt
    ? { ...seen, aliveAt: at, claims: new Map(Array.from(seen.claims.keys(), (claim) => [claim, never])) }
    : seen

const never = Number.POSITIVE_INFINITY

/**
 * @since 0.1.0
 * @category observations
 */
export const saw = (seen: Liveness, heartbeat: bigint | undefined, now: number): Liveness =>
  heartbeat === undefined || heartbeat === seen.heartbeat ? seen : { ...seen, heartbeat, aliveAt: now }

/**
 * @since 0.1.0
 * @category observations
 */
export const sawReport = (
  seen: Liveness,
  report: { readonly claims: ReadonlyArray<string>; readonly toolTimeout: number },
  now: number
): Liveness => ({
  ...seen,
  claims: new Map(report.claims.map((claim) => [claim, seen.claims.get(claim) ?? now])),
  toolTimeout: report.toolTimeout
})

/**
 * Why a container is stuck: it holds a claim without a sign of life since, or has given none at all, for longer than
 * the policy allows. Undefined if it is not.
 *
 * @since 0.1.0
 * @category predicates
 */
export const whyStuck = (
  seen: Liveness,
  policy: StuckPolicy,
  now: number
): "claims" | "silence" | undefined => {
  const tool = Math.min(seen.toolTimeout, Duration.toMillis(policy.tool))
  const exceeds = (since: number, limit: Duration.Duration) =>
    now - since > Math.max(Duration.toMillis(limit), tool)
  if (exceeds(seen.aliveAt, policy.silence)) return "silence"
  const isStuck = Array.from(seen.claims.values()).some((since) =>
    exceeds(Math.max(since, seen.aliveAt), policy.claims)
  )
  return isStuck ? "claims" : undefined
}
