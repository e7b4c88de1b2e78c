/**
 * What an agent says of the messages that it was sent, and of itself, in a copy of its outbound.db. It may say
 * anything: nothing is taken for more than a claim, and its clock is not believed.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import * as AgentTables from "./AgentTables.js"

/**
 * The agent's last word on a message. `at` is the agent's own stamp: it tells one claim from another, and no more.
 *
 * @since 0.1.0
 * @category models
 */
export interface Acknowledgement {
  readonly id: string
  readonly verdict: "processing" | "completed" | "failed"
  readonly at: string
}

const Row = Schema.Struct({ id: Schema.String, status: Schema.String, at: Schema.String })
const decodeRow = Schema.decodeUnknownEither(Row)

/** A script that was to decide whether a task runs, and could not, is a failure of the task. */
const verdictOf = (status: string): Acknowledgement["verdict"] | undefined => {
  if (status === "processing" || status === "completed" || status === "failed") return status
  return status === "script-skip:error" ? "failed" : undefined
}

/**
 * The acknowledgements of some messages, as many as there are messages: more than one of a message can only be in a
 * table without its key. Rows that are none, and statuses that nobody knows, are passed over.
 *
 * @since 0.1.0
 * @category queries
 */
export const acknowledgements = (
  agent: SqlClient,
  ids: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Acknowledgement>, SqlError> =>
  Effect.gen(function* () {
    if (ids.length === 0 || !(yield* AgentTables.has(agent, "processing_ack"))) return []
    const rows =
      yield* agent`SELECT message_id AS id, iif(octet_length(status) <= 100, status, NULL) AS status,
        iif(octet_length(status_changed) <= 100, status_changed, '') AS at
      FROM processing_ack
      WHERE message_id COLLATE BINARY IN (SELECT value FROM json_each(${JSON.stringify(ids)}))
      LIMIT ${ids.length}`
    return rows.flatMap((row) =>
      Either.match(decodeRow(row), {
        onLeft: () => [],
        onRight: ({ at, id, status }) => {
          const verdict = verdictOf(status)
          return verdict === undefined ? [] : [{ id, verdict, at }]
        }
      })
    )
  })

const ToolRow = Schema.Struct({ timeout: Schema.Number })
const decodeTool = Schema.decodeUnknownEither(ToolRow)

/**
 * The timeout of the tool that the agent declares to be using, in milliseconds; 0 if there is none. A file of an older
 * build may lack the table.
 *
 * @since 0.1.0
 * @category queries
 */
export const toolTimeout = (agent: SqlClient): Effect.Effect<number, SqlError> =>
  Effect.gen(function* () {
    if (!(yield* AgentTables.has(agent, "container_state"))) return 0
    const [row] = yield* agent`SELECT tool_declared_timeout_ms AS timeout FROM container_state
      WHERE id = 1 AND current_tool IS NOT NULL LIMIT 1`
    return Either.match(decodeTool(row), {
      onLeft: () => 0,
      onRight: ({ timeout }) => (Number.isFinite(timeout) ? Math.max(0, timeout) : 0)
    })
  })
