/**
 * What has to be so when everything works again, and nothing is left to do.
 */
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as FilePermit from "../../src/storage/FilePermit.js"
import * as Raw from "../support/Raw.js"
import type { Inbound, Ledger, Outbound } from "./Ledger.js"
import * as Platform from "./Platform.js"
import type { Host, World } from "./World.js"
import * as Worlds from "./World.js"

/** Whether the host has nothing left to do, but for what is only context or has its time next year. */
export const isSettled = (world: World): boolean => {
  const session = world.host?.services.session
  if (session === undefined) return false
  const folder = Worlds.folderOf(world, session)
  const of = (name: string, sql: string) => Raw.query(`${folder}/${name}`, sql).map(({ id }) => id)
  const pending = of(
    "inbound.db",
    `SELECT id FROM messages_in WHERE status = 'pending' AND trigger = 1 AND series_id = id
      UNION ALL SELECT id FROM airlock_direct WHERE status = 'pending'`
  )
  const settled = new Set(of("inbound.db", "SELECT message_out_id AS id FROM delivered"))
  return (
    pending.length === 0 && of("outbound.db", "SELECT id FROM messages_out").every((id) => settled.has(id))
  )
}

type Rows = ReadonlyArray<Record<string, unknown>>

interface Left {
  readonly folder: string
  readonly host: Host
  readonly world: World
  readonly ledger: Ledger
  readonly messages: Rows
  readonly failures: ReadonlyMap<string, string>
  readonly wrong: (what: string) => void
}

const wholeFiles = ({ folder, wrong }: Left) => {
  for (const name of ["inbound.db", "outbound.db"]) {
    const [row] = Raw.query(`${folder}/${name}`, "PRAGMA integrity_check")
    if (row?.["integrity_check"] !== "ok") wrong(`${name} is damaged`)
  }
}

const numbers = ({ folder, messages, wrong }: Left) => {
  const direct = Raw.query(`${folder}/inbound.db`, "SELECT seq FROM airlock_direct")
  const out = Raw.query(`${folder}/outbound.db`, "SELECT seq FROM messages_out")
  const even = [...messages, ...direct].map(({ seq }) => Number(seq))
  const odd = out.map(({ seq }) => Number(seq))
  if (even.some((seq) => seq % 2 !== 0) || odd.some((seq) => seq % 2 !== 1))
    wrong("a number is on the wrong side")
  if (new Set([...even, ...odd]).size !== even.length + odd.length) wrong("two messages have one number")
}

const finished = (left: Left, message: Inbound) => {
  const { folder, messages, wrong } = left
  const { abandoned, files, id, isContext, maybe, mayBeGone, seq, verdict } = message
  const row = messages.find((one) => one["id"] === id)
  if (row === undefined) {
    if (seq !== undefined && !mayBeGone) wrong(`${id} was stored, and is lost`)
    return
  }
  if (seq !== undefined && row["seq"] !== seq && !mayBeGone) wrong(`${id} has another number`)
  const status = String(row["status"])
  const isGivenUp = status === "failed" && abandoned >= Worlds.messageAttempts
  if (verdict === undefined && maybe.size === 0 && !isGivenUp) {
    if (!isContext) wrong(`${id} was never finished, and is ${status}`)
  } else if (!isGivenUp && !(maybe as ReadonlySet<string>).has(status)) {
    wrong(`${id} is ${status}, and its agent said ${Array.from(maybe).join(" or ")}`)
  }
  const stored = (
    JSON.parse(String(row["content"])) as { attachments?: ReadonlyArray<{ localPath: string }> }
  ).attachments
  const texts = (stored ?? []).map(({ localPath }) => Fs.readFileSync(`${folder}/${localPath}`, "utf8"))
  if (texts.join() !== files.map(({ text }) => text).join()) wrong(`${id} has lost a file`)
}

const recurred = ({ messages, wrong }: Left, { id, isYearly, mayBeGone }: Inbound) => {
  const [row] = messages.filter((one) => one["id"] === id)
  const next = messages.filter((one) => one["series_id"] === id && one["id"] !== id)
  const isDue = isYearly && (row === undefined ? mayBeGone : row["status"] !== "pending")
  if (next.length !== (isDue ? 1 : 0)) wrong(`${id} has ${next.length} successors`)
}

const keyOf = ({ host }: Left, source: Outbound["source"], id: string) =>
  `${host.session.sessionId}/${source}/${id}`

/** Whether there is any reason for which a message may have failed. */
const mayFail = ({ ledger, world }: Left, { lane, source }: Outbound, key: string): boolean => {
  if (lane === "stranger" && source === "agent") return true
  const attempts = world.platform.attempts.get(key) ?? []
  return (
    attempts.some(({ answer }) => answer === "rejected") ||
    // A host that was killed may have begun an attempt of which the platform has heard nothing.
    attempts.length + ledger.kills >= Worlds.deliveryAttempts ||
    (world.story.unknownDeliveries === "hold" &&
      (ledger.kills > 0 || attempts.some(({ answer }) => !Platform.isSafeToRepeat(answer))))
  )
}

const delivered = (left: Left, message: Outbound, row: Record<string, unknown> | undefined) => {
  const { failures, wrong, world } = left
  const { stored, text } = message
  const id = stored?.id ?? (row === undefined ? undefined : String(row["id"]))
  if (row === undefined) {
    if (stored !== undefined) wrong(`${text} was stored, and is lost`)
    return
  }
  if (stored !== undefined && row["seq"] !== stored.seq) wrong(`${text} has another number`)
  const key = keyOf(left, message.source, id ?? "")
  const isShown = world.platform.shown.some((one) => one.key === key)
  const failure = failures.get(key)
  if (failure === undefined && !isShown) wrong(`${text} is neither delivered nor waiting nor failed`)
  if (failure !== undefined && failure === "") wrong(`${text} failed without a reason`)
  if (failure !== undefined && !mayFail(left, message, key)) wrong(`${text} failed for nothing: ${failure}`)
}

const sentRows = ({ folder }: Left): Rows => [
  ...Raw.query(`${folder}/outbound.db`, "SELECT id, seq, content, 'agent' AS source FROM messages_out"),
  ...Raw.query(`${folder}/inbound.db`, "SELECT id, seq, content, 'direct' AS source FROM airlock_direct")
]

/** In a chat and thread a message is seen before a later one, if the host knew of it when it took the later one. */
const inOrder = (left: Left) => {
  const { ledger, wrong, world } = left
  const { redriven, shown } = world.platform
  shown.forEach(({ since, text: later }, index) => {
    const one = ledger.outbound.get(later)
    for (const { key, text: earlier } of shown.slice(index + 1)) {
      const other = ledger.outbound.get(earlier)
      if (one?.stored === undefined || other?.stored === undefined || one.lane !== other.lane) continue
      if (other.deliverAfter !== undefined || redriven.has(key)) continue
      if (other.stored.seq < one.stored.seq && other.stored.at < since)
        wrong(`${later} was shown before ${earlier}`)
    }
  })
}

/** A process that was killed may leave files of a message that it did not get to store, or to clear. */
const nothingLeftOver = ({ failures, folder, ledger, messages, wrong }: Left) => {
  const known = ["inbound.db", "outbound.db", ".heartbeat", "inbox", "outbox"]
  const strange = Fs.readdirSync(folder).filter((name) => !known.includes(name))
  if (strange.length > 0) wrong(`${strange.join()} lie around`)
  if (ledger.kills > 0) return
  const gone = Array.from(ledger.inbound.values()).flatMap(({ id, mayBeGone }) => (mayBeGone ? [id] : []))
  const ids = [...messages.map(({ id }) => String(id)), ...gone]
  const inbox = Fs.readdirSync(`${folder}/inbox`).filter((name) => !ids.includes(name))
  const failed = Array.from(failures.keys(), (key) => key.split("/")[2])
  const outbox = Fs.readdirSync(`${folder}/outbox`).filter((name) => !failed.includes(name))
  if (inbox.length + outbox.length > 0) wrong(`${[...inbox, ...outbox].join()} have files and no message`)
}

/** Adds what is not so to the ledger's problems. */
export const check = (
  world: World,
  host: Host,
  given: {
    readonly failures: ReadonlyArray<{
      readonly source: string
      readonly id: string
      readonly reason: string
    }>
    readonly attempted: ReadonlyArray<{ readonly id: string }>
  }
): Effect.Effect<void> =>
  Effect.map(FilePermit.count, (permits) => {
    const { ledger } = world
    const folder = Worlds.folderOf(world, host.session)
    const wrong = (what: string) => void ledger.problems.push(what)
    const left: Left = {
      folder,
      host,
      world,
      ledger,
      messages: Raw.query(
        `${folder}/inbound.db`,
        "SELECT id, seq, status, series_id, content FROM messages_in"
      ),
      failures: new Map(
        given.failures.map(({ id, reason, source }) => [`${host.session.sessionId}/${source}/${id}`, reason])
      ),
      wrong
    }
    if (permits > 0) wrong(`${permits} files are held`)
    if (given.attempted.length > 0) wrong(`${given.attempted.map(({ id }) => id).join()} wait for ever`)
    wholeFiles(left)
    numbers(left)
    const rows = new Map(sentRows(left).map((row) => [Platform.textOf(String(row["content"])), row]))
    for (const message of ledger.inbound.values()) {
      finished(left, message)
      recurred(left, message)
    }
    for (const message of ledger.outbound.values()) delivered(left, message, rows.get(message.text))
    inOrder(left)
    nothingLeftOver(left)
  })
