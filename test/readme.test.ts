import { describe, expect, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"

const root = Path.resolve(import.meta.dirname, "..")
const readme = Fs.readFileSync(Path.join(root, "README.md"), "utf8")

describe("the README", () => {
  it("shows the smallest host and the smallest agent as they are", () => {
    for (const name of ["smallest-host.ts", "smallest-agent.ts"]) {
      const example = Fs.readFileSync(Path.join(root, "examples", name), "utf8")
      const code = example.slice(example.indexOf("\nimport ") + 1)
      expect(readme).toContain("```ts\n" + code + "```")
    }
  })

  it("names only commands that package.json has", () => {
    const { scripts } = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8")) as {
      scripts: Record<string, string>
    }
    const commands = Array.from(
      readme.matchAll(/npm (?:run )?(start|test\S*|check|build|bench)\b/g),
      ([, name]) => name
    )
    expect(commands.length).toBeGreaterThan(3)
    for (const command of commands) expect(Object.keys(scripts)).toContain(command)
  })

  it("names only files that exist", () => {
    const files = Array.from(
      readme.matchAll(/`((?:src|test|examples)\/[\w./-]+\.\w+|storage\/\w+\.ts)`/g),
      ([, path]) => path ?? ""
    )
    expect(files.length).toBeGreaterThan(3)
    for (const file of files) {
      expect(Fs.existsSync(Path.join(root, file.startsWith("storage/") ? `src/${file}` : file))).toBe(true)
    }
  })
})
