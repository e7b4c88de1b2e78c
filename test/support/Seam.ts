/**
 * Standing between the library and the system: before each call on files, and before each connection and statement of
 * a database, a test may do something, or let it fail.
 */
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import { Effect, Layer } from "effect"
import * as ConnectionClient from "../../src/storage/ConnectionClient.js"
import type { Database } from "../../src/storage/SqliteDriver.js"
import { SqliteDriver } from "../../src/storage/SqliteDriver.js"
import { flags, SystemCallError, SystemCalls } from "../../src/storage/SystemCalls.js"

/** `isChange`: others can see what it does. When a process dies between two of those makes no difference. */
export interface Step {
  readonly of: "files" | "database"
  readonly name: string
  readonly isChange: boolean
}

/** What happens before a step. An error code, such as `ENOSPC`, lets the step fail with it. */
export type Seam = (step: Step) => string | undefined

type Call = (...parameters: ReadonlyArray<unknown>) => Effect.Effect<unknown>

const changes = [
  "write",
  "makeDirectory",
  "makePath",
  "removeDirectory",
  "unlink",
  "link",
  "rename",
  "nameAsText",
  "setTimes"
]

/** `isPrivate` says of a path that nobody else sees what is done there. */
const calls = (seam: Seam, isPrivate: (path: string) => boolean) =>
  Effect.map(SystemCalls, (calls) => {
    const isChange = (name: string, [path, mode]: ReadonlyArray<unknown>) =>
      (changes.includes(name) || (name === "open" && mode === flags.create)) && !isPrivate(String(path))
    const wrapped = Object.entries(calls).map(([name, call]) => [
      name,
      typeof call === "function" && !["close", "glance", "readQuiet", "uptime"].includes(name)
        ? (...parameters: ReadonlyArray<unknown>) =>
            Effect.suspend(() => {
              const code = seam({ of: "files", name, isChange: isChange(name, parameters) })
              return code === undefined
                ? (call as Call)(...parameters)
                : Effect.fail(new SystemCallError({ call: name, code }))
            })
        : call
    ])
    return {
      ...(Object.fromEntries(wrapped) as SystemCalls["Type"]),
      glance: (path) =>
        seam({ of: "files", name: "glance", isChange: false }) === undefined ? calls.glance(path) : undefined,
      readQuiet: (...file) =>
        seam({ of: "files", name: "readQuiet", isChange: false }) === undefined
          ? calls.readQuiet(...file)
          : undefined
    } satisfies SystemCalls["Type"]
  })

const sqliteCodes: Readonly<Record<string, string>> = { ENOSPC: "SQLITE_FULL", EIO: "SQLITE_IOERR" }

const step = <A, R>(
  seam: Seam,
  name: string,
  isChange: boolean,
  effect: Effect.Effect<A, SqlError, R>
): Effect.Effect<A, SqlError, R> =>
  Effect.suspend(() => {
    const code = seam({ of: "database", name, isChange })
    if (code === undefined) return effect
    const cause = Object.assign(new Error(code), { code: sqliteCodes[code] ?? "SQLITE_IOERR" })
    return Effect.fail(new SqlError({ cause, message: "made to fail" }))
  })

const client = (seam: Seam, under: Database): Database => {
  const before = (connection: Connection) =>
    ConnectionClient.around(connection, (sql, run) =>
      step(seam, sql, !/^\s*(SELECT|PRAGMA|WITH)/i.test(sql), run)
    )
  const wrapped = ConnectionClient.make({
    connection: Effect.map(under.connection, before),
    connectionOf: (fiber) => {
      const connection = under.connectionOf(fiber)
      return connection === undefined ? undefined : before(connection)
    },
    reserve: Effect.map(under.reserve, before),
    // The last step is the one before COMMIT.
    withTransaction: <A, E, R>(body: Effect.Effect<A, E, R>) =>
      under.withTransaction(Effect.zipLeft(body, step(seam, "COMMIT", true, Effect.void))),
    reactive: under.reactive,
    reactiveMailbox: under.reactiveMailbox
  })
  return Object.assign(wrapped, { bytes: step(seam, "serialize", false, under.bytes) })
}

const driver = (seam: Seam) =>
  Effect.map(SqliteDriver, (driver) =>
    SqliteDriver.of({
      image: driver.image,
      connect: (options) =>
        Effect.map(step(seam, "connect", false, driver.connect(options)), (opened) => client(seam, opened))
    })
  )

/** The two services that touch the system, on those that it is provided with. */
export const layer = (seam: Seam, isPrivate: (path: string) => boolean = () => false) =>
  Layer.merge(Layer.effect(SystemCalls, calls(seam, isPrivate)), Layer.effect(SqliteDriver, driver(seam)))
