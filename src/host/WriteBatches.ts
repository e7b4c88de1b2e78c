/**
 * Writes that come to one session at the same time share a transaction, because waiting for the disk is most of what one
 * costs. Nobody notices: each has its own numbers, its own result and its own failure, and is told after the commit.
 *
 * One write alone begins at once. Those that come while it is under way wait, and the first of them takes along all
 * that wait then.
 *
 * @since 0.1.0
 */
import { SqlError } from "@effect/sql/SqlError"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import type {
  AttachmentTooLarge,
  DuplicateMessage,
  InvalidMessage,
  StorageError
} from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as FilePermit from "../storage/FilePermit.js"
import { SafeDirectories } from "../storage/SafeDirectory.js"
import { SystemCalls } from "../storage/SystemCalls.js"
import * as Turn from "../storage/Turn.js"
import { AirlockConfig } from "./AirlockConfig.js"
import * as Inbox from "./Inbox.js"
import type { MessageDraft } from "./MessageDraft.js"
import type { WrittenMessage } from "./MessageStore.js"
import * as MessageStore from "./MessageStore.js"
import { SessionDb } from "./SessionDb.js"
import { SessionFolder } from "./SessionFolder.js"
import { SessionPaths } from "./SessionPaths.js"

/**
 * Drafts of one caller, which are stored all or none. `operation` is what errors name.
 *
 * @since 0.1.0
 * @category models
 */
export interface Write {
  readonly operation: string
  readonly drafts: ReadonlyArray<MessageDraft>
}

/** How many writes share a transaction at most. */
const mostWrites = 100

type Failure = AttachmentTooLarge | DuplicateMessage | InvalidMessage | StorageError

interface Job extends Write {
  readonly outcome: Deferred.Deferred<ReadonlyArray<WrittenMessage>, Failure>
  isTaken: boolean
}

/** The writes of one session. Whose turn it is does what waits. */
interface Line {
  readonly turns: Turn.Queue
  readonly waiting: Array<Job>
}

/**
 * Gives the function that stores. `whenStored` runs once after each transaction that stored something.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (whenStored: (ref: SessionRef) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const { limits } = yield* AirlockConfig
    const paths = yield* SessionPaths
    const db = yield* SessionDb
    const folders = yield* SessionFolder
    const directories = yield* SafeDirectories
    const calls = yield* SystemCalls

    const storeWith =
      (ref: SessionRef, target: Inbox.InboxTarget, { drafts, operation }: Write, files: Array<string>) =>
      (sql: SqlClient) =>
        MessageStore.storeAll({ ...target, operation, sql, sessionId: ref.sessionId }, drafts, files)

    const targetOf = (ref: SessionRef, { operation }: Write) =>
      Effect.map(folders.open(ref, operation), (folder) => ({
        folder,
        operation,
        limits,
        directories,
        calls
      }))

    const alone = Effect.fnUntraced(function* (ref: SessionRef, write: Write) {
      const target = yield* targetOf(ref, write)
      const files: Array<string> = []
      const written = yield* db.transaction(ref, storeWith(ref, target, write, files), {
        operation: write.operation,
        undo: Effect.suspend(() => Inbox.remove(target, files))
      })
      yield* whenStored(ref)
      return written
    }, Effect.scoped)

    /**
     * What one of them does wrong ends its own savepoint. What SQLite fails with may have ended the whole transaction,
     * so it fails all.
     */
    const together = Effect.fnUntraced(function* (
      ref: SessionRef,
      first: Write,
      others: ReadonlyArray<Write>
    ) {
      const target = yield* targetOf(ref, first)
      const all = [first, ...others].map((write) => {
        const files: Array<string> = []
        return { write, files, undo: Effect.suspend(() => Inbox.remove(target, files)) }
      })
      const outcomes = yield* db.transaction(
        ref,
        (sql) =>
          Effect.forEach(all, ({ files, undo, write }) =>
            sql.withTransaction(storeWith(ref, target, write, files)(sql)).pipe(
              Effect.map(Exit.succeed),
              Effect.catchIf(
                (error) => !(error instanceof SqlError),
                (error) => Effect.as(undo, Exit.fail(error))
              )
            )
          ),
        { operation: first.operation, undo: Effect.forEach(all, ({ undo }) => undo, { discard: true }) }
      )
      if (outcomes.some(Exit.isSuccess)) yield* whenStored(ref)
      return outcomes
    }, Effect.scoped)

    /** Everything that waits in the line, and tells all but the first what became of theirs. */
    const lead = (ref: SessionRef, { waiting }: Line, own: Job) =>
      Effect.gen(function* () {
        // Those that were started together with this one come to the line now.
        yield* Effect.yieldNow()
        const others = waiting.splice(0, mostWrites).filter((job) => job !== own)
        if (others.length === 0) return yield* alone(ref, own)
        return yield* Effect.uninterruptible(
          Effect.gen(function* () {
            for (const job of others) job.isTaken = true
            const outcomes = yield* Effect.exit(together(ref, own, others))
            // One of them made all fail. Alone, it does so to itself.
            const outcomeOf = (write: Write, index: number) =>
              Exit.match(outcomes, {
                onSuccess: (each) => Effect.suspend(() => each[index] ?? alone(ref, write)),
                onFailure: () => alone(ref, write)
              })
            const first = yield* Effect.exit(outcomeOf(own, 0))
            for (const [index, job] of others.entries()) {
              yield* Effect.intoDeferred(outcomeOf(job, index + 1), job.outcome)
            }
            return yield* first
          })
        )
      })

    const lines = new Map<string, Line>()

    return Effect.fnUntraced(function* (ref: SessionRef, write: Write) {
      const path = yield* paths.original(ref)
      // Somebody else may take this one along, and would wait for what this fiber holds.
      yield* FilePermit.refuseNested(path, { operation: write.operation, resource: "inbound" })
      const line = lines.get(path) ?? { turns: Turn.makeQueue(), waiting: [] }
      lines.set(path, line)
      const job: Job = { ...write, outcome: Deferred.unsafeMake(FiberId.none), isTaken: false }
      line.waiting.push(job)
      const leave = Effect.suspend(() => {
        if (job.isTaken) return Effect.asVoid(Effect.exit(Deferred.await(job.outcome)))
        const index = line.waiting.indexOf(job)
        if (index >= 0) line.waiting.splice(index, 1)
        return Effect.void
      })
      return yield* Effect.suspend(() =>
        job.isTaken ? Deferred.await(job.outcome) : lead(ref, line, job)
      ).pipe(
        Turn.during(line.turns),
        Effect.onInterrupt(() => leave),
        Effect.ensuring(Effect.sync(() => line.turns.present.length > 0 || lines.delete(path)))
      )
    })
  })
