/**
 * Which sessions a data directory has: by the central database, of which a private copy is read, and by the folders.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Path from "node:path"
import type { StorageError } from "../protocol/AirlockError.js"
import { quote } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { Snapshots } from "../storage/Snapshot.js"
import type { SqliteDriver } from "../storage/SqliteDriver.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall, isMissing } from "../storage/StorageFailure.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import * as WalCopy from "../storage/WalCopy.js"
import type { Finding, Report } from "./DoctorReport.js"
import { explain, listed, note, problem, shown } from "./DoctorReport.js"
import * as Tracing from "../storage/Tracing.js"

/**
 * A session that there is something of: a row, a folder, or what the host itself keeps of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Known {
  readonly ref: SessionRef
  readonly row: { readonly status: string | null; readonly containerStatus: string | null } | undefined
  readonly hasFolder: boolean
  readonly hasOriginal: boolean
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Sessions {
  readonly known: ReadonlyArray<Known>
  readonly centralMode: Report["centralMode"]
  readonly findings: ReadonlyArray<Finding>
}

/**
 * @since 0.1.0
 * @category models
 */
export type Requirements = SystemCalls | SafeDirectories | Snapshots | SqliteDriver | FileSystem.FileSystem

const operation = "Doctor.examine"
const central: Subject = { operation, resource: "central" }
const folder: Subject = { operation, resource: "folder" }

/** The largest central database that is read, if it is not in write-ahead-log mode. */
const centralLimit = 512 * 1024 * 1024

/** The most folders that are looked at in one place. */
const folderLimit = 100_000

const patience = Duration.seconds(2)

const Row = Schema.Struct({
  id: Schema.String,
  agentGroupId: Schema.String,
  status: Schema.NullOr(Schema.String),
  containerStatus: Schema.NullOr(Schema.String)
})
const decodeRow = Schema.decodeUnknownEither(Row)

const openCentral = (
  dataDir: string,
  isWal: boolean
): Effect.Effect<SqlClient, StorageError, Requirements | Scope.Scope> =>
  isWal
    ? WalCopy.open({ directory: dataDir, name: SessionLayout.central, patience, isOurs: false }, central)
    : Effect.flatMap(Snapshots, (snapshots) =>
        Effect.map(
          snapshots.open(
            {
              directory: dataDir,
              name: SessionLayout.central,
              view: "local",
              limit: centralLimit,
              patience
            },
            central
          ),
          ({ client }) => client
        )
      )

const readCentral = (dataDir: string) =>
  Effect.gen(function* () {
    const options = { directory: dataDir, name: SessionLayout.central, patience, isOurs: false }
    const { isWal } = yield* WalCopy.header(options, central)
    const sql = yield* openCentral(dataDir, isWal)
    const [check] = yield* sql<Record<string, string>>`PRAGMA integrity_check(1)`.pipe(
      Effect.mapError(fromSql(central))
    )
    const verdict = Object.values(check ?? {})[0] ?? "ok"
    const [broken, rows] = yield* sql`SELECT id, agent_group_id AS agentGroupId, status,
        container_status AS containerStatus FROM sessions ORDER BY created_at, id`.pipe(
      Effect.mapError(fromSql(central)),
      Effect.map((all) => Arr.separate(all.map((row) => decodeRow(row))))
    )
    return {
      isWal,
      rows,
      findings: [
        ...(verdict === "ok"
          ? []
          : [problem("integrity", `the central database, v2.db, is damaged: ${quote(verdict)}`)]),
        ...(broken.length === 0
          ? []
          : [problem("registry", `${broken.length} rows of the registry are not sessions`)])
      ]
    }
  }).pipe(Effect.scoped, Tracing.without, Effect.either)

/** The names in a directory that may be missing, and what is wrong with it. */
const namesIn = (path: string) =>
  Effect.gen(function* () {
    const calls = yield* SystemCalls
    const directories = yield* SafeDirectories
    const directory = yield* directories.open(path, folder)
    const names = yield* Effect.mapError(
      calls.list(directory.at("."), folderLimit),
      fromSystemCall(folder, path)
    )
    return [...names].sort()
  }).pipe(Effect.scoped, Effect.either)

/** The sessions that have a folder at `<dataDir>/<base>/<agentGroupId>/<sessionId>`. */
const foldersOf = Effect.fnUntraced(function* (dataDir: string, base: string) {
  const refs: Array<SessionRef> = []
  const findings: Array<Finding> = []
  const unreadable = (path: string, error: StorageError) =>
    findings.push(problem("folder", `${shown(Path.relative(dataDir, path))} ${explain(error)}`))
  const leftOver = (name: string, path: string) => {
    if (!name.startsWith(".new-")) return false
    findings.push(
      note(
        "leftover",
        `${shown(Path.relative(dataDir, path))} is what is left of a folder that was being made`
      )
    )
    return true
  }
  const groups = yield* namesIn(Path.join(dataDir, base))
  if (Either.isLeft(groups)) {
    if (!isMissing(groups.left)) unreadable(Path.join(dataDir, base), groups.left)
    return { refs, findings, isThere: !isMissing(groups.left) }
  }
  for (const agentGroupId of groups.right) {
    const group = Path.join(dataDir, base, agentGroupId)
    const names = yield* namesIn(group)
    if (Either.isLeft(names)) {
      unreadable(group, names.left)
      continue
    }
    for (const sessionId of names.right) {
      if (!leftOver(sessionId, Path.join(group, sessionId))) refs.push({ agentGroupId, sessionId })
    }
  }
  return { refs, findings: listed(findings), isThere: true }
})

const keyOf = ({ agentGroupId, sessionId }: SessionRef): string => JSON.stringify([agentGroupId, sessionId])

/** What is wrong with a session as a whole. */
const aboutWhole = ({ hasFolder, row }: Known, isRegistryRead: boolean): ReadonlyArray<Finding> => {
  if (row?.status === "active" && !hasFolder) {
    return [problem("registry", "the session is active in the registry, and has no folder")]
  }
  if (row !== undefined || !isRegistryRead) return []
  return [
    hasFolder
      ? problem("registry", "the folder belongs to no session of the registry, so nobody looks after it")
      : note(
          "registry",
          "the host keeps an inbound.db for a session that is neither in the registry nor a folder"
        )
  ]
}

/**
 * All sessions of a data directory. Fails with the reason `missing` if the directory is none: it has neither a central
 * database nor a folder of sessions.
 *
 * @since 0.1.0
 * @category reading
 */
export const read = (
  dataDir: string,
  originals: string
): Effect.Effect<Sessions, StorageError, Requirements> =>
  Effect.gen(function* () {
    const registry = yield* readCentral(dataDir)
    const folders = yield* foldersOf(dataDir, SessionLayout.sessions)
    const kept = yield* foldersOf(dataDir, originals)
    const findings: Array<Finding> = []
    if (Either.isLeft(registry)) {
      const error = registry.left
      if (isMissing(error) && !folders.isThere) return yield* Effect.fail(error)
      findings.push(
        isMissing(error)
          ? note(
              "registry",
              "there is no central database, v2.db, so sessions are known by their folders only"
            )
          : problem("registry", `the central database, v2.db, ${explain(error)}`)
      )
    }
    const all = new Map<string, Known>()
    const add = (ref: SessionRef, more: Partial<Known>) => {
      const before = all.get(keyOf(ref)) ?? { ref, row: undefined, hasFolder: false, hasOriginal: false }
      all.set(keyOf(ref), { ...before, ...more })
    }
    const rows = Either.isRight(registry) ? registry.right.rows : []
    for (const { id, agentGroupId, ...row } of rows) add({ agentGroupId, sessionId: id }, { row })
    for (const ref of folders.refs) add(ref, { hasFolder: true })
    for (const ref of kept.refs) add(ref, { hasOriginal: true })
    const known = Array.from(all.values())
    return {
      known,
      centralMode: Either.isLeft(registry) ? null : registry.right.isWal ? "wal" : "rollback",
      findings: [
        ...findings,
        ...(Either.isRight(registry) ? registry.right.findings : []),
        ...folders.findings,
        ...kept.findings,
        ...known.flatMap((session) =>
          aboutWhole(session, Either.isRight(registry)).map((finding) => ({
            ...finding,
            session: session.ref
          }))
        )
      ]
    }
  })
