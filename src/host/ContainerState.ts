/**
 * What a session's container does.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type * as Option from "effect/Option"

/**
 * What a session's container does.
 *
 * - `Stopped`: there is none, or it has ended
 * - `Running`: it runs, since `startedAt` (milliseconds since 1970) if the runtime knows
 *
 * @since 0.1.0
 * @category models
 */
export type ContainerState = Data.TaggedEnum<{
  Stopped: object
  Running: { readonly startedAt: Option.Option<number> }
}>

const states = Data.taggedEnum<ContainerState>()

/**
 * @since 0.1.0
 * @category constructors
 */
export const stopped: ContainerState = states.Stopped()

/**
 * @since 0.1.0
 * @category constructors
 */
export const running = (startedAt: Option.Option<number>): ContainerState => states.Running({ startedAt })
