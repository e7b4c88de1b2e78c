/**
 * What went wrong for users of the same design, one test for each, in its own words: it does not happen here.
 */
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Ref, Schedule, TestClock } from "effect"
import type { AirlockConfig, Message } from "effect-airlock"
import {
  AirlockHost,
  ChannelAdapter,
  Delivery,
  Mailbox,
  Session,
  SessionManager,
  SessionPaths,
  SessionRegistry,
  Sweep
} from "effect-airlock"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { Opened, withCountingHost } from "./host/SweepFixtures.js"
import * as Raw from "./support/Raw.js"
import * as TestHost from "./support/TestHost.js"

/** A session, and both sides of it. */
const sessionOf = (name = "chat") =>
  Effect.gen(function* () {
    const manager = yield* SessionManager.SessionManager
    const delivery = yield* Delivery.Delivery
    const { sweep } = yield* Sweep.Sweep
    const session = yield* TestHost.newSession(name)
    const folder = yield* TestHost.folderOf(session)
    return {
      session,
      folder,
      mailbox: yield* TestHost.mailboxAt(folder),
      drain: delivery.drain(session),
      sweep: sweep(session),
      write: (id: string, more: Partial<Message.InboundMessage> = {}) =>
        manager.writeMessage(session, { id, kind: "chat", content: `{"text":"${id}"}`, ...more }),
      statuses: () =>
        Object.fromEntries(
          Raw.query(`${folder}/inbound.db`, "SELECT id, status FROM messages_in").map(({ id, status }) => [
            String(id),
            status
          ])
        )
    }
  })

/** Another run of the host on the same data directory. */
const runOn =
  (dataDir: string, options: Omit<AirlockConfig.Options, "dataDir"> = {}) =>
  <A, E, R>(test: Effect.Effect<A, E, R>) =>
    Effect.provide(Effect.scoped(test), TestHost.layerAt(dataDir, options))

const answerWith = (deliver: ChannelAdapter.Deliver) =>
  Effect.flatMap(TestHost.Channel, ({ answer }) => Ref.set(answer, deliver))

const texts = Effect.flatMap(TestHost.Channel, ({ envelopes }) =>
  Effect.map(Ref.get(envelopes), (all) =>
    all.map(({ content }) => (JSON.parse(content) as { text?: unknown }).text)
  )
)

/** Lets reading and writing have its turn, without time passing. */
const settle = Effect.repeatN(
  Effect.promise(() => new Promise((resolve) => setImmediate(resolve))),
  50
)

/** Puts a link where something else is, or nothing. */
const linkTo = (target: string, path: string) => {
  Fs.rmSync(path, { recursive: true, force: true })
  Fs.symlinkSync(target, path)
}

describe("what went wrong elsewhere", () => {
  it.effect(
    "U1: an agent killed in the middle of a commit does not stop the host from reading its file",
    () =>
      Effect.gen(function* () {
        const { drain, folder, mailbox, statuses, sweep, write } = yield* sessionOf()
        yield* write("question")
        yield* mailbox.complete(["question"])
        yield* mailbox.send({ content: { text: "whole" } })
        const files = ["outbound.db", "outbound.db-journal"].map((name) => `${folder}/${name}`)
        const agent = Raw.open(`${folder}/outbound.db`)
        agent.exec(`WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200)
          INSERT INTO messages_out (id, seq, timestamp, kind, content)
            SELECT n, 1001 + 2 * n, '', 'task_log', printf('%500s', '') FROM n`)
        agent.exec(`PRAGMA cache_size = 2; PRAGMA cache_spill = 1; BEGIN IMMEDIATE;
          UPDATE messages_out SET content = '{"text":"torn"}' WHERE kind = 'chat';
          UPDATE messages_out SET content = '' WHERE kind = 'task_log'`)
        const left = files.map((path) => [path, Fs.readFileSync(path)] as const)
        agent.exec("ROLLBACK")
        agent.close()
        for (const [path, bytes] of left) Fs.writeFileSync(path, bytes)
        expect(Fs.readFileSync(`${folder}/outbound.db`).includes("torn")).toBe(true)
        yield* sweep
        yield* drain
        expect(statuses()).toEqual({ question: "completed" })
        expect(yield* texts).toEqual(["whole"])
        for (const [path, bytes] of left) expect(Fs.readFileSync(path).equals(bytes)).toBe(true)
      }).pipe(TestHost.withHost())
  )

  it.effect("U2: one session's error leaves the loops over all others going", () =>
    Effect.gen(function* () {
      const { running } = yield* TestHost.Containers
      const { envelopes } = yield* TestHost.Channel
      const broken = yield* sessionOf("a broken one")
      const good = yield* sessionOf("a good one")
      for (const { write } of [broken, good]) yield* write("hello")
      for (const name of ["inbound.db", "outbound.db"]) {
        Fs.writeFileSync(`${broken.folder}/${name}`, "not a database".repeat(1000))
      }
      yield* good.mailbox.send({ content: { text: "hi" } })
      yield* Effect.forkScoped(AirlockHost.run)
      yield* TestHost.until(() => running.has(good.session.sessionId))
      yield* TestHost.until(() => Effect.map(Ref.get(envelopes), (all) => all.length === 1))
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "U3: what cannot be delivered is tried so often and no more, over restarts, and is in a list",
    () =>
      Effect.gen(function* () {
        const dataDir = yield* TestHost.temporaryDirectory
        const run = runOn(dataDir, {
          deliveryRetries: Schedule.spaced("1 minute").pipe(Schedule.intersect(Schedule.recurs(3)))
        })
        yield* Effect.flatMap(sessionOf(), ({ mailbox }) => mailbox.send({ content: { text: "x" } })).pipe(
          run
        )
        let attempts = 0
        for (let restart = 0; restart < 10; restart++) {
          yield* Effect.gen(function* () {
            yield* answerWith(() => Effect.succeed(ChannelAdapter.tryLater(0, "offline")))
            const { drain } = yield* sessionOf()
            yield* drain
            attempts += (yield* texts).length
          }).pipe(run)
          yield* TestClock.adjust("1 minute")
        }
        expect(attempts).toBe(4)
        yield* Effect.gen(function* () {
          const { session } = yield* sessionOf()
          const delivery = yield* Delivery.Delivery
          const [failure, ...others] = yield* delivery.failures(session)
          expect(failure?.reason).toContain("offline")
          expect(others).toEqual([])
        }).pipe(run)
      }).pipe(Effect.scoped)
  )

  it.effect("U4: answers that nobody reads take no place of messages", () =>
    Effect.gen(function* () {
      const { mailbox, session, write } = yield* sessionOf()
      const manager = yield* SessionManager.SessionManager
      yield* write("chat")
      for (let n = 0; n < 10; n++) {
        yield* manager.writeSystemResponse(session, { questionId: `q${n}`, status: "answered", result: {} })
      }
      expect((yield* mailbox.poll).map(({ id }) => id)).toEqual(["chat"])
    }).pipe(TestHost.withHost())
  )

  it.effect("U5: a message that comes just before an agent ends does not wait for the next look", () =>
    Effect.gen(function* () {
      const { mailbox, session, statuses, write } = yield* sessionOf()
      const { asked, end, running } = yield* TestHost.Containers
      const { envelopes } = yield* TestHost.Channel
      yield* Effect.forkScoped(AirlockHost.run)
      yield* settle
      yield* write("first")
      yield* TestHost.until(() => running.has(session.sessionId))
      yield* mailbox.complete(["first"])
      yield* mailbox.send({ content: { text: "re first" } })
      yield* write("second")
      yield* TestHost.until(() => statuses()["first"] === "completed")
      yield* settle
      yield* end(session)
      yield* TestHost.until(() => asked.length === 2 && running.has(session.sessionId))
      yield* TestHost.until(() => Effect.map(Ref.get(envelopes), (all) => all.length === 1))
    }).pipe(
      TestHost.withHost({
        intervals: {
          sweepRunning: "1 day",
          sweepAll: "1 day",
          deliverRunning: "1 day",
          deliverAll: "1 day"
        }
      })
    )
  )

  it.effect("U6: nothing is written outside of a session whose inbox was replaced by a link", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* sessionOf()
      const outside = yield* TestHost.temporaryDirectory
      const file = [{ name: "file", source: { bytes: Buffer.from("x") } }]
      linkTo(outside, `${folder}/inbox`)
      yield* Effect.exit(write("a", { attachments: file }))
      Fs.unlinkSync(`${folder}/inbox`)
      Fs.mkdirSync(`${folder}/inbox`)
      linkTo(outside, `${folder}/inbox/b`)
      yield* Effect.exit(write("b", { attachments: file }))
      expect(Fs.readdirSync(outside)).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "U7: a direct reply leaves the agent's file alone, and is lost to no number that the agent took",
    () =>
      Effect.gen(function* () {
        const { drain, folder, mailbox, session, write } = yield* sessionOf()
        const manager = yield* SessionManager.SessionManager
        yield* write("event")
        for (const text of ["3", "5"]) yield* mailbox.send({ content: { text } })
        Raw.exec(
          `${folder}/outbound.db`,
          `INSERT INTO messages_out (id, seq, timestamp, kind, content) VALUES ('six', 6, '', 'chat', '{"text":"6"}')`
        )
        const before = Fs.readFileSync(`${folder}/outbound.db`)
        const direct = (id: string) =>
          manager.writeOutboundDirect(session, { id, kind: "chat", content: `{"text":"${id}"}` })
        expect([(yield* direct("d4")).seq, (yield* direct("d6")).seq]).toEqual([4, 6])
        expect(Fs.readFileSync(`${folder}/outbound.db`).equals(before)).toBe(true)
        yield* drain
        expect([...(yield* texts)].sort()).toEqual(["3", "5", "6", "d4", "d6"])
      }).pipe(TestHost.withHost())
  )

  it.effect("U8: a message for a channel that nobody serves is not delivered, and waits", () =>
    Effect.gen(function* () {
      const { drain, mailbox } = yield* sessionOf()
      const none = yield* Effect.provide(
        ChannelAdapter.ChannelAdapter,
        ChannelAdapter.ChannelAdapter.layerByChannel({})
      )
      yield* answerWith(none.deliver)
      const { id } = yield* mailbox.send({ content: { text: "x" } })
      expect(yield* drain).toEqual({ delivered: [], failed: [], waiting: [id] })
      yield* answerWith(() => Effect.succeed(ChannelAdapter.delivered()))
      yield* TestClock.adjust("1 second")
      expect(yield* drain).toMatchObject({ delivered: [id] })
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "U9: a message whose id came before is the same message, or an error, and never lost silently",
    () =>
      Effect.gen(function* () {
        const { mailbox, statuses, sweep, write } = yield* sessionOf()
        yield* write("42")
        yield* mailbox.complete(["42"])
        yield* sweep
        expect(yield* write("42")).toMatchObject({ alreadyThere: true })
        expect(yield* Effect.flip(write("42", { content: `{"text":"something else"}` }))).toMatchObject({
          _tag: "DuplicateMessage",
          messageId: "42"
        })
        expect(statuses()).toEqual({ "42": "completed" })
      }).pipe(TestHost.withHost())
  )

  it.effect("U10: what an agent could not do is stored as failed", () =>
    Effect.gen(function* () {
      const { mailbox, statuses, sweep, write } = yield* sessionOf()
      yield* write("too hard")
      yield* mailbox.claim(["too hard"])
      yield* mailbox.fail(["too hard"])
      yield* sweep
      yield* sweep
      expect(statuses()).toEqual({ "too hard": "failed" })
    }).pipe(TestHost.withHost())
  )

  it.effect("U11: times in either form mean the same, also on a host far east of Greenwich", () =>
    Effect.gen(function* () {
      const zone = process.env["TZ"]
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          if (zone === undefined) delete process.env["TZ"]
          else process.env["TZ"] = zone
        })
      )
      process.env["TZ"] = "Pacific/Auckland"
      expect(new Date(0).getHours()).toBe(12)
      yield* TestClock.setTime(Date.UTC(2026, 0, 1, 12))
      const { folder, mailbox, sweep, write } = yield* sessionOf()
      yield* write("task", { kind: "task" })
      Raw.exec(TestHost.originalOf(folder), "UPDATE messages_in SET process_after = '2026-01-01 12:00:01'")
      expect(yield* sweep).toMatchObject({ woken: false })
      yield* TestClock.adjust("1 second")
      expect(yield* sweep).toMatchObject({ woken: true })
      expect((yield* mailbox.poll).map(({ id }) => id)).toEqual(["task"])
      Raw.exec(
        `${folder}/outbound.db`,
        "INSERT INTO processing_ack VALUES ('task', 'processing', '2026-01-01 12:00:01')"
      )
      for (let n = 0; n < 3; n++) {
        yield* TestClock.adjust("20 seconds")
        expect(yield* sweep).toMatchObject({ killed: Option.none() })
      }
    }).pipe(TestHost.withHost())
  )

  it.effect("U12: what an earlier container left does not kill the next one, nor keep it from starting", () =>
    Effect.gen(function* () {
      const { folder, mailbox, session, sweep, write } = yield* sessionOf()
      const { asked, end } = yield* TestHost.Containers
      yield* write("hello")
      yield* sweep
      yield* mailbox.claim(["hello"])
      yield* mailbox.heartbeat
      Fs.utimesSync(`${folder}/.heartbeat`, 1, 1)
      yield* sweep
      yield* TestClock.adjust("1 day")
      yield* end(session)
      expect(yield* sweep).toMatchObject({ hasEnded: true, woken: true, retried: ["hello"] })
      Fs.rmSync(`${folder}/.heartbeat`)
      for (let minute = 0; minute < 29; minute++) {
        yield* TestClock.adjust("1 minute")
        expect(yield* sweep).toMatchObject({ killed: Option.none() })
      }
      expect(asked.map((line) => line.split(" ")[0])).toEqual(["wake", "wake"])
    }).pipe(TestHost.withHost())
  )

  const keyOf = (messagingGroupId: string, mode: "shared" | "per-thread" | "agent-shared") => ({
    agentGroupId: "agent",
    messagingGroupId,
    threadId: "thread",
    mode
  })

  it.effect("U13: messages that come at the same time get one session", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const registry = yield* SessionRegistry.SessionRegistry
      yield* Effect.all(
        Array.from({ length: 10 }, () => manager.resolve(keyOf("chat", "per-thread"))),
        { concurrency: "unbounded" }
      )
      const [session, ...others] = yield* registry.listActiveSessions()
      expect(others).toEqual([])
      if (session === undefined) return
      // Also if all of them have looked before the first one makes it.
      const other = keyOf("other", "per-thread")
      const found = yield* Effect.forEach(
        [1, 2, 3],
        (n) =>
          registry.findOrCreateSession(
            other,
            Effect.as(settle, new Session.Session({ ...session, ...other, sessionId: `sess-${n}` }))
          ),
        { concurrency: "unbounded" }
      )
      expect(found.filter(({ created }) => created).length).toBe(1)
      expect(new Set(found.map((one) => one.session.sessionId)).size).toBe(1)
    }).pipe(TestHost.withHost())
  )

  it.effect("U14: an agent's shared session is never one of a thread", () =>
    Effect.gen(function* () {
      const manager = yield* SessionManager.SessionManager
      const thread = yield* manager.resolve(keyOf("chat", "per-thread"))
      const shared = yield* manager.resolve(keyOf("chat", "agent-shared"))
      expect(shared).toMatchObject({ created: true, session: { mode: "agent-shared" } })
      expect(shared.session.sessionId).not.toBe(thread.session.sessionId)
    }).pipe(TestHost.withHost())
  )

  it.effect("U15: an id with slashes, and two attachments of one name, leave no bytes in the database", () =>
    Effect.gen(function* () {
      const { folder, mailbox, write } = yield* sessionOf()
      const data = Buffer.from("the bytes").toString("base64")
      const content = JSON.stringify({
        text: "x",
        attachments: [
          { name: "photo.jpg", data },
          { name: "photo.jpg", data }
        ]
      })
      const { attachments } = yield* write("spaces/x/messages/y", { content })
      expect(new Set(attachments.map(({ localPath }) => localPath)).size).toBe(2)
      expect(Fs.readFileSync(`${folder}/inbound.db`).includes(data)).toBe(false)
      for (const { localPath } of attachments) {
        expect(Buffer.from(yield* mailbox.attachment(localPath)).toString()).toBe("the bytes")
      }
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "U16: a host that is gone between sending and noting it sends under the same key, or not again",
    () =>
      Effect.gen(function* () {
        for (const unknownDeliveries of ["resend", "hold"] as const) {
          const dataDir = yield* TestHost.temporaryDirectory
          const run = runOn(dataDir, { unknownDeliveries })
          const keys: Array<string> = []
          yield* Effect.gen(function* () {
            const arrived = yield* Deferred.make<void>()
            yield* answerWith(({ idempotencyKey }) =>
              Effect.sync(() => keys.push(idempotencyKey)).pipe(
                Effect.zipRight(Deferred.succeed(arrived, undefined)),
                Effect.zipRight(Effect.never)
              )
            )
            const { drain, mailbox } = yield* sessionOf()
            yield* mailbox.send({ content: { text: "x" } })
            const fiber = yield* Effect.fork(drain)
            yield* Deferred.await(arrived)
            yield* Fiber.interrupt(fiber)
          }).pipe(run)
          yield* TestClock.adjust("1 hour")
          yield* Effect.gen(function* () {
            yield* answerWith(({ idempotencyKey }) =>
              Effect.as(
                Effect.sync(() => keys.push(idempotencyKey)),
                ChannelAdapter.delivered()
              )
            )
            const { drain, session } = yield* sessionOf()
            const delivery = yield* Delivery.Delivery
            yield* drain
            yield* drain
            expect((yield* delivery.failures(session)).length).toBe(unknownDeliveries === "hold" ? 1 : 0)
          }).pipe(run)
          expect(new Set(keys).size).toBe(1)
          expect(keys.length).toBe(unknownDeliveries === "hold" ? 1 : 2)
        }
      }).pipe(Effect.scoped)
  )

  it.effect("U17: sessions in which nothing happens are not read, however long their history", () =>
    withCountingHost(
      Effect.gen(function* () {
        const opened = yield* Opened
        const sessions = yield* Effect.forEach([1, 2, 3, 4, 5], (n) => sessionOf(`chat ${n}`))
        for (const { drain, mailbox, sweep, write } of sessions) {
          yield* write("m")
          yield* mailbox.send({ content: { text: "x" }, inReplyTo: "m" })
          yield* mailbox.complete(["m"])
          for (const look of [sweep, drain, sweep, drain]) yield* look
          yield* mailbox.poll
        }
        opened.count = 0
        for (let n = 0; n < 10; n++) {
          yield* TestClock.adjust("1 second")
          for (const { drain, mailbox, sweep } of sessions) {
            yield* sweep
            yield* drain
            yield* mailbox.poll
          }
        }
        expect(opened.count).toBe(0)
      })
    )
  )

  it.effect("U18: a session's folder that was deleted is made again by resolving, and by nothing else", () =>
    Effect.gen(function* () {
      const { drain, folder, session, sweep, write } = yield* sessionOf()
      yield* write("before")
      Fs.rmSync(folder, { recursive: true })
      expect(yield* Effect.flip(write("lost"))).toMatchObject({ reason: "missing" })
      expect(Exit.isFailure(yield* Effect.exit(sweep))).toBe(true)
      expect(Exit.isFailure(yield* Effect.exit(drain))).toBe(true)
      expect(Fs.existsSync(folder)).toBe(false)
      const again = yield* sessionOf()
      expect(again.session.sessionId).toBe(session.sessionId)
      yield* again.write("after")
      expect((yield* again.mailbox.poll).map(({ id }) => id)).toEqual(["before", "after"])
    }).pipe(TestHost.withHost())
  )

  it.effect.skipIf(process.getuid?.() !== 0)(
    "U19: an agent that is not root can write what is its own, when the host is root and is told so",
    () =>
      Effect.gen(function* () {
        const { folder, write } = yield* sessionOf()
        yield* write("m", { attachments: [{ name: "file", source: { bytes: Buffer.from("x") } }] })
        const asAgent = (script: string) =>
          spawnSync("sh", ["-c", script], { cwd: folder, uid: 12345, gid: 12346 }).status
        expect(asAgent("test -w outbound.db && touch .heartbeat && mkdir outbox/m && cat inbox/m/file")).toBe(
          0
        )
        expect(asAgent("test -w inbound.db || test -w inbox")).toBe(1)
      }).pipe(
        (test) =>
          Effect.flatMap(TestHost.temporaryDirectory, (dataDir) => {
            Fs.chmodSync(dataDir, 0o755)
            return runOn(dataDir, { owner: { uid: 12345, gid: 12346 } })(test)
          }),
        Effect.scoped
      )
  )

  it.effect("U20: what cannot be read is not taken for nothing: neither side removes anything then", () =>
    Effect.gen(function* () {
      const { folder, mailbox, sweep, write } = yield* sessionOf()
      const agent = Mailbox.Mailbox.layer({ directory: folder, pollInterval: "1 hour" })
      const { central } = yield* SessionPaths.SessionPaths
      yield* write("m", { attachments: [{ name: "file", source: { bytes: Buffer.from("x") } }] })
      yield* mailbox.send({ content: { text: "x" }, files: [{ name: "file", data: Buffer.from("y") }] })
      yield* mailbox.complete(["m"])
      yield* sweep
      // The host cannot tell which sessions there are.
      Raw.exec(central, "ALTER TABLE sessions RENAME TO elsewhere")
      const before = TestHost.contentsOf(folder)
      yield* Effect.forkScoped(AirlockHost.run)
      yield* settle
      yield* TestClock.adjust("1 day")
      yield* settle
      expect(TestHost.contentsOf(folder)).toEqual(before)
      // The agent cannot tell which of its words the host has heard.
      const acknowledged = () =>
        Raw.query(`${folder}/outbound.db`, "SELECT message_id FROM processing_ack").length
      const inbound = Fs.readFileSync(`${folder}/inbound.db`)
      Fs.writeFileSync(`${folder}/inbound.db`, "not a database".repeat(1000))
      yield* Effect.flatMap(Mailbox.Mailbox, ({ serve }) =>
        serve(() => Effect.void, { heartbeatInterval: "1 hour" })
      ).pipe(Effect.provide(agent), Effect.forkScoped)
      yield* settle
      yield* TestClock.adjust("2 hours")
      yield* settle
      expect(acknowledged()).toBe(1)
      Fs.writeFileSync(`${folder}/inbound.db`, inbound)
      yield* TestClock.adjust("1 hour")
      yield* TestHost.until(() => acknowledged() === 0)
    }).pipe(
      TestHost.withHost({
        intervals: {
          sweepRunning: "1 hour",
          sweepAll: "1 hour",
          deliverRunning: "1 hour",
          deliverAll: "1 hour"
        }
      })
    )
  )
})
