/**
 * What is remembered of sessions, one entry each. An entry goes when nobody uses it and its session is not among those
 * that somebody says are active.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { SessionRef } from "../protocol/Session.js"

/**
 * - `known`: the entry of a session, if there is one
 * - `use`: gives an effect the entry of a session, which is made if there is none. Those who use it at the same time have
 *   the same one
 * - `keepOnly`: forgets all other sessions, but for entries that are used
 *
 * @since 0.1.0
 * @category models
 */
export interface SessionMemories<Memory> {
  readonly known: (ref: SessionRef) => Memory | undefined
  readonly use: <A, E, R>(
    ref: SessionRef,
    use: (memory: Memory) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E, R>
  readonly keepOnly: (active: ReadonlyArray<SessionRef>) => void
}

/**
 * What tells a session from all others.
 *
 * @since 0.1.0
 * @category keys
 */
export const keyOf = ({ agentGroupId, sessionId }: SessionRef): string => `${agentGroupId}/${sessionId}`

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = <Memory>(empty: () => Memory): SessionMemories<Memory> => {
  const entries = new Map<string, { readonly memory: Memory; users: number }>()
  return {
    known: (ref) => entries.get(keyOf(ref))?.memory,
    use: (ref, use) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const key = keyOf(ref)
          const entry = entries.get(key) ?? { memory: empty(), users: 0 }
          entries.set(key, entry)
          entry.users++
          return Effect.ensuring(
            restore(Effect.suspend(() => use(entry.memory))),
            Effect.sync(() => entry.users--)
          )
        })
      ),
    keepOnly: (active) => {
      const kept = new Set(active.map(keyOf))
      for (const [key, { users }] of entries) if (users === 0 && !kept.has(key)) entries.delete(key)
    }
  }
}
