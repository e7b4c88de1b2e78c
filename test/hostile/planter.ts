/**
 * The agent's side, as a process of its own that does what it is told: on each line of its input, `plant` puts one of the
 * `Plants` into a session folder; `swap` puts one thing and another in the place of a path, in turns, for a while; and
 * `churn` does so with what it finds or makes at some paths, or in a folder, and a link.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { createInterface } from "node:readline"
import { plants } from "./Plants.js"

interface Plant {
  readonly plant: string
  readonly folder: string
  readonly canary: string
}

interface Swap {
  readonly swap: string
  readonly with: string
  readonly millis: number
}

interface Churn {
  /** A path, or `…/*` for everything in a folder. */
  readonly churn: string
  readonly with: string
  readonly millis: number
}

/** The host may remove or make what is being moved, at any moment. */
const attempt = (...steps: ReadonlyArray<() => unknown>): void => {
  for (const step of steps) {
    try {
      step()
    } catch {
      // It was faster.
    }
  }
}

const churn = ({ churn: pattern, millis, with: target }: Churn): number => {
  const end = performance.now() + millis
  const folder = Path.dirname(pattern)
  const aside = Path.join(Path.dirname(folder), ".aside")
  let swaps = 0
  while (performance.now() < end) {
    const paths = pattern.endsWith("*")
      ? Fs.readdirSync(folder)
          .slice(-3)
          .map((name) => Path.join(folder, name))
      : [pattern]
    for (const path of paths) {
      attempt(
        () => Fs.mkdirSync(path),
        () => Fs.writeFileSync(Path.join(path, "file"), "the agent's"),
        () => Fs.renameSync(path, aside),
        () => Fs.symlinkSync(target, path),
        () => Fs.unlinkSync(path),
        () => Fs.renameSync(aside, path),
        () => Fs.rmSync(aside, { recursive: true })
      )
      swaps++
    }
  }
  return swaps
}

const inodeOf = (path: string) => Fs.lstatSync(path, { throwIfNoEntry: false })?.ino

/** Both things are prepared; a rename puts one there and keeps the other. In the end the first one is there again. */
const swap = ({ millis, swap: path, with: other }: Swap): number => {
  const aside = `${other}.aside`
  const [first, second] = [inodeOf(path), inodeOf(other)]
  const end = performance.now() + millis
  let swaps = 0
  while (performance.now() < end) {
    attempt(
      () => Fs.renameSync(path, aside),
      () => Fs.renameSync(other, path),
      () => Fs.renameSync(aside, other)
    )
    swaps++
  }
  for (const place of [aside, other]) {
    if (inodeOf(place) !== first) continue
    const kept = `${other}.kept`
    Fs.renameSync(place, kept)
    // What the host made in between is in the way.
    if (inodeOf(path) === second && second !== undefined) Fs.renameSync(path, other)
    // The host may be making something there at this moment.
    while (inodeOf(path) !== first) {
      attempt(
        () => Fs.rmSync(path, { recursive: true, force: true }),
        () => Fs.renameSync(kept, path)
      )
    }
  }
  if (second !== undefined && inodeOf(aside) === second) Fs.renameSync(aside, other)
  return swaps
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Plant | Swap | Churn
  if ("churn" in command) {
    process.stdout.write(`${JSON.stringify({ swaps: churn(command) })}\n`)
    continue
  }
  if ("swap" in command) {
    process.stdout.write(`${JSON.stringify({ swaps: swap(command) })}\n`)
    continue
  }
  const plant = plants.find(({ name }) => name === command.plant)
  plant?.plant(command)
  process.stdout.write(`${JSON.stringify({ planted: plant?.name })}\n`)
}
