/**
 * The programs that a benchmark runs in processes of their own. They lie beside it once all are compiled; see `start`.
 */
import * as Path from "node:path"

const compiled = (name: string) => Path.join(import.meta.dirname, `${name}.mjs`)

export const scaleHost = compiled("scaleHost")

export const echoAgents = compiled("echoAgents")
