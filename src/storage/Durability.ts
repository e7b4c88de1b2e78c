/**
 * What is certain to be there after what.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Path from "node:path"
import type { SessionDbUnavailable, UnsafePath } from "../protocol/AirlockError.js"
import type { SafeDirectory } from "./SafeDirectory.js"
import type { Subject } from "./StorageFailure.js"
import { fromSystemCall } from "./StorageFailure.js"
import type { SystemCallError } from "./SystemCalls.js"
import { flags, SystemCalls } from "./SystemCalls.js"

/**
 * - `process`: what a caller was told is stored is there after any process was killed. After a loss of power databases are
 *   whole, but what was done in the last moments may be undone: the last commit of a file in rollback-journal mode, the
 *   last commits of the central database, and the names of files and folders (`PRAGMA synchronous = FULL`; in the
 *   central database, `NORMAL`)
 * - `power`: it is there after a loss of power, too, as far as the disk keeps what it says it has (`EXTRA`, in the
 *   central database `FULL`, and an fsync of each directory in which something got a name; see https://www.sqlite.org/pragma.html#pragma_synchronous)
 *
 * @since 0.1.0
 * @category models
 */
export type Durability = "process" | "power"

/**
 * The value of `PRAGMA synchronous`.
 *
 * @since 0.1.0
 * @category settings
 */
export const synchronous = (durability: Durability): string => (durability === "power" ? "EXTRA" : "FULL")

type Synced = Effect.Effect<void, UnsafePath | SessionDbUnavailable>

/**
 * Both wait until names are on the disk, if they are to survive a loss of power.
 *
 * - `names`: those in a directory
 * - `path`: that of a directory, and those of the directories above it, in `top` and below. All are the host's own, and may
 *   be reached through links
 *
 * @since 0.1.0
 * @category models
 */
export interface Names {
  readonly names: (directory: SafeDirectory, subject: Subject) => Synced
  readonly path: (path: string, top: string, subject: Subject) => Synced
}

/** What a system answers that does not sync directories. There names are as durable as it makes them. */
const isUnable = ({ code }: SystemCallError): boolean => code === "EINVAL" || code === "EPERM"

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (durability: Durability): Effect.Effect<Names, never, SystemCalls> =>
  Effect.map(SystemCalls, (calls) => {
    const sync = (fd: number) => Effect.catchIf(calls.sync(fd), isUnable, () => Effect.void)
    const above = (path: string, top: string): ReadonlyArray<string> =>
      path === top || path === Path.dirname(path) ? [path] : [path, ...above(Path.dirname(path), top)]
    return {
      names: (directory, subject) =>
        durability === "power"
          ? Effect.mapError(sync(directory.fd), fromSystemCall(subject, directory.path))
          : Effect.void,
      path: (path, top, subject) =>
        durability === "power"
          ? Effect.forEach(
              above(path, top),
              (one) =>
                Effect.acquireUseRelease(calls.open(one, flags.readFollowing), sync, calls.close).pipe(
                  Effect.mapError(fromSystemCall(subject, one))
                ),
              { discard: true }
            )
          : Effect.void
    }
  })
