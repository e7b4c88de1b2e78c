/**
 * What the host does, and what its callers are told.
 */
import { Clock, Context, Effect, Option } from "effect"
import { Delivery, SessionDb, SessionManager, Sweep } from "effect-airlock"
import * as Raw from "../support/Raw.js"
import * as Asked from "./Asked.js"
import type { HostDoes, Lane } from "./Command.js"
import type { KillSwitch } from "./KillSwitch.js"
import type { Inbound } from "./Ledger.js"
import * as Ledger from "./Ledger.js"
import * as Platform from "./Platform.js"
import type { Host, World } from "./World.js"
import * as Worlds from "./World.js"

const write = (world: World, { context, session }: Host, life: KillSwitch, message: Inbound) =>
  Effect.gen(function* () {
    const manager = Context.get(context, SessionManager.SessionManager)
    const before = message.seq
    const outcome = yield* manager.writeMessage(session, Asked.toWrite(message)).pipe(
      Effect.asSome,
      // Between being tidied away and this, it was written with other content, as if for the first time.
      Effect.catchIf(
        (error) => error._tag === "DuplicateMessage" && message.mayBeGone,
        () => Effect.succeedNone
      )
    )
    if (Option.isNone(outcome)) return
    const written = outcome.value
    yield* Asked.told(world, life, () => {
      if (before !== undefined && before !== written.seq && !message.mayBeGone) {
        world.ledger.problems.push(`${message.id} was ${before} and is ${written.seq}`)
      }
      message.seq = written.seq
      Ledger.numbered(world.ledger, written.seq, "even", message.id)
    })
    yield* Context.get(context, SessionDb.SessionDb).publish(session)
    yield* Asked.told(world, life, () => {
      message.isPublished = true
    })
  })

const writeOther = (world: World, { context, session }: Host, life: KillSwitch, message: Inbound) =>
  Context.get(context, SessionManager.SessionManager)
    .writeMessage(session, Asked.toWrite(message, `{"text":"other"}`))
    .pipe(
      Effect.matchEffect({
        onFailure: (error) => (error._tag === "DuplicateMessage" ? Effect.void : Effect.fail(error)),
        onSuccess: () =>
          Asked.told(world, life, () => {
            // What was tidied away meanwhile is written as if for the first time.
            if (message.mayBeGone) return
            world.ledger.problems.push(`${message.id} was written with two contents`)
          })
      })
    )

/** The keys under which the platform may know a message. */
const keysOf = ({ session }: Host, id: string) =>
  ["agent", "direct"].map((source) => `${session.sessionId}/${source}/${id}`)

const reply = (world: World, { context, session }: Host, life: KillSwitch, lane: Lane) =>
  Effect.gen(function* () {
    const manager = Context.get(context, SessionManager.SessionManager)
    const message = Asked.newOutbound(world, { source: "direct", lane })
    const { id, seq } = yield* manager.writeOutboundDirect(session, Asked.toReply(message))
    yield* Asked.told(world, life, (at) => {
      message.stored = { id, seq, at, kills: world.ledger.kills }
      Ledger.numbered(world.ledger, seq, "even", message.text)
    })
  })

/** What a drain should have taken: nobody has tried it before, and no host may have settled it and died. */
const untouched = ({ ledger, platform }: World, host: Host, began: number, now: number) =>
  Array.from(ledger.outbound.values()).flatMap(({ deliverAfter = 0, source, stored }) => {
    if (stored === undefined || stored.at > began || stored.kills < ledger.kills || deliverAfter > now)
      return []
    const key = `${host.session.sessionId}/${source}/${stored.id}`
    return platform.settled.has(key) || platform.attempts.has(key) ? [] : [stored.id]
  })

const drain = (world: World, host: Host, life: KillSwitch) =>
  Effect.gen(function* () {
    const { ledger, platform } = world
    const began = ++ledger.now
    for (const other of ledger.drains.values()) other.isAlone = false
    const self = { isAlone: ledger.drains.size === 0 }
    ledger.drains.set(began, self)
    const wanted = untouched(world, host, began, yield* Clock.currentTimeMillis)
    const delivery = Context.get(host.context, Delivery.Delivery)
    const { delivered, failed, waiting } = yield* delivery
      .drain(host.session)
      .pipe(
        Effect.locally(Platform.drainBegan, began),
        Effect.ensuring(Effect.sync(() => ledger.drains.delete(began)))
      )
    yield* Asked.told(world, life, () => {
      const had = [...delivered, ...failed.map(({ id }) => id), ...waiting]
      const left = wanted.filter((id) => !had.includes(id))
      if (self.isAlone && world.story.drainMessages > had.length && left.length > 0) {
        ledger.problems.push(`${left.join()} should have been taken`)
      }
      const settle = (key: string) => {
        if ((platform.redriven.get(key) ?? 0) < began) platform.settled.add(key)
      }
      for (const id of delivered) {
        const key = keysOf(host, id).find((key) => platform.shown.some((one) => one.key === key))
        if (key === undefined) ledger.problems.push(`${id} counts as delivered, and nobody saw it`)
        else settle(key)
      }
      for (const { id } of failed) keysOf(host, id).forEach(settle)
      for (const key of waiting.flatMap((id) => keysOf(host, id))) {
        const last = platform.attempts.get(key)?.at(-1)
        if (last?.answer === "much later" && last.since === began)
          platform.notBefore.set(key, last.at + Platform.muchLater)
      }
    })
  })

/** What is final stays as it is. */
const noteFinals = ({ ledger, ...world }: World, { session }: Host): void => {
  const rows = Raw.query(
    `${Worlds.folderOf(world, session)}/inbound.db`,
    "SELECT id, status FROM messages_in WHERE status <> 'pending'"
  )
  for (const row of rows) {
    const [id, status] = [String(row["id"]), String(row["status"])]
    const before = ledger.finals.get(id) ?? status
    if (before !== status) ledger.problems.push(`${id} was ${before} and is ${status}`)
    ledger.finals.set(id, status)
  }
}

const sweep = (world: World, host: Host, life: KillSwitch) =>
  Effect.zipRight(
    Context.get(host.context, Sweep.Sweep).sweep(host.session),
    Asked.told(world, life, () => noteFinals(world, host))
  )

const redrive = (world: World, host: Host, life: KillSwitch, which: number) =>
  Effect.gen(function* () {
    const delivery = Context.get(host.context, Delivery.Delivery)
    const failure = Asked.pick(yield* delivery.failures(host.session), which)
    if (failure === undefined || !life.isAlive()) return
    const { platform } = world
    for (const key of keysOf(host, failure.id)) {
      platform.settled.delete(key)
      platform.notBefore.delete(key)
      platform.attempts.delete(key)
      platform.redriven.set(key, ++world.ledger.now)
    }
    yield* delivery.redrive(host.session, failure)
  })

/** The host looks what is finished, and removes it with SQL of its own. */
const tidy = (world: World, host: Host, life: KillSwitch) =>
  Effect.gen(function* () {
    yield* sweep(world, host, life)
    if (!life.isAlive()) return
    for (const message of world.ledger.inbound.values())
      message.mayBeGone ||= message.maybe.size > 0 || message.abandoned > 0
    yield* Context.get(host.context, SessionDb.SessionDb).transaction(
      host.session,
      (sql) =>
        sql`DELETE FROM messages_in WHERE status IN ('completed', 'failed') AND recurrence IS NULL AND series_id = id`
    )
  })

export const perform = (
  world: World,
  host: Host,
  life: KillSwitch,
  does: HostDoes
): Effect.Effect<void, unknown> => {
  const { inbound } = world.ledger
  switch (does._tag) {
    case "write":
      return Effect.flatMap(Clock.currentTimeMillis, (now) =>
        write(world, host, life, Asked.newInbound(world, does, now))
      )
    case "write again": {
      const stays = Array.from(inbound.values()).filter(({ mayBeGone }) => !mayBeGone)
      const known = does.differs ? stays.filter(({ seq }) => seq !== undefined) : stays
      const message = Asked.pick(known, does.which)
      if (message === undefined) return Effect.void
      return (does.differs ? writeOther : write)(world, host, life, message)
    }
    case "reply":
      return reply(world, host, life, does.lane)
    case "drain":
      return drain(world, host, life)
    case "sweep":
      return sweep(world, host, life)
    case "redrive":
      return redrive(world, host, life, does.which)
    case "tidy":
      return tidy(world, host, life)
  }
}
