/**
 * The invariants of the library, by number. Those that belong to one module are tested beside it: 4 with the
 * sequence numbers, 10 with Delivery.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, FastCheck, Fiber, Option, TestClock } from "effect"
import { SessionDb, SessionManager, SessionRegistry } from "effect-airlock"
import type { Message } from "effect-airlock"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as FilePermit from "../../src/storage/FilePermit.js"
import * as Faults from "../support/Faults.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

/** What this process has open below a folder. */
const openBelow = (folder: string): ReadonlyArray<string> =>
  Fs.readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const path = Fs.readlinkSync(`/proc/self/fd/${fd}`)
      return path.startsWith(`${folder}/`) ? [path] : []
    } catch {
      return []
    }
  })

const batch = (prefix: string): ReadonlyArray<Message.InboundMessage> =>
  ["a", "b", "c"].map((name) => ({
    id: `${prefix}${name}`,
    kind: "chat" as const,
    content: "x",
    attachments: [{ name: "file", source: { bytes: Buffer.alloc(3_000_000, name) } }]
  }))

const expectWhole = (folder: string) => {
  const rows = Raw.query(`${folder}/inbound.db`, "SELECT id, content FROM messages_in")
  for (const { content } of rows) {
    const { attachments = [] } = JSON.parse(String(content)) as {
      attachments?: ReadonlyArray<{ localPath: string }>
    }
    for (const { localPath } of attachments) expect(Fs.existsSync(Path.join(folder, localPath))).toBe(true)
  }
  const ids = rows.map(({ id }) => String(id))
  expect(Fs.readdirSync(`${folder}/inbox`).filter((id) => !ids.includes(id))).toEqual([])
  expect(Raw.query(`${folder}/inbound.db`, "PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }])
  return ids
}

describe("invariant 1: session databases are in DELETE mode", () => {
  it.effect("a WAL file of the agent is refused, and stays as it is", () =>
    Effect.gen(function* () {
      const db = yield* SessionDb.SessionDb
      const session = yield* TestHost.newSession()
      const folder = yield* TestHost.folderOf(session)
      Raw.exec(`${folder}/outbound.db`, "PRAGMA journal_mode = WAL")
      const before = TestHost.contentsOf(folder)
      expect(yield* Effect.flip(Effect.scoped(db.outbound(session)))).toMatchObject({
        _tag: "SessionDbUnavailable",
        reason: "wal-mode"
      })
      expect(TestHost.contentsOf(folder)).toEqual(before)
    }).pipe(TestHost.withHost())
  )

  it.effect("what the host publishes is in DELETE mode, though its original is not", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const session = yield* TestHost.newSession()
      const folder = yield* TestHost.folderOf(session)
      yield* manager.writeMessage(session, { id: "m", kind: "chat", content: "x" })
      const modeOf = (path: string) => Raw.query(path, "PRAGMA journal_mode")
      expect(modeOf(`${folder}/inbound.db`)).toEqual([{ journal_mode: "delete" }])
      expect(modeOf(TestHost.originalOf(folder))).toEqual([{ journal_mode: "wal" }])
    }).pipe(TestHost.withHost())
  )

  it.effect("a WAL file is not taken over from another host, and stays as it is", () =>
    Effect.gen(function* () {
      const db = yield* SessionDb.SessionDb
      const session = yield* TestHost.newSession()
      const folder = yield* TestHost.folderOf(session)
      TestHost.forgetOriginal(folder)
      Raw.exec(`${folder}/inbound.db`, "PRAGMA journal_mode = WAL")
      const before = TestHost.contentsOf(folder)
      expect(yield* Effect.flip(Effect.scoped(db.inbound(session)))).toMatchObject({ reason: "wal-mode" })
      expect(TestHost.contentsOf(folder)).toEqual(before)
      expect(Fs.existsSync(TestHost.originalOf(folder))).toBe(false)
    }).pipe(TestHost.withHost())
  )
})

describe("invariant 2: a handle never outlives its operation", () => {
  const leaves = (use: Effect.Effect<unknown, unknown>) =>
    Effect.gen(function* () {
      const db = yield* SessionDb.SessionDb
      const session = yield* TestHost.newSession()
      const folder = yield* TestHost.folderOf(session)
      for (const open of [db.inbound(session), db.outbound(session)]) {
        const fiber = yield* Effect.fork(Effect.scoped(Effect.zipRight(open, use)))
        yield* Effect.repeatN(Effect.yieldNow(), 50)
        yield* Fiber.interrupt(fiber)
        expect(openBelow(folder)).toEqual([])
        expect(yield* FilePermit.count).toBe(0)
      }
    }).pipe(TestHost.withHost())

  it.effect("when it succeeds", () => leaves(Effect.void))
  it.effect("when it fails", () => leaves(Effect.fail("no")))
  it.effect("when it dies", () => leaves(Effect.die("no")))
  it.effect("when it is interrupted", () => leaves(Effect.never))

  it.effect.prop(
    "an interruption at any point leaves the whole batch or nothing, and nothing open",
    [FastCheck.integer({ min: 0, max: 120 })],
    ([steps]) =>
      Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const session = yield* TestHost.newSession()
        const folder = yield* TestHost.folderOf(session)
        yield* manager.writeMessage(session, { id: "before", kind: "chat", content: "{}" })
        const fiber = yield* Effect.fork(manager.writeMessages(session, batch("m")))
        yield* Effect.repeatN(Effect.yieldNow(), steps)
        const exit = yield* Fiber.interrupt(fiber)
        yield* Effect.flatMap(SessionDb.SessionDb, (db) => db.publish(session))
        const ids = expectWhole(folder)
        expect([1, 4]).toContain(ids.length)
        if (Exit.isSuccess(exit)) expect(ids.length).toBe(4)
        expect(openBelow(folder)).toEqual([])
        expect(Fs.readdirSync(folder)).not.toContain("inbound.db-journal")
        expect(yield* FilePermit.count).toBe(0)
        yield* manager.writeMessages(session, batch("m"))
        expect(expectWhole(folder).length).toBe(4)
      }).pipe(TestHost.withHost()),
    { fastCheck: { numRuns: 25 } }
  )
})

describe("invariant 3: one operation on one file at a time", () => {
  it.effect("nesting handles of one file fails at once, also through a public operation", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const db = yield* SessionDb.SessionDb
      const session = yield* TestHost.newSession()
      const nested = Effect.scoped(
        Effect.zipRight(
          db.inbound(session),
          manager.writeMessage(session, { id: "m", kind: "chat", content: "x" })
        )
      )
      expect(yield* Effect.flip(nested)).toMatchObject({ _tag: "SessionDbUnavailable", reason: "nested" })
      const inChildren = Effect.scoped(
        Effect.zipRight(
          db.inbound(session),
          Effect.all([manager.writeRouting(session), manager.writeRouting(session)], { concurrency: 2 })
        )
      )
      expect(yield* Effect.flip(inChildren)).toMatchObject({ reason: "nested" })
      yield* manager.writeMessage(session, { id: "m", kind: "chat", content: "x" })
    }).pipe(TestHost.withHost())
  )

  it.effect("concurrent writers of one session each get a number of their own", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const session = yield* TestHost.newSession()
      const written = yield* Effect.forEach(
        Array.from({ length: 40 }, (_, n) => `m${n}`),
        (id) => manager.writeMessage(session, { id, kind: "chat", content: "x" }),
        { concurrency: "unbounded" }
      )
      expect(written.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual(
        Array.from({ length: 40 }, (_, n) => 2 * (n + 1))
      )
    }).pipe(TestHost.withHost())
  )
})

describe("invariant 5: what a caller was told is stored, is stored", () => {
  it.live("after kill -9 at any instant", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const acknowledged: Array<string> = []
      for (const [run, count] of [3, 11, 24].entries()) {
        yield* Effect.async<void>((resume) => {
          const child = spawn(
            process.execPath,
            ["--import", "tsx", Path.join(import.meta.dirname, "../support/writer.ts"), dataDir, `run${run}`],
            { stdio: ["ignore", "pipe", "inherit"] }
          )
          let output = ""
          child.stdout.on("data", (chunk: Buffer) => {
            output += chunk.toString()
            if (output.split("\n").length > count) child.kill("SIGKILL")
          })
          child.on("close", () => {
            acknowledged.push(...output.split("\n").slice(0, -1))
            resume(Effect.void)
          })
        })
      }
      expect(acknowledged.length).toBeGreaterThanOrEqual(38)
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const { created, session } = yield* manager.resolve({
          agentGroupId: "agent",
          messagingGroupId: "chat",
          threadId: null,
          mode: "shared"
        })
        expect(created).toBe(false)
        yield* manager.writeMessage(session, { id: "after", kind: "chat", content: "{}" })
        const folder = yield* TestHost.folderOf(session)
        const rows = Raw.query(`${folder}/inbound.db`, "SELECT id FROM messages_in").map(({ id }) =>
          String(id)
        )
        expect(acknowledged.filter((id) => !rows.includes(id))).toEqual([])
        expect(Raw.query(`${folder}/inbound.db`, "PRAGMA integrity_check")).toEqual([
          { integrity_check: "ok" }
        ])
        for (const id of rows.filter((row) => row !== "after")) {
          expect(Fs.readFileSync(`${folder}/inbox/${id}/file`).equals(Buffer.alloc(20_000, id))).toBe(true)
        }
      }).pipe(Effect.provide(TestHost.layerAt(dataDir)))
    }).pipe(Effect.scoped)
  )
})

describe("invariant 6: a failed write leaves neither a row nor a file", () => {
  it.effect("when any one of its file calls fails, whatever the reason", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const faults = yield* Faults.Faults
        yield* TestHost.newSession()
        // Found again, it is looked at for what killed hosts left: once, and its failing fails nothing.
        const session = yield* TestHost.newSession()
        const folder = yield* TestHost.folderOf(session)
        const before = TestHost.contentsOf(folder)
        const tags = new Set<string>()
        let failures = 0
        for (let k = 1; ; k++) {
          yield* faults.arm(k, ["ENOSPC", "EIO", "EROFS", "EMFILE"][k % 4] ?? "EIO")
          const exit = yield* Effect.exit(manager.writeMessages(session, batch(`k${k}`)))
          yield* faults.disarm
          if (Exit.isSuccess(exit)) {
            // What failed, if anything did, came after the commit: the next look gives the agent its copy.
            yield* Effect.flatMap(SessionDb.SessionDb, (db) => db.publish(session))
            expect(Fs.readFileSync(`${folder}/inbound.db`).equals(TestHost.publishedOf(folder))).toBe(true)
            break
          }
          failures++
          const error = Option.getOrThrow(Exit.causeOption(exit).pipe(Option.map((cause) => cause)))
          tags.add(error._tag)
          expect(TestHost.contentsOf(folder)).toEqual(before)
          expect(openBelow(folder)).toEqual([])
        }
        expect(failures).toBeGreaterThan(20)
        expect([...tags]).toEqual(["Fail"])
        expect(expectWhole(folder).length).toBe(3)
      }).pipe(Effect.provide(Faults.layerAt(dataDir)))
    }).pipe(Effect.scoped)
  )

  it.effect("and resolving a session works again after any one of its file calls failed", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const db = yield* SessionDb.SessionDb
        const faults = yield* Faults.Faults
        for (let k = 1; ; k++) {
          const key = {
            agentGroupId: "agent",
            messagingGroupId: `chat-${k}`,
            threadId: null,
            mode: "shared" as const
          }
          yield* faults.arm(k, "ENOSPC")
          const exit = yield* Effect.exit(manager.resolve(key))
          if ((yield* faults.disarm) === undefined) break
          // What failed may have been the agent's copy only, which the next look writes.
          if (Exit.isSuccess(exit)) yield* db.publish(exit.value.session)
          const { session } = yield* manager.resolve(key)
          const folder = yield* TestHost.folderOf(session)
          expect(Fs.readdirSync(folder).sort()).toEqual(["inbound.db", "inbox", "outbound.db", "outbox"])
          const originals = Path.dirname(TestHost.originalOf(folder))
          expect(Fs.readdirSync(originals).filter((name) => !/-(wal|shm)$/.test(name))).toEqual([
            "inbound.db"
          ])
          expect(Fs.readFileSync(`${folder}/inbound.db`).equals(TestHost.publishedOf(folder))).toBe(true)
          expect(Fs.readdirSync(Path.dirname(folder)).filter((name) => name.startsWith("."))).toEqual([])
          yield* manager.writeMessage(session, { id: "m", kind: "chat", content: "x" })
        }
      }).pipe(Effect.provide(Faults.layerAt(dataDir)))
    }).pipe(Effect.scoped)
  )

  const isRoot = process.getuid?.() === 0
  it.runIf(isRoot)("on a disk that is full, or read-only (needs root: mounts a small file system)", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      // The sessions only: the central database stays open, and an open file keeps a disk writable.
      const disk = `${dataDir}/disk`
      Fs.mkdirSync(disk)
      const mount = (...args: ReadonlyArray<string>) =>
        Effect.async<void, Error>((resume) => {
          spawn("mount", [...args, disk]).on("close", (code) =>
            resume(code === 0 ? Effect.void : Effect.fail(new Error(`mount: ${code}`)))
          )
        })
      yield* Effect.acquireRelease(mount("-t", "tmpfs", "-o", "size=1m", "tmpfs"), () =>
        Effect.async<void>((resume) => {
          spawn("umount", ["-l", disk]).on("close", () => resume(Effect.void))
        })
      )
      for (const name of ["v2-sessions", "v2-originals"]) {
        Fs.mkdirSync(`${disk}/${name}`)
        Fs.symlinkSync(`${disk}/${name}`, `${dataDir}/${name}`)
      }
      yield* Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const session = yield* TestHost.newSession()
        const folder = yield* TestHost.folderOf(session)
        const before = TestHost.contentsOf(folder)
        const expectRefused = (reason: string, message: Omit<Message.InboundMessage, "id" | "kind">) =>
          Effect.gen(function* () {
            const error = yield* Effect.flip(
              manager.writeMessage(session, { id: "m", kind: "chat", ...message })
            )
            expect(error).toMatchObject({ _tag: "SessionDbUnavailable", reason })
            expect(TestHost.contentsOf(folder)).toEqual(before)
          })
        yield* expectRefused("disk-full", {
          content: "x",
          attachments: [{ name: "a", source: { bytes: Buffer.alloc(2_000_000) } }]
        })
        Fs.writeFileSync(`${disk}/filler`, Buffer.alloc(10))
        try {
          Fs.appendFileSync(`${disk}/filler`, Buffer.alloc(1_000_000))
        } catch {
          // Full: that is what it is for.
        }
        yield* expectRefused("disk-full", { content: "x".repeat(500_000) })
        Fs.rmSync(`${disk}/filler`)
        yield* mount("-o", "remount,ro")
        yield* expectRefused("not-writable", { content: "x" })
        yield* expectRefused("not-writable", {
          content: "x",
          attachments: [{ name: "a", source: { bytes: Buffer.alloc(2) } }]
        })
        yield* mount("-o", "remount,rw")
        yield* manager.writeMessage(session, { id: "m", kind: "chat", content: "x" })
      }).pipe(Effect.provide(TestHost.layerAt(dataDir)))
    }).pipe(Effect.scoped, Effect.runPromise)
  )
})

describe("invariant 7: no path leaves the session folder, and none is followed through a link", () => {
  it.effect("inbox, or a message's folder in it, replaced by a link: nothing is written outside (U6)", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const session = yield* TestHost.newSession()
      const folder = yield* TestHost.folderOf(session)
      const outside = yield* TestHost.temporaryDirectory
      const write = manager.writeMessage(session, {
        id: "m",
        kind: "chat",
        content: "x",
        attachments: [{ name: "file", source: { bytes: Buffer.from("x") } }]
      })
      Fs.rmdirSync(`${folder}/inbox`)
      Fs.symlinkSync(outside, `${folder}/inbox`)
      expect(yield* Effect.flip(write)).toMatchObject({ _tag: "UnsafePath", reason: "symbolic-link" })
      Fs.unlinkSync(`${folder}/inbox`)
      Fs.mkdirSync(`${folder}/inbox`)
      Fs.symlinkSync(outside, `${folder}/inbox/m`)
      const { attachments } = yield* write
      expect(Fs.readdirSync(outside)).toEqual([])
      expect(Fs.lstatSync(`${folder}/inbox/m`).isDirectory()).toBe(true)
      expect(Fs.existsSync(`${folder}/${attachments[0]?.localPath}`)).toBe(true)
    }).pipe(Effect.scoped, TestHost.withHost())
  )

  it.effect(
    "inbound.db replaced by a link or a second name of another file: that file stays as it is, and the agent has a copy again",
    () =>
      Effect.gen(function* () {
        const manager = yield* SessionManager.SessionManager
        const session = yield* TestHost.newSession("one")
        const victim = yield* TestHost.folderOf(yield* TestHost.newSession("two"))
        const folder = yield* TestHost.folderOf(session)
        const before = TestHost.contentsOf(victim)
        const write = (id: string) => manager.writeMessage(session, { id, kind: "chat", content: "{}" })
        Fs.unlinkSync(`${folder}/inbound.db`)
        Fs.symlinkSync(`${victim}/inbound.db`, `${folder}/inbound.db`)
        yield* write("a")
        expect(expectWhole(folder)).toEqual(["a"])
        Fs.unlinkSync(`${folder}/inbound.db`)
        Fs.linkSync(`${victim}/inbound.db`, `${folder}/inbound.db`)
        yield* write("b")
        expect(expectWhole(folder)).toEqual(["a", "b"])
        expect(TestHost.contentsOf(victim)).toEqual(before)
      }).pipe(TestHost.withHost())
  )

  it.effect("ids that are not one path segment are refused by every operation", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const db = yield* SessionDb.SessionDb
      for (const ref of [
        { agentGroupId: "..", sessionId: "x" },
        { agentGroupId: "agent", sessionId: "../../etc" },
        { agentGroupId: "agent", sessionId: "" }
      ]) {
        for (const operation of [
          manager.initFolder(ref),
          Effect.scoped(db.inbound(ref)),
          Effect.scoped(db.outbound(ref))
        ]) {
          expect(yield* Effect.flip(operation)).toMatchObject({ _tag: "UnsafePath", reason: "not-a-segment" })
        }
      }
    }).pipe(TestHost.withHost())
  )
})

describe("invariant 8: one session's trouble stays its own", () => {
  it.effect("a session that cannot be opened does not keep others from working", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const bad = yield* TestHost.newSession("bad")
      const good = yield* TestHost.newSession("good")
      TestHost.replaceOriginal(yield* TestHost.folderOf(bad), "garbage")
      const write = (session: typeof bad) =>
        Effect.either(manager.writeMessage(session, { id: "m", kind: "chat", content: "x" }))
      const [first, second] = yield* Effect.all([write(bad), write(good)], { concurrency: 2 })
      expect(first).toMatchObject({ left: { _tag: "SessionDbCorrupt" } })
      expect(second).toMatchObject({ right: { seq: 2 } })
    }).pipe(TestHost.withHost())
  )
})

describe("invariant 9: time comes from the Clock, ids from Random", () => {
  it.effect("under a TestClock and a seed, two hosts write the same bytes", () =>
    Effect.gen(function* () {
      const run = () =>
        Effect.gen(function* () {
          yield* TestClock.setTime(1_000_000)
          const manager = yield* SessionManager.SessionManager
          const session = yield* TestHost.newSession()
          yield* manager.writeSystemResponse(session, { questionId: "q", status: "ok", result: {} })
          yield* manager.writeOutboundDirect(session, { id: "d", kind: "chat", content: "x" })
          const registry = yield* SessionRegistry.SessionRegistry
          return [
            TestHost.contentsOf(yield* TestHost.folderOf(session)),
            yield* registry.listActiveSessions()
          ]
        }).pipe(TestHost.withHost(), Effect.withRandomFixed([3, 5, 7, 11]))
      expect(yield* run()).toEqual(yield* run())
    })
  )
})
