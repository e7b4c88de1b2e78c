/**
 * Runs a benchmark as what it measures is run by its users: compiled. What runs TypeScript directly gives each function its
 * name again whenever it is made, which a host makes thousands of in a second.
 */
import { spawn } from "node:child_process"
import * as Bundle from "../support/Bundle.js"

const [program = ""] = await Promise.all(
  ["run", "scaleHost", "echoAgents"].map((name) => Bundle.make(`../bench/${name}.ts`))
)
const child = spawn(process.execPath, ["--expose-gc", program, ...process.argv.slice(2)], {
  stdio: "inherit"
})
// It has something to clear away before it ends.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal))
child.on("exit", (code) => {
  process.exitCode = code ?? 1
})
