/**
 * What an agent puts into the place of inbound.db, which the host has published in the session folder, and beside it. The
 * host never opens any of it with SQLite, and believes nothing of it: it decides by its own file, and the next publication
 * puts things right. Only a directory is left there, with a typed error, until somebody removes it.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Logger, LogLevel } from "effect"
import { Delivery, SessionManager, Sweep } from "effect-airlock"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import * as Place from "./Place.js"
import * as Trace from "./Trace.js"
import * as TracedHost from "./TracedHost.js"

interface Plant {
  readonly name: string
  readonly plant: (folder: string, canary: string) => void
}

const remove = (path: string) => Fs.rmSync(path, { recursive: true, force: true })

/** Something else under a name that the host or SQLite would use. */
const inPlaceOf = (name: string): ReadonlyArray<Plant> => {
  const plant = (what: string, make: (path: string, canary: string) => void): Plant => ({
    name: `${name}: ${what}`,
    plant: (folder, canary) => {
      const path = Path.join(folder, name)
      remove(path)
      make(path, canary)
    }
  })
  return [
    plant("a FIFO", (path) => void execFileSync("mkfifo", [path])),
    plant("a directory with something in it", (path) => {
      Fs.mkdirSync(path)
      Fs.writeFileSync(Path.join(path, "file"), "x")
    }),
    plant("a link to a file outside", (path, canary) =>
      Fs.symlinkSync(Path.join(canary, "outbound.db"), path)
    ),
    plant("a link to nothing", (path, canary) => Fs.symlinkSync(Path.join(canary, "new"), path)),
    plant("a second name of a file outside", (path, canary) =>
      Fs.linkSync(Path.join(canary, "outbound.db"), path)
    ),
    plant("noise", (path) => Fs.writeFileSync(path, "noise".repeat(1000))),
    plant("a terabyte of nothing", (path) => {
      Fs.writeFileSync(path, "")
      Fs.truncateSync(path, 2 ** 40)
    })
  ]
}

/** What an agent would like the host to believe. */
const lies = `
  INSERT OR REPLACE INTO destinations (name, type, channel_type, platform_id) VALUES ('anywhere', 'channel', 'test', 'other');
  UPDATE session_routing SET platform_id = 'other';
  INSERT OR REPLACE INTO airlock_direct (id, seq, timestamp, kind, content, platform_id, channel_type)
    VALUES ('forged', 1000, '2026-01-01T00:00:00.000Z', 'chat', '{"text":"forged"}', 'other', 'test');
  INSERT OR REPLACE INTO messages_in (id, seq, kind, timestamp, content, source_session_id, channel_type, platform_id)
    VALUES ('forged', 1002, 'chat', '2026-01-01T00:00:00.000Z', '{}', 'sess-of-somebody', 'test', 'other');
  DELETE FROM delivered; UPDATE airlock_sequence SET last = 9000`

const contents: ReadonlyArray<Plant> = [
  {
    name: "inbound.db: other destinations, routing, direct replies and messages",
    plant: (folder) => Raw.exec(Path.join(folder, "inbound.db"), lies)
  },
  {
    name: "inbound.db: triggers that write what the agent wants",
    plant: (folder) =>
      Raw.exec(
        Path.join(folder, "inbound.db"),
        `CREATE TRIGGER IF NOT EXISTS t AFTER INSERT ON messages_in BEGIN ${lies.replaceAll("airlock_sequence SET last = 9000", "airlock_sequence SET last = 9000;")} END`
      )
  },
  {
    name: "inbound.db: write-ahead logging",
    plant: (folder) => Raw.exec(Path.join(folder, "inbound.db"), "PRAGMA journal_mode = WAL")
  },
  { name: "inbound.db: none", plant: (folder) => remove(Path.join(folder, "inbound.db")) }
]

const plants = [
  ...contents,
  ...["inbound.db", "inbound.db-journal", "inbound.db-wal", "inbound.db-shm"]
    .flatMap(inPlaceOf)
    .filter(({ name }) => name !== "inbound.db: a directory with something in it")
]

/** What this process has open. */
const openFiles = (): ReadonlyArray<string> =>
  Fs.readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return [Fs.readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      return []
    }
  })

describe("a host whose agent put there", () => {
  for (const { name, plant } of plants) {
    it.live(`${name}, decides by its own file, and publishes over it`, () =>
      Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const delivery = yield* Delivery.Delivery
        const sweep = yield* Sweep.Sweep
        const { folder, ref } = yield* Place.session("chat")
        const canary = Place.canaryAt(yield* TestHost.temporaryDirectory)
        const untouched = TestHost.contentsOf(canary)
        yield* manager.writeMessage(ref, { id: "before", kind: "chat", content: "{}" })
        yield* manager.writeDestinations(ref, [
          { type: "channel", name: "team", channelType: "test", platformId: "team" }
        ])
        Place.say(folder, "m", 1)
        const send = (id: string, seq: number, to: string) =>
          Raw.exec(
            Path.join(folder, "outbound.db"),
            `INSERT INTO messages_out (id, seq, timestamp, kind, channel_type, platform_id, content)
             VALUES ('${id}', ${seq}, '', 'chat', 'test', '${to}', '{"text":"${id}"}')`
          )
        send("to-team", 3, "team")
        send("to-other", 5, "other")
        plant(folder, canary)

        // Nothing has been published since: what is read now is the host's own.
        const drained = yield* Place.timed(delivery.drain(ref))
        expect(yield* drained.exit).toMatchObject({
          delivered: ["m", "to-team"],
          failed: [{ id: "to-other", reason: "not a destination of this session" }]
        })
        const { envelopes } = yield* TestHost.Channel
        const sent = yield* envelopes
        expect(sent.map(({ id, platformId }) => [id, platformId])).toEqual([
          ["m", "chat"],
          ["to-team", "team"]
        ])
        plant(folder, canary)
        const written = yield* Place.timed(
          manager.writeMessage(ref, { id: "after", kind: "chat", content: "{}" })
        )
        expect(yield* written.exit).toMatchObject({ seq: 4 })
        plant(folder, canary)
        const swept = yield* Place.timed(sweep.sweep(ref))
        expect(swept.exit._tag).toBe("Success")
        yield* manager.writeOutboundDirect(ref, { id: "direct", kind: "chat", content: `{"text":"direct"}` })
        expect((yield* delivery.drain(ref)).delivered).toEqual(["direct"])
        for (const { millis } of [drained, written, swept]) expect(millis).toBeLessThan(1000)

        // What is there for the agent is the host's again, and SQLite reads it.
        const published = Path.join(folder, "inbound.db")
        expect(Fs.lstatSync(published).isFile()).toBe(true)
        expect(Fs.lstatSync(published).nlink).toBe(1)
        for (const beside of ["-journal", "-wal", "-shm"]) remove(`${published}${beside}`)
        expect(Raw.query(published, "SELECT id FROM messages_in ORDER BY seq")).toEqual([
          { id: "before" },
          { id: "after" }
        ])
        expect(Raw.query(published, "SELECT name FROM destinations")).toEqual([{ name: "team" }])
        expect(TestHost.contentsOf(canary)).toEqual(untouched)
        expect(openFiles().filter((path) => path.startsWith(canary) || path.startsWith(folder))).toEqual([])
      }).pipe(TestHost.withHost({ patience: "300 millis" }), Logger.withMinimumLogLevel(LogLevel.None))
    )
  }
})

describe("a host whose agent made inbound.db a directory", () => {
  it.live("says so, leaves it, delivers nothing that it should not, and goes on when it is gone", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const delivery = yield* Delivery.Delivery
      const { folder, ref } = yield* Place.session("chat")
      const path = Path.join(folder, "inbound.db")
      remove(path)
      Fs.mkdirSync(path)
      Fs.writeFileSync(Path.join(path, "file"), "x")
      Place.say(folder, "m", 1)
      const write = manager.writeMessage(ref, { id: "w", kind: "chat", content: "{}" })
      // What is stored is stored, whether or not it can be shown to the agent.
      const drain = Effect.asVoid(delivery.drain(ref))
      const attempts = [Effect.asVoid(write), drain, drain, Effect.asVoid(write)]
      const outcomes: Array<string> = []
      for (const attempt of attempts) {
        const { exit, millis } = yield* Place.timed(attempt)
        const outcome = yield* Effect.match(exit, {
          onFailure: (error) => `${error._tag} ${"reason" in error ? error.reason : ""}`,
          onSuccess: () => "stored"
        })
        outcomes.push(outcome)
        expect(millis).toBeLessThan(1000)
      }
      expect(outcomes).toContain("UnsafePath not-a-regular-file")
      expect(outcomes.filter((one) => !["stored", "UnsafePath not-a-regular-file"].includes(one))).toEqual([])
      expect(Fs.readdirSync(path)).toEqual(["file"])
      remove(path)
      yield* write
      expect(Raw.query(path, "SELECT id FROM messages_in")).toEqual([{ id: "w" }])
      yield* delivery.drain(ref)
      const { envelopes } = yield* TestHost.Channel
      expect((yield* envelopes).map(({ id }) => id)).toContain("m")
    }).pipe(TestHost.withHost({ patience: "300 millis" }), Logger.withMinimumLogLevel(LogLevel.None))
  )
})

describe("a host that is traced", () => {
  it.live("opens the copy at most to compare it, and nothing beside it, also while they are swapped", () =>
    Effect.gen(function* () {
      const top = yield* TestHost.temporaryDirectory
      const canary = Place.canaryAt(Path.join(top, "canary"))
      const untouched = TestHost.contentsOf(canary)
      const agent = yield* Place.planter
      const host = yield* TracedHost.start(Path.join(top, "data"), Path.join(top, "trace"))
      const other = Path.join(host.hostile, "other")
      for (const make of [
        () => void execFileSync("mkfifo", [other]),
        () => Fs.symlinkSync(Path.join(canary, "outbound.db"), other)
      ]) {
        make()
        const from = host.done.length
        yield* agent.swap("swap", Path.join(host.hostile, "inbound.db"), other, 1000)
        yield* TestHost.until(() => host.done.slice(from).filter(({ what }) => what === "sweep").length > 4)
        expect(host.done.slice(from).filter(({ millis }) => millis > 2000)).toEqual([])
        expect(host.done.slice(from).filter(({ outcome }) => outcome !== "fine")).toEqual([])
        remove(other)
      }
      expect(yield* host.end).toBe(0)
      const names = ["inbound.db", "inbound.db-journal", "inbound.db-wal", "inbound.db-shm"]
      const calls = Trace.parse(Fs.readFileSync(Path.join(top, "trace"), "utf8"))
      const isCopy = (path: string) => names.some((name) => path === Path.join(host.hostile, name))
      expect(calls.some(({ asked, call }) => call.startsWith("rename") && asked.some(isCopy))).toBe(true)
      // SQLite opens for writing what it opens, and follows links.
      const isComparing = ({ asked, line, opened }: Trace.FileCall) =>
        line.includes("O_RDONLY|O_NONBLOCK|O_NOFOLLOW") &&
        asked.every((path) => path.endsWith("/inbound.db")) &&
        Trace.isBelow(opened ?? "", host.hostile)
      const opened = calls.filter((call) => call.opened !== undefined && call.asked.some(isCopy))
      expect(opened.filter((call) => !isComparing(call)).map(({ line }) => line)).toEqual([])
      expect(TestHost.contentsOf(canary)).toEqual(untouched)
    }).pipe(Effect.scoped)
  )
})
