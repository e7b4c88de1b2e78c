/**
 * A report as people and programs read it.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { quote } from "../protocol/AirlockError.js"
import type { Finding } from "./DoctorReport.js"
import { Report, shown, shownSession } from "./DoctorReport.js"

const line = ({ check, message, severity }: Finding): string => `  ${severity}: ${check}: ${message}`

const count = (number: number, name: string): string => `${number} ${name}${number === 1 ? "" : "s"}`

const mountText = ({ locks, mountPoint, source, type }: Report["mount"]): string =>
  type === null
    ? "the system does not tell about mounts"
    : `${shown(type)} at ${quote(mountPoint ?? "")} (${quote(source ?? "")}), locks ${locks}`

/**
 * Lines for people, without the last end of line. Nothing in them can steer a terminal.
 *
 * @since 0.1.0
 * @category formatting
 */
export const toText = (report: Report): string => {
  const lines = [
    `data directory: ${quote(report.dataDir)}`,
    `mount: ${mountText(report.mount)}`,
    `SQLite: ${report.sqliteVersion}`,
    `v2.db: ${report.centralMode === null ? "not read" : `journal mode ${report.centralMode}`}`
  ]
  let title: string | undefined
  for (const finding of report.findings) {
    const next = finding.session === undefined ? "the whole directory" : shownSession(finding.session)
    if (next !== title) lines.push("", next)
    title = next
    lines.push(line(finding))
  }
  const problems = report.findings.filter(({ severity }) => severity === "problem").length
  const notes = report.findings.length - problems
  lines.push(
    "",
    `${count(report.sessions, "session")}, ${count(problems, "problem")}, ${count(notes, "note")}`
  )
  return lines.join("\n")
}

const encode = Schema.encodeSync(Report)

/**
 * JSON for programs, in which only what is plain ASCII is as it is.
 *
 * @since 0.1.0
 * @category formatting
 */
export const toJson = (report: Report): string =>
  JSON.stringify(encode(report), null, 2).replace(
    /[^\n -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`
  )
