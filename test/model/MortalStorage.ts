/**
 * The storage of one process, with a moment to die before each call of the system and each statement that changes
 * something.
 *
 * A killed process leaves its writes to the system, so nothing here waits for the disk. Neither does anything wait for a
 * thread, so that it can be seen when nothing goes on any more.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import * as Statement from "@effect/sql/Statement"
import { Effect, Layer } from "effect"
import * as Fs from "node:fs"
import { OwnDatabases } from "../../src/storage/OwnDatabase.js"
import { SafeDirectories } from "../../src/storage/SafeDirectory.js"
import { Snapshots } from "../../src/storage/Snapshot.js"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import { flags, SystemCalls } from "../../src/storage/SystemCalls.js"
import type { KillSwitch } from "./KillSwitch.js"
import { activity } from "./KillSwitch.js"

const after = <A, E, R>(
  life: KillSwitch,
  isChange: boolean,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    if (isChange) life.moment()
    else activity.count++
    return effect
  })

type Call = (...parameters: ReadonlyArray<unknown>) => Effect.Effect<unknown>

const changes = [
  "write",
  "makeDirectory",
  "makePath",
  "removeDirectory",
  "unlink",
  "link",
  "rename",
  "setTimes"
]

/** `copies` is the process's own folder, in which it changes what nobody sees. */
const mortalCalls = (life: KillSwitch, copies: string) =>
  Effect.map(SystemCalls, (calls) => {
    const isChange = (name: string, [path, mode]: ReadonlyArray<unknown>) =>
      (changes.includes(name) || (name === "open" && mode === flags.create)) &&
      !String(path).startsWith(copies)
    const wrapped = Object.entries({ ...calls, sync: () => Effect.void }).map(([name, call]) => [
      name,
      typeof call === "function"
        ? (...parameters: ReadonlyArray<unknown>) =>
            after(life, isChange(name, parameters), (call as Call)(...parameters))
        : call
    ])
    return Object.fromEntries(wrapped) as SystemCalls["Type"]
  })

const typed: Pick<SqlClient.SqlClient, SqlClient.TypeId> = { [SqlClient.TypeId]: SqlClient.TypeId }

const mortalClient = (life: KillSwitch, client: SqlClient.SqlClient): SqlClient.SqlClient => {
  const isChange = (sql: string) => !/^\s*(SELECT|PRAGMA)/i.test(sql)
  const reserve = Effect.map(client.reserve, (connection): Connection => ({
    ...connection,
    execute: (sql, ...rest) => after(life, isChange(sql), connection.execute(sql, ...rest)),
    executeRaw: (sql, ...rest) => after(life, isChange(sql), connection.executeRaw(sql, ...rest)),
    executeValues: (sql, ...rest) => after(life, isChange(sql), connection.executeValues(sql, ...rest)),
    executeUnprepared: (sql, ...rest) =>
      after(life, isChange(sql), connection.executeUnprepared(sql, ...rest))
  }))
  const statements = Statement.make(reserve, Statement.makeCompilerSqlite(), [], undefined)
  const mortal: SqlClient.SqlClient = Object.assign(statements, {
    ...typed,
    reserve,
    // The last moment is the one before COMMIT.
    withTransaction: <A, E, R>(body: Effect.Effect<A, E, R>) =>
      client.withTransaction(Effect.zipLeft(body, after(life, true, Effect.void))),
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
        after(life, false, driver.connect(options)).pipe(
          Effect.tap((client) => client`PRAGMA synchronous = OFF`),
          Effect.map((client) => mortalClient(life, client))
        )
    })
  )

const privateFolder = (copies: string) =>
  FileSystem.layerNoop({
    makeTempDirectoryScoped: () =>
      Effect.acquireRelease(
        Effect.sync(() => {
          Fs.mkdirSync(copies, { recursive: true })
          return Fs.mkdtempSync(`${copies}/`)
        }),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
      )
  })

/** `copies` is where the process may keep what is only its own. */
export const layer = (life: KillSwitch, copies: string) =>
  Layer.mergeAll(OwnDatabases.layer, Snapshots.layer).pipe(
    Layer.provideMerge(SafeDirectories.layer),
    Layer.provide(privateFolder(copies)),
    Layer.provideMerge(
      Layer.merge(
        Layer.effect(SystemCalls, mortalCalls(life, copies)).pipe(Layer.provide(SystemCalls.layer)),
        Layer.effect(SqliteDriver, mortalDriver(life)).pipe(Layer.provide(SqliteDriver.layer))
      )
    )
  )
