/**
 * The host's half, put together, in two storeys. `sessions` is what it takes to find sessions and write into them. On
 * it stand the host's ports (a `ChannelAdapter`, a `ContainerRuntime`, and `SystemActions` if agents may ask for
 * anything), which may use it, and on those the `loops` that deliver and look after agents.
 *
 * @since 0.1.0
 */
import type { ConfigError } from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SessionDbUnavailable, UnsafePath } from "../protocol/AirlockError.js"
import * as StorageLayer from "../storage/StorageLayer.js"
import { AgentRouter } from "./AgentRouter.js"
import type { Options } from "./AirlockConfig.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { ChannelAdapter } from "./ChannelAdapter.js"
import type { ContainerRuntime } from "./ContainerRuntime.js"
import { Delivery } from "./Delivery.js"
import { InboundOriginal } from "./InboundOriginal.js"
import { Leftovers } from "./Leftovers.js"
import { Outbox } from "./Outbox.js"
import { SessionActivity } from "./SessionActivity.js"
import { SessionDb } from "./SessionDb.js"
import { SessionFolder } from "./SessionFolder.js"
import { SessionManager } from "./SessionManager.js"
import { SessionPaths } from "./SessionPaths.js"
import type { RegistryError } from "./SessionRegistry.js"
import { SessionRegistry } from "./SessionRegistry.js"
import { Sweep } from "./Sweep.js"

/**
 * What the two storeys share besides their public services.
 *
 * @since 0.1.0
 * @category models
 */
export type Foundations =
  StorageLayer.Storage | InboundOriginal | SessionFolder | SessionActivity | Leftovers | Outbox

/**
 * The services for finding sessions and writing into them.
 *
 * @since 0.1.0
 * @category models
 */
export type Sessions =
  AirlockConfig | SessionPaths | SessionRegistry | SessionDb | SessionManager | Foundations

/**
 * The services of a whole host.
 *
 * @since 0.1.0
 * @category models
 */
export type AirlockHost = Sessions | Delivery | Sweep

/**
 * What the host provides to run on: where messages go, and where agents come from.
 *
 * @since 0.1.0
 * @category models
 */
export type Ports = ChannelAdapter | ContainerRuntime

/**
 * What building the layers can fail with: the data directory or a folder for private copies cannot be made,
 * or the central database cannot be used.
 *
 * @since 0.1.0
 * @category errors
 */
export type LayerError = SessionDbUnavailable | UnsafePath | RegistryError

/** @internal */
export const sessionsWithoutStorage: Layer.Layer<
  SessionDb | SessionManager | Exclude<Foundations, StorageLayer.Storage>,
  LayerError,
  AirlockConfig | SessionPaths | SessionRegistry | StorageLayer.Storage
> = SessionManager.layer.pipe(
  Layer.provideMerge(Outbox.layer),
  Layer.provideMerge(Layer.mergeAll(SessionFolder.layer, SessionActivity.layer, Leftovers.layer)),
  Layer.provideMerge(SessionDb.layer),
  Layer.provideMerge(InboundOriginal.layer)
)

/**
 * Sessions that are registered in a database of the host's own choice: give it a `SessionRegistry`, whose `layer` takes
 * any `SqlClient`, and an `AirlockConfig`.
 *
 * @since 0.1.0
 * @category layers
 */
export const sessionsWithoutRegistry: Layer.Layer<
  Exclude<Sessions, AirlockConfig | SessionRegistry>,
  LayerError,
  AirlockConfig | SessionRegistry
> = sessionsWithoutStorage.pipe(
  Layer.provideMerge(SessionPaths.layer),
  Layer.provideMerge(StorageLayer.layer)
)

const sessionsWithoutConfig: Layer.Layer<
  Exclude<Sessions, AirlockConfig>,
  LayerError,
  AirlockConfig
> = sessionsWithoutStorage.pipe(
  Layer.provideMerge(SessionRegistry.layerSqlite),
  Layer.provideMerge(SessionPaths.layer),
  Layer.provideMerge(StorageLayer.layer)
)

/**
 * Everything for finding sessions and writing into them, on one data directory. Enough for a process that does no more
 * than that, such as one that takes webhooks, beside the one that runs the loops.
 *
 * @since 0.1.0
 * @category layers
 */
export const sessions = (options: Options): Layer.Layer<Sessions, LayerError> =>
  Layer.provideMerge(sessionsWithoutConfig, AirlockConfig.layer(options))

/**
 * The same with settings from the environment; see `AirlockConfig.config` for the names.
 *
 * @since 0.1.0
 * @category layers
 */
export const sessionsConfig: Layer.Layer<Sessions, LayerError | ConfigError> = Layer.provideMerge(
  sessionsWithoutConfig,
  AirlockConfig.layerConfig
)

/**
 * `Delivery` and `Sweep`, on sessions and the host's ports.
 *
 * @since 0.1.0
 * @category layers
 */
export const loops: Layer.Layer<Delivery | Sweep, never, Sessions | Ports> = Layer.provide(
  Layer.merge(Delivery.layer, Sweep.layer),
  AgentRouter.layer
)

/**
 * A whole host on one data directory. Its ports may use everything for sessions, so that an adapter can look up a chat,
 * and an action write a message.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  options: Options,
  ports: Layer.Layer<Ports, E, R>
): Layer.Layer<AirlockHost, LayerError | E, Exclude<R, Sessions>> => over(sessions(options), ports)

/**
 * The same with settings from the environment; see `AirlockConfig.config` for the names.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = <E, R>(
  ports: Layer.Layer<Ports, E, R>
): Layer.Layer<AirlockHost, LayerError | ConfigError | E, Exclude<R, Sessions>> => over(sessionsConfig, ports)

const over = <E1, E2, R>(
  below: Layer.Layer<Sessions, E1>,
  ports: Layer.Layer<Ports, E2, R>
): Layer.Layer<AirlockHost, E1 | E2, Exclude<R, Sessions>> =>
  loops.pipe(Layer.provide(ports), Layer.provideMerge(below))

/**
 * Keeps a host going: delivers what agents send, and starts, watches and stops their containers. Never ends.
 *
 * @since 0.1.0
 * @category running
 */
export const run: Effect.Effect<never, never, Delivery | Sweep> = Effect.gen(function* () {
  const delivery = yield* Delivery
  const sweep = yield* Sweep
  return yield* Effect.raceFirst(delivery.run, sweep.run)
})
