/**
 * The host's half, put together.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { ConfigError } from "effect/ConfigError"
import * as Layer from "effect/Layer"
import type { SessionDbUnavailable } from "../protocol/AirlockError.js"
import type { UnsafePath } from "../protocol/AirlockError.js"
import * as StorageLayer from "../storage/StorageLayer.js"
import { AgentRouter } from "./AgentRouter.js"
import type { Options } from "./AirlockConfig.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { ChannelAdapter } from "./ChannelAdapter.js"
import type { ContainerRuntime } from "./ContainerRuntime.js"
import { Delivery } from "./Delivery.js"
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
 * The services of a host.
 *
 * @since 0.1.0
 * @category models
 */
export type AirlockHost =
  AirlockConfig | SessionPaths | SessionRegistry | SessionDb | SessionManager | Delivery | Sweep

/**
 * What building the layers can fail with: the data directory or a folder for private copies cannot be made,
 * or the central database cannot be used.
 *
 * @since 0.1.0
 * @category errors
 */
export type LayerError = SessionDbUnavailable | UnsafePath | RegistryError

/** @internal */
export const layerWithoutStorage: Layer.Layer<
  SessionDb | SessionManager | Delivery | Sweep,
  LayerError,
  AirlockConfig | SessionPaths | SessionRegistry | ChannelAdapter | ContainerRuntime | StorageLayer.Storage
> = Layer.mergeAll(Delivery.layer, Sweep.layer).pipe(
  Layer.provide(AgentRouter.layer),
  Layer.provideMerge(SessionManager.layer),
  Layer.provide(Layer.merge(Outbox.layer, SessionActivity.layer)),
  Layer.provide(SessionFolder.layer),
  Layer.provideMerge(SessionDb.layer)
)

/**
 * A host whose sessions are registered in a database of its own choice: give it a `SessionRegistry`, whose
 * `layer` takes any `SqlClient`, and an `AirlockConfig`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutRegistry: Layer.Layer<
  Exclude<AirlockHost, AirlockConfig | SessionRegistry>,
  LayerError,
  AirlockConfig | SessionRegistry | ChannelAdapter | ContainerRuntime
> = layerWithoutStorage.pipe(Layer.provideMerge(SessionPaths.layer), Layer.provide(StorageLayer.layer))

const layerWithoutConfig: Layer.Layer<
  Exclude<AirlockHost, AirlockConfig>,
  LayerError,
  AirlockConfig | ChannelAdapter | ContainerRuntime
> = layerWithoutStorage.pipe(
  Layer.provideMerge(SessionRegistry.layerSqlite),
  Layer.provideMerge(SessionPaths.layer),
  Layer.provide(StorageLayer.layer)
)

/**
 * A whole host on one data directory. It needs the host's two ports: a `ChannelAdapter` and a `ContainerRuntime`. With
 * `SystemActions` beside them, agents can ask for the host's own actions.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<AirlockHost, LayerError, ChannelAdapter | ContainerRuntime> =>
  Layer.provideMerge(layerWithoutConfig, AirlockConfig.layer(options))

/**
 * The same with settings from the environment; see `AirlockConfig.config` for the names.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: Layer.Layer<
  AirlockHost,
  LayerError | ConfigError,
  ChannelAdapter | ContainerRuntime
> = Layer.provideMerge(layerWithoutConfig, AirlockConfig.layerConfig)

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
