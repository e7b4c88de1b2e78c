/**
 * Something that is made anew after it was used so many times, so that what it gathers stays bounded.
 */
import { Effect } from "effect"

/** `prepare` comes before each use. What is made gets a name that no other has. */
export const renewed = <A, E>(make: (name: string) => Effect.Effect<A, E>, uses: number) => {
  let current: A | undefined
  let used = 0
  return {
    prepare: Effect.suspend(() =>
      used++ % uses === 0 ? Effect.map(make(`chat-${used}`), (made) => void (current = made)) : Effect.void
    ),
    get: (): A => {
      if (current === undefined) throw new Error("nothing was prepared")
      return current
    }
  }
}
