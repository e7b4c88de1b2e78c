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
import { SystemCallError, SystemCalls } from "../../src/storage/SystemCalls.js"

export class Faults extends Context.Tag("test/Faults")<
  Faults,
  {
    /** Lets the k-th call from now on fail with a code; counts calls from 1. */
    readonly arm: (k: number, code: string) => Effect.Effect<void>
    /** Stops failing, and tells whether a call failed, and which. */
    readonly disarm: Effect.Effect<string | undefined>
  }
>() {}

const faulty = Layer.effectContext(
  Effect.gen(function* () {
    const calls = yield* SystemCalls
    let left = 0
    let code = ""
    let failed: string | undefined
    const wrap =
      <Arguments extends Array<unknown>, A>(
        name: string,
        call: (...parameters: Arguments) => Effect.Effect<A, SystemCallError>
      ) =>
      (...parameters: Arguments): Effect.Effect<A, SystemCallError> =>
        Effect.suspend(() => {
          if (left === 0 || --left > 0) return call(...parameters)
          failed = name
          return Effect.fail(new SystemCallError({ call: name, code }))
        })
    const wrapped = SystemCalls.of({
      ...calls,
      open: wrap("open", calls.open),
      fstat: wrap("fstat", calls.fstat),
      lstat: wrap("lstat", calls.lstat),
      realpath: wrap("realpath", calls.realpath),
      read: wrap("read", calls.read),
      write: wrap("write", calls.write),
      sync: wrap("sync", calls.sync),
      makeDirectory: wrap("makeDirectory", calls.makeDirectory),
      makePath: wrap("makePath", calls.makePath),
      rename: wrap("rename", calls.rename),
      link: wrap("link", calls.link)
    })
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
    return Context.make(SystemCalls, wrapped).pipe(Context.add(Faults, faults))
  })
).pipe(Layer.provide(SystemCalls.layer))

/** A host on `dataDir` whose file calls can be made to fail. */
export const layerAt = (dataDir: string) =>
  AirlockHost.loops.pipe(
    Layer.provide(ChannelAdapter.ChannelAdapter.layer(() => Effect.succeed(ChannelAdapter.delivered()))),
    Layer.provide(ContainerRuntime.ContainerRuntime.layerNone),
    Layer.provideMerge(AirlockHost.sessionsWithoutStorage),
    Layer.provideMerge(SessionRegistry.SessionRegistry.layerSqlite),
    Layer.provideMerge(SessionPaths.SessionPaths.layer),
    Layer.provideMerge(AirlockConfig.AirlockConfig.layer({ dataDir })),
    Layer.provideMerge(StorageLayer.layerWithoutCalls),
    Layer.provideMerge(Layer.merge(faulty, SqliteDriver.layer)),
    Layer.provideMerge(NodeContext.layer)
  )
