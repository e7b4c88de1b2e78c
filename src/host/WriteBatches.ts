/**
 * Writes that come to one session at the same time share a transaction, because waiting for the disk is most of what one
 * costs. Nobody notices: each has its own numbers, its own result and its own failure, and is told after the commit.
 *
 * One write alone begins at once. Those that come while it is under way wait; then the first of them leads, and takes
 * along all that wait.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import type { SessionRef } from "../protocol/Session.js"
import * as Durability from "../storage/Durability.js"
import * as FilePermit from "../storage/FilePermit.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import { AirlockConfig } from "./AirlockConfig.js"
import * as Inbox from "./Inbox.js"
import type { Failure, Write, WrittenMessage } from "./MessageStore.js"
import * as MessageStore from "./MessageStore.js"
import { SessionDb } from "./SessionDb.js"
import { SessionFolder } from "./SessionFolder.js"
import { SessionPaths } from "./SessionPaths.js"

/**
 * What is to be done once for all that share a transaction. `before` is in time for whoever leads; if it fails, only that
 * one is told, and the next one leads. `stored` runs if the transaction stored something.
 *
 * @since 0.1.0
 * @category models
 */
export interface Around<E> {
  readonly before: (ref: SessionRef, operation: string) => Effect.Effect<void, E>
  readonly stored: (ref: SessionRef) => Effect.Effect<void>
}

/** How many writes share a transaction at most. */
const mostWrites = 100

interface Job<E> extends Write {
  /** What became of it, or that it is to lead. */
  readonly told: Deferred.Deferred<ReadonlyArray<WrittenMessage>, E | Failure>
  isTaken: boolean
}

/** The writes of one session. There is a line while somebody leads. */
interface Line<E> {
  leader: Job<E>
  readonly waiting: Array<Job<E>>
}

/**
 * Gives the function that stores.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E>(around: Around<E>) =>
  Effect.gen(function* () {
    const { durability, limits } = yield* AirlockConfig
    const paths = yield* SessionPaths
    const db = yield* SessionDb
    const folders = yield* SessionFolder
    const directories = yield* SafeDirectories
    const calls = yield* SystemCalls
    const durably = yield* Durability.make(durability)

    const store = Effect.fnUntraced(function* (ref: SessionRef, writes: Arr.NonEmptyReadonlyArray<Write>) {
      const [{ operation }] = writes
      const target = {
        folder: folders.open(ref, operation),
        limits,
        directories,
        calls,
        durably,
        sessionId: ref.sessionId
      }
      const files: Array<string> = []
      const outcomes = yield* db.transaction(
        ref,
        (sql) => MessageStore.storeAll({ ...target, sql }, writes, files),
        {
          operation,
          publish: "soon",
          undo: Effect.suspend(() => Inbox.remove({ ...target, operation }, files))
        }
      )
      if (outcomes.some(Exit.isSuccess)) yield* around.stored(ref)
      return outcomes
    })

    const alone = (ref: SessionRef, write: Write) =>
      Effect.flatMap(store(ref, [write]), ([outcome]) => outcome)

    const together = Effect.fnUntraced(function* (
      ref: SessionRef,
      own: Write,
      others: ReadonlyArray<Job<E>>
    ) {
      const all = [own, ...others] as const
      const [mine, ...theirs] = yield* Effect.catchAllCause(store(ref, all), () =>
        // One of them made all fail. Alone, it does so to itself.
        Effect.forEach(all, (write) => Effect.exit(alone(ref, write)))
      )
      for (const [job, outcome] of Arr.zip(others, theirs)) Deferred.unsafeDone(job.told, outcome)
      return yield* mine
    })

    const take = ({ waiting }: Line<E>) => {
      const jobs = waiting.splice(0, mostWrites - 1)
      for (const job of jobs) job.isTaken = true
      return jobs
    }

    const lead = (ref: SessionRef, line: Line<E>, own: Job<E>) =>
      Effect.gen(function* () {
        // Those that were started together with this one come to the line now.
        yield* Effect.yieldNow()
        yield* around.before(ref, own.operation)
        return yield* Effect.uninterruptibleMask((restore) =>
          Effect.suspend(() => {
            const others = take(line)
            return others.length === 0 ? restore(alone(ref, own)) : together(ref, own, others)
          })
        )
      })

    const lines = new Map<string, Line<E>>()

    const come = (path: string, write: Write) => {
      const job: Job<E> = { ...write, told: Deferred.unsafeMake(FiberId.none), isTaken: false }
      const line = lines.get(path) ?? { leader: job, waiting: [] }
      if (line.leader !== job) line.waiting.push(job)
      lines.set(path, line)
      return { job, line }
    }

    /** Whoever leads passes that on. */
    const leave = (ref: SessionRef, path: string, line: Line<E>, job: Job<E>) => {
      if (line.leader !== job) return void line.waiting.splice(line.waiting.indexOf(job), 1)
      const next = line.waiting.shift()
      if (next === undefined) return void lines.delete(path)
      line.leader = next
      Deferred.unsafeDone(next.told, lead(ref, line, next))
    }

    return (ref: SessionRef, write: Write) =>
      paths.original(ref).pipe(
        // Of a session that nobody knows this is told, and not what its path would be.
        Effect.tapError(() => around.before(ref, write.operation)),
        // Somebody else may take this one along, and would wait for what this fiber holds.
        Effect.tap((path) => FilePermit.refuseNested(path, { ...write, resource: "inbound" })),
        Effect.flatMap((path) =>
          Effect.uninterruptibleMask((restore) => {
            const { job, line } = come(path, write)
            return Effect.onExit(
              restore(line.leader === job ? lead(ref, line, job) : Deferred.await(job.told)),
              (exit) => {
                if (!job.isTaken) return Effect.sync(() => leave(ref, path, line, job))
                // Whoever was interrupted knows then whether it is stored.
                return Exit.isInterrupted(exit) ? Effect.exit(Deferred.await(job.told)) : Effect.void
              }
            )
          })
        )
      )
  })
