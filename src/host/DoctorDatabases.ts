/**
 * The databases of a session, each as a private copy, and what lies beside them.
 *
 * The host's own is in write-ahead-log mode, and a host may have it open: see `WalCopy`. One of an older build is not, until
 * the host next opens it.
 *
 * What is in the session's folder may be the work of an agent that wants to keep its reader busy. Of such a file only
 * ordinary tables are looked at, none with columns that are computed when they are read, and no rule of the file's own
 * (CHECK, an index on an expression) is evaluated.
 *
 * @since 0.1.0
 */
import type { SqlError } from "@effect/sql/SqlError"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { StorageError } from "../protocol/AirlockError.js"
import { quote } from "../protocol/AirlockError.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Tables from "../protocol/Tables.js"
import * as DatabaseFile from "../storage/DatabaseFile.js"
import * as DatabaseHeader from "../storage/DatabaseHeader.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { Snapshots } from "../storage/Snapshot.js"
import type { Database } from "../storage/SqliteDriver.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall, isMissing } from "../storage/StorageFailure.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import * as WalCopy from "../storage/WalCopy.js"
import * as AgentTables from "./AgentTables.js"
import type { Finding } from "./DoctorReport.js"
import { explain, note, problem } from "./DoctorReport.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Requirements = Snapshots | WalCopy.Requirements

/**
 * A database that is to be examined. `title` is what findings call it; `isOurs` says that only the host can write it.
 *
 * @since 0.1.0
 * @category models
 */
export interface DatabaseToExamine {
  readonly directory: string
  readonly name: string
  readonly title: string
  readonly resource: "inbound" | "outbound"
  readonly isOurs: boolean
}

/**
 * The copy, if there is one that can be read, and with the tables that it must have.
 *
 * @since 0.1.0
 * @category models
 */
export interface Examined {
  readonly client: SqlClient | undefined
  readonly schemaVersion: number
  readonly findings: ReadonlyArray<Finding>
}

/** The largest file that is copied, as for `limits.databaseBytes`, and the largest of the host's own. */
const limits = { theirs: 64 * 1024 * 1024, ours: 512 * 1024 * 1024 }

/** The most rows of a table that are looked at. */
const rowLimit = 1_000_000

const patience = Duration.seconds(2)

const subjectOf = (resource: Subject["resource"]): Subject => ({ operation: "Doctor.examine", resource })

const required = {
  inbound: ["messages_in", "delivered"],
  outbound: ["messages_out", "processing_ack"]
} as const

const verdictOf = (sql: SqlClient, pragma: string): Effect.Effect<string, SqlError> =>
  Effect.map(
    sql.unsafe<Record<string, string>>(`PRAGMA ${pragma}`),
    ([row]) => Object.values(row ?? {})[0] ?? "ok"
  )

/** Why a table is not looked at, or undefined. */
const whyNotTable = (
  sql: SqlClient,
  table: string,
  isOurs: boolean
): Effect.Effect<string | undefined, SqlError> =>
  Effect.gen(function* () {
    if (!(yield* AgentTables.has(sql, table))) return `has no plain table ${table}`
    if (isOurs) return undefined
    const [size] = yield* sql<{ readonly n: number }>`SELECT count(*) AS n FROM ${sql(table)}`
    return (size?.n ?? 0) > rowLimit ? `has more than ${rowLimit} rows in ${table}` : undefined
  })

const integrity = (sql: SqlClient, { isOurs, resource, title }: DatabaseToExamine) =>
  Effect.gen(function* () {
    const damaged = (verdict: string) => problem("integrity", `${title} is damaged: ${quote(verdict)}`)
    if (isOurs) {
      const verdict = yield* verdictOf(sql, "integrity_check(1)")
      if (verdict !== "ok") return [damaged(verdict)]
    }
    yield* sql`PRAGMA ignore_check_constraints = ON`
    for (const table of required[resource]) {
      const reason = yield* whyNotTable(sql, table, isOurs)
      if (reason !== undefined)
        return [problem("integrity", `${title} ${reason}, and is not examined further`)]
      const verdict = isOurs ? "ok" : yield* verdictOf(sql, `quick_check(${table})`)
      if (verdict !== "ok") return [damaged(verdict)]
    }
    return []
  })

const schema = (version: number, { resource, title }: DatabaseToExamine): ReadonlyArray<Finding> => {
  const own = resource === "inbound" ? Tables.inboundVersion : Tables.outboundVersion
  if (version > own) return [problem("schema", `${title} is of version ${version}, newer than ${own}`)]
  return version < own && resource === "inbound"
    ? [note("schema", `${title} is of version ${version}, and becomes ${own} when the host next opens it`)]
    : []
}

const open = (
  { directory, isOurs, name }: DatabaseToExamine,
  subject: Subject
): Effect.Effect<Database, StorageError, Requirements | Scope.Scope> =>
  Effect.gen(function* () {
    const snapshots = yield* Snapshots
    const file = { directory, name, patience, limit: isOurs ? limits.ours : limits.theirs }
    const ours = { ...file, isOurs: true }
    if (isOurs && (yield* WalCopy.header(ours, subject)).isWal) return yield* WalCopy.open(ours, subject)
    const { client } = yield* snapshots.open({ ...file, view: "local" }, subject)
    return client
  })

/**
 * Takes a private copy of a database and looks whether it is whole. The copy goes away with the scope.
 *
 * @since 0.1.0
 * @category checks
 */
export const examine = (
  file: DatabaseToExamine
): Effect.Effect<Examined, never, Requirements | Scope.Scope> =>
  Effect.gen(function* () {
    const subject = subjectOf(file.resource)
    const client = yield* open(file, subject)
    const whole = yield* Effect.mapError(integrity(client, file), fromSql(subject))
    const [header] = yield* Effect.mapError(
      client<{ readonly user_version: number }>`PRAGMA user_version`,
      fromSql(subject)
    )
    const schemaVersion = header?.user_version ?? 0
    const examined: Examined = {
      client: whole.length === 0 ? client : undefined,
      schemaVersion,
      findings: [...whole, ...schema(schemaVersion, file)]
    }
    return examined
  }).pipe(
    Effect.catchAll((error: StorageError) =>
      Effect.succeed<Examined>({
        client: undefined,
        schemaVersion: 0,
        findings: [problem(isMissing(error) ? "folder" : "integrity", `${file.title} ${explain(error)}`)]
      })
    )
  )

/** What the host publishes of its own file. One of an older build was published as it is. */
const published = (original: DatabaseToExamine) =>
  Effect.gen(function* () {
    const subject = subjectOf(original.resource)
    const client = yield* open(original, subject)
    const bytes = yield* Effect.mapError(client.bytes, fromSql(subject))
    return Option.exists(DatabaseHeader.parse(bytes), ({ isWal }) => isWal)
      ? DatabaseFile.inRollbackMode(bytes)
      : bytes
  }).pipe(Effect.scoped)

const hasBytes = (folder: string, name: string, bytes: Uint8Array) =>
  Effect.gen(function* () {
    const directories = yield* SafeDirectories
    const subject = subjectOf("inbound")
    const file = yield* directories.openFile(yield* directories.open(folder, subject), name, subject)
    if (file.stats.size !== BigInt(bytes.byteLength)) return false
    return Buffer.compare(yield* directories.readOpen(file, name, bytes.byteLength, subject), bytes) === 0
  }).pipe(Effect.scoped)

/** How often the copy is looked at that is never the same as the original, which is never the same itself. */
const mostLooks = 10

/**
 * Whether the copy of inbound.db in the session's folder has the bytes that the host gave it. A host that is at work may
 * change both between a look at the one and a look at the other. So they are not the same only if the copy differs from an
 * original that has not changed since the look before.
 *
 * @since 0.1.0
 * @category checks
 */
export const copyIsSame = (original: DatabaseToExamine, folder: string) =>
  Effect.gen(function* () {
    let before: Uint8Array | undefined
    for (let look = 0; look < mostLooks; look++) {
      const ours = yield* Effect.either(published(original))
      // What is wrong with the original is said elsewhere.
      if (Either.isLeft(ours)) return []
      const isSame = yield* Effect.either(hasBytes(folder, original.name, ours.right))
      if (Either.isLeft(isSame)) {
        return [
          problem("copy", `the copy of inbound.db ${explain(isSame.left)}, so the agent cannot read it`)
        ]
      }
      if (isSame.right) return []
      if (before !== undefined && Buffer.compare(before, ours.right) === 0) {
        return [problem("copy", "the copy of inbound.db is not what the host wrote; the host replaces it")]
      }
      before = ours.right
    }
    return []
  })

const temporary = /^\.new-|\.new$/

/**
 * What a killed process, or somebody else, left in a folder with databases. A log and its index beside the host's own
 * inbound.db are nothing of the kind: the host has it open, or takes them over when it next opens it.
 */
const leftoversAmong = (
  names: ReadonlyArray<string>,
  where: "the session's folder" | "the host's own folder"
): ReadonlyArray<Finding> =>
  names.flatMap((name) => {
    const [, database, kind] = /^(inbound\.db|outbound\.db)-(journal|wal|shm)$/.exec(name) ?? []
    const isTheHosts = where === "the host's own folder" && database === SessionLayout.inbound
    if (isTheHosts && kind !== "journal") return []
    if (kind === "journal" && (isTheHosts || database === SessionLayout.outbound)) {
      return [
        note(
          "leftover",
          `${name} in ${where}: a transaction goes on, or was cut off and is undone at the next opening`
        )
      ]
    }
    if (kind !== undefined) {
      return [
        problem("leftover", `${name} in ${where}: neither the host nor an agent of this library makes one`)
      ]
    }
    return temporary.test(name) ? [note("leftover", `${quote(name)} in ${where}: a temporary file`)] : []
  })

/** The most names of one folder that are looked at. */
const nameLimit = 10_000

/**
 * The names in a folder, at most ten thousand.
 *
 * @since 0.1.0
 * @category reading
 */
export const namesIn = (path: string) =>
  Effect.gen(function* () {
    const calls = yield* SystemCalls
    const directories = yield* SafeDirectories
    const subject = subjectOf("folder")
    const directory = yield* directories.open(path, subject)
    const names = yield* Effect.mapError(
      calls.list(directory.at("."), nameLimit + 1),
      fromSystemCall(subject, path)
    )
    return { names: [...names].sort().slice(0, nameLimit), isCut: names.length > nameLimit }
  }).pipe(Effect.scoped)

/**
 * What is left over in the session's folder, or in the one that the host keeps for itself.
 *
 * @since 0.1.0
 * @category checks
 */
export const leftovers = (path: string, where: "the session's folder" | "the host's own folder") =>
  Effect.map(Effect.either(namesIn(path)), (found) =>
    Either.isLeft(found)
      ? isMissing(found.left)
        ? []
        : [problem("folder", `${where} ${explain(found.left)}`)]
      : [
          ...leftoversAmong(found.right.names, where),
          ...(found.right.isCut ? [problem("folder", `${where} has more than ${nameLimit} files`)] : [])
        ]
  )
