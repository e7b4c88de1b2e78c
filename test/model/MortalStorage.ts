/**
 * The storage of one process, with a moment to die before each call of the system and each statement.
 *
 * A killed process leaves its writes to the system, so nothing here waits for the disk.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Statement from "@effect/sql/Statement"
import { Effect, Layer } from "effect"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import type { KillSwitch } from "./KillSwitch.js"

const after = <A, E, R>(life: KillSwitch, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    life.moment()
    return effect
  })

type Call = (...parameters: ReadonlyArray<unknown>) => Effect.Effect<unknown>

const mortalCalls = (life: KillSwitch) =>
  Effect.map(SystemCalls, (calls) => {
    const wrapped = Object.entries({ ...calls, sync: () => Effect.void }).map(([name, call]) => [
      name,
      typeof call === "function"
        ? (...parameters: ReadonlyArray<unknown>) => after(life, (call as Call)(...parameters))
        : call
    ])
    return Object.fromEntries(wrapped) as SystemCalls["Type"]
  })

const typed: Pick<SqlClient.SqlClient, SqlClient.TypeId> = { [SqlClient.TypeId]: SqlClient.TypeId }

const mortalClient = (life: KillSwitch, client: SqlClient.SqlClient): SqlClient.SqlClient => {
  const reserve = Effect.map(client.reserve, (connection): Connection => ({
    ...connection,
    execute: (...parameters) => after(life, connection.execute(...parameters)),
    executeRaw: (...parameters) => after(life, connection.executeRaw(...parameters)),
    executeValues: (...parameters) => after(life, connection.executeValues(...parameters)),
    executeUnprepared: (...parameters) => after(life, connection.executeUnprepared(...parameters))
  }))
  const statements = Statement.make(reserve, Statement.makeCompilerSqlite(), [], undefined)
  const mortal: SqlClient.SqlClient = Object.assign(statements, {
    ...typed,
    reserve,
    // BEGIN is behind the first moment, COMMIT behind the last.
    withTransaction: <A, E, R>(body: Effect.Effect<A, E, R>) =>
      after(life, client.withTransaction(Effect.zipLeft(body, after(life, Effect.void)))),
    reactive: client.reactive,
    reactiveMailbox: client.reactiveMailbox,
    safe: statements as SqlClient.SqlClient,
    withoutTransforms: () => mortal
  })
  return mortal
}

/** Every host makes the same empty databases. */
const images = new Map<string, Uint8Array>()

const imageOnce = (driver: SqliteDriver["Type"], statements: ReadonlyArray<string>) =>
  Effect.suspend(() => {
    const key = statements.join()
    const known = images.get(key)
    if (known !== undefined) return Effect.succeed(known)
    return Effect.tap(driver.image(statements), (image) => Effect.sync(() => images.set(key, image)))
  })

const mortalDriver = (life: KillSwitch) =>
  Effect.map(SqliteDriver, (driver) =>
    SqliteDriver.of({
      image: (statements) => imageOnce(driver, statements),
      connect: (options) =>
        after(life, driver.connect(options)).pipe(
          Effect.tap((client) => client`PRAGMA synchronous = OFF`),
          Effect.map((client) => mortalClient(life, client))
        )
    })
  )

export const layer = (life: KillSwitch) =>
  StorageLayer.layerWithoutCalls.pipe(
    Layer.provideMerge(
      Layer.merge(
        Layer.effect(SystemCalls, mortalCalls(life)).pipe(Layer.provide(SystemCalls.layer)),
        Layer.effect(SqliteDriver, mortalDriver(life)).pipe(Layer.provide(SqliteDriver.layer))
      )
    )
  )
