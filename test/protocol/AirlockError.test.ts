import { describe, expect, it } from "@effect/vitest"
import { Effect, Equal, FastCheck, Schema } from "effect"
import { AirlockError } from "effect-airlock/protocol"
import * as HostileText from "./HostileText.js"

const AnyError = Schema.Union(
  AirlockError.UnsafeAttachmentName,
  AirlockError.UnsafePath,
  AirlockError.InvalidMessage,
  AirlockError.DuplicateMessage,
  AirlockError.SessionNotFound,
  AirlockError.AttachmentTooLarge,
  AirlockError.SessionDbUnavailable,
  AirlockError.SessionDbCorrupt
)
type AnyError = typeof AnyError.Type

/** One of each error, about things whose names are `text`. */
const oneOfEach = (operation: string, text: string): ReadonlyArray<AnyError> => [
  new AirlockError.UnsafeAttachmentName({ operation, attachment: text, reason: "separator" }),
  new AirlockError.UnsafePath({ operation, path: text, reason: "symbolic-link" }),
  new AirlockError.InvalidMessage({ operation, messageId: text, field: "content", reason: "not-json" }),
  new AirlockError.InvalidMessage({ operation, field: "content.attachments.0.data", reason: "not-base64" }),
  new AirlockError.DuplicateMessage({ operation, sessionId: "sess-1", messageId: text }),
  new AirlockError.SessionNotFound({ operation, agentGroupId: text, sessionId: text }),
  new AirlockError.AttachmentTooLarge({ operation, messageId: text, attachment: text, bytes: 11, limit: 10 }),
  new AirlockError.SessionDbUnavailable({
    operation,
    resource: "inbound",
    reason: "disk-full",
    code: "ENOSPC"
  }),
  new AirlockError.SessionDbUnavailable({ operation, resource: "inbound", reason: "missing" }),
  new AirlockError.SessionDbCorrupt({ operation, resource: "outbound", reason: "damaged" })
]

const errors = oneOfEach("SessionManager.writeMessage", "a")

const operation = FastCheck.stringMatching(/^[A-Z][a-zA-Z]{0,20}\.[a-z][a-zA-Z]{0,20}$/)

const retryable: Readonly<Record<AirlockError.UnavailableReason, boolean>> = {
  busy: true,
  nested: false,
  missing: false,
  "disk-full": true,
  "not-writable": false,
  io: true,
  "too-large": false,
  "wal-mode": false,
  "newer-schema": false,
  constraint: false
}

describe("AirlockError", () => {
  it("says in each message what failed, on what, and why", () => {
    expect(errors.map(({ message }) => message)).toEqual([
      `SessionManager.writeMessage: "a" cannot name an attachment (separator)`,
      `SessionManager.writeMessage: "a" is not safe to use (symbolic-link)`,
      `SessionManager.writeMessage: message "a" is invalid at content (not-json)`,
      `SessionManager.writeMessage: input is invalid at content.attachments.0.data (not-base64)`,
      `SessionManager.writeMessage: session "sess-1" already has a message "a" with other content`,
      `SessionManager.writeMessage: no session "a" in agent group "a"`,
      `SessionManager.writeMessage: attachment "a" has 11 bytes, over the limit of 10`,
      `SessionManager.writeMessage: inbound is unavailable (disk-full, ENOSPC)`,
      `SessionManager.writeMessage: inbound is unavailable (missing)`,
      `SessionManager.writeMessage: outbound is corrupt (damaged)`
    ])
  })

  it.prop(
    "starts each message with the operation, and keeps it one line that steers no terminal, whatever the other side sent",
    { operation, text: HostileText.any },
    ({ operation, text }) => {
      for (const error of oneOfEach(operation, text)) {
        expect(error.message.startsWith(`${operation}: `)).toBe(true)
        expect(error.message).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u)
        expect(error.message.isWellFormed()).toBe(true)
        expect(error.message.length).toBeLessThan(4000)
      }
    }
  )

  it("leaves an error its own name, so that a log shows what it is", () => {
    for (const error of oneOfEach("Delivery.drain", "\u001b[2Jx")) {
      expect(error.name).toBe(error._tag)
      expect(String(error)).not.toContain("\u001b")
    }
  })

  it("carries no content: neither in a field, nor in the message, nor beside them", () => {
    const secret = "the password is swordfish"
    for (const error of errors) {
      const encoded = { ...Schema.encodeSync(AnyError)(error), content: secret, data: secret, cause: secret }
      const decoded = Schema.decodeUnknownSync(AnyError)(encoded)
      expect(decoded.message).toBe(error.message)
      expect(JSON.stringify(decoded)).not.toContain(secret)
      expect(JSON.stringify(Schema.encodeSync(AnyError)(decoded))).not.toContain(secret)
    }
  })

  it("shows no more than the beginning of a name, a path or an id", () => {
    const text = `${"a".repeat(250)}swordfish`
    for (const error of oneOfEach("Delivery.drain", text)) expect(error.message).not.toContain("swordfish")
  })

  it.prop(
    "survives being encoded as JSON and decoded again",
    { operation, text: HostileText.any },
    ({ operation, text }) => {
      for (const error of oneOfEach(operation, text)) {
        const json: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(AnyError)(error)))
        const decoded = Schema.decodeUnknownSync(AnyError)(json)
        expect(decoded).toBeInstanceOf(error.constructor)
        expect(decoded._tag).toBe(error._tag)
        expect(decoded.message).toBe(error.message)
        expect(Equal.equals(decoded, error)).toBe(true)
      }
    }
  )

  it("does not decode a reason that nobody gives", () => {
    for (const error of errors) {
      const encoded = { ...Schema.encodeSync(AnyError)(error), reason: "because", limit: "ten", messageId: 7 }
      const decoded = Schema.decodeUnknownEither(AnyError)(encoded)
      expect(decoded._tag).toBe(error._tag === "SessionNotFound" ? "Right" : "Left")
    }
  })

  it.effect("is told apart by its tag", () =>
    Effect.gen(function* () {
      for (const error of errors) {
        const caught = yield* Effect.fail(error).pipe(
          Effect.catchTags({
            UnsafeAttachmentName: ({ reason }) => Effect.succeed(reason),
            InvalidMessage: ({ reason }) => Effect.succeed(reason),
            SessionDbUnavailable: ({ reason }) => Effect.succeed(reason)
          }),
          Effect.catchAll((other) => Effect.succeed(other._tag))
        )
        expect(caught).toBe(
          "reason" in error && !/UnsafePath|Corrupt/.test(error._tag) ? error.reason : error._tag
        )
      }
    })
  )

  describe("SessionDbUnavailable", () => {
    it.each(AirlockError.UnavailableReason.literals.map((reason) => [reason, retryable[reason]] as const))(
      "%s: may the same call succeed later by itself? %s",
      (reason, expected) => {
        for (const resource of AirlockError.Resource.literals) {
          const error = new AirlockError.SessionDbUnavailable({
            operation: "Delivery.drain",
            resource,
            reason
          })
          expect(error.isRetryable).toBe(expected)
        }
      }
    )

    it("says for every reason whether it is worth another try", () => {
      expect(Object.keys(retryable).sort()).toEqual([...AirlockError.UnavailableReason.literals].sort())
    })
  })
})
