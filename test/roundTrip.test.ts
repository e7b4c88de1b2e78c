/**
 * The round trip as `npm start` runs it, and what it leaves on disk.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Raw from "./support/Raw.js"
import * as TestHost from "./support/TestHost.js"

const root = Path.resolve(import.meta.dirname, "..")

const start = (dataDir: string) =>
  Effect.async<{ readonly code: number | null; readonly output: string }>((resume) => {
    const child = execFile(
      process.execPath,
      ["--import", "tsx", "examples/round-trip.ts"],
      { cwd: root, env: { ...process.env, AIRLOCK_DATA_DIR: dataDir } },
      (_error, stdout, stderr) => resume(Effect.succeed({ code: child.exitCode, output: stdout + stderr }))
    )
  })

describe("npm start", () => {
  it.live(
    "carries everything there and back, on a new data directory and on one that was used before",
    () =>
      Effect.gen(function* () {
        const dataDir = yield* TestHost.temporaryDirectory
        for (let run = 0; run < 2; run++) {
          const { code, output } = yield* start(dataDir)
          expect(output).toMatch(
            /5 messages and 3 files in, 6 messages and 2 files out, 0 failures, \d+\.\d s\n$/
          )
          expect(code).toBe(0)
        }

        const sessions = Raw.query(`${dataDir}/v2.db`, "SELECT agent_group_id, id FROM sessions").map(
          ({ agent_group_id, id }) => Path.join(dataDir, "v2-sessions", String(agent_group_id), String(id))
        )
        expect(sessions.length).toBe(3)
        for (const folder of sessions) {
          const inbound = `${folder}/inbound.db`
          const outbound = `${folder}/outbound.db`
          for (const file of [inbound, outbound]) {
            expect(Raw.query(file, "PRAGMA journal_mode")).toEqual([{ journal_mode: "delete" }])
            expect(Raw.query(file, "PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }])
          }
          const numbered = (file: string, table: string) =>
            Raw.query(file, `SELECT seq FROM ${table}`).map(({ seq }) => Number(seq))
          const even = [...numbered(inbound, "messages_in"), ...numbered(inbound, "airlock_direct")]
          const odd = numbered(outbound, "messages_out")
          expect(even.length).toBeGreaterThan(0)
          expect(even.every((seq) => seq % 2 === 0)).toBe(true)
          expect(odd.length).toBeGreaterThan(0)
          expect(odd.every((seq) => seq % 2 === 1)).toBe(true)
          const ids = (file: string, sql: string) => Raw.query(file, sql).map(({ id }) => id)
          expect(ids(outbound, "SELECT id FROM messages_out ORDER BY id")).toEqual(
            ids(inbound, "SELECT message_out_id AS id FROM delivered WHERE status = 'delivered' ORDER BY id")
          )
          expect(ids(inbound, "SELECT id FROM airlock_direct WHERE status <> 'delivered'")).toEqual([])
          const contents = [
            ...Raw.query(inbound, "SELECT content FROM messages_in"),
            ...Raw.query(outbound, "SELECT content FROM messages_out")
          ].map(({ content }) => String(content))
          expect(contents.filter((content) => content.includes('"data"'))).toEqual([])
          expect(Fs.readdirSync(folder).filter((name) => name.endsWith("-journal"))).toEqual([])
          expect(Fs.readdirSync(`${folder}/outbox`)).toEqual([])
        }
      }).pipe(Effect.scoped),
    90_000
  )
})
