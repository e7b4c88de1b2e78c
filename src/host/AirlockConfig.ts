/**
 * The settings of a host.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Path from "node:path"
import type { Durability } from "../storage/Durability.js"

export type { Durability } from "../storage/Durability.js"

/**
 * Past a limit a call fails with a typed error, and nothing is written; a message of the agent goes to the list of
 * failures, with the reason. Sizes are in bytes.
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
  /** Rows of one table of an outbound.db, or entries of an index. Default 250,000. */
  readonly databaseRows: number
  /** One file that an agent sends. Default 100 MiB. */
  readonly outboxFileBytes: number
  /** Messages that one `drain` takes from a session. Default 200. */
  readonly drainMessages: number
  /**
   * Failed messages that a session may have before it is not drained any more, because each is kept by the host. Default
   * 10,000.
   */
  readonly failures: number
  /** The contents of the messages that one `drain` takes, of which it takes one at least. Default 16 MiB. */
  readonly drainBytes: number
  /** How deep arrays and objects may be nested in content that is JSON, in either direction. Default 100. */
  readonly jsonDepth: number
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
 * How often the loops look at sessions. A look at one in which nothing has changed costs a few microseconds.
 *
 * @since 0.1.0
 * @category models
 */
export interface Intervals {
  /** `Delivery.run`, at sessions whose container runs. Default 1 second. */
  readonly deliverRunning: Duration.Duration
  /** `Delivery.run`, at all active sessions. Default 1 minute. */
  readonly deliverAll: Duration.Duration
  /** `Sweep.run`, at sessions whose container runs. Default 5 seconds. */
  readonly sweepRunning: Duration.Duration
  /** `Sweep.run`, at all active sessions. Default 1 minute. */
  readonly sweepAll: Duration.Duration
}

/**
 * When a running container counts as stuck, and is killed. Life is what the host sees: the heartbeat file
 * changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface StuckPolicy {
  /** How long the agent may hold a claim without a sign of life. Default 1 minute. */
  readonly claims: Duration.Duration
  /** How long it may go without a sign of life at all. Default 30 minutes. */
  readonly silence: Duration.Duration
  /**
   * A tool that the agent declares to be using, with a timeout, makes both longer, up to this. Default 1 hour.
   */
  readonly tool: Duration.Duration
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
  /**
   * What survives what: `process` (the default), a killed process; `power`, a loss of power as well. See `Durability` for
   * what that means, and README for what it costs.
   */
  readonly durability: Durability
  /** How long to wait for a file that is locked or keeps changing. Default 5 seconds. */
  readonly patience: Duration.Duration
  /**
   * How long `ChannelAdapter.deliver`, or a handler of `SystemActions`, may take. Default 1 minute. Then it is interrupted, and what
   * cannot be interrupted is waited for.
   */
  readonly deliveryTimeout: Duration.Duration
  /**
   * When a message that could not be delivered is tried again; when the schedule ends, it goes to the list of
   * failures. Default: after 1 second, then doubling up to every 10 minutes, for a day.
   */
  readonly deliveryRetries: Schedule.Schedule<unknown>
  /**
   * What becomes of a message of which nobody knows whether it arrived: the host was killed while it was sent, or
   * the adapter failed or did not answer. `resend` (the default) tries again, under the same idempotency key;
   * `hold` puts it into the list of failures.
   */
  readonly unknownDeliveries: "resend" | "hold"
  /**
   * When a message is offered again whose agent ended without a verdict; when the schedule ends, it has failed.
   * Default: after 5 seconds, then doubling, five times.
   */
  readonly messageRetries: Schedule.Schedule<unknown>
  /** How long each call of the `ContainerRuntime` may take. Default 1 minute. */
  readonly containerTimeout: Duration.Duration
  /** How long an answer waits for the agent that asked, before it is cancelled. Default 10 minutes. */
  readonly answerExpiry: Duration.Duration
  /** The IANA time zone in which cron expressions are meant. Default `UTC`. */
  readonly timeZone: string
  readonly stuck: StuckPolicy
  readonly intervals: Intervals
  /**
   * How many sessions each loop reads at a time, and how many messages of one session are on their way to one channel
   * at a time. Of the sessions with a stopped container, a look at all of them reads a quarter as many at a time, and one at
   * least. How much a platform takes at once from all sessions is its adapter's affair. Default 16.
   */
  readonly concurrency: number
  readonly limits: Limits
}

type Inputs<A> = { readonly [K in keyof A]?: Duration.DurationInput | undefined }

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
  readonly durability?: Durability | undefined
  readonly patience?: Duration.DurationInput | undefined
  readonly deliveryTimeout?: Duration.DurationInput | undefined
  readonly deliveryRetries?: Schedule.Schedule<unknown> | undefined
  readonly unknownDeliveries?: "resend" | "hold" | undefined
  readonly messageRetries?: Schedule.Schedule<unknown> | undefined
  readonly containerTimeout?: Duration.DurationInput | undefined
  readonly answerExpiry?: Duration.DurationInput | undefined
  readonly timeZone?: string | undefined
  readonly stuck?: Inputs<StuckPolicy> | undefined
  readonly intervals?: Inputs<Intervals> | undefined
  readonly concurrency?: number | undefined
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
  databaseRows: 250_000,
  outboxFileBytes: 100 * mebibyte,
  drainMessages: 200,
  failures: 10_000,
  drainBytes: 16 * mebibyte,
  jsonDepth: 100
}

/**
 * @since 0.1.0
 * @category defaults
 */
export const defaultDeliveryRetries: Schedule.Schedule<unknown> = Schedule.exponential("1 second").pipe(
  Schedule.union(Schedule.spaced("10 minutes")),
  Schedule.upTo("1 day")
)

/**
 * @since 0.1.0
 * @category defaults
 */
export const defaultMessageRetries: Schedule.Schedule<unknown> = Schedule.exponential("5 seconds").pipe(
  Schedule.intersect(Schedule.recurs(5))
)

/** What is really given: a setting that is there, and undefined, is not. */
const given = (limits: Partial<Limits>): Partial<Limits> =>
  Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined))

/** Settings that make no sense would not fail, but do nothing: no session would ever be read. */
const checked = (settings: Settings): Settings => {
  const { deliverAll, deliverRunning, sweepAll, sweepRunning } = settings.intervals
  const amounts: ReadonlyArray<readonly [string, number]> = [
    ["concurrency", settings.concurrency],
    ...Object.entries(settings.limits),
    ["intervals.deliverRunning", Duration.toMillis(deliverRunning)],
    ["intervals.deliverAll", Duration.toMillis(deliverAll)],
    ["intervals.sweepRunning", Duration.toMillis(sweepRunning)],
    ["intervals.sweepAll", Duration.toMillis(sweepAll)]
  ]
  const wrong = amounts.find(([, amount]) => !(amount > 0))
  if (wrong !== undefined) throw new RangeError(`AirlockConfig: ${wrong[0]} must be positive`)
  return settings
}

/**
 * Settings with every default filled in. Those that make no sense are a mistake in the program, and throw: a time zone
 * that nobody knows, or a limit, an interval or a concurrency that is not positive.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options): Settings =>
  checked({
    dataDir: Path.resolve(options.dataDir),
    unsafeAttachmentNames: options.unsafeAttachmentNames ?? "rename",
    owner: Option.fromNullable(options.owner),
    durability: options.durability ?? "process",
    patience: Duration.decode(options.patience ?? "5 seconds"),
    deliveryTimeout: Duration.decode(options.deliveryTimeout ?? "1 minute"),
    deliveryRetries: options.deliveryRetries ?? defaultDeliveryRetries,
    unknownDeliveries: options.unknownDeliveries ?? "resend",
    messageRetries: options.messageRetries ?? defaultMessageRetries,
    containerTimeout: Duration.decode(options.containerTimeout ?? "1 minute"),
    answerExpiry: Duration.decode(options.answerExpiry ?? "10 minutes"),
    timeZone: DateTime.zoneUnsafeMakeNamed(options.timeZone ?? "UTC").id,
    stuck: {
      claims: Duration.decode(options.stuck?.claims ?? "1 minute"),
      silence: Duration.decode(options.stuck?.silence ?? "30 minutes"),
      tool: Duration.decode(options.stuck?.tool ?? "1 hour")
    },
    intervals: {
      deliverRunning: Duration.decode(options.intervals?.deliverRunning ?? "1 second"),
      deliverAll: Duration.decode(options.intervals?.deliverAll ?? "1 minute"),
      sweepRunning: Duration.decode(options.intervals?.sweepRunning ?? "5 seconds"),
      sweepAll: Duration.decode(options.intervals?.sweepAll ?? "1 minute")
    },
    concurrency: options.concurrency ?? 16,
    limits: { ...defaultLimits, ...given(options.limits ?? {}) }
  })

const limit = (name: string, fallback: number) =>
  Config.integer(name).pipe(
    Config.validate({ message: "must be positive", validation: (n) => n > 0 }),
    Config.withDefault(fallback)
  )

const timeZoneConfig = Config.validate(Config.string("TIME_ZONE"), {
  message: "must be an IANA time zone",
  validation: (name) => Option.isSome(DateTime.zoneMakeNamed(name))
})

const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(config), Option.getOrUndefined)

const duration = (name: string) => optional(Config.duration(name))

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
 * | `AIRLOCK_DURABILITY` | `durability` | `process` |
 * | `AIRLOCK_PATIENCE` | `patience` | `5 seconds` |
 * | `AIRLOCK_DELIVERY_TIMEOUT` | `deliveryTimeout` | `1 minute` |
 * | `AIRLOCK_UNKNOWN_DELIVERIES` | `unknownDeliveries` | `resend` |
 * | `AIRLOCK_CONTAINER_TIMEOUT` | `containerTimeout` | `1 minute` |
 * | `AIRLOCK_ANSWER_EXPIRY` | `answerExpiry` | `10 minutes` |
 * | `AIRLOCK_TIME_ZONE` | `timeZone` | `UTC` |
 * | `AIRLOCK_STUCK_CLAIMS`, `…_SILENCE`, `…_TOOL` | `stuck` | see `StuckPolicy` |
 * | `AIRLOCK_INTERVALS_DELIVER_RUNNING`, `…_DELIVER_ALL`, `…_SWEEP_RUNNING`, `…_SWEEP_ALL` | `intervals` | see `Intervals` |
 * | `AIRLOCK_CONCURRENCY` | `concurrency` | 16 |
 * | `AIRLOCK_LIMITS_ATTACHMENTS`, `…_ATTACHMENT_BYTES`, `…_MESSAGE_ATTACHMENT_BYTES`, `…_CONTENT_BYTES`, `…_DATABASE_BYTES`, `…_DATABASE_ROWS`, `…_OUTBOX_FILE_BYTES`, `…_DRAIN_MESSAGES`, `…_FAILURES`, `…_DRAIN_BYTES`, `…_JSON_DEPTH` | `limits` | see `Limits` |
 *
 * Schedules are for programs only: see `Options`.
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
    durability: Config.literal("process", "power")("DURABILITY").pipe(Config.withDefault("process" as const)),
    patience: Config.duration("PATIENCE").pipe(Config.withDefault(Duration.seconds(5))),
    deliveryTimeout: Config.duration("DELIVERY_TIMEOUT").pipe(Config.withDefault(Duration.minutes(1))),
    unknownDeliveries: Config.literal(
      "resend",
      "hold"
    )("UNKNOWN_DELIVERIES").pipe(Config.withDefault("resend" as const)),
    containerTimeout: duration("CONTAINER_TIMEOUT"),
    answerExpiry: duration("ANSWER_EXPIRY"),
    timeZone: optional(timeZoneConfig),
    stuck: Config.all({
      claims: duration("STUCK_CLAIMS"),
      silence: duration("STUCK_SILENCE"),
      tool: duration("STUCK_TOOL")
    }),
    intervals: Config.all({
      deliverRunning: duration("INTERVALS_DELIVER_RUNNING"),
      deliverAll: duration("INTERVALS_DELIVER_ALL"),
      sweepRunning: duration("INTERVALS_SWEEP_RUNNING"),
      sweepAll: duration("INTERVALS_SWEEP_ALL")
    }),
    concurrency: limit("CONCURRENCY", 16),
    limits: Config.all({
      attachments: limit("LIMITS_ATTACHMENTS", defaultLimits.attachments),
      attachmentBytes: limit("LIMITS_ATTACHMENT_BYTES", defaultLimits.attachmentBytes),
      messageAttachmentBytes: limit("LIMITS_MESSAGE_ATTACHMENT_BYTES", defaultLimits.messageAttachmentBytes),
      contentBytes: limit("LIMITS_CONTENT_BYTES", defaultLimits.contentBytes),
      databaseBytes: limit("LIMITS_DATABASE_BYTES", defaultLimits.databaseBytes),
      databaseRows: limit("LIMITS_DATABASE_ROWS", defaultLimits.databaseRows),
      outboxFileBytes: limit("LIMITS_OUTBOX_FILE_BYTES", defaultLimits.outboxFileBytes),
      drainMessages: limit("LIMITS_DRAIN_MESSAGES", defaultLimits.drainMessages),
      failures: limit("LIMITS_FAILURES", defaultLimits.failures),
      drainBytes: limit("LIMITS_DRAIN_BYTES", defaultLimits.drainBytes),
      jsonDepth: limit("LIMITS_JSON_DEPTH", defaultLimits.jsonDepth)
    })
  }),
  "AIRLOCK"
).pipe(
  Config.mapOrFail(({ owner, ...rest }) =>
    Either.try({
      try: () => make({ ...rest, owner: Option.getOrUndefined(owner) }),
      catch: (cause) => ConfigError.InvalidData([], cause instanceof Error ? cause.message : String(cause))
    })
  )
)

/**
 * @since 0.1.0
 * @category tags
 */
export class AirlockConfig extends Context.Tag("effect-airlock/AirlockConfig")<AirlockConfig, Settings>() {
  /**
   * Settings that the program gives. Those that make no sense are a defect; see `make`.
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
