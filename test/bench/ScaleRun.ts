/**
 * What the program that measures one host at scale is asked, and what it answers.
 */

/**
 * - `active`: how many of the sessions have an agent and get messages, `rate` per second altogether, for so many `seconds`
 * - `interval`: how often the host looks at those, and their agents look for messages, in milliseconds
 */
export interface Asked {
  readonly dataDir: string
  readonly sessions: number
  readonly active: number
  readonly rate: number
  readonly seconds: number
  readonly interval: number
}

/** Null, if there was nothing. */
export interface Quantiles {
  readonly p50: number | null
  readonly p99: number | null
  readonly max: number | null
}

/**
 * Times are in milliseconds, sizes in bytes.
 *
 * - `firstLook`, `idleLook`: one look of both loops at all sessions, when nothing is known of them and when nothing is new
 * - `heapPerSession`, `residentPerSession`: what the host keeps of a session in which nothing happens; of the heap, without
 *   compiled code
 * - `files`: open file descriptors after a look at all sessions
 * - `sent`, `stored`, `delivered`: messages per second; `missing`: how many were never delivered
 * - `write`: from when `writeMessage` was due to be called to its end; `roundTrip`: to the adapter's getting the answer; `outward`: from the
 *   end of the agent's commit to that
 * - `cpu`: of the host's process, as a part of one processor
 */
export interface Measured {
  readonly firstLook: number
  readonly idleLook: number
  readonly heapPerSession: number
  readonly residentPerSession: number
  readonly files: number
  readonly sent: number
  readonly stored: number
  readonly delivered: number
  readonly missing: number
  readonly write: Quantiles
  readonly roundTrip: Quantiles
  readonly outward: Quantiles
  readonly cpu: number
  readonly heap: number
  readonly resident: number
  readonly delay: Quantiles
}
