/**
 * Which agents a host has running as its own processes, written down where the next host finds them: a host that is
 * killed leaves them behind, and nobody else knows of them. They lie in `<dataDir>/airlock-processes/`, one file for
 * each session with a running agent. No agent needs to see that folder.
 *
 * A record serves as long as the system runs, so none of them waits for the disk.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import { FileSystem } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import * as Path from "node:path"
import type { SessionRef } from "../protocol/Session.js"
import { AirlockConfig } from "./AirlockConfig.js"
import type { ProcessIdentities } from "../storage/ProcessIdentity.js"
import * as ProcessIdentity from "../storage/ProcessIdentity.js"

/**
 * @since 0.1.0
 * @category models
 */
export interface ProcessRecords {
  /** Writes down that the session's agent is the process of this number, if the system tells which one that is. */
  readonly put: (ref: SessionRef, pid: number) => Effect.Effect<void, PlatformError>
  readonly remove: (ref: SessionRef) => Effect.Effect<void>
}

/**
 * The text of a record: the agent's process, which leads its own process group, and the host that started it. No agent
 * is process 1, and whoever signals the group of that number signals every process there is.
 *
 * @since 0.1.0
 * @category models
 */
export const ProcessRecord = Schema.parseJson(
  Schema.Struct({
    host: ProcessIdentity.ProcessIdentity,
    agent: ProcessIdentity.ProcessIdentity.pipe(Schema.filter(({ pid }) => pid > 1))
  })
)

/** How often to look whether a killed process is gone. A look takes some microseconds. */
const looks = 2000

/**
 * The records of a data directory. Agents that are written down there, still run, and whose host does not, are killed
 * first, with their process groups. A record that cannot be read is removed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<ProcessRecords, PlatformError, AirlockConfig | FileSystem> = Effect.gen(
  function* () {
    const identities = yield* ProcessIdentity.make
    if (Option.isNone(identities.self)) return none
    const host = identities.self.value
    const fileSystem = yield* FileSystem
    const folder = Path.join((yield* AirlockConfig).dataDir, "airlock-processes")
    const remove = (name: string) =>
      Effect.catchAll(fileSystem.remove(Path.join(folder, name), { force: true }), (error) =>
        Effect.logWarning("The record of a process cannot be removed", error)
      )

    const recover = Effect.fnUntraced(function* (name: string) {
      const text = yield* Effect.option(fileSystem.readFileString(Path.join(folder, name)))
      const record = Option.flatMap(text, Schema.decodeOption(ProcessRecord))
      if (Option.isSome(record)) {
        const { agent, host: earlier } = record.value
        if (yield* identities.isAlive(earlier)) return
        if (!(yield* killGroup(agent, identities))) {
          return yield* Effect.logWarning("An agent of an earlier host cannot be stopped").pipe(
            Effect.annotateLogs({ pid: agent.pid })
          )
        }
      }
      yield* remove(name)
    })

    yield* fileSystem.makeDirectory(folder, { recursive: true })
    yield* Effect.forEach(yield* fileSystem.readDirectory(folder), recover, {
      concurrency: 16,
      discard: true
    })

    return {
      put: Effect.fnUntraced(function* (ref: SessionRef, pid: number) {
        const agent = yield* identities.of(pid)
        if (Option.isNone(agent)) return
        const path = Path.join(folder, nameOf(ref))
        const text = yield* Effect.orDie(Schema.encode(ProcessRecord)({ host, agent: agent.value }))
        yield* fileSystem.writeFileString(`${path}.new`, text)
        yield* fileSystem.rename(`${path}.new`, path)
      }),
      remove: (ref) => remove(nameOf(ref))
    }
  }
)

/** For a system that does not tell which process a number means: to kill by number alone would be to kill anybody. */
const none: ProcessRecords = { put: () => Effect.void, remove: () => Effect.void }

/** Whether the process is gone, with its group, after a while. */
const killGroup = (agent: ProcessIdentity.ProcessIdentity, { isAlive }: ProcessIdentities) =>
  Effect.gen(function* () {
    if (!(yield* isAlive(agent))) return true
    yield* Effect.ignore(Effect.try(() => process.kill(-agent.pid, "SIGKILL")))
    return !(yield* Effect.repeat(isAlive(agent), { while: (isThere) => isThere, times: looks }))
  })

const nameOf = ({ agentGroupId, sessionId }: SessionRef): string =>
  createHash("sha256").update(`${agentGroupId}/${sessionId}`).digest("hex")
