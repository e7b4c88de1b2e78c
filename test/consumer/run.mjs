/**
 * Installs the packed package into an empty project, type-checks a small host there in strict mode, and runs it.
 * Run it with `npm run test:consumer`.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const root = join(import.meta.dirname, "..", "..")
const project = mkdtempSync(join(tmpdir(), "airlock-consumer-"))
const run = (command, args, cwd = project) => {
  console.log(`$ ${command} ${args.join(" ")}`)
  return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })
}

/** The installed command, on data that the installed host has made, and on none. */
const examine = () => {
  writeFileSync(
    join(project, "data.mjs"),
    `import { Effect } from "effect"
     import { AirlockHost, SessionManager } from "effect-airlock/host"
     const made = Effect.flatMap(SessionManager.SessionManager, ({ resolve }) =>
       resolve({ agentGroupId: "agent", messagingGroupId: "chat", threadId: null, mode: "shared" }))
     await Effect.runPromise(Effect.provide(made, AirlockHost.sessions({ dataDir: "examined" })))`
  )
  run(process.execPath, ["data.mjs"])
  const report = JSON.parse(run("npx", ["effect-airlock", "doctor", "examined", "--json"]))
  if (report.sessions !== 1) throw new Error("the doctor did not find the session")
  console.log(run("npx", ["effect-airlock", "doctor", "examined"]))
  const { status } = spawnSync("npx", ["effect-airlock", "doctor", "nowhere"], { cwd: project })
  if (status !== 2) throw new Error(`the doctor ended with ${status} where there is no data directory`)
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
  // That the driver's native part compiles, the project's own installation has shown; it takes a minute.
  const own = join(root, "node_modules", "better-sqlite3")
  run("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts"])
  const theirs = join(project, "node_modules", "better-sqlite3")
  const [version, wanted] = [own, theirs].map(
    (path) => JSON.parse(readFileSync(join(path, "package.json"))).version
  )
  if (version === wanted) cpSync(join(own, "build"), join(theirs, "build"), { recursive: true })
  else run("npm", ["rebuild", "better-sqlite3"])
  run("npx", ["tsc"])
  console.log(run(process.execPath, ["out/host.js"]))
  examine()
} finally {
  rmSync(project, { recursive: true, force: true })
}
