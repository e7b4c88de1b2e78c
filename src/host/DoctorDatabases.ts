/**
 * The databases of a session, each as a private copy, and what lies beside them.
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
import type * as Scope from "effect/Scope"
import { createHash } from "node:crypto"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import { quote } from "../protocol/AirlockError.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Tables from "../protocol/Tables.js"
import * as FilePermit from "../storage/FilePermit.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { Snapshots } from "../storage/Snapshot.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall } from "../storage/StorageFailure.js"
import { pause, pieceBytes, SystemCalls } from "../storage/SystemCalls.js"
import * as AgentTables from "./AgentTables.js"
import type { Finding } from "./DoctorReport.js"
import { explain, note, problem } from "./DoctorReport.js"

/**
 * @since 0.1.0
 * @category models
 */
export type Requirements = SystemCalls | SafeDirectories | Snapshots

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

const isMissing = (error: StorageError): boolean =>
  error._tag === "SessionDbUnavailable" && error.reason === "missing"

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
    const snapshots = yield* Snapshots
    const subject = subjectOf(file.resource)
    const { client } = yield* snapshots.open(
      {
        directory: file.directory,
        name: file.name,
        view: "local",
        limit: file.isOurs ? limits.ours : limits.theirs,
        patience
      },
      subject
    )
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

/** The size and hash of a file of at most `limit` bytes. Nobody in this process has it open meanwhile. */
const hashOf = (directory: string, name: string, limit: bigint) =>
  Effect.gen(function* () {
    const calls = yield* SystemCalls
    const directories = yield* SafeDirectories
    const subject = subjectOf("inbound")
    yield* FilePermit.hold(Path.join(directory, name), subject)
    const folder = yield* directories.open(directory, subject)
    const { fd, stats } = yield* directories.openFile(folder, name, subject)
    const hash = createHash("sha256")
    const piece = new Uint8Array(pieceBytes)
    for (let position = 0; position <= limit && stats.size <= limit;) {
      const count = yield* Effect.mapError(
        calls.read(fd, piece, position),
        fromSystemCall(subject, Path.join(directory, name))
      )
      if (count === 0) break
      hash.update(piece.subarray(0, count))
      position += count
      yield* pause
    }
    return { size: stats.size, digest: hash.digest("hex") }
  }).pipe(Effect.scoped)

/**
 * Whether the copy of inbound.db in the session's folder has the bytes of what the host wrote.
 *
 * @since 0.1.0
 * @category checks
 */
export const copyIsSame = (original: string, folder: string) =>
  Effect.gen(function* () {
    const ours = yield* Effect.either(hashOf(original, SessionLayout.inbound, BigInt(limits.ours)))
    // What is wrong with the original is said elsewhere.
    if (Either.isLeft(ours)) return []
    const copy = yield* Effect.either(hashOf(folder, SessionLayout.inbound, ours.right.size))
    if (Either.isLeft(copy)) {
      return [problem("copy", `the copy of inbound.db ${explain(copy.left)}, so the agent cannot read it`)]
    }
    return copy.right.size === ours.right.size && copy.right.digest === ours.right.digest
      ? []
      : [problem("copy", "the copy of inbound.db is not what the host wrote; the host replaces it")]
  })

const temporary = /^\.new-|\.new$/

/** What a killed process, or somebody else, left in a folder with databases. */
const leftoversAmong = (
  names: ReadonlyArray<string>,
  where: "the session's folder" | "the host's own folder"
): ReadonlyArray<Finding> =>
  names.flatMap((name) => {
    const [, database, kind] = /^(inbound\.db|outbound\.db)-(journal|wal|shm)$/.exec(name) ?? []
    if (kind === "journal" && !(where === "the session's folder" && database === SessionLayout.inbound)) {
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
