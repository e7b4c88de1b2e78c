/**
 * Killing a process that runs inside the test, as kill -9 would.
 *
 * What a killed process wrote is there, and nothing that it would have done next. So at the moment of its death its
 * folder is copied. The process itself goes on until it can be stopped, but in a folder that is then thrown away for the
 * copy, and nobody outside listens to it any more.
 */
import { Deferred, Effect, FiberId } from "effect"
import * as Fs from "node:fs"

export interface KillSwitch {
  /** Which life it is. What belongs to a life says so by its number. */
  readonly number: number
  readonly isAlive: () => boolean
  /**
   * A moment at which the process can die: before it changes something that others can see. When it dies between two of
   * those makes no difference.
   */
  readonly moment: () => void
  /** Lets it die at the k-th moment from now. */
  readonly dieAt: (k: number) => void
  readonly dieNow: () => void
  /** Its end in order, after which nobody takes it for a process that runs. */
  readonly end: () => void
  /** Waits for the end. */
  readonly death: Effect.Effect<void>
  /** Puts what it left in the place of its folder. For when it has been stopped. */
  readonly bury: () => void
}

/** What all processes have done so far: while it does not change, nobody does anything. */
export const activity = { count: 0 }

const living = new Set<number>()
let lives = 0

export const isAlive = (number: number): boolean => living.has(number)

/** `folder` is what the process writes to; `grave` is where the copy lies until it is buried. */
export const make = (folder: string, grave: string): KillSwitch => {
  const number = ++lives
  living.add(number)
  let left = Number.POSITIVE_INFINITY
  const death = Deferred.unsafeMake<void>(FiberId.none)
  const dieNow = () => {
    if (!living.delete(number)) return
    Fs.cpSync(folder, grave, { recursive: true, preserveTimestamps: true })
    Deferred.unsafeDone(death, Effect.void)
  }
  return {
    number,
    isAlive: () => living.has(number),
    moment: () => {
      activity.count++
      if (--left === 0) dieNow()
    },
    dieAt: (k) => {
      left = k
    },
    dieNow,
    end: () => void living.delete(number),
    death: Deferred.await(death),
    bury: () => {
      Fs.rmSync(folder, { recursive: true })
      Fs.renameSync(grave, folder)
    }
  }
}
