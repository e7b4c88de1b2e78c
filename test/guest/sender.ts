/**
 * An agent's helper that only sends. It prints the number of each message.
 *
 *   tsx test/guest/sender.ts FOLDER COUNT
 */
import { NodeRuntime } from "@effect/platform-node"
import { Effect } from "effect"
import { Mailbox } from "effect-airlock/guest"
import * as Fs from "node:fs"

const [directory = "", count = ""] = process.argv.slice(2)

Effect.gen(function* () {
  const mailbox = yield* Mailbox.Mailbox
  const files = [{ name: "file", data: Buffer.from("bytes") }]
  for (let n = 0; n < Number(count); n++) {
    const { seq } = yield* mailbox.send({ content: { text: "x" }, files })
    Fs.writeSync(1, `${seq}\n`)
  }
}).pipe(Effect.provide(Mailbox.Mailbox.layer({ directory, patience: "20 seconds" })), NodeRuntime.runMain)
