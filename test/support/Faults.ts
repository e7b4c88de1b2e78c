/**
 * File calls that fail on purpose: a `SystemCalls` whose k-th call, once armed, answers an error code.
 */
import { NodeContext } from "@effect/platform-node"
import { Context, Effect, Layer } from "effect"
import {
  AirlockConfig,
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Seam from "./Seam.js"
import * as TestHost from "./TestHost.js"

export class Faults extends Context.Tag("test/Faults")<
  Faults,
  {
    /** Lets the k-th call from now on fail with a code; counts calls from 1. */
    readonly arm: (k: number, code: string) => Effect.Effect<void>
    /** Stops failing, and tells whether a call failed, and which. */
    readonly disarm: Effect.Effect<string | undefined>
  }
>() {}

/** Those with which files come to be. What takes them away again does not fail here. */
const fallible = [
  "open",
  "fstat",
  "lstat",
  "realpath",
  "read",
  "write",
  "sync",
  "makeDirectory",
  "makePath",
  "rename",
  "link"
]

const faulty = Layer.unwrapEffect(
  Effect.sync(() => {
    let left = 0
    let code = ""
    let failed: string | undefined
    const faults = Faults.of({
      arm: (k, as) =>
        Effect.sync(() => {
          left = k
          code = as
          failed = undefined
        }),
      disarm: Effect.sync(() => {
        left = 0
        return failed
      })
    })
    const seam: Seam.Seam = ({ name, of }) => {
      if (of !== "files" || !fallible.includes(name) || left === 0 || --left > 0) return undefined
      failed = name
      return code
    }
    return Layer.merge(Seam.layer(seam), Layer.succeed(Faults, faults))
  })
).pipe(Layer.provide(Layer.merge(SystemCalls.layer, SqliteDriver.layer)))

/** A host on `dataDir` whose file calls can be made to fail. */
export const layerAt = (dataDir: string) => hostOver(dataDir, faulty)

/** A host on `dataDir` that is not told of the system itself. */
export const hostOver = <A, E>(dataDir: string, system: Layer.Layer<SystemCalls | SqliteDriver | A, E>) =>
  AirlockHost.loops.pipe(
    Layer.provide(ChannelAdapter.ChannelAdapter.layer(() => Effect.succeed(ChannelAdapter.delivered()))),
    Layer.provide(ContainerRuntime.ContainerRuntime.layerNone),
    Layer.provideMerge(TestHost.promptly),
    Layer.provideMerge(AirlockHost.sessionsWithoutStorage),
    Layer.provideMerge(SessionRegistry.SessionRegistry.layerSqlite),
    Layer.provideMerge(SessionPaths.SessionPaths.layer),
    Layer.provideMerge(AirlockConfig.AirlockConfig.layer({ dataDir })),
    Layer.provideMerge(StorageLayer.layerWithoutCalls),
    Layer.provideMerge(system),
    Layer.provideMerge(NodeContext.layer)
  )
