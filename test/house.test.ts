/**
 * The walls of the house: who may import whom, and what each entry point brings along.
 */
import { describe, expect, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Ts from "typescript"

const root = Path.resolve(import.meta.dirname, "..", "src")

const sources = Fs.readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .sort()

const importsOf = (file: string): ReadonlyArray<string> =>
  Ts.preProcessFile(Fs.readFileSync(Path.join(root, file), "utf8")).importedFiles.map(
    ({ fileName }) => fileName
  )

/** The room that a relative import leads to, or the package that it names. */
const targetOf = (file: string, specifier: string): string =>
  specifier.startsWith(".")
    ? (Path.join(Path.dirname(file), specifier).split(Path.sep)[0] ?? "")
    : specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/")

const allowed: Record<string, ReadonlyArray<string>> = {
  protocol: ["protocol", "effect"],
  storage: [
    "protocol",
    "storage",
    "effect",
    "@effect/platform",
    "@effect/platform-node",
    "@effect/sql",
    "@effect/sql-sqlite-node",
    "@effect/experimental",
    "node:fs",
    "node:path",
    "node:zlib"
  ],
  host: [
    "protocol",
    "storage",
    "host",
    "effect",
    "@effect/platform",
    "@effect/sql",
    "croner",
    "node:path",
    "node:crypto"
  ],
  guest: ["protocol", "storage", "guest", "effect", "@effect/sql"]
}

describe("the house", () => {
  for (const [room, targets] of Object.entries(allowed)) {
    it(`lets ${room} import only ${targets.join(", ")}`, () => {
      const files = sources.filter((file) => file.startsWith(`${room}${Path.sep}`))
      expect(files).not.toEqual([])
      const strangers = files.flatMap((file) =>
        importsOf(file)
          .map((specifier) => targetOf(file, specifier))
          .filter((target) => !targets.includes(target))
          .map((target) => `${file} imports ${target}`)
      )
      expect(strangers).toEqual([])
    })
  }

  it("has the command in cli.ts, which no entry point brings along, and neither what parses its arguments", () => {
    const reached = (file: string, seen = new Set<string>()): Set<string> => {
      if (seen.has(file)) return seen
      seen.add(file)
      // `export * as X from`, of which the entry points are made, is no import to the compiler's scanner.
      const from = Fs.readFileSync(Path.join(root, file), "utf8").matchAll(
        /^(?:import|export|\}).* from "([^"]+)"$/gm
      )
      for (const [, specifier = ""] of from) {
        if (!specifier.startsWith(".")) seen.add(specifier)
        else reached(Path.join(Path.dirname(file), specifier).replace(/\.js$/, ".ts"), seen)
      }
      return seen
    }
    for (const entry of ["index.ts", "host/index.ts", "guest/index.ts", "protocol/index.ts"]) {
      expect(reached(entry)).not.toContain("cli.ts")
      expect(reached(entry)).not.toContain("commander")
    }
    const ofGuest = Array.from(reached("guest/index.ts"))
    expect(ofGuest).toContain("guest/Mailbox.ts")
    expect(ofGuest.filter((file) => file.startsWith("host/"))).toEqual([])
    expect(reached("cli.ts")).toContain("commander")
  })

  it("has one namespace in index.ts for each that host, guest and protocol export", () => {
    const exportsOf = (file: string) =>
      Array.from(
        Fs.readFileSync(Path.join(root, file), "utf8").matchAll(/^export \* as (\w+) from "(.*)"$/gm),
        ([, name, from]) => `${name} ${Path.posix.join(Path.dirname(file), from ?? "")}`
      ).sort()
    expect(exportsOf("index.ts")).toEqual(
      Array.from(
        new Set(["host", "guest", "protocol"].flatMap((room) => exportsOf(`${room}/index.ts`)))
      ).sort()
    )
  })

  it("documents every export with @since and @category", () => {
    let exported = 0
    const bare = sources.flatMap((file) => {
      const text = Fs.readFileSync(Path.join(root, file), "utf8")
      const found = Array.from(
        text.matchAll(
          /(?:\/\*\*((?:(?!\*\/)[^])*)\*\/\n)?export (?:declare )?(?:const|class|type|interface|function) (\w+)/g
        )
      )
      exported += found.length
      return found
        .filter(([, doc]) => doc?.trim() !== "@internal")
        .filter(([, doc]) => doc === undefined || !doc.includes("@since") || !doc.includes("@category"))
        .map(([, , name]) => `${file}: ${name}`)
    })
    expect(exported).toBeGreaterThan(100)
    expect(bare).toEqual([])
  })

  it("takes time, randomness, settings and output from Effect's services", () => {
    const banned = /Date\.now|new Date\(\)|Math\.random|process\.env|console\./
    const offenders = sources.filter((file) =>
      banned.test(Fs.readFileSync(Path.join(root, file), "utf8").replace(/^\s*(\*|\/\/).*$/gm, ""))
    )
    expect(offenders).toEqual([])
  })
})
