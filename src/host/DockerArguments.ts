/**
 * The arguments of a container engine's command line. Pure.
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import { createHash } from "node:crypto"
import type { SessionRef } from "../protocol/Session.js"
import * as Timestamp from "../protocol/Timestamp.js"
import type { Owner } from "./AirlockConfig.js"
import * as ContainerState from "./ContainerState.js"
import * as MountPlan from "./MountPlan.js"

/**
 * The name of a session's container. The same session of the same data directory always has the same, and no other has
 * it: the part that people can read says which it is most likely, and 96 bits of a hash which it is.
 *
 * @since 0.1.0
 * @category names
 */
export const containerName = (dataDir: string, { agentGroupId, sessionId }: SessionRef): string => {
  const readable = `${agentGroupId}-${sessionId}`.replace(/[^A-Za-z0-9_.-]/g, "-").slice(0, 30)
  const whole = JSON.stringify([dataDir, agentGroupId, sessionId])
  // 63 characters at most, which is what a name may have for the engine's own name server.
  return `airlock-${readable}-${createHash("sha256").update(whole).digest("hex").slice(0, 24)}`
}

/**
 * - `mounts`: what the agent sees of the host's files
 * - `extra`: arguments for the engine, before the image
 * - `command`: arguments for the image, after it
 *
 * @since 0.1.0
 * @category models
 */
export interface Container {
  readonly name: string
  readonly ref: SessionRef
  readonly mounts: MountPlan.MountPlan
  readonly image: string
  readonly user: Option.Option<Owner>
  readonly extra: ReadonlyArray<string>
  readonly command: ReadonlyArray<string>
}

/**
 * What comes after `run`.
 *
 * @since 0.1.0
 * @category arguments
 */
export const run = ({ command, extra, image, mounts, name, ref, user }: Container): ReadonlyArray<string> => [
  "--detach",
  "--rm",
  "--init",
  "--name",
  name,
  "--label",
  `effect-airlock.session=${ref.agentGroupId}/${ref.sessionId}`,
  ...Option.match(user, { onNone: () => [], onSome: ({ gid, uid }) => ["--user", `${uid}:${gid}`] }),
  ...MountPlan.toDockerArguments(mounts),
  ...extra,
  image,
  ...command
]

/**
 * What comes after `inspect`. The answer is for `parseInspection`. The time is asked for as JSON, because podman prints it
 * in Go's own form otherwise.
 *
 * @since 0.1.0
 * @category arguments
 */
export const inspect = (name: string): ReadonlyArray<string> => [
  "--type",
  "container",
  "--format",
  "{{.Id}} {{.State.Running}} {{json .State.StartedAt}}",
  name
]

/**
 * What comes after `stop`. `-t`, because newer engines warn about `--time`, and older ones do not know `--timeout`.
 *
 * @since 0.1.0
 * @category arguments
 */
export const stop = (name: string, seconds: number): ReadonlyArray<string> => [
  "-t",
  String(Math.ceil(seconds)),
  name
]

/**
 * @since 0.1.0
 * @category models
 */
export interface Inspection {
  readonly id: string
  readonly state: ContainerState.ContainerState
}

/**
 * What `inspect` answered: which container has the name, and what it does. None if that is not what it is.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parseInspection = (text: string): Option.Option<Inspection> => {
  const [, id, isRunning, startedAt] = /^(\S+) (true|false) "(.*)"$/.exec(text.trim()) ?? []
  if (id === undefined || startedAt === undefined) return Option.none()
  const state =
    isRunning === "true" ? ContainerState.running(Timestamp.parse(startedAt)) : ContainerState.stopped
  return Option.some({ id, state })
}
