/**
 * One host with its loops, and a load on some of its sessions. It is asked in JSON (see `ScaleRun`), and answers with one
 * line of it.
 *
 *   node --expose-gc scaleHost.mjs '{ "dataDir": … }'
 */
import { NodeRuntime } from "@effect/platform-node"
import { Array as Arr, Effect, Fiber, Logger, LogLevel, Option, Schedule, Stream } from "effect"
import type { Session } from "effect-airlock"
import { ChannelAdapter, ContainerRuntime } from "effect-airlock"
import * as Fs from "node:fs"
import type { IntervalHistogram } from "node:perf_hooks"
import { monitorEventLoopDelay } from "node:perf_hooks"
import * as V8 from "node:v8"
import * as Agents from "./Agents.js"
import * as Measure from "./Measure.js"
import * as Ours from "./Ours.js"
import type { Asked, Measured, Quantiles } from "./ScaleRun.js"
import { quantile } from "./Statistics.js"

const asked = JSON.parse(process.argv[2] ?? "") as Asked

/** The clock that all processes of a machine share. */
const now = () => process.hrtime.bigint()

const millis = (from: bigint, to: bigint): number => Number(to - from) / 1e6

const quantiles = (samples: ReadonlyArray<number>): Quantiles =>
  samples.length === 0
    ? { p50: null, p99: null, max: null }
    : { p50: quantile(samples, 0.5), p99: quantile(samples, 0.99), max: quantile(samples, 1) }

/** `kept` is the heap without compiled code, of which there is more the longer a program runs, whatever it keeps. */
const memory = Effect.sync(() => {
  if (global.gc === undefined) throw new Error("node has to be started with --expose-gc")
  for (let n = 0; n < 3; n++) global.gc()
  const { heapUsed, rss } = process.memoryUsage()
  const { bytecode_and_metadata_size, code_and_metadata_size } = V8.getHeapCodeStatistics()
  return { kept: heapUsed - code_and_metadata_size - bytecode_and_metadata_size, rss }
})

/** What is known of a message, by its id. */
interface Times {
  readonly due: bigint
  stored?: bigint
  answered?: bigint
  delivered?: bigint
}

const looks = (ours: Ours.Host) => Effect.zipRight(ours.delivery.drainAll, ours.sweep.sweepAll)

/** What the process has open, where a list of that is to be had. */
const openFiles = (): ReadonlyArray<string> => {
  const folder = "/proc/self/fd"
  if (!Fs.existsSync(folder)) return []
  return Fs.readdirSync(folder).flatMap((fd) => {
    try {
      return [Fs.readlinkSync(`${folder}/${fd}`)]
    } catch {
      // The one through which the folder was read.
      return []
    }
  })
}

/** Databases are kept open for a while after their use, which is no part of what an idle session costs. */
const untilClosed = Effect.sync(openFiles).pipe(
  Effect.repeat({
    until: (files) => !files.some((path) => path.endsWith("/inbound.db")),
    schedule: Schedule.spaced("1 second")
  }),
  Effect.timeoutOption("2 minutes")
)

/** What the host keeps of sessions in which nothing happens, and how long it takes to see that. */
const idle = (ours: Ours.Host) =>
  Effect.gen(function* () {
    // What is there once, whatever the number of sessions, has to be there before.
    const [some] = Arr.splitAt(yield* ours.registry.listActiveSessions(), 50)
    const one = (ref: Session.SessionRef) => Effect.zipRight(ours.delivery.drain(ref), ours.sweep.sweep(ref))
    yield* Effect.repeatN(Effect.forEach(some, one, { discard: true }), 40)
    yield* untilClosed
    const before = yield* memory
    const first = yield* Measure.timed(looks(ours))
    // Files that were written within the same tick of the clock do not count as unchanged.
    yield* Effect.sleep("1 second")
    yield* looks(ours)
    const files = openFiles().length
    const times: Array<number> = []
    for (let n = 0; n < 3; n++) times.push(yield* Measure.timed(looks(ours)))
    yield* untilClosed
    const after = yield* memory
    const more = asked.sessions - some.length
    return {
      firstLook: first / 1000,
      idleLook: quantile(times, 0.5) / 1000,
      heapPerSession: (after.kept - before.kept) / more,
      residentPerSession: (after.rss - before.rss) / more,
      files
    }
  })

/** Waits until the event loop has been on time for two seconds, but not for ever. */
const untilQuiet = Effect.gen(function* () {
  for (let calm = 0; calm < 10;) {
    const late = (yield* Measure.timed(Effect.sleep("200 millis"))) / 1000 - 200
    calm = late < 50 ? calm + 1 : 0
  }
}).pipe(Effect.timeoutOption("2 minutes"))

/** In milliseconds. What the event loop was late by is what it took for one turn beyond this. */
const resolution = 10

const lateBy = (delay: IntervalHistogram): Quantiles => {
  if (delay.count === 0) return { p50: null, p99: null, max: null }
  const late = (nanos: number) => Math.max(0, nanos / 1e6 - resolution)
  return { p50: late(delay.percentile(50)), p99: late(delay.percentile(99)), max: late(delay.max) }
}

/** How many writes may be under way before those that are due are left out. */
const mostAtATime = 1000

/** Messages at a rate of their own: a host that is slow gets no fewer. Times count from when a message was due. */
const load = (ours: Ours.Host, sessions: ReadonlyArray<Session.SessionRef>, times: Map<string, Times>) =>
  Effect.gen(function* () {
    const start = now()
    const dueOf = (n: number) => start + BigInt(Math.round((n * 1e9) / asked.rate))
    let underWay = 0
    const write = (n: number) => {
      const session = sessions[n % sessions.length]
      if (session === undefined || underWay >= mostAtATime) return Effect.void
      const id = `message-${n}`
      const known: Times = { due: dueOf(n) }
      times.set(id, known)
      underWay++
      const content = JSON.stringify({ text: `This is ${id}, and not much longer than others are.` })
      return ours.manager.writeMessage(session, { id, kind: "chat", content }).pipe(
        Effect.tap(() => Effect.sync(() => (known.stored = now()))),
        Effect.ensuring(Effect.sync(() => underWay--)),
        Effect.fork
      )
    }
    const count = asked.rate * asked.seconds
    for (let n = 0; n < count;) {
      // As they come from sockets: through the event loop, and all at once when it is late.
      yield* Effect.sleep(Math.max(0, millis(now(), dueOf(n))))
      do yield* write(n++)
      while (n < count && dueOf(n) <= now())
    }
  })

const program = Effect.gen(function* () {
  const times = new Map<string, Times>()
  const running = new Set<string>()
  const containers = {
    status: ({ sessionId }: Session.SessionRef) =>
      Effect.sync(() =>
        running.has(sessionId) ? ContainerRuntime.running(Option.none()) : ContainerRuntime.stopped
      ),
    wake: () => Effect.void,
    kill: () => Effect.void,
    exits: Stream.empty
  }
  const ours = yield* Ours.host({
    dataDir: asked.dataDir,
    intervals: { deliverRunning: asked.interval },
    containers,
    deliver: ({ inReplyTo }) =>
      Effect.sync(() => {
        const known = times.get(inReplyTo ?? "")
        if (known !== undefined) known.delivered ??= now()
        return ChannelAdapter.delivered()
      })
  })
  const whileIdle = yield* idle(ours)

  const active = (yield* ours.registry.listActiveSessions()).slice(-asked.active)
  const folders = yield* Effect.forEach(active, ours.folder)
  yield* Agents.start(folders, asked.interval, (id, at) => {
    const known = times.get(id)
    if (known !== undefined) known.answered = at
  })
  for (const session of active) {
    running.add(session.sessionId)
    yield* ours.manager.markContainerRunning(session)
  }
  const loops = yield* Effect.fork(Effect.raceFirst(ours.delivery.run, ours.sweep.run))
  // They begin with a look at all sessions.
  yield* untilQuiet

  const delay = monitorEventLoopDelay({ resolution })
  const start = now()
  const cpu = process.cpuUsage()
  delay.enable()
  yield* load(ours, active, times)
  delay.disable()
  const { system, user } = process.cpuUsage(cpu)
  const end = now()
  const seconds = millis(start, end) / 1000
  const { heapUsed, rss } = process.memoryUsage()
  const all = Array.from(times.values())
  const by = (at: bigint | undefined) => at !== undefined && at <= end
  const stored = all.filter((known) => by(known.stored)).length
  const delivered = all.filter((known) => by(known.delivered)).length

  yield* Effect.sync(() => all.every((known) => known.delivered !== undefined)).pipe(
    Effect.repeat({ until: (done) => done, schedule: Schedule.spaced("100 millis") }),
    Effect.timeoutOption("30 seconds")
  )
  // What the agents have to say of the last ones.
  yield* Effect.sleep("200 millis")
  yield* Fiber.interrupt(loops)
  const between = (from: keyof Times, to: keyof Times) =>
    quantiles(
      all.flatMap((known) => {
        const [a, b] = [known[from], known[to]]
        return a === undefined || b === undefined ? [] : [millis(a, b)]
      })
    )
  const measured: Measured = {
    ...whileIdle,
    sent: all.length / seconds,
    stored: stored / seconds,
    delivered: delivered / seconds,
    missing: all.filter((known) => known.delivered === undefined).length,
    write: between("due", "stored"),
    roundTrip: between("due", "delivered"),
    outward: between("answered", "delivered"),
    cpu: (system + user) / 1e6 / seconds,
    heap: heapUsed,
    resident: rss,
    delay: lateBy(delay)
  }
  process.stdout.write(`${JSON.stringify(measured)}\n`)
})

program.pipe(
  Effect.scoped,
  Logger.withMinimumLogLevel(LogLevel.Warning),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))),
  (main) => NodeRuntime.runMain(main, { disablePrettyLogger: true })
)
