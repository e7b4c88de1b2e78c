/**
 * How often a write waits for the disk, as the system sees it.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Traced from "./crash/Traced.js"
import * as Bundle from "./support/Bundle.js"
import * as TestHost from "./support/TestHost.js"

/** What was waited for in each of the writes of `syncing.ts`: the files' own names, in their order. */
const waitsIn = (log: string): Record<string, ReadonlyArray<string>> => {
  const waits: Record<string, Array<string>> = {}
  let current: Array<string> | undefined
  for (const line of log.split("\n")) {
    const [, said] = /write\(1<[^>]*>, "(.*)\\n"/.exec(line) ?? []
    if (said !== undefined) current = said === "-" ? undefined : (waits[said] = [])
    const [, path] = /(?:fsync|fdatasync)\(\d+<([^>]*)>/.exec(line) ?? []
    if (path !== undefined) current?.push(Path.basename(path))
  }
  return waits
}

const traced = (durability: "process" | "power") =>
  Effect.gen(function* () {
    yield* Traced.needed
    const dataDir = yield* TestHost.temporaryDirectory
    const program = yield* Effect.promise(() => Bundle.make("syncing.ts"))
    const log = Path.join(dataDir, "strace")
    const { status, stderr } = spawnSync(
      "strace",
      ["-f", "-y", "-qq", "-e", "trace=fsync,fdatasync,write", "-o", log, process.execPath, program].concat(
        Path.join(dataDir, "data"),
        durability
      ),
      { encoding: "utf8" }
    )
    expect([status, stderr]).toEqual([0, ""])
    return waitsIn(Fs.readFileSync(log, "utf8"))
  }).pipe(Effect.scoped)

/** Names that are other ones each time, as what they are of. */
const named = (waits: Record<string, ReadonlyArray<string>>) =>
  Object.fromEntries(
    Object.entries(waits).map(([write, names]) => [
      write,
      names.map((name) => name.replace(/^sess-.*/, "the session").replace(/^msg-.*/, "the message"))
    ])
  )

/** A commit in rollback-journal mode, at FULL: the journal, its name, its header, and the file. */
const full = ["outbound.db-journal", "the session", "outbound.db-journal", "outbound.db"]

describe("a write waits for the disk", () => {
  it.effect("also in a data directory that is reached through a link", () =>
    Effect.gen(function* () {
      const folder = yield* TestHost.temporaryDirectory
      Fs.mkdirSync(Path.join(folder, "disk"))
      Fs.symlinkSync("disk", Path.join(folder, "data"))
      const program = yield* Effect.promise(() => Bundle.make("syncing.ts"))
      const { status, stderr } = spawnSync(process.execPath, [program, Path.join(folder, "data"), "power"], {
        encoding: "utf8"
      })
      expect([status, stderr]).toEqual([0, ""])
    }).pipe(Effect.scoped)
  )

  it.effect("as often as `process` needs", () =>
    Effect.gen(function* () {
      const waits = named(yield* traced("process"))
      expect(waits).toMatchObject({
        write: ["inbound.db-wal"],
        "write, with a file": ["a", "inbound.db-wal"],
        "write, four together": ["inbound.db-wal"],
        send: full,
        "send, with a file": ["a", ...full]
      })
    })
  )

  it.effect(
    "as often as `power` needs: for each name, for what is undone by removing a name, and for the registry",
    () =>
      Effect.gen(function* () {
        const waits = named(yield* traced("power"))
        expect(waits).toMatchObject({
          write: ["inbound.db-wal", "v2.db-wal"],
          "write, with a file": ["a", "third", "inbox", "the session", "inbound.db-wal", "v2.db-wal"],
          "write, four together": ["inbound.db-wal", "v2.db-wal"],
          send: [...full, "the session"],
          "send, with a file": ["a", "the message", "outbox", "the session", ...full, "the session"]
        })
        expect(waits["resolve"]).toEqual(
          expect.arrayContaining(["v2.db-wal", "the session", "agent", "v2-sessions", "v2-originals", "data"])
        )
      })
  )
})
