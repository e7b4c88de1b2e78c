/**
 * Where everything of a session lies on the host.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "node:path"
import { UnsafePath } from "../protocol/AirlockError.js"
import * as PathSegment from "../protocol/PathSegment.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import { AirlockConfig } from "./AirlockConfig.js"

type SafePath = Effect.Effect<string, UnsafePath>

/**
 * Absolute paths. Each fails with `UnsafePath` if an id in it is not one path segment, so that no id that a
 * program was given can lead out of `base`.
 *
 * @since 0.1.0
 * @category tags
 */
export class SessionPaths extends Context.Tag("effect-airlock/SessionPaths")<
  SessionPaths,
  {
    /** `<dataDir>/v2-sessions` */
    readonly base: string
    /** `<dataDir>/v2-originals`, with the host's own files of the sessions. */
    readonly originals: string
    /** The central database, `<dataDir>/v2.db`. */
    readonly central: string
    /** `<base>/<agentGroupId>/<sessionId>`: what is mounted into the agent's container. */
    readonly session: (ref: SessionRef) => SafePath
    /** The agent's copy of inbound.db, in the session's folder. */
    readonly inbound: (ref: SessionRef) => SafePath
    /** The host's own inbound.db, `<dataDir>/v2-originals/<agentGroupId>/<sessionId>/inbound.db`; never mounted. */
    readonly original: (ref: SessionRef) => SafePath
    readonly outbound: (ref: SessionRef) => SafePath
    readonly heartbeat: (ref: SessionRef) => SafePath
    /** The folder of one message's attachments for the agent. */
    readonly inbox: (ref: SessionRef, messageId: string) => SafePath
    /** The folder of one message's attachments from the agent. */
    readonly outbox: (ref: SessionRef, messageId: string) => SafePath
  }
>() {
  /**
   * @since 0.1.0
   */
  static readonly layer: Layer.Layer<SessionPaths, never, AirlockConfig> = Layer.effect(
    SessionPaths,
    Effect.map(AirlockConfig, ({ dataDir }) => {
      const base = Path.join(dataDir, SessionLayout.sessions)
      const originals = Path.join(dataDir, SessionLayout.originals)
      const names = ({ agentGroupId, sessionId }: SessionRef) => {
        const unsafe = [agentGroupId, sessionId].find((id) => !PathSegment.isSafe(id))
        return unsafe === undefined
          ? Effect.succeed([agentGroupId, sessionId] as const)
          : Effect.fail(notSegment("SessionPaths.session", unsafe))
      }
      const session = (ref: SessionRef) => Effect.map(names(ref), (own) => below(base, ...own))
      const inside = (name: string) => (ref: SessionRef) =>
        Effect.map(session(ref), (folder) => below(folder, name))
      const ofMessage = (name: string) => (ref: SessionRef, messageId: string) =>
        Effect.zipWith(session(ref), messageFolder(`SessionPaths.${name}`, messageId), (folder, own) =>
          below(folder, name, own)
        )
      return {
        base,
        originals,
        central: Path.join(dataDir, SessionLayout.central),
        session,
        inbound: inside(SessionLayout.inbound),
        original: (ref) => Effect.map(names(ref), (own) => below(originals, ...own, SessionLayout.inbound)),
        outbound: inside(SessionLayout.outbound),
        heartbeat: inside(SessionLayout.heartbeat),
        inbox: ofMessage(SessionLayout.inbox),
        outbox: ofMessage(SessionLayout.outbox)
      }
    })
  )
}

/** What `Path.join` makes of names, several times as fast. */
const below = (folder: string, ...names: ReadonlyArray<string>): string => [folder, ...names].join(Path.sep)

const notSegment = (operation: string, id: string): UnsafePath =>
  new UnsafePath({ operation, path: id, reason: "not-a-segment" })

/**
 * The name of a message's folder, or `UnsafePath` for an id that cannot have one: it is empty, not
 * well-formed Unicode, or too long.
 *
 * @since 0.1.0
 * @category paths
 */
export const messageFolder = (operation: string, messageId: string): SafePath =>
  Option.match(PathSegment.messageFolder(messageId), {
    onNone: () => Effect.fail(notSegment(operation, messageId)),
    onSome: Effect.succeed
  })
