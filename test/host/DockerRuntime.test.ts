import { NodeContext } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Exit, FastCheck, Fiber, Layer, Option, Scope, Stream, TestClock } from "effect"
import type { Session } from "effect-airlock"
import { AirlockConfig, ContainerRuntime, MountPlan, SessionPaths } from "effect-airlock"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as DockerArguments from "../../src/host/DockerArguments.js"
import { SafeDirectories } from "../../src/storage/SafeDirectory.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as Processes from "../support/Processes.js"
import * as TestHost from "../support/TestHost.js"

const ref = { agentGroupId: "agent", sessionId: "sess-1" }

const container = {
  name: "airlock-x",
  ref,
  mounts: [
    { source: "/data/v2-sessions/agent/sess-1", target: "/workspace", readOnly: false },
    { source: "/data/v2-sessions/agent/sess-1/inbox", target: "/workspace/inbox", readOnly: true }
  ],
  image: "image:1",
  user: Option.none(),
  extra: [],
  command: []
}

describe("DockerArguments", () => {
  it("starts a container that is named, labelled, and has the mounts that it is given", () => {
    expect(DockerArguments.run(container)).toEqual([
      "--detach",
      "--rm",
      "--init",
      "--name",
      "airlock-x",
      "--label",
      "effect-airlock.session=agent/sess-1",
      "--mount",
      "type=bind,src=/data/v2-sessions/agent/sess-1,dst=/workspace",
      "--mount",
      "type=bind,src=/data/v2-sessions/agent/sess-1/inbox,dst=/workspace/inbox,readonly",
      "image:1"
    ])
  })

  it("puts the user and other arguments before the image, and the command after it", () => {
    const line = DockerArguments.run({
      ...container,
      user: Option.some({ uid: 1000, gid: 100 }),
      extra: ["--network", "none"],
      command: ["node", "agent.js"]
    })
    expect(line.slice(5, 9)).toEqual(["--label", "effect-airlock.session=agent/sess-1", "--user", "1000:100"])
    expect(line.slice(-5)).toEqual(["--network", "none", "image:1", "node", "agent.js"])
  })

  it("names a container by its session and data directory: always the same, and like no other", () => {
    expect(DockerArguments.containerName("/data", ref)).toBe(
      DockerArguments.containerName("/data", { ...ref })
    )
    const long = "x".repeat(255)
    const names = [
      ["/data", "agent", "sess-1"],
      ["/data2", "agent", "sess-1"],
      ["/data", "agent-sess", "1"],
      ["/data", "agent", "sess,1"],
      ["/data", "agent", "sess;1"],
      ["/data", long, "sess-1"],
      ["/data", long, "sess-2"]
    ].map(([dataDir = "", agentGroupId = "", sessionId = ""]) =>
      DockerArguments.containerName(dataDir, { agentGroupId, sessionId })
    )
    expect(new Set(names).size).toBe(names.length)
    expect(names[0]).toMatch(/^airlock-agent-sess-1-[0-9a-f]{24}$/)
  })

  it.prop(
    "names every container with what engines allow",
    [FastCheck.string({ unit: "binary" }), FastCheck.string({ unit: "binary" })],
    ([agentGroupId, sessionId]) => {
      expect(DockerArguments.containerName("/data", { agentGroupId, sessionId })).toMatch(
        /^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,62}$/
      )
    }
  )

  it("reads what docker and podman say of a container", () => {
    const at = (text: string) => DockerArguments.parseInspection(text)
    const running = (millis: number) =>
      Option.some({ id: "abc", state: ContainerRuntime.running(Option.some(millis)) })
    expect(at(`abc true "2026-01-01T00:00:00.123456789Z"\n`)).toEqual(running(1_767_225_600_123))
    expect(at(`abc true "2026-01-01T01:00:00.1+01:00"`)).toEqual(running(1_767_225_600_100))
    expect(at(`abc false "0001-01-01T00:00:00Z"`)).toEqual(
      Option.some({ id: "abc", state: ContainerRuntime.stopped })
    )
    expect(at(`abc true ""`)).toEqual(
      Option.some({ id: "abc", state: ContainerRuntime.running(Option.none()) })
    )
    for (const text of ["", "[]", "abc", "abc true", `abc maybe "2026-01-01T00:00:00Z"`]) {
      expect(at(text)).toEqual(Option.none())
    }
  })
})

/** An engine in a folder of its own, and a runtime that uses it. */
const program = (
  given: Partial<ContainerRuntime.DockerOptions> = {},
  settings: Partial<AirlockConfig.Options> = {}
) =>
  Effect.gen(function* () {
    const dataDir = yield* TestHost.temporaryDirectory
    const at = (file: string) => Path.join(dataDir, "engine", file)
    Fs.mkdirSync(at("containers"), { recursive: true })
    Fs.copyFileSync(Path.join(import.meta.dirname, "../support/fakeEngine.mjs"), at("docker.mjs"))
    Fs.chmodSync(at("docker.mjs"), 0o755)
    const layer = ContainerRuntime.ContainerRuntime.layerDocker({
      image: "image:1",
      engine: at("docker.mjs"),
      ...given
    }).pipe(
      Layer.provide(SessionPaths.SessionPaths.layer),
      Layer.provide(Layer.provideMerge(SafeDirectories.layer, SystemCalls.layer)),
      Layer.provide(AirlockConfig.AirlockConfig.layer({ dataDir, ...settings })),
      Layer.provide(NodeContext.layer)
    )
    const session = Processes.session("sess-1")
    Fs.mkdirSync(Path.join(dataDir, "v2-sessions/agent/sess-1/inbox"), { recursive: true })
    const name = DockerArguments.containerName(dataDir, session)
    const calls = (operation?: string): ReadonlyArray<ReadonlyArray<string>> =>
      Fs.existsSync(at("calls"))
        ? Fs.readFileSync(at("calls"), "utf8")
            .trim()
            .split("\n")
            .map((line) => JSON.parse(line) as ReadonlyArray<string>)
            .filter(([first]) => operation === undefined || first === operation)
        : []
    return {
      at,
      calls,
      dataDir,
      session,
      name,
      host: Effect.map(Layer.build(layer), Context.get(ContainerRuntime.ContainerRuntime)),
      /** The container's id, when somebody waits for its end. */
      watched: (times: number) =>
        Effect.map(
          TestHost.until(
            () => calls("wait").length === times && Fs.existsSync(at(`wait-${idOf(calls("wait"))}`))
          ),
          () => idOf(calls("wait"))
        ),
      end: Effect.sync(() => Fs.rmSync(at(`containers/${name}`)))
    }
  })

const idOf = (waits: ReadonlyArray<ReadonlyArray<string>>): string => waits.at(-1)?.[1] ?? ""

const subscribe = (runtime: ContainerRuntime.ContainerRuntime["Type"]) =>
  Effect.gen(function* () {
    const seen: Array<Session.SessionRef> = []
    const collecting = yield* Effect.forkScoped(
      Stream.runForEach(runtime.exits, (ended) => Effect.sync(() => seen.push(ended)))
    )
    yield* TestHost.until(() => Effect.map(collecting.status, ({ _tag }) => _tag === "Suspended"))
    return seen
  })

describe("ContainerRuntime.layerDocker", () => {
  it.scoped("starts, sees and stops a container, and tells that it ended", () =>
    Effect.gen(function* () {
      const { calls, dataDir, host, name, session, watched } = yield* program({
        image: ({ sessionId }) => `image:${sessionId}`,
        arguments: ({ agentGroupId }) => ["--env", `AGENT=${agentGroupId}`],
        command: ["serve"],
        stopTimeout: "2500 millis"
      })
      const runtime = yield* host
      const exits = yield* subscribe(runtime)
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
      yield* runtime.kill(session)
      yield* runtime.wake(session)
      expect(calls("run")).toEqual([
        [
          "run",
          ...DockerArguments.run({
            ...container,
            name,
            mounts: MountPlan.make(`${dataDir}/v2-sessions/agent/sess-1`),
            image: "image:sess-1",
            extra: ["--env", "AGENT=agent"],
            command: ["serve"]
          })
        ]
      ])
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.running(Option.some(1_767_225_600_123)))
      expect(calls("inspect").at(-1)).toEqual(["inspect", ...DockerArguments.inspect(name)])
      yield* watched(1)
      expect(exits).toEqual([])
      yield* runtime.kill(session)
      expect(calls("stop").at(-1)).toEqual(["stop", "-t", "3", name])
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
      yield* TestHost.until(() => exits.length > 0)
      expect(exits).toEqual([ref])
    })
  )

  it.scoped("starts one container for any number of callers at once, and watches it once", () =>
    Effect.gen(function* () {
      const { calls, host, session, watched } = yield* program()
      const runtime = yield* host
      yield* Effect.all(
        Array.from({ length: 5 }, () => runtime.wake(session)),
        { concurrency: "unbounded", discard: true }
      )
      yield* runtime.status(session)
      yield* watched(1)
      expect(calls("run").length).toBe(1)
    })
  )

  it.scoped("runs the agent as the owner in the settings, or as whom it is told", () =>
    Effect.gen(function* () {
      const owner = { uid: 1000, gid: 100 }
      const userOf = (given: Partial<ContainerRuntime.DockerOptions>) =>
        Effect.gen(function* () {
          const { calls, host, session } = yield* program(given, { owner })
          yield* (yield* host).wake(session)
          const line = calls("run")[0] ?? []
          return line[line.indexOf("--user") + 1]
        })
      expect(yield* userOf({})).toBe("1000:100")
      expect(yield* userOf({ user: { uid: 1, gid: 2 } })).toBe("1:2")
    })
  )

  it.scoped("removes what is left of an earlier container before it starts one", () =>
    Effect.gen(function* () {
      const { at, calls, host, name, session } = yield* program()
      Fs.writeFileSync(at(`containers/${name}`), "old exited")
      const runtime = yield* host
      expect(yield* runtime.status(session)).toEqual(ContainerRuntime.stopped)
      yield* runtime.wake(session)
      expect(calls("rm")).toEqual([["rm", "--force", name]])
      expect((yield* runtime.status(session))._tag).toBe("Running")
    })
  )

  it.scoped("waits for the name while the engine still removes an ended container", () =>
    Effect.gen(function* () {
      const { at, calls, host, name, session } = yield* program()
      Fs.writeFileSync(at(`containers/${name}`), "old exited")
      Fs.writeFileSync(at("removing"), "3")
      const runtime = yield* host
      const waking = yield* Effect.fork(runtime.wake(session))
      yield* TestHost.until(() =>
        Effect.zipRight(TestClock.adjust("200 millis"), Effect.map(Fiber.poll(waking), Option.isSome))
      )
      yield* Fiber.join(waking)
      expect(calls("run").length).toBe(4)
      expect((yield* runtime.status(session))._tag).toBe("Running")
    })
  )

  it.scoped("tells a container that is not there from an engine that does not answer", () =>
    Effect.gen(function* () {
      const { at, host, session } = yield* program()
      const runtime = yield* host
      yield* runtime.wake(session)
      Fs.writeFileSync(at("broken"), `${"x".repeat(1000)}Cannot connect to the Docker daemon`)
      const calls: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>]> = [
        ["inspect", runtime.status(session)],
        ["inspect", runtime.wake(session)],
        ["stop", runtime.kill(session)]
      ]
      for (const [operation, call] of calls) {
        const error = yield* Effect.flip(call)
        expect(error).toBeInstanceOf(ContainerRuntime.ContainerEngineFailed)
        expect(error).toMatchObject({ operation, exitCode: 1 })
        const { message, stderr } = error as ContainerRuntime.ContainerEngineFailed
        expect(stderr).toMatch(/^x+Cannot connect to the Docker daemon$/)
        expect(stderr.length).toBe(500)
        expect(message).toContain("Cannot connect")
      }
    })
  )

  it.scoped("fails with the same error when there is no engine, and when it answers something else", () =>
    Effect.gen(function* () {
      const nowhere = yield* program({ engine: "/nowhere/docker" })
      expect(yield* Effect.flip((yield* nowhere.host).status(nowhere.session))).toMatchObject({
        _tag: "ContainerEngineFailed",
        operation: "inspect",
        exitCode: null
      })
      const { at, host, session } = yield* program()
      const runtime = yield* host
      yield* runtime.wake(session)
      Fs.writeFileSync(at("answer"), "[no such container]")
      expect(yield* Effect.flip(runtime.status(session))).toMatchObject({
        _tag: "ContainerEngineFailed",
        operation: "inspect",
        exitCode: 0
      })
      expect(yield* Effect.flip(runtime.wake(Processes.session("..")))).toMatchObject({ _tag: "UnsafePath" })
    })
  )

  it.scoped("leaves containers running when its scope closes, and the next host finds and watches them", () =>
    Effect.gen(function* () {
      const { at, calls, end, host, session, watched } = yield* program()
      const scope = yield* Scope.make()
      yield* (yield* Scope.extend(host, scope)).wake(session)
      const id = yield* watched(1)
      const watcher = Number(Fs.readFileSync(at(`wait-${id}`), "utf8"))
      yield* Scope.close(scope, Exit.void)
      expect(Processes.isRunning(watcher)).toBe(false)
      expect(calls("stop")).toEqual([])

      const next = yield* host
      const exits = yield* subscribe(next)
      expect((yield* next.status(session))._tag).toBe("Running")
      yield* next.status(session)
      yield* next.wake(session)
      expect(yield* watched(2)).toBe(id)
      expect(calls("run").length).toBe(1)
      yield* end
      yield* TestHost.until(() => exits.length > 0)
      expect(exits).toEqual([ref])
    })
  )

  it.scoped("watches the new container when one ends and is started again", () =>
    Effect.gen(function* () {
      const { end, host, session, watched } = yield* program()
      const runtime = yield* host
      const exits = yield* subscribe(runtime)
      yield* runtime.wake(session)
      const first = yield* watched(1)
      yield* runtime.kill(session)
      yield* runtime.wake(session)
      expect(yield* watched(2)).not.toBe(first)
      yield* end
      yield* TestHost.until(() => exits.length === 2)
      expect(exits).toEqual([ref, ref])
    })
  )

  it.scoped("tells no end that it did not see, and watches again when the engine is back", () =>
    Effect.gen(function* () {
      const { at, end, host, session, watched } = yield* program()
      const runtime = yield* host
      const exits = yield* subscribe(runtime)
      yield* runtime.wake(session)
      const id = yield* watched(1)
      const watcher = Number(Fs.readFileSync(at(`wait-${id}`), "utf8"))
      Fs.writeFileSync(at("broken"), "Cannot connect")
      yield* TestHost.until(() => !Processes.isRunning(watcher))
      Fs.rmSync(at("broken"))
      Fs.rmSync(at(`wait-${id}`))
      yield* TestHost.until(() =>
        Effect.as(runtime.status(session), Fs.existsSync(at(`wait-${id}`))).pipe(Effect.orDie)
      )
      yield* watched(2)
      expect(exits).toEqual([])
      yield* end
      yield* TestHost.until(() => exits.length > 0)
      expect(exits).toEqual([ref])
    })
  )
})
