/**
 * A host and an agent on one session folder, each of which can be killed and started again, and the platform.
 */
import type { Context, Scope } from "effect"
import type { Delivery, Mailbox, Session, SessionDb, SessionManager, Sweep } from "effect-airlock"
import * as Path from "node:path"
import type { Story } from "./Command.js"
import type { KillSwitch } from "./KillSwitch.js"
import * as Ledger from "./Ledger.js"
import * as Platform from "./Platform.js"

/** One run of a process. What it has begun runs in its scope. */
export interface Run<A> {
  readonly life: KillSwitch
  readonly scope: Scope.CloseableScope
  readonly services: A
}

export interface Host {
  readonly context: Context.Context<
    SessionDb.SessionDb | SessionManager.SessionManager | Delivery.Delivery | Sweep.Sweep
  >
  readonly session: Session.Session
}

export interface Agent {
  readonly mailbox: Mailbox.Mailbox["Type"]
  readonly startedAt: number
  /** What its last poll gave. */
  hands: ReadonlyArray<string>
  /** What it was told that it has claimed, and has not finished. */
  readonly claimed: Set<string>
  /** The same, and what it may have claimed. */
  readonly holds: Set<string>
}

export interface World {
  readonly root: string
  readonly dataDir: string
  readonly story: Story
  readonly ledger: Ledger.Ledger
  readonly platform: Platform.Platform
  host: Run<Host> | undefined
  agent: Run<Agent> | undefined
}

export const make = (root: string, story: Story): World => ({
  root,
  dataDir: Path.join(root, "data"),
  story,
  ledger: Ledger.make(),
  platform: Platform.make(),
  host: undefined,
  agent: undefined
})

/** An attempt at a message fails for good after this many of them. */
export const deliveryAttempts = 4
/** And a message whose agents end without a verdict after this many. */
export const messageAttempts = 3

/** The folder of the session, which is the same in all stories. */
export const folderOf = (
  world: Pick<World, "dataDir">,
  { agentGroupId, sessionId }: Session.SessionRef
): string => Path.join(world.dataDir, "v2-sessions", agentGroupId, sessionId)

/** Where its processes keep what is only their own. */
export const copiesOf = ({ root }: World): string => Path.join(root, "copies")

/** Where a copy of what a killed process left lies until it is buried. */
export const graveOf = (world: World, whose: string): string => Path.join(world.root, `left-by-${whose}`)
