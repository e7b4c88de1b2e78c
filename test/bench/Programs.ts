/**
 * The programs of a benchmark. `start.ts` compiles them into one folder, from where they find each other.
 */
import * as Path from "node:path"

const at = (name: string) => Path.join(import.meta.dirname, `${name}.mjs`)

export const agents = at("echoAgents")
export const scaleHost = at("scaleHost")

/** Their sources, as `Bundle.make` wants them. */
export const sources = ["run", "echoAgents", "scaleHost"].map((name) => `../bench/${name}.ts`)
