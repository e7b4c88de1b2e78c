/**
 * A whole host on a data directory of its own, which goes away with the scope.
 */
import type { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { Clock, Context, Effect, Layer, Option, PubSub, Ref, Stream } from "effect"
import type { AirlockConfig, Session } from "effect-airlock"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  Mailbox,
  SessionDb,
  SessionManager,
  SessionPaths,
  SessionRegistry
} from "effect-airlock"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as DatabaseFile from "../../src/storage/DatabaseFile.js"
import * as Memory from "./Memory.js"
import * as Raw from "./Raw.js"

const temporaryDirectoryIn = (parent: string) =>
  Effect.acquireRelease(
    Effect.sync(() => Fs.realpathSync(Fs.mkdtempSync(Path.join(parent, "airlock-test-")))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  )

/** A temporary directory, as the file system itself calls it. */
export const temporaryDirectory = temporaryDirectoryIn(Os.tmpdir())

/** The same, in memory if there is room. */
export const memoryDirectory = temporaryDirectoryIn(Memory.folder)

/** The envelopes that the test's channel adapter was given, and what it answers to the next ones. */
export class Channel extends Context.Tag("test/Channel")<
  Channel,
  {
    readonly envelopes: Ref.Ref<ReadonlyArray<ChannelAdapter.Envelope>>
    readonly answer: Ref.Ref<ChannelAdapter.Deliver>
  }
>() {}

const channel = Layer.effect(
  Channel,
  Effect.all({
    envelopes: Ref.make<ReadonlyArray<ChannelAdapter.Envelope>>([]),
    answer: Ref.make<ChannelAdapter.Deliver>(() => Effect.succeed(ChannelAdapter.delivered()))
  })
)

const recording = Layer.unwrapEffect(
  Effect.map(Channel, ({ answer, envelopes }) =>
    ChannelAdapter.ChannelAdapter.layer((envelope) =>
      Effect.zipRight(
        Ref.update(envelopes, (all) => [...all, envelope]),
        Effect.flatMap(Ref.get(answer), (deliver) => deliver(envelope))
      )
    )
  )
)

/** Containers that are nothing but a note: which run, and what was asked of them. */
export class Containers extends Context.Tag("test/Containers")<
  Containers,
  {
    /** By session id, since when (milliseconds since 1970). */
    readonly running: Map<string, number>
    /** What was asked, such as `wake sess-1`, in order. */
    readonly asked: Array<string>
    /** What happens when one is started, after it has been noted. */
    onWake: (session: Session.Session) => Effect.Effect<void, unknown>
    /** What happens before it is told whether one runs, and before one is stopped. */
    onStatus: (session: Session.Session) => Effect.Effect<void, unknown>
    onKill: (session: Session.Session) => Effect.Effect<void, unknown>
    /** Ends a container, as if by itself. */
    readonly end: (session: Session.SessionRef) => Effect.Effect<void>
  }
>() {}

const containers = Layer.effectContext(
  Effect.gen(function* () {
    const exits = yield* PubSub.unbounded<Session.SessionRef>()
    const running = new Map<string, number>()
    const asked: Array<string> = []
    const end = (session: Session.SessionRef) =>
      Effect.suspend(() =>
        running.delete(session.sessionId) ? Effect.asVoid(PubSub.publish(exits, session)) : Effect.void
      )
    const nothing = () => Effect.void
    const control = Containers.of({
      running,
      asked,
      onWake: nothing,
      onStatus: nothing,
      onKill: nothing,
      end
    })
    const runtime = ContainerRuntime.ContainerRuntime.of({
      status: (session) =>
        Effect.map(
          Effect.suspend(() => control.onStatus(session)),
          () => {
            const since = running.get(session.sessionId)
            return since === undefined
              ? ContainerRuntime.stopped
              : ContainerRuntime.running(Option.some(since))
          }
        ),
      wake: (session) =>
        Effect.gen(function* () {
          asked.push(`wake ${session.sessionId}`)
          running.set(session.sessionId, yield* Clock.currentTimeMillis)
          yield* control.onWake(session)
        }),
      kill: (session) =>
        Effect.suspend(() => {
          asked.push(`kill ${session.sessionId}`)
          return Effect.zipRight(control.onKill(session), end(session))
        }),
      exits: Stream.fromPubSub(exits)
    })
    return Context.make(ContainerRuntime.ContainerRuntime, runtime).pipe(Context.add(Containers, control))
  })
)

/** A channel that records, and containers that are notes. */
export const ports = Layer.merge(recording.pipe(Layer.provideMerge(channel)), containers)

/** Everything that a test of the host may ask for. */
export type Services =
  | AirlockHost.AirlockHost
  | Channel
  | Containers
  | ContainerRuntime.ContainerRuntime
  | NodeContext.NodeContext
  | FileSystem.FileSystem

/** Tells writers that a message is stored only when it is in the agent's copy, so that a test can look there at once. */
export const promptly = Layer.effect(
  SessionManager.SessionManager,
  Effect.gen(function* () {
    const manager = yield* SessionManager.SessionManager
    const db = yield* SessionDb.SessionDb
    const published =
      <A extends ReadonlyArray<unknown>, B, E>(
        write: (ref: Session.SessionRef, ...rest: A) => Effect.Effect<B, E>
      ) =>
      (ref: Session.SessionRef, ...rest: A) =>
        Effect.tap(write(ref, ...rest), () => Effect.ignore(db.publish(ref)))
    return SessionManager.SessionManager.of({
      ...manager,
      writeMessage: published(manager.writeMessage),
      writeMessages: published(manager.writeMessages),
      writeSystemResponse: published(manager.writeSystemResponse)
    })
  })
)

/** A host on `dataDir`, whose writers are told `promptly`. */
export const layerAt = (
  dataDir: string,
  options: Omit<AirlockConfig.Options, "dataDir"> = {}
): Layer.Layer<Services, AirlockHost.LayerError> =>
  AirlockHost.loops.pipe(
    Layer.provideMerge(ports),
    Layer.provideMerge(promptly),
    Layer.provideMerge(AirlockHost.sessions({ dataDir, ...options })),
    Layer.provideMerge(NodeContext.layer)
  )

/** A host on a temporary data directory. */
export const layer = (
  options: Omit<AirlockConfig.Options, "dataDir"> = {}
): Layer.Layer<Services, AirlockHost.LayerError> =>
  Layer.unwrapScoped(Effect.map(temporaryDirectory, (dataDir) => layerAt(dataDir, options)))

/** Runs a test on a host of its own, and gives it a scope. */
export const withHost =
  (options: Omit<AirlockConfig.Options, "dataDir"> = {}) =>
  <A, E, R>(test: Effect.Effect<A, E, R>) =>
    Effect.provide(Effect.scoped(test), layer(options))

/** The agent's side of a session folder, in this process, until the scope closes. */
export const mailboxAt = (directory: string) =>
  Effect.map(Layer.build(Mailbox.Mailbox.layer({ directory })), Context.get(Mailbox.Mailbox))

/** A session in a chat that the registry knows, with its folder and its routing. */
export const newSession = (name = "chat", channelType = "test") =>
  Effect.gen(function* () {
    const manager = yield* SessionManager.SessionManager
    const registry = yield* SessionRegistry.SessionRegistry
    yield* registry.putMessagingGroup({ id: name, channelType, platformId: name })
    const { session } = yield* manager.resolve({
      agentGroupId: "agent",
      messagingGroupId: name,
      threadId: null,
      mode: "shared"
    })
    yield* manager.writeRouting(session)
    return session
  })

/** Waits in real time until something can be seen, for at most ten seconds. Time does not pass by the TestClock. */
export const until = <E = never, R = never>(isThere: () => boolean | Effect.Effect<boolean, E, R>) =>
  Effect.suspend((): Effect.Effect<boolean, E, R> => {
    const answer = isThere()
    return typeof answer === "boolean" ? Effect.succeed(answer) : answer
  }).pipe(
    Effect.tap((there) =>
      there ? Effect.void : Effect.promise(() => new Promise((done) => setTimeout(done, 2)))
    ),
    Effect.repeat({ until: (there) => there, times: 5000 }),
    Effect.filterOrDieMessage((there) => there, "it did not come")
  )

/** Lets whatever can go on without the clock do so. */
export const pause = Effect.promise(() => new Promise((done) => setTimeout(done, 20)))

/** The folder of a session. */
export const folderOf = (ref: { readonly agentGroupId: string; readonly sessionId: string }) =>
  Effect.flatMap(SessionPaths.SessionPaths, (paths) => paths.session(ref))

/** The host's own inbound.db of the session that has a folder. */
export const originalOf = (folder: string) =>
  Path.join(folder.replace("/v2-sessions/", "/v2-originals/"), "inbound.db")

/** What the host publishes of its own inbound.db. */
export const publishedOf = (folder: string): Uint8Array =>
  DatabaseFile.inRollbackMode(Raw.bytes(originalOf(folder)))

/** Puts another file in the place of the host's own inbound.db, as one who restores it does. */
export const replaceOriginal = (folder: string, content: string | Uint8Array) => {
  const path = originalOf(folder)
  for (const beside of ["-wal", "-shm"]) Fs.rmSync(path + beside, { force: true })
  Fs.writeFileSync(`${path}.other`, content)
  Fs.renameSync(`${path}.other`, path)
}

/** Leaves the folder as a host of another build does, which has nothing outside of it. */
export const forgetOriginal = (folder: string) =>
  Fs.rmSync(Path.dirname(originalOf(folder)), { recursive: true })

const summary = (bytes: Buffer): string =>
  bytes.byteLength < 1000 ? bytes.toString("latin1") : createHash("sha256").update(bytes).digest("hex")

/**
 * Every file below a folder, relative to it and sorted, with its contents (of a large file, their hash); links
 * are named, not followed.
 */
export const contentsOf = (folder: string): Record<string, string> => {
  const contents: Record<string, string> = {}
  const visit = (relative: string) => {
    for (const entry of Fs.readdirSync(Path.join(folder, relative), { withFileTypes: true })) {
      const path = Path.join(relative, entry.name)
      if (entry.isDirectory()) visit(path)
      else if (entry.isSymbolicLink()) contents[path] = `-> ${Fs.readlinkSync(Path.join(folder, path))}`
      else if (entry.isFile()) contents[path] = summary(Fs.readFileSync(Path.join(folder, path)))
      else contents[path] = "(special)"
    }
  }
  visit("")
  return Object.fromEntries(Object.entries(contents).sort(([a], [b]) => (a < b ? -1 : 1)))
}
