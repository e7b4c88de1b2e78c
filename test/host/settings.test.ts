import { describe, expect, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, Layer, Option } from "effect"
import { AirlockConfig, SessionPaths } from "effect-airlock"
import * as Path from "node:path"

const read = (environment: Record<string, string>) =>
  AirlockConfig.AirlockConfig.pipe(
    Effect.provide(AirlockConfig.AirlockConfig.layerConfig),
    Effect.withConfigProvider(
      ConfigProvider.fromMap(new Map(Object.entries(environment)), { pathDelim: "_", seqDelim: "," })
    )
  )

describe("AirlockConfig", () => {
  it.effect("has a default for everything but the data directory, and one for that in the environment", () =>
    Effect.gen(function* () {
      const given = yield* Effect.provide(
        AirlockConfig.AirlockConfig,
        AirlockConfig.AirlockConfig.layer({ dataDir: "data" })
      )
      expect(given).toEqual(yield* read({}))
      expect(given).toEqual({
        dataDir: Path.resolve("data"),
        unsafeAttachmentNames: "rename",
        owner: Option.none(),
        durability: "process",
        patience: Duration.seconds(5),
        deliveryTimeout: Duration.minutes(1),
        deliveryRetries: AirlockConfig.defaultDeliveryRetries,
        unknownDeliveries: "resend",
        messageRetries: AirlockConfig.defaultMessageRetries,
        containerTimeout: Duration.minutes(1),
        answerExpiry: Duration.minutes(10),
        timeZone: "UTC",
        stuck: { claims: Duration.minutes(1), silence: Duration.minutes(30), tool: Duration.hours(1) },
        intervals: {
          deliverRunning: Duration.seconds(1),
          deliverAll: Duration.minutes(1),
          sweepRunning: Duration.seconds(5),
          sweepAll: Duration.minutes(1)
        },
        concurrency: 16,
        limits: AirlockConfig.defaultLimits
      })
    })
  )

  it.effect("reads every setting from the environment", () =>
    Effect.gen(function* () {
      const settings = yield* read({
        AIRLOCK_DATA_DIR: "/srv/airlock",
        AIRLOCK_UNSAFE_ATTACHMENT_NAMES: "fail",
        AIRLOCK_OWNER_UID: "1000",
        AIRLOCK_OWNER_GID: "1001",
        AIRLOCK_DURABILITY: "power",
        AIRLOCK_PATIENCE: "2 seconds",
        AIRLOCK_DELIVERY_TIMEOUT: "10 seconds",
        AIRLOCK_UNKNOWN_DELIVERIES: "hold",
        AIRLOCK_CONTAINER_TIMEOUT: "2 minutes",
        AIRLOCK_ANSWER_EXPIRY: "1 hour",
        AIRLOCK_TIME_ZONE: "Europe/Zurich",
        AIRLOCK_STUCK_CLAIMS: "1 second",
        AIRLOCK_STUCK_SILENCE: "2 seconds",
        AIRLOCK_STUCK_TOOL: "3 seconds",
        AIRLOCK_INTERVALS_DELIVER_RUNNING: "4 seconds",
        AIRLOCK_INTERVALS_DELIVER_ALL: "5 seconds",
        AIRLOCK_INTERVALS_SWEEP_RUNNING: "6 seconds",
        AIRLOCK_INTERVALS_SWEEP_ALL: "7 seconds",
        AIRLOCK_CONCURRENCY: "8",
        AIRLOCK_LIMITS_ATTACHMENTS: "1",
        AIRLOCK_LIMITS_ATTACHMENT_BYTES: "2",
        AIRLOCK_LIMITS_MESSAGE_ATTACHMENT_BYTES: "3",
        AIRLOCK_LIMITS_CONTENT_BYTES: "4",
        AIRLOCK_LIMITS_DATABASE_BYTES: "5",
        AIRLOCK_LIMITS_OUTBOX_FILE_BYTES: "6",
        AIRLOCK_LIMITS_DRAIN_MESSAGES: "7",
        AIRLOCK_LIMITS_FAILURES: "11",
        AIRLOCK_LIMITS_DATABASE_ROWS: "8",
        AIRLOCK_LIMITS_DRAIN_BYTES: "9",
        AIRLOCK_LIMITS_JSON_DEPTH: "10"
      })
      expect(settings).toEqual({
        dataDir: Path.resolve("/srv/airlock"),
        unsafeAttachmentNames: "fail",
        owner: Option.some({ uid: 1000, gid: 1001 }),
        durability: "power",
        patience: Duration.seconds(2),
        deliveryTimeout: Duration.seconds(10),
        deliveryRetries: AirlockConfig.defaultDeliveryRetries,
        unknownDeliveries: "hold",
        messageRetries: AirlockConfig.defaultMessageRetries,
        containerTimeout: Duration.minutes(2),
        answerExpiry: Duration.hours(1),
        timeZone: "Europe/Zurich",
        stuck: { claims: Duration.seconds(1), silence: Duration.seconds(2), tool: Duration.seconds(3) },
        intervals: {
          deliverRunning: Duration.seconds(4),
          deliverAll: Duration.seconds(5),
          sweepRunning: Duration.seconds(6),
          sweepAll: Duration.seconds(7)
        },
        concurrency: 8,
        limits: {
          attachments: 1,
          attachmentBytes: 2,
          messageAttachmentBytes: 3,
          contentBytes: 4,
          databaseBytes: 5,
          outboxFileBytes: 6,
          drainMessages: 7,
          failures: 11,
          databaseRows: 8,
          drainBytes: 9,
          jsonDepth: 10
        }
      })
    })
  )

  it.effect("fails on settings that make no sense", () =>
    Effect.gen(function* () {
      for (const environment of [
        { AIRLOCK_UNSAFE_ATTACHMENT_NAMES: "maybe" },
        { AIRLOCK_LIMITS_ATTACHMENTS: "-1" },
        { AIRLOCK_PATIENCE: "soon" },
        { AIRLOCK_TIME_ZONE: "Mars/Olympus" },
        { AIRLOCK_STUCK_CLAIMS: "long" },
        { AIRLOCK_CONCURRENCY: "0" },
        { AIRLOCK_INTERVALS_SWEEP_ALL: "0 seconds" },
        { AIRLOCK_OWNER_UID: "1000" }
      ]) {
        expect((yield* Effect.exit(read(environment)))._tag).toBe("Failure")
      }
    })
  )
})

describe("AirlockConfig.make", () => {
  it("throws on settings with which a host would do nothing", () => {
    const wrong: ReadonlyArray<readonly [Partial<AirlockConfig.Options>, string]> = [
      [{ concurrency: 0 }, "concurrency"],
      [{ limits: { drainMessages: Number.NaN } }, "drainMessages"],
      [{ intervals: { deliverAll: 0 } }, "deliverAll"],
      [{ timeZone: "Mars/Olympus" }, "time zone"]
    ]
    for (const [options, message] of wrong) {
      expect(() => AirlockConfig.make({ dataDir: "data", ...options })).toThrow(message)
    }
  })
})

describe("SessionPaths", () => {
  const ref = { agentGroupId: "ag", sessionId: "sess-1" }

  it.effect("knows where everything of a session lies", () =>
    Effect.gen(function* () {
      const paths = yield* SessionPaths.SessionPaths
      const base = Path.resolve("/data/v2-sessions")
      const folder = Path.join(base, "ag", "sess-1")
      expect(paths.base).toBe(base)
      expect(paths.central).toBe(Path.resolve("/data/v2.db"))
      expect(yield* paths.session(ref)).toBe(folder)
      expect(yield* paths.inbound(ref)).toBe(Path.join(folder, "inbound.db"))
      expect(yield* paths.outbound(ref)).toBe(Path.join(folder, "outbound.db"))
      expect(yield* paths.heartbeat(ref)).toBe(Path.join(folder, ".heartbeat"))
      expect(yield* paths.inbox(ref, "m")).toBe(Path.join(folder, "inbox", "m"))
      expect(yield* paths.outbox(ref, "a/b")).toBe(Path.join(folder, "outbox", "a%2Fb"))
      expect(yield* Effect.flip(paths.outbox(ref, ""))).toMatchObject({ _tag: "UnsafePath" })
    }).pipe(
      Effect.provide(
        SessionPaths.SessionPaths.layer.pipe(
          Layer.provide(AirlockConfig.AirlockConfig.layer({ dataDir: "/data" }))
        )
      )
    )
  )
})
