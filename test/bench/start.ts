/**
 * Runs a benchmark as what it measures is run by its users: compiled. What runs TypeScript directly gives each function its
 * name again whenever it is made, which a host makes thousands of in a second.
 */
import { spawn } from "node:child_process"
import * as Bundle from "../support/Bundle.js"
import * as Programs from "./Programs.js"

const [program = ""] = await Promise.all(Programs.sources.map(Bundle.make))
const child = spawn(process.execPath, ["--expose-gc", program, ...process.argv.slice(2)], {
  stdio: "inherit"
})
child.on("exit", (code) => {
  process.exitCode = code ?? 1
})
