/**
 * How long something takes the host itself, on a machine that has other things to do.
 */
import { Effect } from "effect"
import * as Fs from "node:fs"

/** For how long this thread could have run and had to leave the processor to other processes, in milliseconds. */
const waited = (): number =>
  Number(Fs.readFileSync("/proc/thread-self/schedstat", "utf8").split(" ")[1]) / 1e6

/** What an effect comes to, and how many milliseconds it took, without those that other processes took. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const [before, start] = [waited(), performance.now()]
    return Effect.map(Effect.exit(effect), (exit) => ({
      exit,
      millis: performance.now() - start - (waited() - before)
    }))
  })
