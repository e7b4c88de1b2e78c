import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as TestHost from "../support/TestHost.js"
import { program } from "./Fixtures.js"

describe("Mailbox.attachment", () => {
  it.effect("reads only what lies in the inbox", () =>
    Effect.gen(function* () {
      const { folder, mailbox } = yield* program()
      Fs.mkdirSync(`${folder}/inbox/m`)
      Fs.symlinkSync("/etc/passwd", `${folder}/inbox/m/link`)
      for (const path of [
        "inbox/../inbound.db",
        "/etc/passwd",
        "inbox/m",
        "outbox/m/a",
        "inbox/m/../x",
        "inbox/m/link"
      ]) {
        expect(yield* Effect.flip(mailbox.attachment(path))).toMatchObject({ _tag: "UnsafePath" })
      }
      expect(yield* Effect.flip(mailbox.attachment("inbox/m/gone"))).toMatchObject({ reason: "missing" })
    }).pipe(TestHost.withHost())
  )
})
