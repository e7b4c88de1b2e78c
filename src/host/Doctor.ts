/**
 * Looks at a data directory and says what is wrong with it, without changing anything: no database in it is opened with
 * SQLite, which would make files and roll back journals, but a private copy of each. A host may be running on it.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "node:path"
import type { SessionDbUnavailable, StorageError } from "../protocol/AirlockError.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Timestamp from "../protocol/Timestamp.js"
import * as MountPoint from "../storage/MountPoint.js"
import { SqliteDriver } from "../storage/SqliteDriver.js"
import * as StorageLayer from "../storage/StorageLayer.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall } from "../storage/StorageFailure.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { Requirements } from "./DoctorRegistry.js"
import * as DoctorRegistry from "./DoctorRegistry.js"
import type { Finding, Report } from "./DoctorReport.js"
import { isSame, note, shown } from "./DoctorReport.js"
import * as DoctorSession from "./DoctorSession.js"
import { SessionPaths } from "./SessionPaths.js"
import * as Tracing from "../storage/Tracing.js"

export { Check, Finding, isHealthy, Mount, Report, Severity } from "./DoctorReport.js"

const subject: Subject = { operation: "Doctor.examine", resource: "folder" }

/** What is in motion is over after this. */
const betweenLooks = Duration.millis(500)

/**
 * @since 0.1.0
 * @category tags
 */
export class Doctor extends Context.Tag("effect-airlock/Doctor")<
  Doctor,
  {
    /**
     * Examines a data directory. Whatever is wrong in it is a finding of the report. It fails only if there is no data
     * directory to examine: the path cannot be read (`SessionDbUnavailable` with the resource `folder`), or has neither a
     * v2.db nor session folders (the reason `missing`).
     */
    readonly examine: (dataDir: string) => Effect.Effect<Report, StorageError>
  }
>() {
  /**
   * Needs nothing: it keeps its copies in a temporary folder of its own, and no database is shared with a host in the
   * same process.
   *
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<Doctor, SessionDbUnavailable> = Layer.suspend(() =>
    layerWithoutStorage.pipe(Layer.provide(Layer.provideMerge(StorageLayer.files, StorageLayer.layer)))
  )
}

/**
 * The same on a storage of the caller's, for tests that replace a part of it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWithoutStorage: Layer.Layer<Doctor, never, Requirements> = Layer.effect(
  Doctor,
  Effect.map(Effect.context<Requirements>(), (context) => ({
    examine: Effect.fn("Doctor.examine")((dataDir: string) => Effect.provide(examine(dataDir), context))
  }))
)

const mountOf = (dataDir: string): Effect.Effect<Report["mount"], never, SystemCalls> =>
  Effect.map(
    MountPoint.of(dataDir),
    Option.match({
      onNone: () => ({ mountPoint: null, type: null, source: null, device: null, locks: "unknown" as const }),
      onSome: (mount) => ({ ...mount, locks: MountPoint.locksOf(mount.type) })
    })
  )

const aboutMount = ({ locks, type }: Report["mount"]): ReadonlyArray<Finding> => {
  if (locks === "shared" || type === null) return []
  return [
    note(
      "mount",
      locks === "not-shared"
        ? `locks do not cross a mount of the type ${shown(type)}: no other system may run a host on this directory`
        : `it is not known whether locks cross a mount of the type ${shown(type)}: run hosts on one side of it only`
    )
  ]
}

/** A write-ahead log needs memory that all who open the file share. */
const aboutCentral = (mode: Report["centralMode"], { locks }: Report["mount"]): ReadonlyArray<Finding> =>
  mode === "wal" && locks === "not-shared"
    ? [note("mount", "v2.db is in write-ahead-log mode, which works on one side of such a mount only")]
    : []

const sqliteVersion = Effect.gen(function* () {
  const driver = yield* SqliteDriver
  const sql = yield* driver.connect({ filename: ":memory:", patience: 0 })
  const [row] = yield* sql<{ readonly version: string }>`SELECT sqlite_version() AS version`
  return row?.version ?? "unknown"
}).pipe(Effect.scoped, Tracing.without, Effect.mapError(fromSql(subject)))

/**
 * One look at everything: a finding for each thing that is not in order, or not yet. `only` are the sessions to look into,
 * all without it.
 */
const look = (dataDir: string, places: DoctorSession.Places, only?: ReadonlySet<string>) =>
  Effect.gen(function* () {
    const sessions = yield* DoctorRegistry.read(dataDir, SessionLayout.originals)
    const findings: Array<Finding> = [...sessions.findings]
    for (const known of sessions.known) {
      if (!known.hasFolder || only?.has(keyOf(known.ref)) === false) continue
      findings.push(...(yield* DoctorSession.examine(known, places)))
    }
    return { ...sessions, findings }
  })

const keyOf = (session: Finding["session"]): string =>
  JSON.stringify([session?.agentGroupId, session?.sessionId])

/**
 * Others go on writing meanwhile, so that a file can be there whose row is not yet, or the other way round. So everything
 * in which something is found is looked at again a moment later, and what was found both times counts.
 */
const lookTwice = (dataDir: string, places: DoctorSession.Places) =>
  Effect.gen(function* () {
    const first = yield* look(dataDir, places)
    if (first.findings.length === 0) return first
    const before = Arr.groupBy(first.findings, ({ session }) => keyOf(session))
    yield* Effect.sleep(betweenLooks)
    const second = yield* look(dataDir, places, new Set(Object.keys(before)))
    return {
      ...second,
      findings: second.findings.filter((finding) =>
        (before[keyOf(finding.session)] ?? []).some((other) => isSame(finding, other))
      )
    }
  })

const examine = (path: string) =>
  Effect.gen(function* () {
    const calls = yield* SystemCalls
    const dataDir = yield* Effect.mapError(calls.realpath(Path.resolve(path)), fromSystemCall(subject, path))
    const directories = yield* SafeDirectories
    yield* Effect.scoped(directories.open(dataDir, subject))
    const now = yield* Clock.currentTimeMillis
    const version = yield* sqliteVersion
    const mount = yield* mountOf(dataDir)
    const paths = yield* Effect.provide(
      SessionPaths,
      Layer.provide(SessionPaths.layer, AirlockConfig.layer({ dataDir }))
    )
    const sessions = yield* lookTwice(dataDir, {
      session: paths.session,
      original: (ref) => Effect.map(paths.original(ref), (path) => Path.dirname(path))
    })
    const bySession = Object.values(Arr.groupBy(sessions.findings, ({ session }) => keyOf(session))).flat()
    const findings: ReadonlyArray<Finding> = [
      ...aboutMount(mount),
      ...aboutCentral(sessions.centralMode, mount),
      ...bySession.filter(({ session }) => session === undefined),
      ...bySession.filter(({ session }) => session !== undefined)
    ]
    const report: Report = {
      dataDir,
      examinedAt: Timestamp.format(now),
      sqliteVersion: version,
      mount,
      centralMode: sessions.centralMode,
      sessions: sessions.known.length,
      findings
    }
    return report
  })
