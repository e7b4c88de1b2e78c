import { describe, expect, it } from "@effect/vitest"
import { Effect, FastCheck, Option, TestClock, Tracer } from "effect"
import { AirlockError, AttachmentName, SessionManager, SessionRegistry } from "effect-airlock"
import type { Message } from "effect-airlock"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Raw from "../support/Raw.js"
import * as TestHost from "../support/TestHost.js"

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

const rowsOf = (folder: string) => Raw.query(`${folder}/inbound.db`, "SELECT * FROM messages_in ORDER BY seq")

const withAttachment = (attachment: object) => JSON.stringify({ text: "see this", attachments: [attachment] })

const base64 = (text: string) => Buffer.from(text).toString("base64")

const program = Effect.gen(function* () {
  const manager = yield* SessionManager.SessionManager
  const session = yield* TestHost.newSession()
  const folder = yield* TestHost.folderOf(session)
  const write = (message: Partial<Message.InboundMessage>) =>
    manager.writeMessage(session, { id: "m", kind: "chat", content: "hello", ...message })
  return { manager, session, folder, write }
})

describe("SessionManager.writeMessage", () => {
  it.effect("stores the row with the seed's defaults", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 6, 1, 9, 30))
      const { folder, session, write } = yield* program
      expect(yield* write({})).toEqual({ id: "m", seq: 2, attachments: [], renamed: [], alreadyThere: false })
      expect(rowsOf(folder)).toEqual([
        {
          id: "m",
          seq: 2,
          kind: "chat",
          timestamp: "2026-07-01T09:30:00.000Z",
          status: "pending",
          process_after: null,
          recurrence: null,
          series_id: "m",
          tries: 0,
          trigger: 1,
          platform_id: null,
          channel_type: null,
          thread_id: null,
          content: "hello",
          source_session_id: null,
          on_wake: 0
        }
      ])
      const registry = yield* SessionRegistry.SessionRegistry
      const found = Option.getOrThrow(yield* registry.getSession(session.sessionId))
      expect(found.lastActive).toBe("2026-07-01T09:30:00.000Z")
    }).pipe(TestHost.withHost())
  )

  it.effect("stores every field that it is given, times in the stored form", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* program
      yield* write({
        timestamp: "2026-07-01 09:30:00",
        processAfter: "2026-07-01T12:00:00+02:00",
        recurrence: "0 9 * * 1",
        trigger: 0,
        onWake: true,
        channelType: "slack",
        platformId: "C1",
        threadId: "T1",
        sourceSessionId: "sess-other"
      })
      expect(rowsOf(folder)).toMatchObject([
        {
          timestamp: "2026-07-01T09:30:00.000Z",
          process_after: "2026-07-01T10:00:00.000Z",
          recurrence: "0 9 * * 1",
          trigger: 0,
          on_wake: 1,
          channel_type: "slack",
          platform_id: "C1",
          thread_id: "T1",
          source_session_id: "sess-other"
        }
      ])
    }).pipe(TestHost.withHost())
  )

  it.effect("puts attachments of every kind into files, and leaves no base64 behind", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1000)
      const { folder, write } = yield* program
      const file = `${yield* TestHost.temporaryDirectory}/source.bin`
      const large = Buffer.alloc(3 * 1024 * 1024 + 17, "airlock")
      Fs.writeFileSync(file, large)
      const written = yield* write({
        content: JSON.stringify({
          text: "four files",
          attachments: [
            { name: "a.txt", size: 5, data: base64("one") },
            { mimeType: "image/PNG; charset=x", data: base64("two").replace(/=+$/, "") },
            { url: "https://example.org/kept-as-it-is" },
            null
          ]
        }),
        attachments: [
          { name: "b.bin", source: { file } },
          { mimeType: "audio/mpeg", source: { bytes: Buffer.from("four") } }
        ]
      })
      const names = ["a.txt", "attachment-1000.png", "b.bin", "attachment-1000.mp3"]
      const bytes = [Buffer.from("one"), Buffer.from("two"), large, Buffer.from("four")]
      expect(written.attachments).toEqual(
        names.map((name, index) => ({
          name,
          localPath: `inbox/m/${name}`,
          size: bytes[index]?.byteLength,
          sha256: sha256(bytes[index] ?? Buffer.alloc(0))
        }))
      )
      expect(written.renamed).toEqual([])
      for (const [index, { localPath }] of written.attachments.entries()) {
        expect(Fs.readFileSync(`${folder}/${localPath}`).equals(bytes[index] ?? Buffer.alloc(0))).toBe(true)
      }
      expect(JSON.parse(String(rowsOf(folder)[0]?.["content"]))).toEqual({
        text: "four files",
        attachments: [
          { name: "a.txt", size: 5, localPath: "inbox/m/a.txt" },
          {
            name: "attachment-1000.png",
            mimeType: "image/PNG; charset=x",
            localPath: "inbox/m/attachment-1000.png"
          },
          { url: "https://example.org/kept-as-it-is" },
          null,
          { name: "b.bin", localPath: "inbox/m/b.bin" },
          { name: "attachment-1000.mp3", mimeType: "audio/mpeg", localPath: "inbox/m/attachment-1000.mp3" }
        ]
      })
    }).pipe(Effect.scoped, TestHost.withHost())
  )

  it.effect("makes plain text with attachments into an object that agents read the same way", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* program
      yield* write({ content: "plain", attachments: [{ name: "a", source: { bytes: Buffer.from("x") } }] })
      expect(JSON.parse(String(rowsOf(folder)[0]?.["content"]))).toEqual({
        text: "plain",
        attachments: [{ name: "a", localPath: "inbox/m/a" }]
      })
    }).pipe(TestHost.withHost())
  )

  it.effect.prop(
    "keeps every attachment inside its message's folder, whatever it is called",
    [
      FastCheck.array(
        FastCheck.oneof(
          FastCheck.fullUnicodeString({ maxLength: 300 }),
          FastCheck.constantFrom(
            "../../x",
            "..",
            ".",
            "",
            "a/b",
            "a\\b",
            "/etc/passwd",
            "CON",
            "x ",
            "a\u0000b",
            "same",
            "SAME"
          )
        ),
        { minLength: 1, maxLength: 6 }
      )
    ],
    ([names]) =>
      Effect.gen(function* () {
        const { folder, write } = yield* program
        const before = TestHost.contentsOf(folder)
        const written = yield* write({
          attachments: names.map((name, index) => ({
            name,
            source: { bytes: Buffer.from(`bytes ${index}`) }
          }))
        })
        const after = TestHost.contentsOf(folder)
        const added = Object.keys(after).filter((path) => !(path in before))
        expect(added.sort()).toEqual(written.attachments.map(({ localPath }) => localPath).sort())
        expect(added.length).toBe(names.length)
        written.attachments.forEach(({ localPath, name }, index) => {
          expect(AttachmentName.isSafe(name)).toBe(true)
          expect(localPath).toBe(`inbox/m/${name}`)
          expect(after[localPath]).toBe(`bytes ${index}`)
        })
        const kept = written.attachments.filter(({ name }, index) => name === names[index]).length
        expect(written.renamed.length).toBe(names.length - kept)
      }).pipe(TestHost.withHost()),
    { fastCheck: { numRuns: 30 } }
  )

  it.effect("tells which attachments it renamed, and why", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(7)
      const { write } = yield* program
      const attachment = (name: string) => ({
        name,
        mimeType: "text/plain",
        source: { bytes: Buffer.from(name) }
      })
      const { renamed } = yield* write({
        attachments: [
          attachment("../x"),
          attachment("ok.txt"),
          attachment("OK.txt"),
          attachment("a".repeat(256))
        ]
      })
      expect(renamed).toEqual([
        { from: "../x", to: "attachment-7.txt", reason: "separator" },
        { from: "OK.txt", to: "OK-2.txt", reason: "duplicate" },
        { from: "a".repeat(256), to: "attachment-7-2.txt", reason: "too-long" }
      ])
    }).pipe(TestHost.withHost())
  )

  it.effect("under the policy fail, an unsafe name fails the write and leaves nothing", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* program
      const before = TestHost.contentsOf(folder)
      for (const name of ["../x", "", "..", "a/b", "nul", "a".repeat(256)]) {
        const error = yield* Effect.flip(
          write({
            content: withAttachment({ name: "fine", data: base64("x") }),
            attachments: [{ name, source: { bytes: Buffer.from("x") } }]
          })
        )
        expect(error).toMatchObject({
          _tag: "UnsafeAttachmentName",
          operation: "SessionManager.writeMessage",
          attachment: name
        })
      }
      expect(TestHost.contentsOf(folder)).toEqual(before)
    }).pipe(TestHost.withHost({ unsafeAttachmentNames: "fail" }))
  )

  it.effect("gives an unsafe message id a folder of its own (U15)", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* program
      const { attachments } = yield* write({
        id: "spaces/x/messages/y",
        attachments: [
          { name: "a.txt", source: { bytes: Buffer.from("1") } },
          { name: "a.txt", source: { bytes: Buffer.from("2") } }
        ]
      })
      expect(attachments.map(({ localPath }) => localPath)).toEqual([
        "inbox/spaces%2Fx%2Fmessages%2Fy/a.txt",
        "inbox/spaces%2Fx%2Fmessages%2Fy/a-2.txt"
      ])
      for (const { localPath } of attachments) expect(Fs.existsSync(`${folder}/${localPath}`)).toBe(true)
    }).pipe(TestHost.withHost())
  )

  it.effect("takes the same message again without changing anything, also when it is stamped anew", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* program
      const message = {
        content: withAttachment({ data: base64("x"), type: "photo" }),
        attachments: [{ name: "../b", source: { bytes: Buffer.from("y") } }]
      }
      const first = yield* write(message)
      const before = TestHost.contentsOf(folder)
      yield* TestClock.adjust("1 hour")
      const again = yield* write({ ...message, timestamp: "2030-01-01T00:00:00.000Z" })
      expect(again).toEqual({ ...first, alreadyThere: true })
      expect(TestHost.contentsOf(folder)).toEqual(before)
    }).pipe(TestHost.withHost())
  )

  it.effect("refuses the same id with other content, and keeps the stored one (U9)", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* program
      yield* write({ attachments: [{ name: "a", source: { bytes: Buffer.from("x") } }] })
      const before = TestHost.contentsOf(folder)
      const others: ReadonlyArray<Partial<Message.InboundMessage>> = [
        { content: "other", attachments: [{ name: "a", source: { bytes: Buffer.from("x") } }] },
        { attachments: [{ name: "a", source: { bytes: Buffer.from("other") } }] },
        { attachments: [{ name: "b", source: { bytes: Buffer.from("x") } }] },
        { kind: "task", content: "{}" },
        {}
      ]
      for (const other of others) {
        expect(yield* Effect.flip(write(other))).toMatchObject({ _tag: "DuplicateMessage", messageId: "m" })
      }
      expect(TestHost.contentsOf(folder)).toEqual(before)
    }).pipe(TestHost.withHost())
  )

  it.effect("knows a message again that an older build stored", () =>
    Effect.gen(function* () {
      const { folder, write } = yield* program
      Raw.exec(
        TestHost.originalOf(folder),
        `INSERT INTO messages_in (id, seq, kind, timestamp, content) VALUES ('m', 2, 'chat', '2026-01-01 00:00:00', 'hello')`
      )
      expect(yield* write({})).toMatchObject({ seq: 2, alreadyThere: true })
      expect(yield* Effect.flip(write({ content: "other" }))).toBeInstanceOf(AirlockError.DuplicateMessage)
    }).pipe(TestHost.withHost())
  )

  const bad: ReadonlyArray<readonly [string, object, object]> = [
    ["no id", { id: "" }, { _tag: "InvalidMessage", field: "id", reason: "empty" }],
    [
      "an id that no folder could have",
      { id: "/".repeat(100) },
      { _tag: "InvalidMessage", field: "id", reason: "too-long" }
    ],
    ["an id that is a number", { id: 7 }, { _tag: "InvalidMessage", field: "id", reason: "wrong-type" }],
    [
      "a kind that no agent reads",
      { kind: "gossip" },
      { _tag: "InvalidMessage", field: "kind", reason: "unknown-kind" }
    ],
    [
      "content that is an object",
      { content: { text: "x" } },
      { _tag: "InvalidMessage", field: "content", reason: "wrong-type" }
    ],
    [
      "a task that is not JSON",
      { kind: "task", content: "do it" },
      { _tag: "InvalidMessage", field: "content", reason: "not-json" }
    ],
    [
      "a webhook that is not an object",
      { kind: "webhook", content: "[1]" },
      { _tag: "InvalidMessage", field: "content", reason: "not-an-object" }
    ],
    [
      "a time that is not one",
      { timestamp: "yesterday" },
      { _tag: "InvalidMessage", field: "timestamp", reason: "not-a-timestamp" }
    ],
    [
      "a day that does not exist",
      { processAfter: "2026-02-30T00:00:00.000Z" },
      { _tag: "InvalidMessage", field: "processAfter", reason: "not-a-timestamp" }
    ],
    [
      "a recurrence that is not one",
      { recurrence: "every morning" },
      { _tag: "InvalidMessage", field: "recurrence", reason: "not-a-cron-expression" }
    ],
    [
      "a recurrence that never comes",
      { recurrence: "0 9 31 2 *" },
      { _tag: "InvalidMessage", field: "recurrence", reason: "not-a-cron-expression" }
    ],
    [
      "bad base64",
      { content: withAttachment({ name: "a", data: "%%%" }) },
      { _tag: "InvalidMessage", field: "content.attachments.0.data", reason: "not-base64" }
    ],
    ["a trigger that is neither 0 nor 1", { trigger: 2 }, { _tag: "InvalidMessage", field: "trigger" }],
    [
      "too long a content",
      { content: "x".repeat(2001) },
      { _tag: "InvalidMessage", field: "content", reason: "too-long" }
    ],
    [
      "too many attachments",
      { attachments: Array.from({ length: 4 }, () => ({ name: "a", source: { bytes: Buffer.from("x") } })) },
      { _tag: "InvalidMessage", field: "attachments", reason: "too-many-attachments" }
    ],
    [
      "too large an attachment",
      { content: withAttachment({ name: "a", data: base64("x".repeat(101)) }) },
      { _tag: "AttachmentTooLarge", attachment: "a", bytes: 101, limit: 100 }
    ],
    [
      "attachments that are too large together",
      { attachments: [1, 2].map(() => ({ name: "a", source: { bytes: Buffer.alloc(90) } })) },
      { _tag: "AttachmentTooLarge", bytes: 180, limit: 150 }
    ],
    [
      "too large a file",
      { attachments: [{ name: "a", source: { file: import.meta.filename } }] },
      { _tag: "AttachmentTooLarge", limit: 100 }
    ],
    [
      "content that is nested too deep to be written anew",
      {
        content: `{"a":${"[".repeat(20_000)}${"]".repeat(20_000)}}`,
        attachments: [{ name: "a", source: { bytes: Buffer.from("x") } }]
      },
      { _tag: "InvalidMessage", field: "content" }
    ],
    [
      "a file that is not there",
      { attachments: [{ name: "a", source: { file: "/nonexistent" } }] },
      { _tag: "InvalidMessage", field: "attachments.0.source.file", reason: "unreadable-file" }
    ],
    [
      "a file that is a folder",
      { attachments: [{ name: "a", source: { file: "/" } }] },
      { _tag: "InvalidMessage", reason: "unreadable-file" }
    ]
  ]
  for (const [what, message, expected] of bad) {
    it.effect(`refuses ${what} with a typed error, and changes nothing`, () =>
      Effect.gen(function* () {
        const { folder, write } = yield* program
        const registry = yield* SessionRegistry.SessionRegistry
        const before = [TestHost.contentsOf(folder), yield* registry.listActiveSessions()]
        const error = yield* Effect.flip(write(message))
        expect(error).toMatchObject({ operation: "SessionManager.writeMessage", ...expected })
        expect([TestHost.contentsOf(folder), yield* registry.listActiveSessions()]).toEqual(before)
      }).pipe(
        TestHost.withHost({
          limits: { attachments: 3, attachmentBytes: 100, messageAttachmentBytes: 150, contentBytes: 2000 }
        })
      )
    )
  }

  it.effect("never quotes a message in an error", () =>
    Effect.gen(function* () {
      const { write } = yield* program
      const secret = "s3cr3t"
      const inputs = [
        { content: { secret } },
        { kind: "task" as const, content: secret },
        { timestamp: secret },
        { recurrence: secret }
      ]
      for (const input of inputs) {
        const error = yield* Effect.flip(write(input as unknown as Partial<Message.InboundMessage>))
        expect(JSON.stringify(error) + error.message + String(error)).not.toContain(secret)
      }
    }).pipe(TestHost.withHost())
  )

  it.effect("refuses a session that the registry does not know, or knows under another agent group", () =>
    Effect.gen(function* () {
      const { manager, session } = yield* program
      for (const ref of [
        { agentGroupId: "agent", sessionId: "sess-unknown" },
        { agentGroupId: "other", sessionId: session.sessionId }
      ]) {
        const message = { id: "m", kind: "chat" as const, content: "hello" }
        expect(yield* Effect.flip(manager.writeMessage(ref, message))).toMatchObject({
          _tag: "SessionNotFound",
          operation: "SessionManager.writeMessage",
          ...ref
        })
      }
    }).pipe(TestHost.withHost())
  )

  it.effect(
    "refuses a file of the host's own that is not a database, is damaged, or is of a newer schema, and leaves it alone",
    () =>
      Effect.gen(function* () {
        const { folder, write } = yield* program
        const path = TestHost.originalOf(folder)
        const original = Raw.bytes(path)
        const spoilt: ReadonlyArray<readonly [() => void, object]> = [
          [
            () => TestHost.replaceOriginal(folder, "not a database".repeat(100)),
            { _tag: "SessionDbCorrupt", reason: "not-a-database" }
          ],
          [
            () => TestHost.replaceOriginal(folder, ""),
            { _tag: "SessionDbCorrupt", reason: "not-a-database" }
          ],
          [
            () => Raw.exec(path, "PRAGMA user_version = 99"),
            { _tag: "SessionDbUnavailable", reason: "newer-schema" }
          ],
          [
            () => TestHost.replaceOriginal(folder, original.subarray(0, original.length - 100)),
            { _tag: "SessionDbCorrupt", reason: "damaged" }
          ],
          [
            () =>
              TestHost.replaceOriginal(
                folder,
                Buffer.concat([original.subarray(0, 4096), Buffer.alloc(original.length - 4096, 1)])
              ),
            { _tag: "SessionDbCorrupt", reason: "damaged" }
          ]
        ]
        for (const [spoil, expected] of spoilt) {
          TestHost.replaceOriginal(folder, original)
          spoil()
          const before = Fs.readFileSync(path)
          expect(yield* Effect.flip(write({}))).toMatchObject(expected)
          expect(Fs.readFileSync(path).equals(before)).toBe(true)
        }
      }).pipe(TestHost.withHost())
  )
})

describe("SessionManager.writeMessage, traced", () => {
  it.effect("is one span in the caller's, which ends as the write does", () =>
    Effect.gen(function* () {
      const { write } = yield* program
      yield* write({ id: "first" })
      const spans: Array<Tracer.Span> = []
      const native = yield* Effect.tracer
      const tracer = Tracer.make({
        span: (...parameters) => {
          const span = native.span(...parameters)
          spans.push(span)
          return span
        },
        context: (run) => run()
      })
      yield* Effect.exit(Effect.zipRight(write({}), write({ content: "other" }))).pipe(
        Effect.withSpan("caller"),
        Effect.withTracer(tracer)
      )
      const own = spans.map(({ name, parent, status }) => [
        name,
        Option.getOrNull(
          Option.map(parent, ({ spanId }) => spans.find((one) => one.spanId === spanId)?.name)
        ),
        status._tag === "Ended" && status.exit._tag
      ])
      expect(own).toEqual([
        ["caller", null, "Success"],
        ["SessionManager.writeMessage", "caller", "Success"],
        ["SessionManager.writeMessage", "caller", "Failure"]
      ])
    }).pipe(TestHost.withHost())
  )
})

describe("SessionManager.writeMessages", () => {
  it.effect("stores many messages in their order, or none", () =>
    Effect.gen(function* () {
      const { folder, manager, session } = yield* program
      const messages = ["a", "b", "c"].map((id) => ({
        id,
        kind: "chat" as const,
        content: `hello from ${id}`,
        attachments: [{ name: "f", source: { bytes: Buffer.from(id) } }]
      }))
      const written = yield* manager.writeMessages(session, messages)
      expect(written.map(({ id, seq }) => [id, seq])).toEqual([
        ["a", 2],
        ["b", 4],
        ["c", 6]
      ])

      const before = TestHost.contentsOf(folder)
      const error = yield* Effect.flip(
        manager.writeMessages(session, [
          {
            id: "d",
            kind: "chat",
            content: "x",
            attachments: [{ name: "f", source: { bytes: Buffer.from("d") } }]
          },
          { id: "a", kind: "chat", content: "not what a was" }
        ])
      )
      expect(error).toBeInstanceOf(AirlockError.DuplicateMessage)
      expect(TestHost.contentsOf(folder)).toEqual(before)
      expect(yield* manager.writeMessages(session, [])).toEqual([])
    }).pipe(TestHost.withHost())
  )

  it.effect("skips what the session has already, and numbers the rest without gaps", () =>
    Effect.gen(function* () {
      const { manager, session } = yield* program
      const message = (id: string) => ({ id, kind: "chat" as const, content: id })
      yield* manager.writeMessages(session, [message("a"), message("b")])
      const written = yield* manager.writeMessages(session, [message("b"), message("c"), message("c")])
      expect(written.map(({ alreadyThere, seq }) => [seq, alreadyThere])).toEqual([
        [4, true],
        [6, false],
        [6, true]
      ])
    }).pipe(TestHost.withHost())
  )
})
