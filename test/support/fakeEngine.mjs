#!/usr/bin/env node
/**
 * A container engine that runs nothing. It is copied into a folder and keeps its state beside itself: `calls`, one line of
 * JSON per call; `containers/<name>`, the id and whether it runs; and what a test puts there: `broken` (every command
 * fails), `removing` (how many more times a name is still taken), `answer` (what `inspect` prints).
 */
import * as Fs from "node:fs"
import * as Path from "node:path"

const root = Path.dirname(process.argv[1])
const [operation, ...rest] = process.argv.slice(2)
Fs.appendFileSync(`${root}/calls`, `${JSON.stringify([operation, ...rest])}\n`)

const fail = (text, code = 1) => {
  Fs.writeSync(2, `${text}\n`)
  process.exit(code)
}
const read = (file) => {
  try {
    return Fs.readFileSync(`${root}/${file}`, "utf8")
  } catch {
    return undefined // It may be gone between any look and the reading.
  }
}
const container = (name) => read(`containers/${name}`)?.split(" ")
const last = rest.at(-1)

if (read("broken") !== undefined) fail(read("broken"))
Fs.mkdirSync(`${root}/containers`, { recursive: true })

const commands = {
  inspect: () => {
    const [id, state] = container(last) ?? fail(`Error: No such container: ${last}`)
    Fs.writeSync(1, read("answer") ?? `${id} ${state === "running"} "2026-01-01T00:00:00.123456789Z"\n`)
  },
  rm: () => {
    if (container(last) === undefined) fail(`Error response from daemon: No such container: ${last}`)
    if (read("removing"))
      fail(`Error response from daemon: removal of container ${last} is already in progress`)
    Fs.rmSync(`${root}/containers/${last}`)
  },
  run: () => {
    const name = rest[rest.indexOf("--name") + 1]
    const left = Number(read("removing") ?? 0)
    Fs.writeFileSync(`${root}/removing`, left > 1 ? String(left - 1) : "")
    if (left > 0 || container(name) !== undefined) {
      fail(
        `docker: Error response from daemon: Conflict. The container name "/${name}" is already in use.`,
        125
      )
    }
    const id = `id-${Fs.readFileSync(`${root}/calls`, "utf8").split("\n").length}`
    Fs.writeFileSync(`${root}/containers/${name}`, `${id} running`)
    Fs.writeSync(2, "Unable to find image locally\n")
    Fs.writeSync(1, `${id}\n`)
  },
  stop: () => {
    if (container(last) === undefined) fail(`Error response from daemon: No such container: ${last}`)
    Fs.rmSync(`${root}/containers/${last}`)
  },
  wait: () => {
    const there = () =>
      Fs.readdirSync(`${root}/containers`).some((name) => container(name)?.join(" ") === `${last} running`)
    if (!there()) fail(`Error response from daemon: No such container: ${last}`)
    // Whoever sees it finds the number in it.
    Fs.writeFileSync(`${root}/new-wait-${last}`, String(process.pid))
    Fs.renameSync(`${root}/new-wait-${last}`, `${root}/wait-${last}`)
    setInterval(() => {
      if (read("broken") !== undefined) fail("connection lost")
      if (!there()) process.exit(0)
    }, 2)
  }
}
commands[operation]()
