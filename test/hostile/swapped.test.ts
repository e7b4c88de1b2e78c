/**
 * Things that are swapped while the host works, so that whatever it looked at may be another thing when it uses it. The
 * host is a process whose system calls are traced: what it opened, and what it changed, is in the folder that it
 * meant, and never in the canary beside it.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as TestHost from "../support/TestHost.js"
import * as Forgery from "./Forgery.js"
import * as Place from "./Place.js"
import * as Trace from "./Trace.js"
import * as TracedHost from "./TracedHost.js"

/**
 * For how long each thing is swapped, and how long an operation may take meanwhile. The tracer stops the host at each call,
 * so it may take twice as long here.
 */
const swapMillis = Number(process.env["AIRLOCK_HOSTILE_SWAP_MILLIS"] ?? 400)
const millisLimit = Number(process.env["AIRLOCK_HOSTILE_MILLIS"] ?? 2000)

/** What is swapped: what is there, and what comes in its place, made in the session folder itself. */
const swaps = (folder: string, canary: string) => {
  const at = (name: string) => Path.join(folder, name)
  const outside = (name: string) => Path.join(canary, name)
  const other = at("other")
  const link = (name: string) => () => Fs.symlinkSync(outside(name), other)
  const secondName = (name: string) => () => Fs.linkSync(outside(name), other)
  const fifo = () => void execFileSync("mkfifo", [other])
  const file = (bytes: Buffer) => () => Fs.writeFileSync(other, bytes)
  const whole = Fs.readFileSync(at("outbound.db"))
  const shared = Forgery.sharedPages(whole, Forgery.rootOf(at("made.db"), whole, "messages_out"))
  const swap = (path: string, what: string, make: () => void, first?: string) => ({
    how: "swap" as const,
    name: `${path} for ${what}`,
    path: at(path),
    other,
    prepare: () => {
      if (first !== undefined) Fs.writeFileSync(at(path), first)
      make()
    },
    /** What is there at the end is what was there first. */
    tidy: () => {
      Fs.rmSync(other, { force: true })
      if (first !== undefined) Fs.rmSync(at(path), { force: true })
    }
  })
  const churn = (path: string, what: string, target: string) => ({
    how: "churn" as const,
    name: `${path} for ${what}`,
    path: at(path),
    other: target,
    prepare: () => {},
    tidy: () => Fs.rmSync(at(".aside"), { force: true, recursive: true })
  })
  return [
    swap("outbound.db", "a link to a database outside", link("outbound.db")),
    swap("outbound.db", "a FIFO", fifo),
    swap("outbound.db", "a second name of a database outside", secondName("outbound.db")),
    swap("outbound.db", "pages that share their children", file(shared)),
    swap("outbound.db-journal", "a link to a file outside", link("secret"), "no journal"),
    swap("outbound.db-journal", "a FIFO", fifo, "no journal"),
    swap(
      "outbound.db-journal",
      "one that brings back such pages",
      file(Forgery.journalTo(shared)),
      "no journal"
    ),
    swap(".heartbeat", "a link to a file outside", link("secret"), ""),
    swap("outbox", "a link to a folder outside", link("")),
    swap("outbox/m", "a link to a folder outside", link("m")),
    swap("outbox/m/file", "a link to a file outside", link("m/file")),
    swap("outbox/m/file", "a second name of a file outside", secondName("m/file")),
    swap("outbox/m/file", "a FIFO", fifo),
    swap("inbox", "a link to a folder outside", link("")),
    swap("inbox", "a FIFO", fifo),
    // What the host removes, and what it makes.
    churn("outbox/c", "a link to a folder outside", outside("m")),
    churn("inbox/*", "links to a folder outside", outside("w"))
  ]
}

describe("a host beside which an agent swaps", () => {
  it.live(
    "all that it can for something outside stays inside, answers in time, and serves others",
    () =>
      Effect.gen(function* () {
        const top = yield* TestHost.temporaryDirectory
        const dataDir = Path.join(top, "data")
        const canary = Place.canaryAt(Path.join(top, "canary"))
        const trace = Path.join(top, "trace")
        const untouched = TestHost.contentsOf(canary)
        const agent = yield* Place.planter
        const host = yield* TracedHost.start(dataDir, trace)
        const mailbox = yield* TestHost.mailboxAt(host.healthy)
        const folder = host.hostile
        yield* TestHost.until(() => host.done.length > 20)
        const rss = Math.max(...host.done.map((one) => one.rss))

        Place.say(folder, "m", 1)
        for (const { how, name, other, path, prepare, tidy } of swaps(folder, canary)) {
          prepare()
          const from = host.done.length
          const sentBefore = host.sent.length
          const isSent = () => host.sent.slice(sentBefore).some(({ content }) => content.includes(name))
          yield* mailbox.send({ content: { text: name } })
          // On a machine that is busy the host gets through less in the same time.
          let count = 0
          const ofHostile = () => host.done.slice(from).filter(({ session }) => session === "hostile")
          for (let turn = 0; turn === 0 || (turn < 10 && ofHostile().length < 10); turn++) {
            count += yield* agent.swap(how, path, other, swapMillis)
          }
          const operations = ofHostile()
          const during = host.done.slice(from)
          yield* TestHost.until(isSent)
          const inWords = Array.from(new Set(operations.map((one) => `${one.what}: ${one.outcome}`))).sort()
          console.log(`${name}: ${count} swaps, ${operations.length} operations; ${inWords.join("; ")}`)
          expect.soft(count, name).toBeGreaterThan(50)
          expect.soft(operations.length, name).toBeGreaterThan(9)
          expect
            .soft(
              inWords.filter((one) => /defect|undefined/.test(one)),
              name
            )
            .toEqual([])
          expect
            .soft(
              during.filter(({ millis }) => millis > millisLimit),
              name
            )
            .toEqual([])
          expect
            .soft(
              during.filter(({ outcome, session }) => session === "healthy" && outcome !== "fine"),
              name
            )
            .toEqual([])
          tidy()
        }
        // Once nothing is swapped any more, the session is as good as any.
        const last = host.done.length
        const isFine = (what: string) =>
          host.done
            .slice(last)
            .some((one) => one.session === "hostile" && one.what === what && one.outcome === "fine")
        yield* TestHost.until(() => ["write", "drain", "sweep"].every(isFine))
        expect(yield* host.end).toBe(0)

        expect(Math.max(...host.done.map((one) => one.rss)) - rss).toBeLessThan(200 * 2 ** 20)
        expect(TestHost.contentsOf(canary)).toEqual(untouched)
        expect(host.sent.filter((one) => JSON.stringify(one).includes(Place.secret))).toEqual([])
        expect(host.sent.filter(({ envelope }) => envelope === "stolen")).toEqual([])

        const calls = Trace.parse(Fs.readFileSync(trace, "utf8"))
        const { isBelow } = Trace
        const real = Fs.realpathSync(folder)
        const throughSession = calls.filter(({ asked }) => asked.some((path) => isBelow(path, real)))
        const opened = throughSession.filter((call) => call.opened !== undefined)
        console.log(
          `${calls.length} calls, ${throughSession.length} on the session, ${opened.length} of them opened`
        )
        expect(opened.length).toBeGreaterThan(100)
        // Opened below or through the session: arrived in the session. (A file that was removed is shown as deleted.)
        expect(opened.filter((call) => !isBelow(call.opened ?? "", real)).map(({ line }) => line)).toEqual([])
        // Everything that it opened for writing, made, renamed or removed is its own.
        const own = [Fs.realpathSync(dataDir), Path.join(Fs.realpathSync(Os.tmpdir()), "effect-airlock-")]
        const isOwn = (path: string) =>
          isBelow(path, own[0] ?? "") || path.startsWith(own[1] ?? "") || path === "/dev/null"
        const isChange = ({ call, line }: Trace.FileCall) =>
          /^(rename|unlink|mkdir|rmdir|link|symlink|mknod|truncate|chmod|chown|utime|creat|fchmodat|fchownat|utimensat|setxattr)/.test(
            call
          ) || /O_WRONLY|O_RDWR|O_CREAT|O_TRUNC/.test(line)
        const changed = calls.filter(isChange)
        expect(changed.length).toBeGreaterThan(100)
        expect(
          changed
            .filter(({ asked, opened: at }) => !(at === undefined ? asked.every(isOwn) : isOwn(at)))
            .map(({ line }) => line)
        ).toEqual([])
        // Nothing led to the canary, nor was anything there so much as looked at.
        expect(
          calls.filter(({ asked, opened: at }) => [...asked, at ?? ""].some((path) => isBelow(path, canary)))
        ).toEqual([])
      }).pipe(Effect.scoped),
    180_000
  )
})
