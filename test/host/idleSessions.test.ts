/**
 * What a look at sessions asks of the system in which nothing happened, and that nothing is overlooked for that.
 */
import { describe, expect, it } from "@effect/vitest"
import type { Session } from "effect-airlock"
import { Effect, TestClock } from "effect"
import { ChannelAdapter, Delivery, SessionRegistry, Sweep } from "effect-airlock"
import * as Fs from "node:fs"
import * as Forgery from "../hostile/Forgery.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import { program } from "./DeliveryFixtures.js"
import * as SweepFixtures from "./SweepFixtures.js"
import { asked, logged, Opened, withCountingHost } from "./SweepFixtures.js"

/** What an effect asks of the system. */
const askedBy = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const opened = yield* Opened
    const { count, files, glances } = opened
    yield* effect
    return {
      databases: opened.count - count,
      files: opened.files - files,
      glances: opened.glances - glances
    }
  })

/** Lets time pass, as files see it. */
const later = (millis: number) => Effect.map(Opened, (opened) => void (opened.later += millis))

/** Looks until there is nothing that the last look changed itself, and the files are old. */
const quiet = <A, E, R>(look: Effect.Effect<A, E, R>) => Effect.repeatN(Effect.zipRight(look, later(1000)), 3)

const nothing = { databases: 0, files: 0 }

/** From now on files look as they do now, as if what is done to them came in the same tick. */
const stopTicking = Effect.map(Opened, (opened) => {
  const first = new Map<string, ReturnType<typeof opened.seenAs>>()
  opened.seenAs = (path, seen) => {
    if (!first.has(path)) first.set(path, seen)
    return first.get(path)
  }
})

const goOnTicking = Effect.map(Opened, (opened) => {
  opened.seenAs = (_, seen) => seen
})

const all = Effect.gen(function* () {
  const { drainAll } = yield* Delivery.Delivery
  const { sweepAll } = yield* Sweep.Sweep
  return { drainAll, sweepAll }
})

describe("a look at all sessions", () => {
  it.effect("opens no file of those in which nothing happened", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drainAll, sweepAll } = yield* all
        const number = 10
        for (let n = 0; n < number; n++) yield* TestHost.newSession(`chat ${n}`)
        yield* quiet(Effect.zipRight(drainAll, sweepAll))
        expect(yield* askedBy(drainAll)).toEqual({ ...nothing, glances: 2 * number })
        expect(yield* askedBy(sweepAll)).toEqual({ ...nothing, glances: 4 * number })
      })
    )
  )

  it.effect("is made by the loops, too", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { run } = yield* Delivery.Delivery
        const sweep = yield* Sweep.Sweep
        for (let n = 0; n < 5; n++) yield* TestHost.newSession(`chat ${n}`)
        yield* Effect.forkScoped(run)
        yield* Effect.forkScoped(sweep.run)
        const minute = Effect.zipRight(TestClock.adjust("1 minute"), TestHost.pause)
        yield* TestHost.pause
        yield* quiet(minute)
        const { glances, ...opened } = yield* askedBy(minute)
        expect(opened).toEqual(nothing)
        expect(glances).toBe(6 * 5)
      })
    )
  )

  it.effect("remembers nothing of a session that is not active any more", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drainAll, sweepAll } = yield* all
        const { updateSession } = yield* SessionRegistry.SessionRegistry
        const session = yield* TestHost.newSession("chat")
        yield* quiet(Effect.zipRight(drainAll, sweepAll))
        for (const look of [drainAll, sweepAll]) {
          expect((yield* askedBy(look)).files).toBe(0)
          yield* updateSession(session, { status: "closed" })
          yield* look
          yield* updateSession(session, { status: "active" })
          expect((yield* askedBy(look)).files).toBeGreaterThan(0)
        }
      })
    )
  )

  it.effect("finds what was done in one session meanwhile, by whomever", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drainAll, sweepAll } = yield* all
        const { delivery, folder, manager, say, session, texts } = yield* program
        const both = Effect.zipRight(drainAll, sweepAll)
        for (let n = 0; n < 3; n++) yield* TestHost.newSession(`chat ${n}`)
        const quietly = Effect.zipRight(
          quiet(both),
          Effect.map(askedBy(both), ({ files }) => files)
        )
        expect(yield* quietly).toBe(0)

        yield* say("from the agent")
        yield* drainAll
        expect(yield* texts).toEqual(["from the agent"])

        expect(yield* quietly).toBe(0)
        yield* manager.writeOutboundDirect(session, { id: "d", kind: "chat", content: `{"text":"direct"}` })
        yield* drainAll
        expect((yield* texts).at(-1)).toBe("direct")

        // Another program of the host's, which publishes nothing. A single drain sees it, all drains when it is published.
        const direct = (id: string) =>
          Raw.exec(
            TestHost.originalOf(folder),
            `INSERT INTO airlock_direct (id, seq, timestamp, kind, platform_id, channel_type, content)
             SELECT '${id}', seq + 100, timestamp, kind, platform_id, channel_type, '{"text":"${id}"}'
             FROM airlock_direct ORDER BY seq DESC LIMIT 1`
          )
        expect(yield* quietly).toBe(0)
        direct("unseen")
        yield* delivery.drain(session)
        expect((yield* texts).at(-1)).toBe("unseen")
        expect(yield* quietly).toBe(0)
        direct("unpublished")
        yield* sweepAll
        yield* drainAll
        expect((yield* texts).at(-1)).toBe("unpublished")

        // The agent, with its copy.
        expect(yield* quietly).toBe(0)
        const copy = `${folder}/inbound.db`
        const { atime, mtime } = Fs.statSync(copy)
        const bytes = Fs.readFileSync(copy)
        const fd = Fs.openSync(copy, "r+")
        Fs.writeSync(fd, Buffer.from("garbled"), 0, 7, 100)
        Fs.futimesSync(fd, atime, mtime)
        Fs.closeSync(fd)
        yield* sweepAll
        expect(Fs.readFileSync(copy).equals(bytes)).toBe(true)
      })
    )
  )

  it.effect("fails when the sessions cannot be listed, and not because of one of them", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drainAll, sweepAll } = yield* all
        const bad = yield* program
        const good = yield* SweepFixtures.on(yield* TestHost.newSession("good"))
        const both = Effect.zipRight(drainAll, sweepAll)
        yield* quiet(both)
        yield* good.write("hello")
        Fs.writeFileSync(`${bad.folder}/outbound.db`, "nothing of the kind".repeat(1000))
        const { lines } = yield* logged(quiet(both))
        expect(lines.map((line) => line.split(" ")[0]).sort()).toEqual(["Delivery.run:", "Sweep.run:"])
        expect(good.containers.running.has(good.session.sessionId)).toBe(true)
        // However often it failed, and however old its files are.
        expect((yield* askedBy(drainAll)).files).toBeGreaterThan(0)
        expect((yield* askedBy(sweepAll)).files).toBeGreaterThan(0)

        const central = `${bad.folder.slice(0, bad.folder.indexOf("/v2-sessions"))}/v2.db`
        Raw.exec(central, "ALTER TABLE sessions RENAME TO elsewhere")
        expect(yield* Effect.flip(drainAll)).toMatchObject({ resource: "central" })
        expect(yield* Effect.flip(sweepAll)).toMatchObject({ resource: "central" })
      })
    )
  )
})

/** A session, and both looks at it. */
const session = Effect.gen(function* () {
  const its = yield* program
  const sweep = yield* Sweep.Sweep
  return { ...its, sweep: sweep.sweep(its.session) }
})

describe("a look at a session", () => {
  it.effect("sees what came in the same tick as what it saw before, and left the same length", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drain, say, texts } = yield* session
        yield* say("one")
        yield* Effect.repeatN(drain, 2)
        yield* stopTicking
        yield* drain
        yield* say("two")
        yield* drain
        expect(yield* texts).toEqual(["one", "two"])
      })
    )
  )

  it.effect("tells from outside that nothing happened, from when the files are older than a tick", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drain, say, sweep } = yield* session
        yield* say("one")
        for (const look of [Effect.asVoid(drain), Effect.asVoid(sweep)]) {
          yield* Effect.repeatN(look, 2)
          yield* later(99)
          expect((yield* askedBy(look)).files).toBeGreaterThan(0)
          yield* later(1)
          // The last one that is needed.
          expect((yield* askedBy(look)).files).toBeGreaterThan(0)
          expect(yield* askedBy(look)).toMatchObject(nothing)
          yield* later(-100)
        }
      })
    )
  )

  it.effect("waits longer where the times of files are whole seconds", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drain, say } = yield* session
        yield* say("one")
        const opened = yield* Opened
        opened.seenAs = (_, seen) => seen && { ...seen, ctimeMs: Math.floor(seen.ctimeMs / 1000) * 1000 }
        yield* Effect.repeatN(drain, 2)
        yield* later(2999)
        yield* drain
        expect((yield* askedBy(drain)).files).toBeGreaterThan(0)
        yield* later(1)
        yield* drain
        expect(yield* askedBy(drain)).toMatchObject(nothing)
      })
    )
  )

  it.effect("is made in full as long as a journal lies beside outbound.db, whose removal is a commit", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drain, folder, mailbox, say, statuses, sweep, texts, write } = yield* Effect.gen(
          function* () {
            const its = yield* session
            const { statuses, write } = yield* SweepFixtures.on(its.session)
            return { ...its, statuses, write }
          }
        )
        yield* write("hello")
        const journal = `${folder}/outbound.db-journal`
        const before = Forgery.journalTo(Fs.readFileSync(`${folder}/outbound.db`))
        yield* say("one")
        yield* mailbox.complete(["hello"])
        Fs.writeFileSync(journal, before)
        yield* quiet(Effect.zipRight(drain, sweep))
        expect(yield* texts).toEqual([])
        expect(statuses()).toEqual({ hello: "pending" })
        Fs.unlinkSync(journal)
        yield* drain
        expect(yield* texts).toEqual(["one"])
        yield* sweep
        expect(statuses()).toEqual({ hello: "completed" })
      })
    )
  )

  it.effect("is made in full if a file cannot be looked at", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drain, sweep } = yield* session
        yield* quiet(Effect.zipRight(drain, sweep))
        const opened = yield* Opened
        for (const name of ["outbound.db", "inbound.db", "inbound.db-wal"]) {
          opened.seenAs = (path, seen) => (path.endsWith(name) ? undefined : seen)
          yield* quiet(Effect.zipRight(drain, sweep))
          expect((yield* askedBy(drain)).files).toBeGreaterThan(0)
          expect((yield* askedBy(sweep)).files).toBeGreaterThan(0)
        }
        yield* goOnTicking
        yield* quiet(Effect.zipRight(drain, sweep))
        expect(yield* askedBy(drain)).toMatchObject(nothing)
      })
    )
  )

  it.effect("does not need anybody to write when a time has come", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { drainAll, sweepAll } = yield* all
        const { answer, say, session, texts } = yield* program
        const other = yield* SweepFixtures.on(yield* TestHost.newSession("other"))
        yield* say("tomorrow", { deliverAfter: 60_000 })
        yield* other.write("later", { processAfter: "1970-01-01T00:01:00.000Z" })
        yield* quiet(Effect.zipRight(drainAll, sweepAll))
        expect(yield* askedBy(Effect.zipRight(drainAll, sweepAll))).toMatchObject(nothing)
        yield* TestClock.adjust("1 minute")
        yield* drainAll
        expect(yield* texts).toEqual(["tomorrow"])
        yield* sweepAll
        expect(other.containers.running.has(other.session.sessionId)).toBe(true)

        yield* answer(() => Effect.succeed(ChannelAdapter.tryLater("1 hour")))
        const waits = yield* say("waits")
        yield* quiet(drainAll)
        const delivery = yield* Delivery.Delivery
        expect(yield* askedBy(drainAll)).toMatchObject(nothing)
        expect(yield* delivery.drain(session)).toEqual({ delivered: [], failed: [], waiting: [waits.id] })
        yield* answer(() => Effect.succeed(ChannelAdapter.delivered()))
        yield* TestClock.adjust("1 hour")
        yield* drainAll
        expect((yield* texts).at(-1)).toBe("waits")
      })
    )
  )
})

describe("a loop", () => {
  it.effect("looks at the very time for which something waits, also if it did not look there itself", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { delivery, drain, say, texts } = yield* program
        yield* Effect.forkScoped(delivery.run)
        yield* TestHost.pause
        yield* say("soon", { deliverAfter: 90_000 })
        yield* quiet(drain)
        yield* TestClock.adjust("1 minute")
        yield* TestHost.pause
        expect((yield* askedBy(TestClock.adjust("29999 millis"))).files).toBe(0)
        expect(yield* texts).toEqual([])
        yield* TestClock.adjust("1 millis")
        yield* TestHost.until(() => Effect.map(texts, ([text]) => text === "soon"))
      })
    )
  )
})

describe("a sweep", () => {
  const swept = (session: Session.Session) =>
    Effect.gen(function* () {
      const { sweepAll } = yield* all
      return { ...(yield* SweepFixtures.on(session)), sweepAll }
    })

  it.effect("asks after agents that run, whatever the files look like", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { containerStatus, containers, mailbox, session, sweepAll, write } = yield* swept(
          yield* TestHost.newSession()
        )
        yield* write("hello")
        yield* sweepAll
        yield* mailbox.complete(["hello"])
        yield* quiet(sweepAll)
        expect(yield* containerStatus).toBe("running")
        containers.running.delete(session.sessionId)
        yield* sweepAll
        expect(yield* containerStatus).toBe("stopped")
      })
    )
  )

  it.effect("goes on trying to offer a message again, whatever the files look like", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { containers, host, mailbox, say, session, sweepAll, write } = yield* swept(
          yield* TestHost.newSession()
        )
        yield* write("hello")
        yield* write("context", { trigger: 0 })
        yield* sweepAll
        yield* mailbox.complete(["hello"])
        say("context", "'processing'")
        host("CREATE TRIGGER never BEFORE INSERT ON airlock_claim BEGIN SELECT RAISE(ABORT, 'never'); END")
        yield* quiet(sweepAll)
        containers.running.delete(session.sessionId)
        const { lines } = yield* logged(quiet(sweepAll))
        expect(lines.length).toBe(1)
        expect((yield* askedBy(sweepAll)).databases).toBeGreaterThan(0)
      })
    )
  )

  it.effect("starts an agent that has something to do, whatever the files look like", () =>
    withCountingHost(
      Effect.gen(function* () {
        const { containers, session, sweepAll, write } = yield* swept(yield* TestHost.newSession())
        containers.onWake = () => Effect.sync(() => containers.running.delete(session.sessionId))
        yield* write("hello")
        yield* quiet(sweepAll)
        expect(asked(containers)).toEqual(["wake"])
        yield* TestClock.adjust("1 minute")
        yield* sweepAll
        yield* sweepAll
        expect(asked(containers).length).toBeGreaterThan(1)
      })
    )
  )
})
