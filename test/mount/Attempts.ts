/**
 * Storage that counts how often it went to a session's folder, which is once for each attempt to copy a file of it. What
 * a snapshot tried again is the attempts without the reads.
 */
import { Effect, Layer } from "effect"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import { flags, SystemCalls } from "../../src/storage/SystemCalls.js"

export interface Attempts {
  /** By the folder's absolute path. */
  readonly at: Map<string, number>
}

export const make = (): Attempts => ({ at: new Map() })

export const layer = ({ at }: Attempts) =>
  StorageLayer.layerWithoutCalls.pipe(
    Layer.provideMerge(
      Layer.merge(
        Layer.effect(
          SystemCalls,
          Effect.map(SystemCalls, (calls) =>
            SystemCalls.of({
              ...calls,
              // One that could not be made in one go is made step by step.
              readQuiet: (path, ...file) => {
                const quiet = calls.readQuiet(path, ...file)
                if (quiet !== undefined) at.set(path, (at.get(path) ?? 0) + 1)
                return quiet
              },
              open: (path, how, mode) => {
                if (how === flags.directory) at.set(path, (at.get(path) ?? 0) + 1)
                return calls.open(path, how, mode)
              }
            })
          )
        ).pipe(Layer.provide(SystemCalls.layer)),
        SqliteDriver.layer
      )
    )
  )
