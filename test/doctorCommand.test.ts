import { beforeAll, describe, expect, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { Doctor } from "effect-airlock"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Bundle from "./support/Bundle.js"
import * as TestHost from "./support/TestHost.js"

const root = Path.resolve(import.meta.dirname, "..")

let program = ""
beforeAll(async () => {
  program = await Bundle.make("../../src/cli.ts")
  // Where the command looks for its version, seen from where it is now.
  Fs.copyFileSync(Path.join(root, "package.json"), Path.join(Path.dirname(program), "../package.json"))
})

/** Runs the command as a process of its own, in an empty folder. */
const run = (cwd: string, ...words: ReadonlyArray<string>) => {
  const { status, stderr, stdout } = ChildProcess.spawnSync(process.execPath, [program, ...words], {
    cwd,
    encoding: "utf8",
    timeout: 60_000
  })
  return { status, stdout, stderr }
}

/** A data directory with one session. */
const directory = Effect.gen(function* () {
  const dataDir = yield* TestHost.temporaryDirectory
  const session = yield* Effect.provide(TestHost.newSession(), TestHost.layerAt(dataDir))
  return { dataDir, folder: Path.join(dataDir, "v2-sessions", session.agentGroupId, session.sessionId) }
})

describe("effect-airlock doctor", () => {
  it.scoped("says that a directory is healthy, and ends with 0", () =>
    Effect.gen(function* () {
      const { dataDir } = yield* directory
      const { status, stderr, stdout } = run(dataDir, "doctor", ".")
      expect(stdout).toContain(`data directory: "${dataDir}"`)
      expect(stdout).toContain("1 session, 0 problems, ")
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" })
    })
  )

  it.scoped("says what is wrong, as text or as JSON, and ends with 1", () =>
    Effect.gen(function* () {
      const { dataDir, folder } = yield* directory
      Fs.writeFileSync(Path.join(folder, "outbound.db"), "nonsense".repeat(100))
      const text = run(dataDir, "doctor", dataDir)
      expect(text.stdout).toContain("\n  problem: integrity: outbound.db is corrupt (not-a-database)\n")
      expect(text.stdout).toContain("1 session, 1 problem, ")
      expect(text.status).toBe(1)

      const json = run(dataDir, "doctor", dataDir, "--json")
      const report = Schema.decodeUnknownSync(Doctor.Report)(JSON.parse(json.stdout))
      expect(report.findings).toContainEqual({
        severity: "problem",
        check: "integrity",
        session: { agentGroupId: "agent", sessionId: Path.basename(folder) },
        message: "outbound.db is corrupt (not-a-database)"
      })
      expect({ status: json.status, stderr: json.stderr }).toEqual({ status: 1, stderr: "" })
    })
  )

  it.scoped("ends with 2 when there is no data directory, and makes none", () =>
    Effect.gen(function* () {
      const empty = yield* TestHost.temporaryDirectory
      const missing = run(empty, "doctor", "nowhere\u001b[2J")
      expect(missing.status).toBe(2)
      expect(missing.stdout).toBe("")
      expect(missing.stderr).toBe(`effect-airlock: "nowhere\\u001b[2J" cannot be read (missing, ENOENT)\n`)
      const other = run(empty, "doctor", ".")
      expect(other.status).toBe(2)
      expect(other.stderr).toContain("is not a data directory")
      expect(Fs.readdirSync(empty)).toEqual([])
    })
  )

  it.scoped("ends with 2 for arguments that it does not know, and says which", () =>
    Effect.gen(function* () {
      const empty = yield* TestHost.temporaryDirectory
      const wrong: ReadonlyArray<readonly [words: ReadonlyArray<string>, text: string]> = [
        [["doctor"], "missing required argument 'dir'"],
        [["doctor", ".", "--yaml"], "unknown option '--yaml'"],
        [["doctor", ".", "."], "too many arguments"],
        [["surgeon"], "unknown command 'surgeon'"],
        [[], "Usage: effect-airlock"]
      ]
      for (const [words, text] of wrong) {
        const { status, stderr, stdout } = run(empty, ...words)
        expect(stderr).toContain(text)
        expect({ status, stdout }).toEqual({ status: 2, stdout: "" })
      }
    })
  )

  it.scoped("tells its version, and in its help what it ends with", () =>
    Effect.gen(function* () {
      const empty = yield* TestHost.temporaryDirectory
      const { version } = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8")) as {
        version: string
      }
      expect(run(empty, "--version")).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" })
      const help = run(empty, "doctor", "--help")
      expect(help.status).toBe(0)
      expect(help.stdout).toMatch(/Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 /)
    })
  )
})
