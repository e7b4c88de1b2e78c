import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck, Layer } from "effect"
import { AirlockConfig, MountPlan, SessionPaths } from "effect-airlock"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { SafeDirectories } from "../../src/storage/SafeDirectory.js"
import { SystemCalls } from "../../src/storage/SystemCalls.js"
import * as TestHost from "../support/TestHost.js"

const ref = { agentGroupId: "agent", sessionId: "sess-1" }

/** A data directory with the folder of a session, and the plans of its sessions. */
const program = Effect.map(TestHost.temporaryDirectory, (dataDir) => {
  const folder = `${dataDir}/v2-sessions/agent/sess-1`
  Fs.mkdirSync(`${folder}/inbox`, { recursive: true })
  const of = (session: typeof ref, options?: MountPlan.Options) =>
    MountPlan.of(session, options).pipe(
      Effect.provide(Layer.merge(SessionPaths.SessionPaths.layer, SafeDirectories.layer)),
      Effect.provide(Layer.merge(AirlockConfig.AirlockConfig.layer({ dataDir }), SystemCalls.layer))
    )
  return { folder, of }
})

/** The fields of one line of comma-separated values, by RFC 4180 and nothing of the library's. */
const parseLine = (line: string): ReadonlyArray<string> => {
  const fields: Array<string> = []
  let rest = line
  for (;;) {
    const quoted = /^"((?:[^"]|"")*)"(,|$)/.exec(rest)
    const plain = /^([^",\r\n]*)(,|$)/.exec(rest)
    const found = quoted ?? plain
    if (found === null) throw new Error(`not a line of comma-separated values: ${line}`)
    fields.push(quoted === null ? (found[1] ?? "") : (found[1] ?? "").replaceAll('""', '"'))
    if (found[2] === "") return fields
    rest = rest.slice(found[0].length)
  }
}

/** What an engine understands of the arguments. */
const understood = (words: ReadonlyArray<string>): MountPlan.MountPlan => {
  const mounts: Array<MountPlan.Mount> = []
  for (let at = 0; at < words.length; at += 2) {
    expect(words[at]).toBe("--mount")
    const fields = parseLine(words[at + 1] ?? "")
    const value = (key: string) => {
      const found = fields.filter((one) => one.startsWith(`${key}=`))
      expect(found.length).toBe(1)
      return (found[0] ?? "").slice(key.length + 1)
    }
    expect(value("type")).toBe("bind")
    expect(fields.length).toBe(fields.includes("readonly") ? 4 : 3)
    mounts.push({ source: value("src"), target: value("dst"), readOnly: fields.includes("readonly") })
  }
  return mounts
}

const path = FastCheck.array(
  FastCheck.oneof(
    FastCheck.string({ unit: "binary", minLength: 1 }),
    FastCheck.string({ unit: FastCheck.constantFrom(",", '"', "=", "\n", "\r", " ", "a"), minLength: 1 })
  ),
  { minLength: 1 }
).map((names) => `/${names.join("/")}`)

describe("a MountPlan", () => {
  it.scoped("has the session's folder for writing, and over it inbox/ for reading", () =>
    Effect.gen(function* () {
      const { folder, of } = yield* program
      expect(yield* of(ref)).toEqual([
        { source: folder, target: "/workspace", readOnly: false },
        { source: `${folder}/inbox`, target: "/workspace/inbox", readOnly: true }
      ])
    })
  )

  it.scoped("goes where the agent looks for it", () =>
    Effect.gen(function* () {
      const { of } = yield* program
      expect((yield* of(ref, { target: "/mnt/mail" })).map(({ target }) => target)).toEqual([
        "/mnt/mail",
        "/mnt/mail/inbox"
      ])
    })
  )

  it.scoped("mounts no file by itself, because a mount of inbound.db would go on showing the first one", () =>
    Effect.gen(function* () {
      const { folder, of } = yield* program
      const folders = [folder, `${folder}/inbox`]
      for (const { source } of yield* of(ref)) expect(folders).toContain(source)
    })
  )

  it.scoped("is none where something else is in the place of a folder, which an engine would follow", () =>
    Effect.gen(function* () {
      const { folder, of } = yield* program
      Fs.rmdirSync(`${folder}/inbox`)
      expect(yield* Effect.flip(of(ref))).toMatchObject({ reason: "missing" })
      Fs.symlinkSync("/etc", `${folder}/inbox`)
      expect(yield* Effect.flip(of(ref))).toMatchObject({ _tag: "UnsafePath", reason: "symbolic-link" })
      Fs.unlinkSync(`${folder}/inbox`)
      Fs.writeFileSync(`${folder}/inbox`, "")
      expect(yield* Effect.flip(of(ref))).toMatchObject({ _tag: "UnsafePath", reason: "not-a-directory" })
      Fs.rmSync(folder, { recursive: true })
      Fs.symlinkSync("/etc", folder)
      expect(yield* Effect.flip(of(ref))).toMatchObject({ _tag: "UnsafePath", reason: "symbolic-link" })
    })
  )

  it.scoped("is none for a session whose ids would lead elsewhere", () =>
    Effect.gen(function* () {
      const { of } = yield* program
      for (const id of ["..", "", "a/b", "a\u0000"]) {
        expect(yield* Effect.flip(of({ agentGroupId: "agent", sessionId: id }))).toMatchObject({
          _tag: "UnsafePath",
          reason: "not-a-segment"
        })
      }
    })
  )

  it("is said to docker and podman in a line of comma-separated values for each mount", () => {
    const mounts = (folder: string) =>
      MountPlan.toDockerArguments(MountPlan.make(folder)).filter((word) => word !== "--mount")
    expect(mounts("/a")).toEqual([
      "type=bind,src=/a,dst=/workspace",
      "type=bind,src=/a/inbox,dst=/workspace/inbox,readonly"
    ])
    expect(mounts("/a,b")).toEqual([
      `type=bind,"src=/a,b",dst=/workspace`,
      `type=bind,"src=/a,b/inbox",dst=/workspace/inbox,readonly`
    ])
    expect(mounts(`/say "a", b`)[0]).toBe(`type=bind,"src=/say ""a"", b",dst=/workspace`)
    expect(mounts("/a\nb")[0]).toBe(`type=bind,"src=/a\nb",dst=/workspace`)
    expect(mounts("/a b=c")[0]).toBe("type=bind,src=/a b=c,dst=/workspace")
  })

  it.prop(
    "is understood by an engine as it is, whatever is in its paths",
    [path, path],
    ([source, target]) => {
      const plan = [
        { source, target, readOnly: false },
        { source: Path.posix.join(source, "inbox"), target: `${target}/inbox`, readOnly: true }
      ]
      expect(understood(MountPlan.toDockerArguments(plan))).toEqual(plan)
    }
  )
})
