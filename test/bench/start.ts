/**
 * Runs a benchmark as what it measures is run by its users: compiled. What runs TypeScript directly gives each function its
 * name again whenever it is made, which a host makes thousands of in a second.
 */
import { spawn } from "node:child_process"
import * as Bundle from "../support/Bundle.js"

const program = await Bundle.make("../bench/run.ts")
const child = spawn(process.execPath, ["--expose-gc", program, ...process.argv.slice(2)], {
  stdio: "inherit"
})
child.on("exit", (code) => {
  process.exitCode = code ?? 1
})
