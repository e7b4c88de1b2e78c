/**
 * What it costs to survive a loss of power: `durability` `power` beside `process`, both here.
 */
import { Context, Effect, Layer } from "effect"
import type { Message } from "effect-airlock"
import { Mailbox } from "effect-airlock"
import type { Case } from "./Case.js"
import type { Side } from "./Measure.js"
import type { Host } from "./Ours.js"
import * as Ours from "./Ours.js"
import { Place } from "./Place.js"
import { renewed } from "./Renewed.js"

type Durability = "process" | "power"

const content = { text: "A sentence of the length that people write to each other in a chat." }

/** How many there are in a turn, one after the other. */
const per = 5

let count = 0

const hostAt = (name: string, durability: Durability) =>
  Effect.gen(function* () {
    const { fresh } = yield* Place
    return yield* Ours.host({ dataDir: yield* fresh(`${name}-${durability}`), durability })
  })

const writes = (name: string, more: Partial<Message.InboundMessage>) => {
  const side = (durability: Durability) =>
    Effect.map(hostAt(name, durability), (host: Host): Side => {
      const session = renewed(host.session, 20)
      const write = Effect.suspend(() =>
        host.manager.writeMessage(session.get(), {
          id: `message-${count++}`,
          kind: "chat",
          content: JSON.stringify(content),
          ...more
        })
      )
      return {
        before: session.prepare,
        run: Effect.repeatN(write, per - 1),
        after: Effect.suspend(() => host.db.publish(session.get()))
      }
    })
  return Effect.map(Effect.all([side("power"), side("process")]), ([ours, baseline]) => ({
    per,
    ours,
    baseline
  }))
}

const sends = (name: string) => {
  const side = (durability: Durability) =>
    Effect.gen(function* () {
      const host = yield* hostAt(name, durability)
      const directory = yield* host.folder(yield* host.session("chat"))
      const services = yield* Layer.build(Mailbox.Mailbox.layer({ directory, durability }))
      const mailbox = Context.get(services, Mailbox.Mailbox)
      const run: Side = { run: Effect.repeatN(mailbox.send({ content }), per - 1) }
      return run
    })
  return Effect.map(Effect.all([side("power"), side("process")]), ([ours, baseline]) => ({
    per,
    ours,
    baseline
  }))
}

const common = { unit: "µs per message", atMost: undefined, rounds: { warmUp: 10, rounds: 80 } }

export const cases: ReadonlyArray<Case> = [
  {
    ...common,
    name: "power-write",
    what: "`writeMessage` with `durability` `power`; the baseline is ours with `process`",
    sides: writes("power-write", {})
  },
  {
    ...common,
    name: "power-attachment",
    what: "the same with a file of 1 KiB",
    sides: writes("power-attachment", {
      attachments: [{ name: "note.txt", source: { bytes: new Uint8Array(1024) } }]
    })
  },
  {
    ...common,
    name: "power-send",
    what: "the same of the agent's `Mailbox.send`",
    sides: sends("power-send")
  }
]
