import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { AirlockConfig, SessionPaths } from "effect-airlock"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as SessionGlance from "../../src/host/SessionGlance.js"
import type { Glance } from "../../src/storage/SystemCalls.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as TestHost from "../support/TestHost.js"

const ref = { agentGroupId: "agent", sessionId: "session" }

const pick = ({ ctimeMs, ino, mode, mtimeMs, size }: Glance): Glance => ({
  ctimeMs,
  ino,
  mode,
  mtimeMs,
  size
})

/** Files of a session, which nothing has to be true of, and glances at them; `millis` go by before each. */
const program = (millis = 1000) =>
  Effect.gen(function* () {
    const dataDir = yield* TestHost.temporaryDirectory
    let now = 0
    const seenAs: { other: Partial<Glance> } = { other: {} }
    const calls = Layer.effect(
      SystemCalls,
      Effect.map(SystemCalls, (calls) => ({
        ...calls,
        uptime: () => now,
        glance: (path: string) => {
          const seen = calls.glance(path)
          return seen === undefined ? undefined : { ...pick(seen), ...seenAs.other }
        }
      }))
    ).pipe(Layer.provide(SystemCalls.layer))
    const paths = SessionPaths.SessionPaths.layer.pipe(
      Layer.provide(AirlockConfig.AirlockConfig.layer({ dataDir }))
    )
    return yield* Effect.gen(function* () {
      const { original, session } = yield* SessionPaths.SessionPaths
      const [folder, own] = yield* Effect.all([session(ref), original(ref)])
      const files = {
        outbound: `${folder}/outbound.db`,
        copy: `${folder}/inbound.db`,
        original: own,
        log: `${own}-wal`
      }
      for (const file of [files.outbound, files.copy, files.original]) {
        Fs.mkdirSync(Path.dirname(file), { recursive: true })
        Fs.writeFileSync(file, "as it was")
        // A time that can be set once more.
        Fs.utimesSync(file, 1000, 1000)
      }
      const glances = yield* SessionGlance.make
      const take = (last: SessionGlance.Glance | undefined) =>
        Effect.suspend(() => {
          now += millis
          return glances.take(ref, last)
        })
      /** One that tells. */
      const old = Effect.map(Effect.flatMap(take(undefined), take), (taken) => {
        const telling = glances.tells(taken, "a stamp")
        if (telling === undefined) throw new Error("it does not tell")
        return telling
      })
      return {
        isStill: (glance: SessionGlance.Glance) => glances.isStill(ref, glance),
        isPublishedStill: (glance: SessionGlance.Glance) => glances.isPublishedStill(ref, glance),
        tells: glances.tells,
        take,
        old,
        files,
        seenAs
      }
    }).pipe(Effect.provide(Layer.merge(calls, paths)))
  })

/** What can be done to a file without its size or its time of writing being another. */
const disguised: ReadonlyArray<readonly [string, (file: string) => void]> = [
  [
    "is written to, and gets its times back",
    (file) => {
      Fs.writeFileSync(file, "as it IS!")
      Fs.utimesSync(file, 1000, 1000)
    }
  ],
  [
    "is another one",
    (file) => {
      Fs.writeFileSync(`${file}.new`, "as it IS!")
      Fs.utimesSync(`${file}.new`, 1000, 1000)
      Fs.renameSync(`${file}.new`, file)
    }
  ],
  ["is gone", (file) => Fs.rmSync(file)]
]

describe("SessionGlance", () => {
  for (const name of ["outbound", "original", "copy"] as const) {
    for (const [what, change] of disguised) {
      it.scoped(`sees that the ${name} ${what}`, () =>
        Effect.gen(function* () {
          const { files, isStill, old } = yield* program()
          const glance = yield* old
          expect(isStill(glance)).toBe(true)
          change(files[name])
          expect(isStill(glance)).toBe(false)
        })
      )
    }
  }

  for (const name of ["ino", "size", "mtimeMs", "ctimeMs"] as const) {
    it.scoped(`sees that ${name} is another`, () =>
      Effect.gen(function* () {
        const { isStill, old, seenAs } = yield* program()
        const glance = yield* old
        seenAs.other = { [name]: 7 }
        expect(isStill(glance)).toBe(false)
      })
    )
  }

  it.scoped("looks at no more than what the agent shares if that will do", () =>
    Effect.gen(function* () {
      const { files, isPublishedStill, isStill, old } = yield* program()
      const first = yield* old
      Fs.rmSync(files.original)
      expect(isPublishedStill(first)).toBe(true)
      expect(isStill(first)).toBe(false)
      for (const name of ["outbound", "copy"] as const) {
        const glance = yield* old
        Fs.writeFileSync(files[name], "as it IS!")
        expect(isPublishedStill(glance)).toBe(false)
      }
    })
  )

  it.scoped("sees what is written to the original's log, and not that somebody reads", () =>
    Effect.gen(function* () {
      const { files, isStill, old } = yield* program()
      const none = yield* old
      Fs.writeFileSync(files.log, "")
      expect(isStill(none)).toBe(true)
      const empty = yield* old
      Fs.rmSync(files.log)
      expect(isStill(empty)).toBe(true)
      Fs.writeFileSync(files.log, "a commit")
      expect(isStill(none)).toBe(false)
      const first = yield* old
      Fs.appendFileSync(files.log, ", another")
      expect(isStill(first)).toBe(false)
    })
  )

  it.scoped("counts from when files were first seen as they are", () =>
    Effect.gen(function* () {
      const { files, take, tells } = yield* program(60)
      const first = yield* take(undefined)
      expect(tells(first, "")).toBeUndefined()
      const second = yield* take(first)
      expect(tells(second, "")).toBeUndefined()
      const third = yield* take(second)
      expect(tells(third, "")).toBeDefined()
      Fs.appendFileSync(files.outbound, "!")
      const other = yield* take(third)
      expect(tells(other, "")).toBeUndefined()
      expect(tells(yield* take(other), "")).toBeUndefined()
    })
  )

  it.scoped("has what it takes to be sure that the time of files goes on meanwhile", () =>
    Effect.gen(function* () {
      const calls = yield* SystemCalls
      const file = Path.join(yield* TestHost.temporaryDirectory, "file")
      for (let n = 0; n < 5; n++) {
        Fs.writeFileSync(file, "")
        const since = calls.uptime()
        const before = calls.glance(file)
        while (calls.uptime() - since < 100);
        Fs.writeFileSync(file, "")
        expect(calls.glance(file)?.ctimeMs).toBeGreaterThan(before?.ctimeMs ?? Number.NaN)
      }
    }).pipe(Effect.provide(SystemCalls.layer))
  )
})
