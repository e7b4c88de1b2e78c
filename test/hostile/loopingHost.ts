/**
 * A host whose system calls are looked at: in a hostile and in a healthy session it writes messages with attachments,
 * drains, sweeps, reads files and removes some, until its input ends. Prints lines of JSON: the two folders, what each
 * operation came to, and what went out. What the hostile session sends is never delivered, and is tried again at once, so
 * that its files are read again and again.
 */
import { NodeContext } from "@effect/platform-node"
import { Cause, Effect, Exit, Layer, Logger, LogLevel, Option, Schedule } from "effect"
import {
  AirlockHost,
  ChannelAdapter,
  ContainerRuntime,
  Delivery,
  SessionManager,
  Sweep
} from "effect-airlock"
import * as TestHost from "../support/TestHost.js"
import * as Timed from "./Timed.js"

const print = (line: unknown) => Effect.sync(() => process.stdout.write(`${JSON.stringify(line)}\n`))

let goesOn = true
process.stdin.on("end", () => (goesOn = false)).resume()

const textsOf = (files: ReadonlyArray<{ readonly data: Uint8Array }>) =>
  files.map(({ data }) => Buffer.from(data).toString())

const adapter = ChannelAdapter.ChannelAdapter.layer(({ content, files, id, platformId }) =>
  Effect.as(
    print({ envelope: id, content, files: textsOf(files) }),
    platformId === "hostile" ? ChannelAdapter.tryLater() : ChannelAdapter.delivered()
  )
)

const outcome = <A, E extends { readonly _tag: string; readonly reason?: string }>(exit: Exit.Exit<A, E>) =>
  Exit.match(exit, {
    onSuccess: () => "fine",
    onFailure: (cause) =>
      Option.match(Cause.failureOption(cause), {
        onNone: () => `defect ${Cause.pretty(cause)}`,
        onSome: ({ _tag, reason }) => `${_tag} ${reason}`
      })
  })

const program = Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const delivery = yield* Delivery.Delivery
  const sweep = yield* Sweep.Sweep
  const hostile = yield* TestHost.newSession("hostile")
  const healthy = yield* TestHost.newSession("healthy")
  yield* print({
    hostile: yield* TestHost.folderOf(hostile),
    healthy: yield* TestHost.folderOf(healthy)
  })
  const timed = <A, E extends { readonly _tag: string; readonly reason?: string }>(
    session: string,
    what: string,
    effect: Effect.Effect<A, E>
  ) =>
    Effect.flatMap(Timed.timed(effect), ({ exit, millis }) =>
      print({ session, what, outcome: outcome(exit), millis, rss: process.memoryUsage().rss })
    )
  const round = (name: string, session: typeof hostile, n: number) =>
    Effect.gen(function* () {
      yield* timed(
        name,
        "write",
        manager.writeMessage(session, {
          id: `w${n}`,
          kind: "chat",
          content: "{}",
          attachments: [{ name: "a.txt", source: { bytes: Buffer.from("for the agent") } }]
        })
      )
      yield* timed(name, "drain", delivery.drain(session))
      yield* timed(name, "sweep", sweep.sweep(session))
      yield* timed(
        name,
        "read",
        Effect.tap(manager.readOutboxFiles(session, "m", ["file"]), (found) =>
          print({
            envelope: "read",
            content: "",
            files: textsOf(Option.match(found, { onNone: () => [], onSome: ({ files }) => files }))
          })
        )
      )
      yield* timed(name, "clear", manager.clearOutbox(session, "c"))
    })
  const loop = (name: string, session: typeof hostile) =>
    Effect.gen(function* () {
      for (let n = 0; goesOn; n++) {
        yield* round(name, session, n)
        yield* Effect.sleep(1)
      }
    })
  yield* Effect.all([loop("hostile", hostile), loop("healthy", healthy)], { concurrency: 2 })
})

await Effect.runPromise(
  program.pipe(
    Effect.provide(
      AirlockHost.loops.pipe(
        Layer.provideMerge(Layer.merge(adapter, ContainerRuntime.ContainerRuntime.layerNone)),
        Layer.provideMerge(
          AirlockHost.sessions({
            dataDir: process.argv[2] ?? "",
            patience: "300 millis",
            deliveryRetries: Schedule.spaced("1 millis")
          })
        ),
        Layer.provideMerge(NodeContext.layer)
      )
    ),
    Logger.withMinimumLogLevel(LogLevel.None)
  )
)
