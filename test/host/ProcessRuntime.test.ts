import { Command, CommandExecutor, FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import {
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  LogLevel,
  Option,
  Schema,
  Scope,
  Sink,
  Stream,
  TestClock
} from "effect"
import type { Session } from "effect-airlock"
import { AirlockConfig, ContainerRuntime, SessionPaths } from "effect-airlock"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as ProcessIdentity from "../../src/storage/ProcessIdentity.js"
import { ProcessRecord } from "../../src/host/ProcessRecords.js"
import * as Processes from "../support/Processes.js"
import * as TestHost from "../support/TestHost.js"

type System = Layer.Layer<FileSystem.FileSystem | CommandExecutor.CommandExecutor>

/** A runtime on a data directory, until the scope closes. */
const runtimeAt = (dataDir: string, options: ContainerRuntime.ProcessOptions, system: System) =>
  Effect.map(
    Layer.build(
      ContainerRuntime.ContainerRuntime.layerProcess(options).pipe(
        Layer.provide(SessionPaths.SessionPaths.layer),
        Layer.provide(AirlockConfig.AirlockConfig.layer({ dataDir })),
        Layer.provide(system)
      )
    ),
    Context.get(ContainerRuntime.ContainerRuntime)
  )

/** A runtime whose agents run `more`, or what `command` says, and count how often they were started. */
const program = (
  more = "",
  given: Partial<ContainerRuntime.ProcessOptions> = {},
  at?: string,
  system: System = NodeContext.layer
) =>
  Effect.gen(function* () {
    const dataDir = at ?? (yield* TestHost.temporaryDirectory)
    const folderOf = (session: Session.SessionRef) => {
      const folder = Path.join(dataDir, "v2-sessions", session.agentGroupId, session.sessionId)
      Fs.mkdirSync(folder, { recursive: true })
      return folder
    }
    const started: Array<string> = []
    const runtime = yield* runtimeAt(
      dataDir,
      {
        command: (session, folder) => {
          started.push(session.sessionId)
          expect(folder).toBe(folderOf(session))
          return Command.make(process.execPath, ...Processes.agent(folder, more)).pipe(
            Command.stderr("inherit")
          )
        },
        ...given
      },
      system
    )
    const session = Processes.session("sess-1")
    const folder = folderOf(session)
    /** The sessions whose agents have ended since now. */
    const exits = yield* subscribe(runtime)
    const records = () => Fs.readdirSync(Path.join(dataDir, "airlock-processes"))
    return { dataDir, runtime, session, folder, folderOf, started, exits, records }
  })

/** A system that removes no file before it may. */
const slowToRemove = (allowed: Effect.Latch): System =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.map(FileSystem.FileSystem, (files) => ({
      ...files,
      remove: (path, options) => allowed.whenOpen(files.remove(path, options))
    }))
  ).pipe(Layer.provideMerge(NodeContext.layer))

/** A system on which a process is seen for a number of looks, whether it is there or not. */
const slowToNotice = (pid: number, looks: number, onLook: () => void): System =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.map(FileSystem.FileSystem, (files) => {
      const path = `/proc/${pid}/stat`
      const seen = Fs.readFileSync(path, "utf8")
      let left = looks
      return {
        ...files,
        readFileString: (asked, encoding) =>
          Effect.suspend(() => {
            if (asked !== path) return files.readFileString(asked, encoding)
            onLook()
            return left-- > 0 ? Effect.succeed(seen) : files.readFileString(asked, encoding)
          })
      }
    })
  ).pipe(Layer.provideMerge(NodeContext.layer))

/** A system that starts no process before it may. */
const slowToStart = (allowed: Effect.Latch): System =>
  Layer.effect(
    CommandExecutor.CommandExecutor,
    Effect.map(CommandExecutor.CommandExecutor, (executor) => ({
      ...executor,
      start: (command) => allowed.whenOpen(executor.start(command))
    }))
  ).pipe(Layer.provideMerge(NodeContext.layer))

const untilItWaits = (fiber: Fiber.RuntimeFiber<unknown, unknown>) =>
  TestHost.until(() => Effect.map(fiber.status, ({ _tag }) => _tag === "Suspended"))

const subscribe = (runtime: ContainerRuntime.ContainerRuntime["Type"]) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    const collecting = yield* Effect.forkScoped(
      Stream.runForEach(runtime.exits, ({ sessionId }) => Effect.sync(() => seen.push(sessionId)))
    )
    // It waits for an exit: it has subscribed.
    yield* untilItWaits(collecting)
    return seen
  })

const stateOf = (runtime: ContainerRuntime.ContainerRuntime["Type"], session: Session.Session) =>
  Effect.map(runtime.status(session), ({ _tag }) => _tag)

describe("ContainerRuntime.layerProcess", () => {
  it.scoped("starts an agent on its session's folder, once, and tells since when it runs", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_767_225_600_000)
      const { exits, folder, runtime, session, started } = yield* program()
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
      yield* runtime.wake(session)
      yield* TestClock.adjust("1 minute")
      yield* runtime.wake(session)
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.running(Option.some(1_767_225_600_000)))
      const pid = yield* Processes.numberIn(folder, "pid")
      expect(Processes.isRunning(pid)).toBe(true)
      expect(started).toEqual(["sess-1"])
      expect(exits).toEqual([])
    })
  )

  it.scoped("starts one process for any number of callers at once", () =>
    Effect.gen(function* () {
      const { runtime, session, started } = yield* program()
      yield* Effect.all(
        Array.from({ length: 20 }, () => runtime.wake(session)),
        { concurrency: "unbounded", discard: true }
      )
      expect(started).toEqual(["sess-1"])
      expect(yield* stateOf(runtime, session)).toBe("Running")
    })
  )

  it.scoped("lets an agent end in order, and returns when it has", () =>
    Effect.gen(function* () {
      const { exits, folder, records, runtime, session } = yield* program(Processes.obeysTerm)
      yield* runtime.kill(session)
      yield* runtime.wake(session)
      const pid = yield* Processes.numberIn(folder, "pid")
      expect(records().length).toBe(1)
      yield* runtime.kill(session)
      expect(Processes.isRunning(pid)).toBe(false)
      expect(Fs.readFileSync(`${folder}/term`, "utf8")).toBe("yes")
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
      expect(records()).toEqual([])
      yield* TestHost.until(() => exits.length > 0)
      expect(exits).toEqual(["sess-1"])
    })
  )

  it.scoped("kills an agent that does not end when it should", () =>
    Effect.gen(function* () {
      const { folder, runtime, session } = yield* program(Processes.ignoresTerm, { stopTimeout: "3 seconds" })
      yield* runtime.wake(session)
      const pid = yield* Processes.numberIn(folder, "pid")
      const killing = yield* Effect.fork(runtime.kill(session))
      yield* TestHost.until(() => Fs.existsSync(`${folder}/term`))
      yield* TestClock.adjust("2999 millis")
      expect(Processes.isRunning(pid)).toBe(true)
      expect(Option.isNone(yield* Fiber.poll(killing))).toBe(true)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(killing)
      expect(Processes.isRunning(pid)).toBe(false)
    })
  )

  it.scoped("lets a kill be interrupted, and tried again", () =>
    Effect.gen(function* () {
      const { folder, runtime, session } = yield* program(Processes.ignoresTerm)
      yield* runtime.wake(session)
      const pid = yield* Processes.numberIn(folder, "pid")
      const killing = yield* Effect.fork(runtime.kill(session))
      yield* TestHost.until(() => Fs.existsSync(`${folder}/term`))
      yield* Fiber.interrupt(killing)
      expect(Processes.isRunning(pid)).toBe(true)
      expect(yield* stateOf(runtime, session)).toBe("Running")
      const again = yield* Effect.fork(runtime.kill(session))
      yield* TestHost.until(() =>
        Effect.zipRight(TestClock.adjust("10 seconds"), Effect.map(Fiber.poll(again), Option.isSome))
      )
      expect(Processes.isRunning(pid)).toBe(false)
    })
  )

  it.scoped("ends what an agent has started along with it", () =>
    Effect.gen(function* () {
      const { exits, folder, runtime, session } = yield* program(Processes.endsWhenTold + Processes.hasChild)
      yield* runtime.wake(session)
      const killed = yield* Processes.numberIn(folder, "grandchild")
      yield* Processes.numberIn(folder, "pid")
      yield* runtime.kill(session)
      yield* TestHost.until(() => !Processes.isRunning(killed))

      for (const name of ["grandchild", "pid"]) Fs.rmSync(`${folder}/${name}`)
      yield* runtime.wake(session)
      const left = yield* Processes.numberIn(folder, "grandchild")
      yield* Processes.numberIn(folder, "pid")
      Fs.writeFileSync(`${folder}/end`, "")
      yield* TestHost.until(() => exits.length === 2)
      yield* TestHost.until(() => !Processes.isRunning(left))
    })
  )

  it.scoped("tells everybody when an agent has ended by itself, and starts it again at once", () =>
    Effect.gen(function* () {
      const { exits, folder, records, runtime, session, started } = yield* program(Processes.endsWhenTold)
      const others = yield* subscribe(runtime)
      const woken = yield* Effect.forkScoped(
        Stream.runForEach(Stream.take(runtime.exits, 2), () => runtime.wake(session))
      )
      yield* untilItWaits(woken)
      yield* runtime.wake(session)
      for (const ended of [1, 2]) {
        const pid = yield* Processes.numberIn(folder, "pid")
        Fs.rmSync(`${folder}/pid`)
        Fs.writeFileSync(`${folder}/end`, "")
        yield* TestHost.until(() => exits.length === ended && others.length === ended)
        expect(Processes.isRunning(pid)).toBe(false)
        Fs.rmSync(`${folder}/end`)
      }
      yield* Fiber.join(woken)
      expect(started.length).toBe(3)
      expect(yield* stateOf(runtime, session)).toBe("Running")
      expect(records().length).toBe(1)
    })
  )

  it.scoped("starts an agent again that has ended, also while that is being seen to", () =>
    Effect.gen(function* () {
      const seenTo = yield* Effect.makeLatch(false)
      const { exits, folder, runtime, session, started } = yield* program(
        Processes.endsWhenTold,
        {},
        undefined,
        slowToRemove(seenTo)
      )
      yield* runtime.wake(session)
      yield* Processes.numberIn(folder, "pid")
      Fs.writeFileSync(`${folder}/end`, "")
      yield* TestHost.until(() =>
        Effect.orDie(Effect.map(stateOf(runtime, session), (state) => state === "Stopped"))
      )
      Fs.rmSync(`${folder}/end`)
      const waking = yield* Effect.fork(runtime.wake(session))
      yield* untilItWaits(waking)
      expect(started.length).toBe(1)
      expect(exits).toEqual([])
      yield* seenTo.open
      yield* Fiber.join(waking)
      expect(started.length).toBe(2)
      expect(yield* stateOf(runtime, session)).toBe("Running")
    })
  )

  it.scoped("leaves no agent running that was being started while its scope closed", () =>
    Effect.gen(function* () {
      const maySpawn = yield* Effect.makeLatch(false)
      const scope = yield* Scope.make()
      const dataDir = yield* TestHost.temporaryDirectory
      const { runtime, session, started } = yield* Scope.extend(
        program("", {}, dataDir, slowToStart(maySpawn)),
        scope
      )
      const waking = yield* Effect.fork(runtime.wake(session))
      yield* untilItWaits(waking)
      yield* Scope.close(scope, Exit.void)
      yield* maySpawn.open
      expect(Exit.isFailure(yield* Fiber.await(waking))).toBe(true)
      yield* Effect.flip(runtime.wake(session))
      expect(started.length).toBe(1)
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
    })
  )

  it.scoped("reads what an agent prints, so that it never waits for a reader", () =>
    Effect.gen(function* () {
      const { exits, runtime, session } = yield* program("", {
        command: () =>
          Command.make(
            process.execPath,
            "-e",
            `for (const fd of [1, 2]) require("fs").writeSync(fd, "x".repeat(1000000))`
          )
      })
      yield* runtime.wake(session)
      yield* TestHost.until(() => exits.length === 1)
    })
  )

  it.scoped("puts what an agent prints where the command says", () =>
    Effect.gen(function* () {
      const printed = { out: "", err: "" }
      const into = (where: "out" | "err") =>
        Sink.forEach((bytes: Uint8Array) =>
          Effect.sync(() => void (printed[where] += new TextDecoder().decode(bytes)))
        ).pipe(Sink.as(new Uint8Array()))
      const { runtime, session } = yield* program("", {
        command: () =>
          Command.make("sh", "-c", "echo out; echo err >&2").pipe(
            Command.stdout(into("out")),
            Command.stderr(into("err"))
          )
      })
      yield* runtime.wake(session)
      yield* TestHost.until(() => printed.out === "out\n" && printed.err === "err\n")
    })
  )

  it.scoped("fails when an agent cannot be started, and tries again when asked again", () =>
    Effect.gen(function* () {
      let name = "/nowhere/agent"
      const { exits, records, runtime, session } = yield* program("", {
        command: () => Command.make(name, "1000")
      })
      expect(yield* Effect.flip(runtime.wake(session))).toMatchObject({ _tag: "SystemError" })
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
      expect(yield* Effect.flip(runtime.wake(Processes.session("..")))).toMatchObject({ _tag: "UnsafePath" })
      expect(records()).toEqual([])
      name = "sleep"
      yield* runtime.wake(session)
      expect(yield* stateOf(runtime, session)).toBe("Running")
      expect(exits).toEqual([])
    })
  )

  it.scoped("refuses several commands in a pipe, of which it could stop only the last", () =>
    Effect.gen(function* () {
      const { runtime, session } = yield* program("", {
        command: () => Command.pipeTo(Command.make("sleep", "1000"), Command.make("cat"))
      })
      expect(Exit.isFailure(yield* Effect.exit(runtime.wake(session)))).toBe(true)
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
    })
  )

  it.scoped("runs no agent that it cannot write down", () =>
    Effect.gen(function* () {
      const { dataDir, exits, folder, runtime, session } = yield* program("", {
        command: (_session, path) =>
          Command.make("sh", "-c", `trap '' TERM; echo $$ > "$0/pid"; exec sleep 1000`, path)
      })
      const records = `${dataDir}/airlock-processes`
      Fs.rmdirSync(records)
      expect(yield* Effect.flip(runtime.wake(session))).toMatchObject({ _tag: "SystemError" })
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
      yield* TestHost.until(() => exits.length === 1)
      if (Fs.existsSync(`${folder}/pid`)) {
        expect(Processes.isRunning(yield* Processes.numberIn(folder, "pid"))).toBe(false)
      }
      Fs.mkdirSync(records)
      yield* runtime.wake(session)
      expect(yield* stateOf(runtime, session)).toBe("Running")
      yield* TestHost.until(() => Fs.existsSync(`${folder}/pid`))
      const killing = yield* Effect.fork(runtime.kill(session))
      yield* TestHost.until(() =>
        Effect.zipRight(TestClock.adjust("10 seconds"), Effect.map(Fiber.poll(killing), Option.isSome))
      )
    })
  )

  it.scoped("stops all agents side by side when its scope closes, and starts none from then on", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const scope = yield* Scope.make()
      const { folderOf, records, runtime } = yield* Scope.extend(
        program(
          "",
          {
            command: ({ sessionId }, folder) =>
              Command.make(
                process.execPath,
                ...Processes.agent(
                  folder,
                  sessionId === "obeys" ? Processes.obeysTerm : Processes.ignoresTerm
                )
              )
          },
          dataDir
        ),
        scope
      )
      const sessions = ["obeys", "ignores", "ignores too"].map((id) => Processes.session(id))
      const folders = sessions.map(folderOf)
      yield* Effect.forEach(sessions, runtime.wake)
      const pids = yield* Effect.forEach(folders, (path) => Processes.numberIn(path, "pid"))
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* TestHost.until(() => folders.every((folder) => Fs.existsSync(`${folder}/term`)))
      yield* TestHost.until(() => pids.filter(Processes.isRunning).length === 2)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(closing)
      expect(pids.filter(Processes.isRunning)).toEqual([])
      expect(records()).toEqual([])
      yield* Effect.forEach(sessions, (session) => Effect.flip(runtime.wake(session)))
    })
  )
})

/** A host in a process of its own, with an agent that has started a process of its own. */
const otherHost = (dataDir: string) =>
  Effect.gen(function* () {
    const { child, ended, line } = yield* Processes.start("processHost.ts", dataDir, "sess-1")
    const folder = Path.join(dataDir, "v2-sessions", "agent", "sess-1")
    const agents = [Number(line), yield* Processes.numberIn(folder, "grandchild")]
    expect(agents.filter(Processes.isRunning)).toEqual(agents)
    return { child, ended, agents, folder }
  })

describe.runIf(Fs.existsSync("/proc/self/stat"))("what a host leaves behind", () => {
  const identities = Effect.provide(ProcessIdentity.make, NodeContext.layer)

  /** What a host of which nothing is left wrote down about a process, with changes to make it untrue. */
  const recordOf = (pid: number, untrue: object = {}) =>
    Effect.gen(function* () {
      const processes = yield* identities
      const agent = Option.getOrThrow(yield* processes.of(pid))
      const host = { ...Option.getOrThrow(processes.self), startTicks: "1" }
      return yield* Schema.encode(ProcessRecord)({ host, agent: { ...agent, ...untrue } })
    })

  it.scopedLive("kills the agents of a host that was killed, before anything else", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const { agents, child, ended, folder } = yield* otherHost(dataDir)
      child.kill("SIGKILL")
      yield* ended
      expect(agents.filter(Processes.isRunning)).toEqual(agents)
      const { records, runtime, session } = yield* program("", {}, dataDir)
      expect(Processes.isRunning(agents[0] ?? 0)).toBe(false)
      yield* TestHost.until(() => agents.filter(Processes.isRunning).length === 0)
      expect(records()).toEqual([])
      expect(Fs.existsSync(`${folder}/term`)).toBe(false)
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
      yield* runtime.wake(session)
      expect(records().length).toBe(1)
    })
  )

  it.scopedLive("leaves the agents of a host that lives alone, which stops them itself on Ctrl-C", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const { agents, child, ended, folder } = yield* otherHost(dataDir)
      const { records } = yield* program("", {}, dataDir)
      expect(agents.filter(Processes.isRunning)).toEqual(agents)
      expect(records().length).toBe(1)
      child.kill("SIGINT")
      yield* ended
      yield* TestHost.until(() => agents.filter(Processes.isRunning).length === 0)
      expect(Fs.readFileSync(`${folder}/term`, "utf8")).toBe("yes")
      expect(records()).toEqual([])
    })
  )

  for (const [what, untrue] of [
    ["of the same number that started at another time", { startTicks: "1" }],
    ["of the same number and time since another start of the system", { bootId: "another" }]
  ] as const) {
    it.scopedLive(`does not kill a process ${what}`, () =>
      Effect.gen(function* () {
        const dataDir = yield* TestHost.temporaryDirectory
        const pid = (yield* Processes.stranger).pid ?? 0
        const folder = `${dataDir}/airlock-processes`
        Fs.mkdirSync(folder)
        Fs.writeFileSync(`${folder}/untrue`, yield* recordOf(pid, untrue))
        yield* Effect.scoped(program("", {}, dataDir))
        expect(Processes.isRunning(pid)).toBe(true)
        expect(Fs.readdirSync(folder)).toEqual([])
        Fs.writeFileSync(`${folder}/true`, yield* recordOf(pid))
        yield* Effect.scoped(program("", {}, dataDir))
        expect(Processes.isRunning(pid)).toBe(false)
        expect(Fs.readdirSync(folder)).toEqual([])
      })
    )
  }

  it.scopedLive("waits until a killed process is gone, and keeps its record if that takes too long", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const folder = `${dataDir}/airlock-processes`
      Fs.mkdirSync(folder)
      for (const [looks, left] of [
        [1000, []],
        [Number.POSITIVE_INFINITY, ["record"]]
      ] as const) {
        const pid = (yield* Processes.stranger).pid ?? 0
        Fs.writeFileSync(`${folder}/record`, yield* recordOf(pid))
        let asked = 0
        const system = slowToNotice(pid, looks, () => (asked += 1))
        yield* Effect.scoped(program("", {}, dataDir, system))
        expect(asked).toBeGreaterThan(1000)
        expect(Processes.isRunning(pid)).toBe(false)
        expect(Fs.readdirSync(folder)).toEqual(left)
      }
    }).pipe(Logger.withMinimumLogLevel(LogLevel.None))
  )

  it.scopedLive("removes records that are damaged or half written", () =>
    Effect.gen(function* () {
      const dataDir = yield* TestHost.temporaryDirectory
      const pid = (yield* Processes.stranger).pid ?? 0
      const folder = `${dataDir}/airlock-processes`
      const record = yield* recordOf(pid)
      Fs.mkdirSync(folder)
      for (const text of [
        "",
        "null",
        "{}",
        record.slice(0, -1),
        record.replace(`"pid":${pid}`, `"pid":-1`)
      ]) {
        Fs.writeFileSync(`${folder}/record`, text)
        Fs.writeFileSync(`${folder}/record.new`, text)
        yield* Effect.scoped(program("", {}, dataDir))
        expect(Fs.readdirSync(folder)).toEqual([])
      }
      expect(Processes.isRunning(pid)).toBe(true)
    })
  )

  it.effect("takes no record for one that would end every process", () =>
    Effect.gen(function* () {
      const host = { bootId: "boot", pid: 1, startTicks: "1" }
      const decode = (pid: number) =>
        Schema.decodeUnknownOption(ProcessRecord)(JSON.stringify({ host, agent: { ...host, pid } }))
      expect(Option.isSome(decode(2))).toBe(true)
      for (const pid of [1, 0, -1, -2, 2.5]) expect(decode(pid)).toEqual(Option.none())
    })
  )
})

describe("ProcessIdentity", () => {
  it("reads what the kernel says of a process, whatever its program is called", () => {
    const rest = "1 77 77 0 -1 4194560 104 0 0 0 0 0 0 0 20 0 1 0 123456789 2637824 200"
    for (const name of ["node", "", "a b", ") Z 1 2 (", "x) R 1", "\n) S"]) {
      expect(ProcessIdentity.parseStat(`77 (${name}) S ${rest}\n`)).toEqual(
        Option.some({ pid: 77, state: "S", startTicks: "123456789" })
      )
    }
    for (const text of ["", "77 (node) S", "77 node S 1 2 3", `x (node) S ${rest}`]) {
      expect(ProcessIdentity.parseStat(text)).toEqual(Option.none())
    }
  })

  it.scopedLive.runIf(Fs.existsSync("/proc/self/stat"))(
    "tells this process, one that has ended, and one of which nobody has taken notice that it has",
    () =>
      Effect.gen(function* () {
        const { isAlive, of, self } = yield* Effect.provide(ProcessIdentity.make, NodeContext.layer)
        const own = Option.getOrThrow(self)
        expect(own.pid).toBe(process.pid)
        expect(yield* of(process.pid)).toEqual(self)
        expect(yield* isAlive(own)).toBe(true)
        expect(yield* isAlive({ ...own, startTicks: "1" })).toBe(false)

        const child = yield* Processes.stranger
        const other = Option.getOrThrow(yield* of(child.pid ?? 0))
        expect(yield* isAlive(other)).toBe(true)
        child.kill("SIGKILL")
        yield* TestHost.until(() => Effect.map(isAlive(other), (isThere) => !isThere))

        const parent = yield* Processes.negligent
        yield* TestHost.until(() => /\) Z /.test(Fs.readFileSync(`/proc/${parent.child}/stat`, "utf8")))
        expect(yield* of(parent.child)).toEqual(Option.none())
      })
  )
})
