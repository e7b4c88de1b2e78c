/**
 * What of a session goes into its agent's container or virtual machine, where it goes, and what of it the agent may
 * only read.
 *
 * It is the session's folder, for reading and writing, and over it once more `inbox/`, for reading. Two things are left
 * out on purpose:
 *
 * - inbound.db is never mounted as a file of its own. It is replaced by another file, by a rename, whenever the host
 *   publishes, and a mount of a file goes on showing the file that was there first: the agent would read the same
 *   messages for ever. Through the folder it has the one that is there now. It is a copy, so the host loses nothing
 *   by an agent that writes to it.
 * - Nothing beside the session's folder: neither the central database, nor what the host itself has of the session.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Path from "node:path"
import type { SessionDbUnavailable, UnsafePath } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import type { Subject } from "../storage/StorageFailure.js"
import { SessionPaths } from "./SessionPaths.js"

export type { SafeDirectories } from "../storage/SafeDirectory.js"

/**
 * `source` is an absolute path of the host, `target` one of the container, with `/`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Mount {
  readonly source: string
  readonly target: string
  readonly readOnly: boolean
}

/**
 * In the order in which they are made: a later one lies over an earlier one. For a virtual machine, each is a folder
 * that is shared with it; one that knows no share inside another needs the first only.
 *
 * @since 0.1.0
 * @category models
 */
export type MountPlan = ReadonlyArray<Mount>

/**
 * `target` is where the agent finds the session's folder, an absolute path; `/workspace` without it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly target?: string | undefined
}

/**
 * The plan for a session whose folder is at `folder`, an absolute path.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (folder: string, { target = "/workspace" }: Options = {}): MountPlan => [
  { source: folder, target, readOnly: false },
  {
    source: Path.join(folder, SessionLayout.inbox),
    target: Path.posix.join(target, SessionLayout.inbox),
    readOnly: true
  }
]

/**
 * The plan for a session whose folder is there. Fails with `UnsafePath` if its ids cannot name folders, or if something
 * else is where the folder or its `inbox/` should be: an engine follows a link that an earlier agent left there, and would
 * show the next one whatever it leads to. To be asked for each time before the agent starts.
 *
 * @since 0.1.0
 * @category constructors
 */
export const of = (
  ref: SessionRef,
  options?: Options
): Effect.Effect<MountPlan, UnsafePath | SessionDbUnavailable, SessionPaths | SafeDirectories> =>
  Effect.gen(function* () {
    const directories = yield* SafeDirectories
    const folder = yield* Effect.flatMap(SessionPaths, (paths) => paths.session(ref))
    const subject: Subject = { operation: "MountPlan.of", resource: "folder" }
    const directory = yield* directories.open(folder, subject)
    yield* directories.openChild(directory, SessionLayout.inbox, { ...subject, resource: "inbox" })
    return make(folder, options)
  }).pipe(Effect.scoped)

/** One field of the line of comma-separated values that `--mount` takes. */
const field = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

/**
 * The plan as arguments of `docker run`, `podman run`, and what takes the same: `--mount` and a line of comma-separated
 * values, for each mount. They are words for a program, not for a shell.
 *
 * @since 0.1.0
 * @category conversions
 */
export const toDockerArguments = (plan: MountPlan): ReadonlyArray<string> =>
  plan.flatMap(({ readOnly, source, target }) => [
    "--mount",
    ["type=bind", `src=${source}`, `dst=${target}`, ...(readOnly ? ["readonly"] : [])].map(field).join(",")
  ])
