/**
 * What can happen to a session: what the host, the agent, the platform and time do. Commands are plain data, so that a
 * sequence that fails can be cut down and read.
 */
import { FastCheck } from "effect"
import type { Verdict } from "./Ledger.js"

/** Chats and threads that messages go to. Everybody may write to the first three; the last is for the host only. */
export const lanes = ["home", "thread", "page", "stranger"] as const
export type Lane = (typeof lanes)[number]

/**
 * What the platform does with what it is given for a chat or thread. Those with `shown` show it first; `host dies` is the
 * death of the host before it hears that its message was taken.
 */
export const answers = [
  "delivered",
  "later",
  "much later",
  "rejected",
  "unknown",
  "shown, unknown",
  "throws",
  "shown, throws",
  "hangs",
  "shown, hangs",
  "shown, host dies",
  "one shown, and of the next host dies"
] as const
export type Answer = (typeof answers)[number]

export type HostDoes =
  | {
      readonly _tag: "write"
      readonly files: number
      readonly afterMinutes: number
      readonly isContext: boolean
      readonly isYearly: boolean
    }
  | { readonly _tag: "write again"; readonly which: number; readonly differs: boolean }
  | { readonly _tag: "reply"; readonly lane: Lane }
  | { readonly _tag: "drain" }
  | { readonly _tag: "sweep" }
  | { readonly _tag: "redrive"; readonly which: number }
  | { readonly _tag: "tidy" }

export type AgentDoes =
  | { readonly _tag: "poll" }
  | { readonly _tag: "take" }
  | { readonly _tag: "claim" }
  | { readonly _tag: "finish"; readonly verdict: Verdict; readonly onlyFirst: boolean }
  | {
      readonly _tag: "send"
      readonly lane: Lane
      readonly times: number
      readonly files: number
      readonly afterMinutes: number
    }
  | { readonly _tag: "work"; readonly lane: Lane }
  | { readonly _tag: "beat" }

export type Passing = "2 seconds" | "1 minute" | "10 minutes" | "3 hours"

/** Several things at a time, in any order. With `diesAt`, the process is killed at that moment, or when they are done if that is before. */
export type Command =
  | {
      readonly _tag: "host"
      readonly does: ReadonlyArray<HostDoes>
      readonly diesAt: number | undefined
    }
  | {
      readonly _tag: "agent"
      readonly does: ReadonlyArray<AgentDoes>
      readonly diesAt: number | undefined
    }
  | { readonly _tag: "both"; readonly host: HostDoes; readonly agent: AgentDoes }
  | { readonly _tag: "answer"; readonly lane: Lane; readonly answer: Answer }
  | { readonly _tag: "time"; readonly passes: Passing }

const chance = <A>(parts: ReadonlyArray<readonly [weight: number, arbitrary: FastCheck.Arbitrary<A>]>) =>
  FastCheck.oneof(...parts.map(([weight, arbitrary]) => ({ weight, arbitrary })))

const tag = <const T extends string>(name: T) => FastCheck.record({ _tag: FastCheck.constant(name) })

const lane = FastCheck.constantFrom<Lane>("home", "home", "home", "thread", "page", "stranger")
const files = FastCheck.constantFrom(0, 0, 1, 2)
const afterMinutes = FastCheck.constantFrom(0, 0, 0, 5, 600)
const which = FastCheck.nat({ max: 9 })
const seldom = FastCheck.constantFrom(false, false, false, true)

const hostDoes = chance<HostDoes>([
  [
    4,
    FastCheck.record({
      _tag: FastCheck.constant("write"),
      files,
      afterMinutes,
      isContext: seldom,
      isYearly: seldom
    })
  ],
  [6, tag("drain")],
  [5, tag("sweep")],
  [2, FastCheck.record({ _tag: FastCheck.constant("reply"), lane })],
  [1, FastCheck.record({ _tag: FastCheck.constant("write again"), which, differs: seldom })],
  [1, FastCheck.record({ _tag: FastCheck.constant("redrive"), which })],
  [2, tag("tidy")]
])

const agentDoes = chance<AgentDoes>([
  [
    6,
    FastCheck.record({
      _tag: FastCheck.constant("send"),
      lane,
      times: FastCheck.constantFrom(1, 1, 3),
      files,
      afterMinutes
    })
  ],
  [3, FastCheck.record({ _tag: FastCheck.constant("work"), lane })],
  [2, tag("poll")],
  [3, tag("take")],
  [1, tag("claim")],
  [
    2,
    FastCheck.record({
      _tag: FastCheck.constant("finish"),
      verdict: FastCheck.constantFrom<Verdict>("completed", "failed"),
      onlyFirst: FastCheck.boolean()
    })
  ],
  [1, tag("beat")]
])

const together = <A>(one: FastCheck.Arbitrary<A>) =>
  chance([
    [2, FastCheck.tuple(one)],
    [1, FastCheck.array(one, { minLength: 2, maxLength: 3 })]
  ])
const never = FastCheck.constant(undefined)
const sometime = FastCheck.oneof(
  FastCheck.integer({ min: 1, max: 12 }),
  FastCheck.integer({ min: 1, max: 40 })
)

const hostCommand = (diesAt: FastCheck.Arbitrary<number | undefined>) =>
  FastCheck.record({ _tag: FastCheck.constant("host" as const), does: together(hostDoes), diesAt })
const agentCommand = (diesAt: FastCheck.Arbitrary<number | undefined>) =>
  FastCheck.record({ _tag: FastCheck.constant("agent" as const), does: together(agentDoes), diesAt })

const command = chance<Command>([
  [8, hostCommand(never)],
  [4, hostCommand(sometime)],
  [8, agentCommand(never)],
  [2, agentCommand(sometime)],
  [2, FastCheck.record({ _tag: FastCheck.constant("both"), host: hostDoes, agent: agentDoes })],
  [
    4,
    FastCheck.record({
      _tag: FastCheck.constant("answer"),
      lane,
      answer: FastCheck.oneof(
        { weight: 3, arbitrary: FastCheck.constantFrom(...answers) },
        {
          weight: 1,
          arbitrary: FastCheck.constantFrom(...answers.filter((answer) => answer.endsWith("dies")))
        }
      )
    })
  ],
  [
    3,
    FastCheck.record({
      _tag: FastCheck.constant("time"),
      passes: FastCheck.constantFrom<Passing>("2 seconds", "1 minute", "10 minutes", "3 hours")
    })
  ]
])

export interface Story {
  readonly unknownDeliveries: "resend" | "hold"
  readonly drainMessages: number
  readonly commands: ReadonlyArray<Command>
}

export const story: FastCheck.Arbitrary<Story> = FastCheck.record({
  unknownDeliveries: FastCheck.constantFrom("resend", "hold"),
  drainMessages: FastCheck.constantFrom(200, 2),
  commands: FastCheck.array(command, { minLength: 1, maxLength: 25, size: "max" })
})

const detail = ({ _tag, ...rest }: HostDoes | AgentDoes): string => {
  const said = Object.entries(rest).filter(([, value]) => value !== 0 && value !== false && value !== 1)
  return said.length === 0 ? _tag : `${_tag} (${said.map(([key, value]) => `${key} ${value}`).join(", ")})`
}

const sentence = (command: Command): string => {
  switch (command._tag) {
    case "host":
    case "agent": {
      const { _tag, diesAt, does } = command
      const dies = diesAt === undefined ? "" : `, and is killed at moment ${diesAt}`
      return `${_tag}: ${does.map(detail).join(" + ")}${dies}`
    }
    case "both":
      return `host: ${detail(command.host)}, and at the same time agent: ${detail(command.agent)}`
    case "answer":
      return `platform: from now on "${command.answer}" for ${command.lane}`
    case "time":
      return `time: ${command.passes} pass`
  }
}

/** A story as people read it. */
export const text = ({ commands, drainMessages, unknownDeliveries }: Story): string =>
  [
    `settings: unknownDeliveries ${unknownDeliveries}, drainMessages ${drainMessages}`,
    ...commands.map((command, index) => `${index + 1}. ${sentence(command)}`)
  ].join("\n")
