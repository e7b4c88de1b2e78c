/**
 * The settings of a host.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Path from "node:path"

/**
 * Past a limit a call fails with a typed error, and nothing is written. Sizes are in bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Limits {
  /** Attachments of one message. Default 32. */
  readonly attachments: number
  /** One attachment. Default 100 MiB. */
  readonly attachmentBytes: number
  /** All attachments of one message. Default 250 MiB. */
  readonly messageAttachmentBytes: number
  /** The content of one message, as UTF-8, without attachments. Default 1 MiB. */
  readonly contentBytes: number
  /** An outbound.db that the host is willing to copy, and its journal. Default 64 MiB. */
  readonly databaseBytes: number
  /** One file that an agent sends. Default 100 MiB. */
  readonly outboxFileBytes: number
  /** Messages that one `drain` takes from a session. Default 200. */
  readonly drainMessages: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/**
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /** The absolute path of the folder that holds `v2.db` and `v2-sessions/`. */
  readonly dataDir: string
  /**
   * What becomes of an attachment whose name is not safe as a file name. `rename` (the default) stores it
   * under a derived name, which the result of the write tells. `fail` fails the whole write.
   */
  readonly unsafeAttachmentNames: "rename" | "fail"
  /**
   * Who shall own what the agent writes (the session folder, `outbox/` and outbound.db), for a host that runs
   * as root and an agent that does not. Default: whoever the host runs as.
   */
  readonly owner: Option.Option<Owner>
  /** How long to wait for a file that is locked or keeps changing. Default 5 seconds. */
  readonly patience: Duration.Duration
  /** How long `ChannelAdapter.deliver` may take. Default 1 minute. */
  readonly deliveryTimeout: Duration.Duration
  readonly limits: Limits
}

/**
 * Settings as a program gives them: only `dataDir` is needed. A relative `dataDir` is relative to the working
 * directory.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly dataDir: string
  readonly unsafeAttachmentNames?: "rename" | "fail" | undefined
  readonly owner?: Owner | undefined
  readonly patience?: Duration.DurationInput | undefined
  readonly deliveryTimeout?: Duration.DurationInput | undefined
  readonly limits?: Partial<Limits> | undefined
}

const mebibyte = 1024 * 1024

/**
 * @since 0.1.0
 * @category defaults
 */
export const defaultLimits: Limits = {
  attachments: 32,
  attachmentBytes: 100 * mebibyte,
  messageAttachmentBytes: 250 * mebibyte,
  contentBytes: mebibyte,
  databaseBytes: 64 * mebibyte,
  outboxFileBytes: 100 * mebibyte,
  drainMessages: 200
}

/** What is really given: a setting that is there, and undefined, is not. */
const given = (limits: Partial<Limits>): Partial<Limits> =>
  Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined))

/**
 * Settings with every default filled in.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Settings => ({
  dataDir: Path.resolve(options.dataDir),
  unsafeAttachmentNames: options.unsafeAttachmentNames ?? "rename",
  owner: Option.fromNullable(options.owner),
  patience: Duration.decode(options.patience ?? "5 seconds"),
  deliveryTimeout: Duration.decode(options.deliveryTimeout ?? "1 minute"),
  limits: { ...defaultLimits, ...given(options.limits ?? {}) }
})

const limit = (name: string, fallback: number) =>
  Config.integer(name).pipe(
    Config.validate({ message: "must be positive", validation: (n) => n > 0 }),
    Config.withDefault(fallback)
  )

const ownerConfig = Config.all({
  uid: Config.option(Config.integer("OWNER_UID")),
  gid: Config.option(Config.integer("OWNER_GID"))
}).pipe(
  Config.mapOrFail(({ gid, uid }) =>
    Option.isSome(uid) === Option.isSome(gid)
      ? Either.right(Option.all({ uid, gid }))
      : Either.left(
          ConfigError.InvalidData(["OWNER_UID"], "AIRLOCK_OWNER_UID and AIRLOCK_OWNER_GID go together")
        )
  )
)

/**
 * The settings as a `Config`, under the prefix `AIRLOCK_`:
 *
 * | variable | setting | default |
 * | --- | --- | --- |
 * | `AIRLOCK_DATA_DIR` | `dataDir` | `./data` |
 * | `AIRLOCK_UNSAFE_ATTACHMENT_NAMES` | `unsafeAttachmentNames` | `rename` |
 * | `AIRLOCK_OWNER_UID`, `AIRLOCK_OWNER_GID` | `owner` | none |
 * | `AIRLOCK_PATIENCE` | `patience` | `5 seconds` |
 * | `AIRLOCK_DELIVERY_TIMEOUT` | `deliveryTimeout` | `1 minute` |
 * | `AIRLOCK_LIMITS_ATTACHMENTS`, `…_ATTACHMENT_BYTES`, `…_MESSAGE_ATTACHMENT_BYTES`, `…_CONTENT_BYTES`, `…_DATABASE_BYTES`, `…_OUTBOX_FILE_BYTES`, `…_DRAIN_MESSAGES` | `limits` | see `Limits` |
 *
 * @since 0.1.0
 * @category config
 */
export const config: Config.Config<Settings> = Config.nested(
  Config.all({
    dataDir: Config.nonEmptyString("DATA_DIR").pipe(Config.withDefault("./data")),
    unsafeAttachmentNames: Config.literal(
      "rename",
      "fail"
    )("UNSAFE_ATTACHMENT_NAMES").pipe(Config.withDefault("rename" as const)),
    owner: ownerConfig,
    patience: Config.duration("PATIENCE").pipe(Config.withDefault(Duration.seconds(5))),
    deliveryTimeout: Config.duration("DELIVERY_TIMEOUT").pipe(Config.withDefault(Duration.minutes(1))),
    limits: Config.all({
      attachments: limit("LIMITS_ATTACHMENTS", defaultLimits.attachments),
      attachmentBytes: limit("LIMITS_ATTACHMENT_BYTES", defaultLimits.attachmentBytes),
      messageAttachmentBytes: limit("LIMITS_MESSAGE_ATTACHMENT_BYTES", defaultLimits.messageAttachmentBytes),
      contentBytes: limit("LIMITS_CONTENT_BYTES", defaultLimits.contentBytes),
      databaseBytes: limit("LIMITS_DATABASE_BYTES", defaultLimits.databaseBytes),
      outboxFileBytes: limit("LIMITS_OUTBOX_FILE_BYTES", defaultLimits.outboxFileBytes),
      drainMessages: limit("LIMITS_DRAIN_MESSAGES", defaultLimits.drainMessages)
    })
  }),
  "AIRLOCK"
).pipe(Config.map(({ owner, ...rest }) => make({ ...rest, owner: Option.getOrUndefined(owner) })))

/**
 * @since 0.1.0
 * @category tags
 */
export class AirlockConfig extends Context.Tag("effect-airlock/AirlockConfig")<AirlockConfig, Settings>() {
  /**
   * Settings that the program gives.
   *
   * @since 0.1.0
   */
  static readonly layer = (options: Options): Layer.Layer<AirlockConfig> =>
    Layer.sync(AirlockConfig, () => make(options))

  /**
   * Settings from the `ConfigProvider`, which by default reads the environment. See `config` for the names.
   *
   * @since 0.1.0
   */
  static readonly layerConfig: Layer.Layer<AirlockConfig, ConfigError.ConfigError> = Layer.effect(
    AirlockConfig,
    Effect.map(config, (settings) => settings)
  )
}
