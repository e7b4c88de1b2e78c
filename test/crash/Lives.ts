/**
 * Hosts and agents that live in this process, on a data directory, and can be killed; see `KillSwitch`.
 */
import type { Context } from "effect"
import { Effect, Exit, Layer, Scope } from "effect"
import {
  AirlockConfig,
  AirlockHost,
  ChannelAdapter,
  Delivery,
  Mailbox,
  SessionManager,
  SessionPaths,
  SessionRegistry,
  Sweep
} from "effect-airlock"
import * as MailboxParts from "../../src/guest/Mailbox.js"
import * as StorageLayer from "../../src/storage/StorageLayer.js"
import * as KillSwitch from "../model/KillSwitch.js"
import * as MortalStorage from "../model/MortalStorage.js"
import type * as Seam from "../support/Seam.js"
import type { HostServices, Side } from "./Operations.js"
import type { Scene } from "./Scene.js"
import * as Scenes from "./Scene.js"

/** Where things are. `grave` is what is left of who was killed. */
export interface Place {
  readonly dataDir: string
  readonly grave: string
  /** Private copies: what a temporary directory is elsewhere. */
  readonly copies: string
}

type Services = HostServices | SessionRegistry.SessionRegistry | Mailbox.Mailbox

type StorageLayers = typeof StorageLayer.layer

const layers = {
  host: (
    { dataDir }: Place,
    _: Scene,
    storage: StorageLayers,
    note: (envelope: ChannelAdapter.Envelope) => void
  ) =>
    AirlockHost.loops.pipe(
      Layer.provideMerge(AirlockHost.sessionsWithoutStorage),
      Layer.provideMerge(SessionRegistry.SessionRegistry.layerSqlite),
      Layer.provideMerge(SessionPaths.SessionPaths.layer),
      Layer.provideMerge(AirlockConfig.AirlockConfig.layer(Scenes.settings(dataDir))),
      Layer.provide(ChannelAdapter.ChannelAdapter.layer(Scenes.deliver(note))),
      Layer.provide(Scenes.shortLived),
      Layer.provide(storage)
    ),
  agent: ({ dataDir }: Place, { session }: Scene, storage: StorageLayers) =>
    Layer.provide(MailboxParts.layerWithoutStorage({ directory: Scenes.folderOf(dataDir, session) }), storage)
}

export interface Life {
  readonly switch: KillSwitch.KillSwitch
  readonly run: <A, E>(effect: Effect.Effect<A, E, Services>) => Effect.Effect<Exit.Exit<A, E>>
  /** What it leaves behind is what it left when it was killed, if it was. */
  readonly end: Effect.Effect<void>
}

export interface Options {
  readonly seam?: Seam.Seam | undefined
  /** Told of everything that the host delivers. */
  readonly note?: ((envelope: ChannelAdapter.Envelope) => void) | undefined
  /** On storage as it is: it is not killed, and takes processes for what they are. */
  readonly isReal?: boolean | undefined
}

/** Starts one. */
export const start = (
  side: Side,
  place: Place,
  scene: Scene,
  { isReal = false, note = () => undefined, seam }: Options = {}
) =>
  Effect.gen(function* () {
    const life = KillSwitch.make(place.dataDir, place.grave)
    const scope = yield* Scope.make()
    const storage = isReal ? StorageLayer.layer : MortalStorage.layer(life, place.copies, seam)
    const layer: Layer.Layer<never, unknown> = layers[side](place, scene, storage, note)
    const context = (yield* Layer.buildWithScope(layer, scope)) as Context.Context<Services>
    const started: Life = {
      switch: life,
      run: (effect) => Effect.exit(Effect.provide(effect, context)),
      end: Effect.zipRight(Scope.close(scope, Exit.void), Effect.sync(life.end))
    }
    return started
  })

const rounds = 200

const settle = (delivery: Delivery.Delivery["Type"], session: Scene["session"]) =>
  delivery.drain(session).pipe(
    Effect.delay("1 millis"),
    Effect.repeat({
      until: ({ delivered, failed, waiting }) => delivered.length + failed.length + waiting.length === 0,
      times: rounds
    })
  )

/** What a host does when it is started: it finds its chats again, and runs its loops once over every session. */
export const hostLoops = Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const registry = yield* SessionRegistry.SessionRegistry
  const delivery = yield* Delivery.Delivery
  const sweep = yield* Sweep.Sweep
  for (const chat of ["home", "second"]) yield* manager.resolve(Scenes.chat(chat))
  for (const session of yield* registry.listActiveSessions()) {
    yield* Effect.zipRight(sweep.sweep(session), settle(delivery, session)).pipe(
      // A session whose making was not finished has no folder yet.
      Effect.catchIf(
        (error) => error._tag === "SessionDbUnavailable" && error.reason === "missing",
        () => Effect.void
      )
    )
  }
})

/** What an agent does when it is started. */
export const agentLoops = Effect.flatMap(Mailbox.Mailbox, (mailbox) =>
  Effect.zipRight(mailbox.poll, mailbox.heartbeat)
)
