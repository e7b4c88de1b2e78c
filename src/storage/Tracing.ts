/**
 * Spans, where somebody may look at them.
 *
 * Effect's own tracer, which a host has unless it sets another, keeps them for nobody, and what a fiber carries is changed
 * twice for each. In a host that takes 10 to 20 µs, as long as SQLite takes for a statement or two.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Tracer from "effect/Tracer"

const nobodys = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/**
 * Whether a tracer of somebody's is told of the spans of a fiber.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isOn = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  fiber.getFiberRef(FiberRef.currentTracerEnabled) &&
  Context.get(fiber.getFiberRef(DefaultServices.currentServices), Tracer.Tracer) !== nobodys

/**
 * A span around an effect.
 *
 * @since 0.1.0
 * @category spans
 */
export const span =
  (name: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiberRuntime((fiber) =>
      isOn(fiber)
        ? Effect.useSpan(name, { captureStackTrace: false }, (span) => Effect.withParentSpan(effect, span))
        : effect
    )

/**
 * An effect without spans of its own: for loops, and for statements, of which a span of an operation has many.
 *
 * @since 0.1.0
 * @category spans
 */
export const without = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) => (isOn(fiber) ? Effect.withTracerEnabled(effect, false) : effect))
