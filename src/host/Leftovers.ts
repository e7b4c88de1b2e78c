/**
 * Removing what killed hosts left in the folders of sessions: folders and databases that were not finished, and
 * attachments whose message was not stored.
 *
 * An unfinished folder or database says by its name whose it is. Attachments are written inside the transaction that
 * stores their message, so that while no other transaction runs, those without a message belong to nobody.
 *
 * Once in each process, a session is looked at before it is used. What another host leaves after that, the next
 * process removes.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "node:path"
import * as PathSegment from "../protocol/PathSegment.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as NewFile from "../storage/NewFile.js"
import { OwnedNames } from "../storage/OwnedNames.js"
import type { SafeDirectory } from "../storage/SafeDirectory.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import type { Subject } from "../storage/StorageFailure.js"
import { fromSql, fromSystemCall, isMissing } from "../storage/StorageFailure.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import { SessionDb } from "./SessionDb.js"
import { SessionPaths } from "./SessionPaths.js"

/**
 * @since 0.1.0
 * @category tags
 */
export class Leftovers extends Context.Tag("effect-airlock/Leftovers")<
  Leftovers,
  {
    /** Removes what is left over in a session's folder, if this process has not done so. A failure is logged. */
    readonly clear: (ref: SessionRef) => Effect.Effect<void>
  }
>() {
  /**
   * Also removes session folders that were not finished.
   *
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<
    Leftovers,
    never,
    SessionPaths | SessionDb | SafeDirectories | SystemCalls | OwnedNames
  > = Layer.effect(
    Leftovers,
    Effect.suspend(() => make)
  )
}

/** Nothing takes this long to be finished; older than that is a leftover, if nobody can tell whose it is. */
const longest = 3_600_000n

/** How many names of a folder are looked at that the agent may have filled. */
const mostNames = 10_000

const operation = "Leftovers.clear"
const subject: Subject = { operation, resource: "folder" }

const make = Effect.gen(function* () {
  const paths = yield* SessionPaths
  const db = yield* SessionDb
  const directories = yield* SafeDirectories
  const calls = yield* SystemCalls
  const names = yield* OwnedNames
  const looked = new Set<string>()

  const namesIn = (directory: SafeDirectory, atMost?: number) =>
    Effect.mapError(calls.list(directory.at("."), atMost), fromSystemCall(subject, directory.path))

  const isAbandoned = Effect.fnUntraced(function* (directory: SafeDirectory, name: string) {
    const owner = yield* names.ownerOf(NewFile.unfinished, name)
    if (owner !== "unknown") return owner === "gone"
    const now = BigInt(yield* Clock.currentTimeMillis)
    return yield* calls.lstat(directory.at(name)).pipe(
      Effect.map(({ mtimeMs }) => mtimeMs + longest < now),
      Effect.orElseSucceed(() => false)
    )
  })

  const removeUnfinished = Effect.fnUntraced(function* (directory: SafeDirectory, atMost?: number) {
    for (const name of yield* namesIn(directory, atMost)) {
      if (!name.startsWith(NewFile.unfinished) || !(yield* isAbandoned(directory, name))) continue
      yield* directories.remove(directory, name, subject)
    }
  })

  const removeAttachments = Effect.fnUntraced(function* (ref: SessionRef, session: SafeDirectory) {
    const inbox = yield* directories.openChild(session, SessionLayout.inbox, subject)
    const folders = new Map<string, string>()
    for (const name of yield* namesIn(inbox, mostNames)) {
      const id = PathSegment.messageOf(name)
      if (Option.isSome(id)) folders.set(id.value, name)
    }
    const ids = Array.from(folders.keys())
    if (ids.length === 0) return
    const unknown = yield* Effect.scoped(
      Effect.flatMap(db.inbound(ref, operation), (sql) =>
        Effect.mapError(withoutMessage(sql, ids), fromSql({ operation, resource: "inbound" }))
      )
    )
    if (unknown.length === 0) return
    yield* db.transaction(
      ref,
      (sql) =>
        Effect.flatMap(withoutMessage(sql, unknown), (still) =>
          Effect.forEach(still, (id) => directories.remove(inbox, folders.get(id) ?? "", subject), {
            discard: true
          })
        ),
      { operation }
    )
  })

  const clear = Effect.fnUntraced(function* (ref: SessionRef, path: string) {
    // Also if it fails: looking is work, and how much of it is up to the agent.
    looked.add(path)
    yield* Effect.flatMap(paths.original(ref), (file) => directories.open(Path.dirname(file), subject)).pipe(
      Effect.flatMap((directory) => removeUnfinished(directory)),
      Effect.catchIf(isMissing, () => Effect.void)
    )
    const session = yield* directories.open(path, subject)
    yield* removeUnfinished(session, mostNames)
    yield* removeAttachments(ref, session)
  }, Effect.scoped)

  const logged = <E>(effect: Effect.Effect<void, E>) =>
    Effect.catchAll(effect, (error) => Effect.logWarning("What a killed host left may still be there", error))

  const ofGroup = (name: string) =>
    directories
      .open(Path.join(paths.base, name), subject)
      .pipe(Effect.flatMap(removeUnfinished), Effect.scoped, logged)

  yield* calls.list(paths.base).pipe(
    Effect.catchIf(
      ({ code }) => code === "ENOENT",
      () => Effect.succeed([])
    ),
    Effect.flatMap(Effect.forEach(ofGroup, { discard: true })),
    logged
  )

  return Leftovers.of({
    clear: (ref) =>
      Effect.flatMap(paths.session(ref), (path) =>
        looked.has(path)
          ? Effect.void
          : clear(ref, path).pipe(
              // A folder that is not there, or lacks a database, has nothing to be cleared of.
              Effect.catchIf(isMissing, () => Effect.void),
              logged,
              Effect.annotateLogs({ sessionId: ref.sessionId })
            )
      ).pipe(logged)
  })
})

/** Those of the ids that no message has. The occurrences of a series name the files of its first message. */
const withoutMessage = (
  sql: SqlClient,
  ids: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<string>, SqlError> =>
  Effect.map(
    sql<{ readonly id: string }>`SELECT value AS id FROM json_each(${JSON.stringify(ids)})
      WHERE NOT EXISTS (SELECT 1 FROM messages_in WHERE id = value)
        AND value NOT IN (SELECT series_id FROM messages_in WHERE series_id IS NOT NULL)`,
    (rows) => rows.map(({ id }) => id)
  )
