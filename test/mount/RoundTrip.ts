/**
 * The round trip through a mount: messages and files go in, the agent sends each back, and what arrives is compared with
 * what was sent.
 */
import { Effect, Fiber, Ref, Schedule } from "effect"
import { Delivery, SessionDb, SessionManager } from "effect-airlock"
import { createHash } from "node:crypto"
import * as TestHost from "../support/TestHost.js"
import type { Setting } from "./Sides.js"

export interface Trip {
  readonly mount: string
  readonly messages: number
  readonly files: number
  readonly bytes: number
  readonly seconds: number
  readonly wrong: ReadonlyArray<string>
}

export const line = ({ bytes, files, messages, mount, seconds, wrong }: Trip): string =>
  `${mount}, round trip: ${messages} messages and ${files} files (${bytes} bytes) there and back in ` +
  `${seconds.toFixed(1)} s${wrong.length === 0 ? "" : `; FAILED: ${wrong.join("; ")}`}`

/** From nothing to more than a mount carries in one piece. */
const sizes = [0, 1, 4095, 4096, 4097, 65_536, 262_145, 1_500_000]

const messages = 24

/** Bytes that are nowhere the same, and the same each time. */
const bytesOf = (seed: string, size: number): Uint8Array => {
  const blocks = Array.from({ length: Math.ceil(size / 64) }, (_, index) =>
    createHash("sha512").update(`${seed} ${index}`).digest()
  )
  return new Uint8Array(Buffer.concat(blocks).subarray(0, size))
}

interface File {
  readonly name: string
  readonly data: Uint8Array
}

interface Arrived {
  readonly inReplyTo: string | null
  readonly text: string
  readonly files: ReadonlyArray<File>
}

const sameFiles = (sent: ReadonlyArray<File>, arrived: ReadonlyArray<File>): boolean =>
  sent.length === arrived.length &&
  sent.every(({ data, name }) =>
    arrived.some((file) => file.name === name && Buffer.compare(file.data, data) === 0)
  )

export const run = (setting: Setting) =>
  Effect.gen(function* () {
    const { ask, mount, program, share } = setting
    const manager = yield* SessionManager.SessionManager
    const delivery = yield* Delivery.Delivery
    const channel = yield* TestHost.Channel
    const session = yield* TestHost.newSession("round-trip")
    const folder = (yield* TestHost.folderOf(session)).slice(share.length + 1)
    const serving = ask({ ask: "serve", folder })
    yield* Effect.raceFirst(serving.hasBegun, program.ended)
    const start = performance.now()

    const sent = Array.from({ length: messages }, (_, index) => ({
      id: `message-${index}`,
      text: `number ${index} ${"ß".repeat(index * 100)}`,
      files: sizes
        .slice(0, index % (sizes.length + 1))
        .map((size): File => ({ name: `${size}.bin`, data: bytesOf(`${index} ${size}`, size) }))
    }))
    const draining = yield* Effect.fork(
      Effect.raceFirst(
        program.ended,
        Effect.repeat(
          Effect.zipRight(delivery.drain(session), Ref.get(channel.envelopes)),
          Schedule.spaced("20 millis").pipe(
            Schedule.zipRight(Schedule.recurUntil<ReadonlyArray<unknown>>((all) => all.length >= messages))
          )
        )
      )
    )
    for (const { files, id, text } of sent) {
      yield* manager.writeMessage(session, {
        id,
        kind: "chat",
        content: JSON.stringify({ text }),
        attachments: files.map(({ data, name }) => ({ name, source: { bytes: data } }))
      })
    }
    const inTime = yield* Effect.timeoutOption(Fiber.join(draining), "60 seconds")
    // What would come twice comes now.
    const last = yield* delivery.drain(session)
    const seconds = (performance.now() - start) / 1000
    yield* serving.stop
    yield* Effect.raceFirst(serving.answer, program.ended)
    const late = yield* delivery.drain(session)

    const numbered = yield* SessionDb.SessionDb.pipe(
      Effect.flatMap((databases) => databases.outbound(session)),
      Effect.flatMap((sql) => sql<{ readonly id: string }>`SELECT id FROM messages_out ORDER BY seq`),
      Effect.map((rows) => rows.map(({ id }) => id)),
      Effect.scoped
    )
    const envelopes = yield* Ref.get(channel.envelopes)
    const arrived = envelopes.map(({ content, files, inReplyTo }): Arrived => {
      const { text } = JSON.parse(content) as { readonly text: string }
      return { inReplyTo, text: (JSON.parse(text) as { readonly text: string }).text, files }
    })
    const wrong = [
      ...(inTime._tag === "None" ? ["not everything came within a minute"] : []),
      ...[...last.failed, ...late.failed].map(({ id, reason }) => `${id} failed: ${reason}`),
      ...sent.flatMap(({ files, id, text }) => {
        const answers = arrived.filter(({ inReplyTo }) => inReplyTo === id)
        const [answer] = answers
        if (answer === undefined) return [`${id} did not come`]
        return [
          ...(answers.length > 1 ? [`${id} came ${answers.length} times`] : []),
          ...(answer.text === text ? [] : [`the text of ${id} is another`]),
          ...(sameFiles(files, answer.files) ? [] : [`the files of ${id} are others`])
        ]
      }),
      ...(envelopes.map(({ id }) => id).join() === numbered.join()
        ? []
        : ["they did not come in the order of their numbers, each once"])
    ]
    const files = sent.flatMap((message) => message.files)
    const trip: Trip = {
      mount: mount.name,
      messages: arrived.length,
      files: arrived.flatMap((message) => message.files).length,
      bytes: files.reduce((total, { data }) => total + data.byteLength, 0),
      seconds,
      wrong
    }
    return trip
  })
