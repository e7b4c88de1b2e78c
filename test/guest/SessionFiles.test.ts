import { describe, expect, it } from "@effect/vitest"
import { Context, Duration, Effect, Layer } from "effect"
import * as Fs from "node:fs"
import { SessionFiles } from "../../src/guest/SessionFiles.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import * as TestHost from "../support/TestHost.js"

describe("the agent's transactions", () => {
  it.effect("do not touch outbound.db before they commit, however much they write", () =>
    Effect.gen(function* () {
      const directory = yield* TestHost.folderOf(yield* TestHost.newSession())
      const layer = SessionFiles.layer({
        directory,
        patience: Duration.seconds(5),
        limit: 1e9,
        durability: "process"
      }).pipe(Layer.provide(StorageLayer.layer))
      const files = Context.get(yield* Layer.build(layer), SessionFiles)
      const size = () => Fs.statSync(`${directory}/outbound.db`).size
      const before = size()
      const during = yield* files.outbound("test", (sql) =>
        sql.withTransaction(
          Effect.map(sql`INSERT INTO session_state VALUES ('key', ${"x".repeat(40_000_000)}, 't')`, size)
        )
      )
      expect(during).toBe(before)
      expect(size()).toBeGreaterThan(40_000_000)
    }).pipe(TestHost.withHost())
  )
})
