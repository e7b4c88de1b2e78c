/**
 * A host and an agent as processes of their own, killed again and again at random instants. `AIRLOCK_KILLS` says how
 * often, `AIRLOCK_CRASH_SEED` which random choices are made.
 */
import { expect, it } from "@effect/vitest"
import { Effect, Random } from "effect"
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Bundle from "../support/Bundle.js"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"
import * as Views from "./View.js"

const kills = Number(process.env["AIRLOCK_KILLS"] ?? 8)
const seed = Number(process.env["AIRLOCK_CRASH_SEED"] ?? Math.floor(Math.random() * 2 ** 31))

/** How many messages a host writes at most. It is killed before that, but for the last one. */
const messages = 100

interface Process {
  readonly child: ChildProcess
  readonly lines: ReadonlyArray<string>
}

const start = (program: string, temporary: string, parameters: ReadonlyArray<string>): Process => {
  const child = spawn(process.execPath, [program, ...parameters], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, TMPDIR: temporary }
  })
  const lines: Array<string> = []
  let rest = ""
  child.stdout.on("data", (chunk: Buffer) => {
    const parts = `${rest}${chunk.toString()}`.split("\n")
    rest = parts.pop() ?? ""
    lines.push(...parts)
  })
  return { child, lines }
}

const kill = ({ child }: Process) =>
  Effect.async<void>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("close", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

/** What is listed may be gone when it is looked at: then it is asked again. */
const until = (what: string, isSo: () => boolean) =>
  Effect.catchAllDefect(
    TestHost.until(() => Effect.orElseSucceed(Effect.try(isSo), () => false)),
    () => Effect.dieMessage(`waited in vain until ${what}`)
  )

it.live(
  "answers every message, and hands over every answer once, however often either side is killed",
  () =>
    Effect.gen(function* () {
      const hostProgram = yield* Effect.promise(() => Bundle.make("servingHost.ts"))
      const agentProgram = yield* Effect.promise(() => Bundle.make("servingAgent.ts"))
      const dataDir = yield* TestHost.memoryDirectory
      const temporary = yield* TestHost.memoryDirectory
      const answers = Path.join(dataDir, "answers")
      const stored = new Set<string>()
      const answered = () =>
        Fs.existsSync(answers) ? Fs.readFileSync(answers, "utf8").split("\n").slice(0, -1) : []
      let runs = 0
      const startHost = (count: number) =>
        Effect.acquireRelease(
          Effect.sync(() => start(hostProgram, temporary, [dataDir, answers, `run${runs++}`, String(count)])),
          kill
        )
      const startAgent = (folder: string) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const agent = start(agentProgram, temporary, [folder])
            Fs.writeFileSync(Path.join(dataDir, "agent.pid"), String(agent.child.pid))
            return agent
          }),
          kill
        )
      const note = ({ lines }: Process) => lines.slice(1).forEach((id) => stored.add(id))

      let host = yield* startHost(messages)
      yield* until("a host starts", () => host.lines.length > 0)
      const folder = host.lines[0] ?? ""
      let agent = yield* startAgent(folder)
      const killed = { host: 0, agent: 0 }
      for (let round = 0; round < kills; round++) {
        const more = yield* Random.nextIntBetween(0, 6)
        const instant = Effect.flatMap(Random.nextIntBetween(0, 20), (millis) => Effect.sleep(millis))
        if (yield* Random.nextBoolean) {
          // It starts, is in the middle of the next message, or in one of its loops.
          const wanted = host.lines.length + more
          yield* until("messages are stored", () => host.lines.length >= Math.min(wanted, messages + 1))
          yield* instant
          yield* kill(host)
          note(host)
          host = yield* startHost(messages)
          killed.host++
        } else {
          const wanted = answered().length + more
          yield* until("answers come", () => answered().length >= wanted || host.lines.length > messages)
          yield* instant
          yield* kill(agent)
          agent = yield* startAgent(folder)
          killed.agent++
        }
      }
      yield* until("a message is stored", () => host.lines.length > 1)
      yield* kill(host)
      yield* kill(agent)
      note(host)
      host = yield* startHost(0)
      yield* until("a host starts", () => host.lines.length > 0)
      agent = yield* startAgent(folder)

      const waiting = () => {
        const texts = new Set(answered().map((line) => line.split("\t")[1]))
        return Array.from(stored).filter((id) => !texts.has(id))
      }
      const ids = (name: string, sql: string) =>
        Raw.query(`${folder}/${name}`, sql).map(({ id }) => String(id))
      const undelivered = () => {
        const delivered = new Set(ids("inbound.db", "SELECT message_out_id AS id FROM delivered"))
        return ids("outbound.db", "SELECT id FROM messages_out").filter((id) => !delivered.has(id))
      }
      const unfinished = () => ids("inbound.db", "SELECT id FROM messages_in WHERE status = 'pending'")
      yield* until(
        "everything is settled",
        () => waiting().length === 0 && unfinished().length === 0 && undelivered().length === 0
      )
      // Nothing is left of those that were killed; a copy of each of the two that run is all that is temporary.
      yield* until(
        "nothing is left over",
        () => Fs.readdirSync(temporary).length === 2 && Views.leftoversIn(dataDir).length === 0
      )
      yield* kill(agent)
      yield* kill(host)

      const keys = answered().map((line) => line.split("\t")[0])
      expect(new Set(keys).size).toBe(keys.length)
      expect(answered().filter((line) => !line.endsWith("whole"))).toEqual([])
      const sent = ids("outbound.db", "SELECT id FROM messages_out")
      expect(sent.filter((id) => !keys.some((key) => key?.endsWith(`/${id}`)))).toEqual([])
      for (const name of ["inbound.db", "outbound.db"]) {
        expect(Raw.query(`${folder}/${name}`, "PRAGMA integrity_check")).toEqual([{ integrity_check: "ok" }])
      }
      const numbers = ["messages_in", "airlock_direct"].flatMap((table) =>
        Raw.query(`${folder}/inbound.db`, `SELECT seq FROM ${table}`).map(({ seq }) => Number(seq))
      )
      expect(numbers.filter((seq) => seq % 2 !== 0)).toEqual([])
      expect(new Set(numbers).size).toBe(numbers.length)
      console.log(
        `killed ${killed.host} hosts and ${killed.agent} agents: ${stored.size} messages, ${keys.length} answers, AIRLOCK_CRASH_SEED=${seed}`
      )
    }).pipe(Effect.withRandom(Random.make(seed)), Effect.scoped),
  30_000 + kills * 15_000
)
