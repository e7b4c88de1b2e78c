/**
 * Telling a story: each command on a fresh session, then a time in which everything works, and then the promises.
 */
import { Context, Effect, Logger, LogLevel, Random, TestClock, TestContext } from "effect"
import { Delivery } from "effect-airlock"
import * as Fs from "node:fs"
import * as AgentDoing from "./AgentDoing.js"
import type { Command, HostDoes, Story } from "./Command.js"
import * as AgentProcess from "./AgentProcess.js"
import * as HostDoing from "./HostDoing.js"
import * as HostProcess from "./HostProcess.js"
import * as Promises from "./Promises.js"
import * as Running from "./Running.js"
import type { World } from "./World.js"
import * as Worlds from "./World.js"

const all = { concurrency: "unbounded", discard: true } as const

const obey = (world: World, command: Command): Effect.Effect<void> => {
  switch (command._tag) {
    case "host":
      return HostProcess.asHost(
        world,
        (host, life) =>
          Effect.forEach(command.does, (does) => HostDoing.perform(world, host, life, does), all),
        command.diesAt
      )
    case "agent":
      return AgentProcess.asAgent(
        world,
        (agent, life) =>
          Effect.forEach(command.does, (does) => AgentDoing.perform(world, agent, life, does), all),
        command.diesAt
      )
    case "both":
      return Effect.gen(function* () {
        // What a killed host leaves is its whole folder, and nobody else may be writing to that.
        world.platform.mayKill = false
        yield* Effect.all(
          [
            HostProcess.asHost(world, (host, life) => HostDoing.perform(world, host, life, command.host)),
            AgentProcess.asAgent(world, (agent, life) =>
              AgentDoing.perform(world, agent, life, command.agent)
            )
          ],
          all
        )
        world.platform.mayKill = true
      })
    case "answer":
      return Effect.sync(() => void world.platform.answers.set(command.lane, command.answer))
    case "time":
      return Effect.zipRight(
        TestClock.adjust(command.passes),
        Running.untilQuiet(() => false)
      )
  }
}

const host = (...does: ReadonlyArray<HostDoes>): Command => ({ _tag: "host", does, diesAt: undefined })

const message = host({ _tag: "write", files: 0, afterMinutes: 0, isContext: false, isYearly: false })

/** Every story begins with a message for the agent, and the agent awake. */
const beginning: ReadonlyArray<Command> = [message, host({ _tag: "sweep" })]

const healing: ReadonlyArray<Command> = [
  host({ _tag: "sweep" }),
  { _tag: "agent", does: [{ _tag: "work", lane: "home" }], diesAt: undefined },
  host({ _tag: "drain" }),
  host({ _tag: "sweep" })
]

/** Whether a killed agent began to write something that no agent after it ended. */
const isBegun = (world: World): boolean => {
  const session = world.host?.services.session
  return session !== undefined && Fs.existsSync(`${Worlds.folderOf(world, session)}/outbound.db-journal`)
}

/** Everything works, and time passes, until there is nothing to do any more, or for a long time. */
const heal = (world: World) =>
  Effect.gen(function* () {
    world.platform.answers.clear()
    // No time passes at first, and then not much, so that some things have to wait.
    yield* obey(world, host({ _tag: "drain" }))
    yield* TestClock.adjust("1 minute")
    yield* obey(world, host({ _tag: "drain" }))
    yield* AgentProcess.end(world)
    yield* TestClock.adjust("1 day")
    for (let round = 0; round < 12; round++) {
      for (const command of healing) yield* obey(world, command)
      if (world.ledger.problems.length > 0) return
      if (Promises.isSettled(world)) {
        if (!isBegun(world)) return
        // The host writes nothing there, so it waits for an agent, and that for a message.
        yield* obey(world, message)
      }
      yield* TestClock.adjust("20 minutes")
    }
  })

const check = (world: World) =>
  HostProcess.asHost(world, (host) =>
    Effect.gen(function* () {
      const delivery = Context.get(host.context, Delivery.Delivery)
      const failures = yield* delivery.failures(host.session)
      const attempted = yield* delivery.attempted(host.session)
      yield* Promises.check(world, host, { failures, attempted })
    })
  )

/** Stops both sides, as when the machine goes down in order. */
const end = (world: World) => Effect.zipRight(AgentProcess.end(world), HostProcess.end(world))

const alone = <A>(effect: Effect.Effect<A>): Effect.Effect<A> =>
  effect.pipe(
    Logger.withMinimumLogLevel(LogLevel.None),
    Effect.withRandom(Random.make("model")),
    Effect.provide(TestContext.TestContext)
  )

/** Makes the empty session that stories begin with, in a folder of its own. */
export const prepare = (root: string): Effect.Effect<void> =>
  alone(
    Effect.suspend(() => {
      const world = Worlds.make(root, { unknownDeliveries: "resend", drainMessages: 200, commands: [] })
      Fs.mkdirSync(world.dataDir, { recursive: true })
      return Effect.zipRight(
        HostProcess.asHost(world, () => Effect.void),
        end(world)
      )
    })
  )

/** Tells a story on a copy of the prepared folder, until something goes wrong. What does, and after which command. */
export const tell = (prepared: string, root: string, story: Story): Effect.Effect<ReadonlyArray<string>> =>
  alone(
    Effect.gen(function* () {
      Fs.cpSync(prepared, root, { recursive: true, preserveTimestamps: true })
      const world = yield* Effect.acquireRelease(
        Effect.sync(() => Worlds.make(root, story)),
        end
      )
      const { problems } = world.ledger
      for (const command of beginning) yield* obey(world, command)
      for (const [index, command] of story.commands.entries()) {
        yield* obey(world, command)
        if (problems.length > 0) return [`after ${index + 1}:`, ...problems]
      }
      yield* heal(world)
      if (problems.length === 0) yield* check(world)
      return problems.length === 0 ? [] : ["when everything worked again:", ...problems]
    }).pipe(
      Effect.scoped,
      Effect.ensuring(Effect.sync(() => Fs.rmSync(root, { recursive: true, force: true })))
    )
  ).pipe(
    Effect.disconnect,
    Effect.timeoutTo({
      duration: "20 seconds",
      onTimeout: () => ["it never ends"],
      onSuccess: (problems: ReadonlyArray<string>) => problems
    })
  )
