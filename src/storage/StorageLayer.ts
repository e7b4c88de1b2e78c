/**
 * All services of this folder.
 *
 * @since 0.1.0
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Layer from "effect/Layer"
import type { SessionDbUnavailable } from "../protocol/AirlockError.js"
import { OwnDatabases } from "./OwnDatabase.js"
import { OwnedNames } from "./OwnedNames.js"
import { PrivateDatabases } from "./PrivateDatabase.js"
import { SafeDirectories } from "./SafeDirectory.js"
import { Snapshots } from "./Snapshot.js"
import { SqliteDriver } from "./SqliteDriver.js"
import { SystemCalls } from "./SystemCalls.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Storage =
  OwnDatabases | OwnedNames | PrivateDatabases | SafeDirectories | Snapshots | SqliteDriver | SystemCalls

/**
 * Everything but the two services that touch the operating system and SQLite, for tests that replace those.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutCalls: Layer.Layer<
  OwnDatabases | OwnedNames | PrivateDatabases | SafeDirectories | Snapshots,
  SessionDbUnavailable,
  SystemCalls | SqliteDriver
> = Layer.mergeAll(OwnDatabases.layer, PrivateDatabases.layer, Snapshots.layer).pipe(
  Layer.provideMerge(Layer.merge(SafeDirectories.layer, OwnedNames.layer)),
  Layer.provide(NodeFileSystem.layer)
)

/**
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Storage, SessionDbUnavailable> = layerWithoutCalls.pipe(
  Layer.provideMerge(Layer.merge(SystemCalls.layer, SqliteDriver.layer))
)

/**
 * Node's own file system, for what needs a temporary folder.
 *
 * @since 0.1.0
 * @category layers
 */
export const files: Layer.Layer<FileSystem.FileSystem> = NodeFileSystem.layer
