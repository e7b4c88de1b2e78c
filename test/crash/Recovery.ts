/**
 * What has to be so after a process was killed, or an operation failed: at once, after a host and an agent were
 * started, and after the operation was asked for again.
 */
import { afterAll, describe, expect, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Cause, Context, Effect, Layer, Logger, LogLevel, ManagedRuntime } from "effect"
import type { ChannelAdapter } from "effect-airlock"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as TestHost from "../support/TestHost.js"
import type { Place } from "./Lives.js"
import * as Lives from "./Lives.js"
import type { Operation } from "./Operations.js"
import type { Scene } from "./Scene.js"
import * as Scenes from "./Scene.js"
import type { View } from "./View.js"
import * as Views from "./View.js"

export interface Stage {
  readonly root: string
  readonly place: Place
  readonly scene: Scene
}

export class Stages extends Context.Tag("test/Stage")<Stages, Stage>() {
  static readonly layer = Layer.scoped(
    Stages,
    Effect.gen(function* () {
      const root = yield* TestHost.memoryDirectory
      const scene = yield* Scenes.make(Path.join(root, "template"))
      const at = (name: string) => Path.join(root, name)
      return { root, place: { dataDir: at("data"), grave: at("grave"), copies: at("copies") }, scene }
    })
  )
}

export const reset = ({ place, root }: Stage) =>
  Effect.sync(() => {
    for (const path of [place.dataDir, place.grave, place.copies])
      Fs.rmSync(path, { recursive: true, force: true })
    Fs.cpSync(Path.join(root, "template"), place.dataDir, { recursive: true, preserveTimestamps: true })
  })

export const look = ({ place, root, scene }: Stage): View => {
  const copy = Path.join(root, "look")
  const view = Views.read(place.dataDir, copy, scene)
  Views.expectSound(view, Scenes.folderOf(copy, scene.session), scene)
  return view
}

export const expectNothingLeft = ({ leftovers }: View): void => {
  if (leftovers.length > 0) throw new Error(`left over: ${leftovers.join(", ")}`)
}

/** A host and an agent that are started afterwards do what they always do; then the operation is asked for again. */
export const recovers = (stage: Stage, operation: Operation, isReal = false) =>
  Effect.gen(function* () {
    const { place, scene } = stage
    const before = look(stage)
    operation.always?.(before, scene)
    const sent: Array<string> = []
    const note = ({ content, files, id, skipped }: ChannelAdapter.Envelope) => {
      sent.push(id)
      expect(skipped).toEqual([])
      const { text = "" } = JSON.parse(content) as { readonly text?: string }
      for (const { data, name } of files)
        expect(Buffer.from(data).equals(Scenes.bytesOf(text, name))).toBe(true)
    }
    const host = yield* Lives.start("host", place, scene, { isReal, note })
    const agent = yield* Lives.start("agent", place, scene, { isReal })
    yield* Effect.flatten(host.run(Lives.hostLoops))
    yield* Effect.flatten(agent.run(Lives.agentLoops))
    const after = look(stage)
    operation.always?.(after, scene)
    expectNothingLeft(after)
    expect(sent.filter((id) => before.delivered.has(id))).toEqual([])
    yield* Effect.flatten((operation.side === "host" ? host : agent).run(operation.run(scene)))
    const again = look(stage)
    operation.always?.(again, scene)
    operation.done?.(again, scene)
    yield* host.end
    yield* agent.end
    expect(Fs.existsSync(place.copies) ? Fs.readdirSync(place.copies) : []).toEqual([])
  })

export const explained = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) =>
  Effect.catchAllCause(effect, (cause) => Effect.die(new Error(`${what}:\n${Cause.pretty(cause)}`)))

/** A test of each operation, on one stage. Time is real, because processes take it. */
export const eachOn = (
  what: string,
  operations: ReadonlyArray<Operation>,
  holds: (operation: Operation, stage: Stage) => Effect.Effect<void, unknown, Scope.Scope>
): void => {
  describe(what, () => {
    const runtime = ManagedRuntime.make(Stages.layer)
    afterAll(() => runtime.dispose())
    for (const operation of operations) {
      const test = Effect.flatMap(Stages, (stage) => holds(operation, stage))
      it(
        `${operation.name} holds what was promised`,
        () => runtime.runPromise(test.pipe(Effect.scoped, Logger.withMinimumLogLevel(LogLevel.None))),
        1_200_000
      )
    }
  })
}
