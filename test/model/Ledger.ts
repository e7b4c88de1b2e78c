/**
 * The simple model: what callers asked for, and what they were told. A caller that was told something may rely on it;
 * what was asked for by a process that died before it answered may be stored or not.
 */
import type { Lane } from "./Command.js"

export type Verdict = "completed" | "failed"

/** A message for the agent. */
export interface Inbound {
  readonly id: string
  readonly content: string
  readonly files: ReadonlyArray<{ readonly name: string; readonly text: string }>
  readonly dueAt: number
  readonly isContext: boolean
  readonly isYearly: boolean
  /** Its number, once the writer was told that it is stored. */
  seq: number | undefined
  /** The first verdict that the agent was told is stored, and all that may be. */
  verdict: Verdict | undefined
  readonly maybe: Set<Verdict>
  /** Whether an agent has had it in hand, and how many agents ended while they had. */
  isTouched: boolean
  /** The agent's copy has it since its writer was told. */
  isPublished: boolean
  abandoned: number
  /** Whether somebody removed its row, or may have. */
  mayBeGone: boolean
}

/** A message for people, from the agent or from the host itself. Its text is its own. */
export interface Outbound {
  readonly source: "agent" | "direct"
  readonly text: string
  readonly lane: Lane
  readonly files: ReadonlyArray<{ readonly name: string; readonly text: string }>
  readonly deliverAfter: number | undefined
  /** What the sender was told. */
  stored:
    | {
        readonly id: string
        readonly seq: number
        /** By the ledger's count, and how often somebody had been killed. */
        readonly at: number
        readonly kills: number
      }
    | undefined
}

export interface Ledger {
  readonly inbound: Map<string, Inbound>
  readonly outbound: Map<string, Outbound>
  /** The final statuses of messages for the agent, as last seen. */
  readonly finals: Map<string, string>
  /** All numbers that anybody was told, and of what. */
  readonly numbers: Map<number, string>
  /** The drains that go on, by when they began, and whether each was the only one all the time. */
  readonly drains: Map<number, { isAlone: boolean }>
  /** How often a host or an agent was killed. */
  kills: number
  /** Counts what happens, for what was before what. */
  now: number
  /** What must not be. */
  readonly problems: Array<string>
}

export const make = (): Ledger => ({
  inbound: new Map(),
  outbound: new Map(),
  finals: new Map(),
  numbers: new Map(),
  drains: new Map(),
  kills: 0,
  now: 0,
  problems: []
})

/** Somebody was told that something has this number: it is on the right side, and nobody else's. */
export const numbered = (ledger: Ledger, seq: number, parity: "even" | "odd", what: string): void => {
  if (Math.abs(seq % 2) !== (parity === "even" ? 0 : 1)) ledger.problems.push(`${what} has the number ${seq}`)
  const other = ledger.numbers.get(seq)
  if (other !== undefined && other !== what)
    ledger.problems.push(`${seq} is the number of ${other} and of ${what}`)
  ledger.numbers.set(seq, what)
}
