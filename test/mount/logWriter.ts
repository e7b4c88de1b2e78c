/**
 * A writer in write-ahead-log mode, in a process of its own: the reader on the other side of the mount knows nothing of this
 * one's locks, and may cut the file that both map into memory, which ends this process.
 *
 *   node logWriter.mjs FILE RATE
 *
 * It prints a line once the file is there, writes until its input ends, and prints what it did.
 */
import { Effect } from "effect"
import * as Pace from "./Pace.js"
import * as Plain from "./Plain.js"

const [file = "", rate = ""] = process.argv.slice(2)

let isEnough = false
process.stdin.on("end", () => (isEnough = true)).resume()

const main = Effect.gen(function* () {
  const advance = yield* Plain.withLog(file)
  process.stdout.write("ready\n")
  const wrote = yield* Pace.write(advance, { isEnough: () => isEnough, rate: Number(rate) })
  process.stdout.write(`${JSON.stringify(wrote)}\n`)
})

Effect.runPromise(Effect.scoped(main)).catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`)
  process.exitCode = 1
})
