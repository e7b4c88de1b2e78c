/**
 * Installs the packed package into an empty project, type-checks a small host there in strict mode, and runs it.
 * Run it with `npm run test:consumer`.
 */
import { execFileSync } from "node:child_process"
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const root = join(import.meta.dirname, "..", "..")
const project = mkdtempSync(join(tmpdir(), "airlock-consumer-"))
const run = (command, args, cwd = project) => {
  console.log(`$ ${command} ${args.join(" ")}`)
  return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })
}

try {
  const [packed] = JSON.parse(
    run("npm", ["pack", "--json", "--pack-destination", project], root).replace(/^[^[]*(?=\[)/, "")
  )
  const strangers = packed.files
    .map(({ path }) => path)
    .filter((path) => !/^(dist\/.*\.(js|d\.ts)|package\.json|README\.md|LICENSE)$/.test(path))
  if (strangers.length > 0) throw new Error(`the package holds ${strangers.join(", ")}`)

  const { devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({
      name: "consumer",
      private: true,
      type: "module",
      allowScripts: { "better-sqlite3": true },
      dependencies: { "effect-airlock": `file:./${packed.filename}` },
      devDependencies: Object.fromEntries(
        ["typescript", "@types/node"].map((name) => [name, devDependencies[name]])
      )
    })
  )
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        strict: true,
        declaration: true,
        exactOptionalPropertyTypes: true,
        module: "NodeNext",
        target: "ES2022",
        lib: ["ES2023"],
        types: ["node"],
        skipLibCheck: false,
        outDir: "out"
      },
      files: ["host.ts"]
    })
  )
  cpSync(join(import.meta.dirname, "host.ts"), join(project, "host.ts"))
  run("npm", ["install", "--no-audit", "--no-fund"])
  run("npx", ["tsc"])
  console.log(run(process.execPath, ["out/host.js"]))
} finally {
  rmSync(project, { recursive: true, force: true })
}
