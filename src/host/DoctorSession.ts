/**
 * One look at one session.
 *
 * @since 0.1.0
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { UnsafePath } from "../protocol/AirlockError.js"
import type { SessionRef } from "../protocol/Session.js"
import * as SessionLayout from "../protocol/SessionLayout.js"
import * as Tables from "../protocol/Tables.js"
import * as DoctorAttachments from "./DoctorAttachments.js"
import * as DoctorDatabases from "./DoctorDatabases.js"
import * as DoctorMessages from "./DoctorMessages.js"
import type { Known } from "./DoctorRegistry.js"
import type { Finding } from "./DoctorReport.js"
import { explain, note, problem } from "./DoctorReport.js"

/**
 * Where a session lies.
 *
 * @since 0.1.0
 * @category models
 */
export interface Places {
  readonly session: (ref: SessionRef) => Effect.Effect<string, UnsafePath>
  /** The folder of the host's own inbound.db. */
  readonly original: (ref: SessionRef) => Effect.Effect<string, UnsafePath>
}

/** How long one look may take. Each step is short; a session may have many files. */
const lookTimeout = Duration.seconds(30)

type Findings = ReadonlyArray<Finding>

/** A query that a file's own schema does not allow is a finding about the file. */
const orDamaged = <R>(
  check: Effect.Effect<Findings, SqlError, R>,
  title: string
): Effect.Effect<Findings, never, R> =>
  Effect.catchAll(check, ({ cause }) =>
    Effect.succeed([
      problem(
        "integrity",
        `${title} cannot be queried (${cause instanceof Error && "code" in cause ? String(cause.code) : "unknown"})`
      )
    ])
  )

const messages = (own: SqlClient | undefined, agent: SqlClient | undefined, folder: string, { row }: Known) =>
  Effect.gen(function* () {
    const findings: Array<Finding> = []
    const either = "inbound.db or outbound.db"
    findings.push(...(yield* orDamaged(DoctorMessages.parity(own, agent), either)))
    if (agent !== undefined) {
      findings.push(...(yield* orDamaged(DoctorMessages.noMessages(agent), "outbound.db")))
    }
    if (own !== undefined) {
      findings.push(...(yield* orDamaged(DoctorMessages.failures(own), "inbound.db")))
      findings.push(...(yield* orDamaged(DoctorAttachments.forAgent(own, folder), "inbound.db")))
    }
    if (own !== undefined && agent !== undefined) {
      findings.push(...(yield* orDamaged(DoctorMessages.claims(own, agent, row?.containerStatus), either)))
      findings.push(...(yield* orDamaged(DoctorAttachments.fromAgent(own, agent, folder), either)))
    }
    return findings
  })

const look = (known: Known, places: Places) =>
  Effect.gen(function* () {
    const folder = yield* places.session(known.ref)
    const original = yield* places.original(known.ref)
    const findings: Array<Finding> = [
      ...(yield* DoctorDatabases.leftovers(folder, "the session's folder")),
      ...(yield* DoctorDatabases.leftovers(original, "the host's own folder"))
    ]
    const inboundFile: DoctorDatabases.DatabaseToExamine = {
      directory: known.hasOriginal ? original : folder,
      name: SessionLayout.inbound,
      title: known.hasOriginal ? "the host's inbound.db" : "inbound.db",
      resource: "inbound",
      isOurs: known.hasOriginal
    }
    const inbound = yield* DoctorDatabases.examine(inboundFile)
    const outbound = yield* DoctorDatabases.examine({
      directory: folder,
      name: SessionLayout.outbound,
      title: "outbound.db",
      resource: "outbound",
      isOurs: false
    })
    findings.push(...inbound.findings, ...outbound.findings)
    if (known.hasOriginal) findings.push(...(yield* DoctorDatabases.copyIsSame(inboundFile, folder)))
    else {
      findings.push(
        note(
          "copy",
          "the host has no inbound.db of its own yet, and makes it of the session's when it next opens it"
        )
      )
    }
    // Older tables lack what the rest asks for, until the host has opened the file once.
    const own = inbound.schemaVersion === Tables.inboundVersion ? inbound.client : undefined
    findings.push(...(yield* messages(own, outbound.client, folder, known)))
    return findings
  }).pipe(Effect.scoped)

/**
 * What there is to say about a session that has a folder. Never fails, and ends: whatever is wrong with the session is a
 * finding. Others may be writing meanwhile, so that a file can be there whose row is not yet, or the other way round.
 *
 * @since 0.1.0
 * @category checks
 */
export const examine = (
  known: Known,
  places: Places
): Effect.Effect<Findings, never, DoctorDatabases.Requirements> =>
  look(known, places).pipe(
    Effect.catchTag("UnsafePath", (error) =>
      Effect.succeed<Findings>([problem("folder", `the session's folder ${explain(error)}`)])
    ),
    Effect.timeoutTo({
      duration: lookTimeout,
      onSuccess: (findings): Findings => findings,
      onTimeout: (): Findings => [
        problem("examination", `not examined to the end: it took more than ${Duration.format(lookTimeout)}`)
      ]
    }),
    // Whatever one session can do to its examiner must not keep the others from being examined.
    Effect.catchAllDefect((defect) =>
      Effect.as(Effect.logDebug("A session could not be examined", Cause.die(defect)), [
        problem("examination", "not examined to the end: the examination broke off")
      ])
    ),
    Effect.map((findings) => findings.map((finding) => ({ ...finding, session: known.ref })))
  )
