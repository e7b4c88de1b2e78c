/**
 * Every public operation, on a `Scene`. What each has to have done, once it succeeded, is looked up in the files.
 */
import { Effect } from "effect"
import { Delivery, Mailbox, SessionManager, Sweep } from "effect-airlock"
import { strict as Assert } from "node:assert"
import type { Scene } from "./Scene.js"
import * as Scenes from "./Scene.js"
import type { View } from "./View.js"

export type HostServices = SessionManager.SessionManager | Delivery.Delivery | Sweep.Sweep

export type Side = "host" | "agent"

export interface Operation<R = HostServices | Mailbox.Mailbox> {
  readonly name: string
  readonly side: Side
  readonly run: (scene: Scene) => Effect.Effect<unknown, unknown, R>
  /** What is so whether or not it has succeeded. */
  readonly always?: (view: View, scene: Scene) => void
  /** What is so once it has succeeded. */
  readonly done?: (view: View, scene: Scene) => void
}

const host = (
  name: string,
  run: (
    services: {
      readonly manager: SessionManager.SessionManager["Type"]
      readonly delivery: Delivery.Delivery["Type"]
      readonly sweep: Sweep.Sweep["Type"]
    },
    scene: Scene
  ) => Effect.Effect<unknown, unknown>,
  checks: Pick<Operation, "always" | "done"> = {}
): Operation<HostServices> => ({
  name,
  side: "host",
  run: (scene) =>
    Effect.flatMap(
      Effect.all({
        manager: SessionManager.SessionManager,
        delivery: Delivery.Delivery,
        sweep: Sweep.Sweep
      }),
      (services) => run(services, scene)
    ),
  ...checks
})

const agent = (
  name: string,
  run: (mailbox: Mailbox.Mailbox["Type"], scene: Scene) => Effect.Effect<unknown, unknown>,
  checks: Pick<Operation, "always" | "done"> = {}
): Operation<Mailbox.Mailbox> => ({
  name,
  side: "agent",
  run: (scene) => Effect.flatMap(Mailbox.Mailbox, (mailbox) => run(mailbox, scene)),
  ...checks
})

const inboundIds = (view: View) => view.messagesIn.map(({ id }) => id)
const times = (view: View, id: string) => inboundIds(view).filter((one) => one === id).length
const textsSent = (view: View, text: string) =>
  view.messagesOut.filter(({ content }) => content.includes(`"${text}"`))
const verdict = (view: View, id: string) => view.acknowledgements.find((one) => one.id === id)?.status

const message = (id: string) => ({
  id,
  kind: "chat" as const,
  content: JSON.stringify({ text: id }),
  attachments: Scenes.attachments(id)
})

export const hostOperations: ReadonlyArray<Operation<HostServices>> = [
  host("resolve, a new session", ({ manager }) => manager.resolve(Scenes.chat("fresh")), {
    done: (view) => Assert.equal(view.sessions.filter((chat) => chat === "fresh").length, 1)
  }),
  host("resolve, a folder that lacks things", ({ manager }) => manager.resolve(Scenes.chat("second")), {
    done: (view) => Assert.equal(view.isComplete("incomplete"), true)
  }),
  host("initFolder", ({ manager }, { incomplete }) => manager.initFolder(incomplete), {
    done: (view) => Assert.equal(view.isComplete("incomplete"), true)
  }),
  host("writeMessage", ({ manager }, { session }) => manager.writeMessage(session, message("new")), {
    always: (view) => Assert.ok(times(view, "new") < 2),
    done: (view) => Assert.equal(times(view, "new"), 1)
  }),
  host(
    "writeMessages",
    ({ manager }, { session }) => manager.writeMessages(session, [message("new"), message("newer")]),
    {
      always: (view) => Assert.equal(times(view, "new"), times(view, "newer")),
      done: (view) => Assert.equal(times(view, "newer"), 1)
    }
  ),
  host("writeRouting", ({ manager }, { session }) => manager.writeRouting(session), {
    done: (view) => Assert.deepEqual(view.routing, ["home"])
  }),
  host(
    "writeDestinations",
    ({ manager }, { session }) => manager.writeDestinations(session, Scenes.destinations.slice(1)),
    {
      always: (view) => Assert.match(view.destinations.join(), /^(other,)?page$/),
      done: (view) => Assert.deepEqual(view.destinations, ["page"])
    }
  ),
  host(
    "writeSystemResponse",
    ({ manager }, { session }) =>
      manager.writeSystemResponse(session, { questionId: "q", status: "yes", result: {} }),
    {
      done: (view) =>
        Assert.equal(
          inboundIds(view).some((id) => id.startsWith("sys-resp-")),
          true
        )
    }
  ),
  host(
    "writeOutboundDirect",
    ({ manager }, { session }) =>
      manager.writeOutboundDirect(session, { id: "new", kind: "chat", content: "{}" }),
    { done: (view) => Assert.equal(view.direct.filter(({ id }) => id === "new").length, 1) }
  ),
  host("readOutboxFiles", ({ manager }, { reply, session }) =>
    manager.readOutboxFiles(session, reply, ["one", "two"])
  ),
  host("clearOutbox", ({ manager }, { delivered, session }) => manager.clearOutbox(session, delivered.id)),
  host("drain", ({ delivery }, { session }) => delivery.drain(session)),
  host(
    "redrive",
    ({ delivery }, { session }) => delivery.redrive(session, { source: "direct", id: "refused" }),
    // Found, and refused again.
    { done: (view) => Assert.equal(view.direct.filter(({ id }) => id === "refused").length, 1) }
  ),
  host("sweep", ({ sweep }, { session }) => sweep.sweep(session), {
    done: (view) => {
      Assert.equal(view.messagesIn.filter(({ series }) => series === "task").length, 2)
      Assert.equal(view.messagesIn.find(({ id }) => id === "answered")?.status, "completed")
    }
  }),
  host("markContainerRunning", ({ manager }, { session }) => manager.markContainerRunning(session)),
  host("markContainerIdle", ({ manager }, { session }) => manager.markContainerIdle(session)),
  host("markContainerStopped", ({ manager }, { session }) => manager.markContainerStopped(session))
]

const sendTwice = (view: View) => {
  const sent = textsSent(view, "sent")
  // Who was not told that it is stored may say it again, and then it is there twice.
  Assert.ok(sent.length < 3)
  return sent
}

export const agentOperations: ReadonlyArray<Operation<Mailbox.Mailbox>> = [
  agent("poll", (mailbox) => mailbox.poll, {
    done: (view) => Assert.equal(verdict(view, "offered"), undefined)
  }),
  agent("claim", (mailbox) => mailbox.claim(["offered"])),
  agent("complete", (mailbox) => mailbox.complete(["offered", "claimed"]), {
    always: (view) => {
      const isDone = verdict(view, "offered") === "completed"
      if (isDone) Assert.equal(verdict(view, "claimed"), "completed")
    },
    done: (view) => Assert.equal(verdict(view, "offered"), "completed")
  }),
  agent("fail", (mailbox) => mailbox.fail(["offered"]), {
    done: (view) => Assert.equal(verdict(view, "offered"), "failed")
  }),
  agent("release", (mailbox) => Effect.zipRight(mailbox.claim(["offered"]), mailbox.release(["offered"]))),
  agent(
    "send, with files and what it completes",
    (mailbox) =>
      mailbox.send({ content: { text: "sent" }, files: Scenes.files("sent"), completes: ["offered"] }),
    {
      always: (view) => Assert.equal(sendTwice(view).length > 0, verdict(view, "offered") === "completed"),
      done: (view) => Assert.ok(sendTwice(view).length > 0)
    }
  ),
  agent("send, without", (mailbox) => mailbox.send({ content: { text: "sent" } }), {
    done: (view) => Assert.ok(sendTwice(view).length > 0)
  }),
  agent("ask", (mailbox) => mailbox.ask({ question: "sent?", questionId: "q", timeout: "1 millis" })),
  agent("state.set", (mailbox) => mailbox.state.set("key", "after"), {
    always: (view) => Assert.match(view.state ?? "", /^(before|after)$/),
    done: (view) => Assert.equal(view.state, "after")
  }),
  agent("state.remove", (mailbox) => mailbox.state.remove("key"), {
    done: (view) => Assert.equal(view.state, undefined)
  }),
  agent("heartbeat", (mailbox) => mailbox.heartbeat),
  agent("attachment", (mailbox) => mailbox.attachment("inbox/claimed/one")),
  agent("edit", (mailbox, { delivered }) => mailbox.edit(delivered.seq, "sent"), {
    done: (view) => Assert.ok(sendTwice(view).length > 0)
  }),
  agent("react", (mailbox) => mailbox.react(2, "sent"), {
    done: (view) => Assert.ok(sendTwice(view).length > 0)
  }),
  agent("duringTool", (mailbox) => mailbox.duringTool({ name: "tool", timeout: "1 minute" })(Effect.void)),
  agent("routing and destinations", (mailbox) => Effect.all([mailbox.routing, mailbox.destinations]))
]
