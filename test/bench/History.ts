/**
 * What has happened in a session before something is measured: so many messages came in and were completed, and as many
 * went out and were delivered. The same statements make it on both sides.
 */
import { Effect } from "effect"
import type { Session } from "effect-airlock"
import * as Path from "node:path"
import type * as Baseline from "./Baseline.js"
import type { Host } from "./Ours.js"
import { using } from "./Sqlite.js"

const content = JSON.stringify({
  text: "A sentence of the length that people write to each other in a chat."
})
const time = "2026-01-01T00:00:00.000Z"

const numbers = (count: number) =>
  `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${count})`

const inbound = (count: number): ReadonlyArray<string> => [
  `INSERT INTO messages_in (id, seq, kind, timestamp, status, series_id, platform_id, channel_type, content)
    ${numbers(count)} SELECT 'in-' || n, 4 * n - 2, 'chat', '${time}', 'completed', 'in-' || n, 'chat', 'bench', '${content}'
    FROM numbers`,
  `INSERT INTO delivered (message_out_id, status, delivered_at)
    ${numbers(count)} SELECT 'out-' || n, 'delivered', '${time}' FROM numbers`
]

const insertOut = `INSERT INTO messages_out
  (id, seq, in_reply_to, timestamp, kind, platform_id, channel_type, content)`

const outbound = (count: number): ReadonlyArray<string> => [
  `${insertOut} ${numbers(count)}
    SELECT 'out-' || n, 4 * n - 1, 'in-' || n, '${time}', 'chat', 'chat', 'bench', '${content}' FROM numbers`
]

/** Runs statements on a file, and leaves it to the system when they reach the disk. */
const run = (path: string, statements: ReadonlyArray<string>) =>
  using(path, (database) => {
    database.pragma("synchronous = OFF")
    database.exec(["BEGIN", ...statements, "COMMIT"].join(";"))
  })

export const ofOurs = (ours: Host, ref: Session.SessionRef, count: number) =>
  Effect.gen(function* () {
    const folder = yield* ours.folder(ref)
    yield* ours.db.transaction(ref, (sql) =>
      Effect.forEach(inbound(count), (statement) => sql.unsafe(statement), { discard: true })
    )
    yield* Effect.sync(() => run(Path.join(folder, "outbound.db"), outbound(count)))
  })

export const ofBaseline = ({ folder }: Baseline.Session, count: number) =>
  Effect.sync(() => {
    run(Path.join(folder, "inbound.db"), inbound(count))
    run(Path.join(folder, "outbound.db"), outbound(count))
  })

/** The agent says one thing more, to the session's own chat. */
export const say = (folder: string, chat: string, id: string) =>
  Effect.sync(() =>
    using(Path.join(folder, "outbound.db"), (database) =>
      database
        .prepare(
          `${insertOut} VALUES (?, (SELECT max(seq) + 4 FROM messages_out), NULL, ?, 'chat', ?, 'bench', ?)`
        )
        .run(id, time, chat, content)
    )
  )
