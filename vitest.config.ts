import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  resolve: {
    alias: [
      { find: /^effect-airlock$/, replacement: source("./src/index.ts") },
      { find: /^effect-airlock\/(host|guest|protocol)$/, replacement: source("./src/$1/index.ts") }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    // Loading the modules anew for each file would take as long as the tests.
    isolate: false,
    // A test waits for files and processes as much as it computes.
    maxWorkers: "100%",
    testTimeout: 60_000
  }
})
