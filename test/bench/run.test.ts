import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as TestHost from "../support/TestHost.js"

const bench = (...words: ReadonlyArray<string>) => {
  const program = Path.join(import.meta.dirname, "start.ts")
  const { status, stderr, stdout } = spawnSync(process.execPath, ["--import", "tsx", program, ...words], {
    cwd: import.meta.dirname,
    encoding: "utf8",
    timeout: 60_000
  })
  return { status, stdout, stderr }
}

describe("npm run bench", () => {
  it.scopedLive("measures the cases that are named, prints a table, and leaves nothing but the figures", () =>
    Effect.gen(function* () {
      const dir = yield* TestHost.temporaryDirectory
      const file = Path.join(dir, "figures.json")
      const { status, stdout } = bench("write-single", "--rounds", "1", "--dir", dir, "--json", file)
      expect(status).toBe(0)
      expect(stdout).toContain("| `write-single` |")
      expect(JSON.parse(Fs.readFileSync(file, "utf8"))).toEqual({
        "write-single": {
          ours: expect.any(Number) as number,
          baseline: expect.any(Number) as number,
          ratio: expect.any(Number) as number,
          unit: "µs per message"
        }
      })
      expect(Fs.readdirSync(dir)).toEqual(["figures.json"])
    })
  )

  it("says which cases there are, if one is asked for that is not", () => {
    const { status, stderr } = bench("write-single", "write-nothing")
    expect(status).toBe(1)
    expect(stderr).toContain("there is no case write-nothing; there are write-single, visible-single,")
  })
})
