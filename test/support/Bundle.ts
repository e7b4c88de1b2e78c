/**
 * A test's program as one file of plain JavaScript. Started as TypeScript, a program that uses the library needs seconds
 * before it does anything.
 */
import { createRequire } from "node:module"
import * as Path from "node:path"

interface Bundler {
  readonly build: (options: Record<string, unknown>) => Promise<unknown>
}

// The one that runs the tests and examples: the project depends on it only through that.
const { build } = createRequire(createRequire(import.meta.url).resolve("tsx"))("esbuild") as Bundler

/** Bundles a program of this folder. The path of the result, from which installed packages can be found. */
export const make = async (program: string): Promise<string> => {
  const { name } = Path.parse(program)
  const outfile = Path.resolve(import.meta.dirname, "../../node_modules/.cache/airlock-test", `${name}.mjs`)
  await build({
    entryPoints: [Path.join(import.meta.dirname, program)],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["better-sqlite3"],
    banner: {
      // Under a name that no program has.
      js: `import { createRequire as bundled } from "node:module"; const require = bundled(import.meta.url)`
    },
    logLevel: "error"
  })
  return outfile
}
