/**
 * The rows of a session's two databases, in private copies: their numbers, the agent's claims, and what has failed.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import { quote } from "../protocol/AirlockError.js"
import type { Finding } from "./DoctorReport.js"
import { listed, listLimit, note, problem, shown } from "./DoctorReport.js"

type Check = Effect.Effect<ReadonlyArray<Finding>, SqlError>

/** The longest id of a message, in bytes. */
const idBytes = 255

interface Numbered {
  readonly tableName: string
  readonly id: string
  readonly number: string
  readonly seq: number | null
}

/** Rows of a table, most of which are not found by the condition; the first of them, and how many there are. */
const some = <A extends object>(sql: SqlClient, columns: string, from: string, limit = listLimit) =>
  Effect.gen(function* () {
    const rows = yield* sql.unsafe<A>(`SELECT ${columns} FROM ${from} LIMIT ${limit}`)
    if (rows.length < limit) return { rows, total: rows.length }
    const [count] = yield* sql.unsafe<{ readonly n: number }>(`SELECT count(*) AS n FROM ${from}`)
    return { rows, total: count?.n ?? rows.length }
  })

/** Columns that the agent chose, cut to what can be shown. */
const numberedColumns = (table: string) => `'${table}' AS tableName,
  CAST(substr(id, 1, ${idBytes}) AS TEXT) AS id, CAST(substr(seq, 1, 50) AS TEXT) AS number,
  iif(typeof(seq) = 'integer' AND seq BETWEEN -9007199254740991 AND 9007199254740991, seq, NULL) AS seq`

const misnumbered = (sql: SqlClient, table: string, own: 0 | 1) =>
  Effect.map(
    some<Numbered>(
      sql,
      numberedColumns(table),
      `${table} WHERE seq IS NOT NULL AND (typeof(seq) <> 'integer' OR seq % 2 ${own === 0 ? "<> 0" : "= 0"})`
    ),
    ({ rows, total }) => ({
      rows,
      findings: listed(
        rows.map(({ id, number, seq }) =>
          problem(
            "parity",
            seq === null
              ? `message ${shown(id)} in ${table} has ${quote(number)} for a number`
              : `message ${shown(id)} in ${table} has the number ${number}, which is the ${own === 0 ? "agent's" : "host's"} to give`,
            id
          )
        ),
        total
      )
    })
  )

const twice = (rows: ReadonlyArray<{ readonly number: string }>, total = rows.length) =>
  listed(
    rows.map(({ number }) => problem("parity", `the number ${number} is there twice`)),
    total
  )

/** Which of some numbers a table has as well. */
const among = (sql: SqlClient, table: string, found: ReadonlyArray<Numbered>) => {
  const numbers = found.flatMap(({ seq }) => (seq === null ? [] : [seq]))
  return numbers.length === 0
    ? Effect.succeed([])
    : sql<{ readonly number: string }>`SELECT DISTINCT CAST(seq AS TEXT) AS number FROM ${sql(table)}
        WHERE seq IN (SELECT value FROM json_each(${JSON.stringify(numbers)}))`
}

/**
 * Numbers of the host are even, the agent's odd, and none is there twice in both files together.
 *
 * @since 0.1.0
 * @category checks
 */
export const parity = (own: SqlClient | undefined, agent: SqlClient | undefined): Check =>
  Effect.gen(function* () {
    const findings: Array<Finding> = []
    let ours: ReadonlyArray<Numbered> = []
    if (own !== undefined) {
      const messages = yield* misnumbered(own, "messages_in", 0)
      const direct = yield* misnumbered(own, "airlock_direct", 0)
      const both = yield* some<{ readonly number: string }>(
        own,
        "CAST(seq AS TEXT) AS number",
        "messages_in WHERE seq IN (SELECT seq FROM airlock_direct)"
      )
      ours = [...messages.rows, ...direct.rows]
      findings.push(...messages.findings, ...direct.findings, ...twice(both.rows, both.total))
    }
    if (agent !== undefined) {
      const messages = yield* misnumbered(agent, "messages_out", 1)
      const repeated = yield* some<{ readonly number: string }>(
        agent,
        "CAST(substr(seq, 1, 50) AS TEXT) AS number",
        "(SELECT seq FROM messages_out WHERE seq IS NOT NULL GROUP BY seq HAVING count(*) > 1)"
      )
      findings.push(
        ...messages.findings,
        ...twice(repeated.rows, repeated.total),
        ...twice(yield* among(agent, "messages_out", ours))
      )
      if (own !== undefined) {
        findings.push(
          ...twice(yield* among(own, "messages_in", messages.rows)),
          ...twice(yield* among(own, "airlock_direct", messages.rows))
        )
      }
    }
    return findings
  })

interface Claim {
  readonly id: string
  readonly at: string
}

/** The most claims that are looked at. An agent takes ten messages at a time. */
const claimLimit = 1000

/**
 * Claims of an agent that does not run. The host offers such a message again, once it has noticed; until then nobody
 * looks after it.
 *
 * @since 0.1.0
 * @category checks
 */
export const claims = (own: SqlClient, agent: SqlClient, containerStatus: string | null | undefined): Check =>
  Effect.gen(function* () {
    const { rows, total } = yield* some<Claim>(
      agent,
      `message_id AS id, CAST(substr(status_changed, 1, 100) AS TEXT) AS at`,
      `processing_ack WHERE status = 'processing' AND typeof(message_id) = 'text' AND octet_length(message_id) <= ${idBytes}`,
      claimLimit
    )
    const ids = JSON.stringify(rows.map(({ id }) => id))
    const messages = yield* own<{
      readonly id: string
      readonly status: string | null
      readonly counted: string | null
    }>`SELECT m.id, m.status, c.claimed_at AS counted FROM messages_in m
      LEFT JOIN airlock_claim c ON c.message_id = m.id WHERE m.id IN (SELECT value FROM json_each(${ids}))`
    const known = new Map(messages.map((message) => [message.id, message]))
    const unknown: Array<Finding> = []
    const waiting: Array<Finding> = []
    const stuck: Array<Finding> = []
    for (const { at, id } of rows) {
      const message = known.get(id)
      if (message === undefined) {
        unknown.push(
          note("claims", `the agent has taken ${shown(id)}, which is not a message of the host`, id)
        )
      } else if (message.status === "pending" && containerStatus === "stopped") {
        const taken = `the agent has taken message ${shown(id)} (${quote(at)}) and does not run`
        if (message.counted === at) waiting.push(note("claims", `${taken}; the message is offered again`, id))
        else stuck.push(problem("claims", `${taken}, and the host has not noticed`, id))
      }
    }
    return [
      ...listed(stuck),
      ...listed(waiting),
      ...listed(unknown),
      ...(total > rows.length ? [note("claims", `of ${total} claims ${rows.length} were looked at`)] : [])
    ]
  })

interface Failed {
  readonly id: string
  readonly source: string
  readonly reason: string
}

/**
 * Messages that have failed, in either direction.
 *
 * @since 0.1.0
 * @category checks
 */
export const failures = (own: SqlClient): Check =>
  Effect.gen(function* () {
    const outgoing = yield* some<Failed>(
      own,
      "message_id AS id, source, coalesce(reason, 'unknown') AS reason",
      "airlock_delivery WHERE state = 'failed'"
    )
    const incoming = yield* some<{ readonly id: string; readonly tries: number | null }>(
      own,
      "id, tries",
      "messages_in WHERE status = 'failed'"
    )
    return [
      ...listed(
        outgoing.rows.map(({ id, reason, source }) =>
          note(
            "set-aside",
            `${source === "direct" ? "the direct reply" : "the agent's message"} ${shown(id)} was not delivered: ${quote(reason)}`,
            id
          )
        ),
        outgoing.total
      ),
      ...listed(
        incoming.rows.map(({ id, tries }) =>
          note("set-aside", `message ${shown(id)} for the agent has failed, after ${tries ?? 0} tries`, id)
        ),
        incoming.total
      )
    ]
  })

/** The longest part of an address, in bytes, as for what is delivered. */
const addressBytes = 1024

const isNoMessage = [
  `typeof(id) <> 'text' OR id = '' OR octet_length(id) > ${idBytes}`,
  `typeof(seq) NOT IN ('integer', 'null')`,
  ...["kind", "timestamp", "content"].map((column) => `typeof(${column}) <> 'text'`),
  ...["in_reply_to", "deliver_after", "channel_type", "platform_id", "thread_id"].map(
    (column) => `typeof(${column}) NOT IN ('text', 'null')`
  ),
  ...["kind", "in_reply_to", "deliver_after", "channel_type", "platform_id", "thread_id"].map(
    (column) => `coalesce(octet_length(${column}), 0) > ${addressBytes}`
  )
].join(" OR ")

/**
 * Rows of the agent that are no messages: a number where text belongs, no id, an address that is longer than one can be.
 *
 * @since 0.1.0
 * @category checks
 */
export const noMessages = (agent: SqlClient): Check =>
  Effect.map(
    some<{ readonly id: string | null }>(
      agent,
      `CAST(substr(id, 1, ${idBytes}) AS TEXT) AS id`,
      `messages_out WHERE ${isNoMessage}`
    ),
    ({ rows, total }) =>
      listed(
        rows.map(({ id }) =>
          problem(
            "set-aside",
            `the agent's row ${quote(id ?? "")} in messages_out is not a message`,
            id ?? undefined
          )
        ),
        total
      )
  )
