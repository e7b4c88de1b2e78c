import { describe, expect, it } from "@effect/vitest"
import { Effect, Either, FastCheck, Option } from "effect"
import { AirlockError, AttachmentName, PathSegment } from "effect-airlock/protocol"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as HostileText from "./HostileText.js"

const name = HostileText.any.filter(AttachmentName.isSafe)

const extension = FastCheck.stringMatching(/^[a-z0-9]{1,10}$/)

const codePoint = (character: string): string => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`

/** Whether a file system that folds case and normalizes (by the regular expressions' own tables) confuses them. */
const sameFile = (one: string, other: string): boolean =>
  ["NFC", "NFD"].some((form) =>
    new RegExp(`^${Array.from(one.normalize(form), codePoint).join("")}$`, "iu").test(other.normalize(form))
  )

const safe = (text: string): AttachmentName.AttachmentName => Effect.runSync(AttachmentName.make(text))

/** Spellings that may be one file with `text`, and the names that `distinct` would think of next. */
const related = (text: string): FastCheck.Arbitrary<string> =>
  FastCheck.constantFrom(
    text,
    text.toUpperCase(),
    text.toLowerCase(),
    text.normalize("NFC"),
    text.normalize("NFD"),
    text.toUpperCase().normalize("NFD"),
    ...[2, 3, 4].map((n) => AttachmentName.distinct(safe(text), [text, `${text}-${n}`])),
    ...[2, 3, 4].map((n) => text.replace(/(\.[^.]*)?$/, (suffix) => `-${n}${suffix}`))
  )

const nameAndTaken = name.chain((text) =>
  FastCheck.record({
    name: FastCheck.constant(safe(text)),
    taken: FastCheck.array(FastCheck.oneof(related(text), name), { maxLength: 8 })
  })
)

describe("AttachmentName", () => {
  describe("make", () => {
    it.prop("gives back a safe name as it is", { name }, ({ name }) => {
      expect(Effect.runSync(AttachmentName.make(name))).toBe(name)
    })

    it.prop(
      "refuses exactly the names that are not a path segment",
      { text: HostileText.any },
      ({ text }) => {
        const made = Effect.runSync(Effect.either(AttachmentName.make(text)))
        expect(Option.map(Either.getLeft(made), ({ reason }) => reason)).toEqual(PathSegment.whyUnsafe(text))
        expect(AttachmentName.isSafe(text)).toBe(Either.isRight(made))
      }
    )

    it.effect("says which name, why, and in which operation", () =>
      Effect.gen(function* () {
        expect(yield* Effect.flip(AttachmentName.make("../a"))).toEqual(
          new AirlockError.UnsafeAttachmentName({
            operation: "AttachmentName.make",
            attachment: "../a",
            reason: "separator"
          })
        )
        expect(yield* Effect.flip(AttachmentName.make("", "SessionManager.writeMessage"))).toMatchObject({
          operation: "SessionManager.writeMessage",
          reason: "empty"
        })
      })
    )

    it("takes names that this file system can hold, each by its own name", () => {
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "airlock-names-"))
      try {
        for (const text of FastCheck.sample(name, 200)) {
          const path = Path.join(folder, text)
          Fs.writeFileSync(path, "")
          expect(Fs.readdirSync(folder).map((entry) => entry.normalize())).toEqual([text.normalize()])
          Fs.rmSync(path)
        }
      } finally {
        Fs.rmSync(folder, { recursive: true })
      }
    })
  })

  describe("derive", () => {
    it.each([
      ["image", "jpg"],
      ["photo", "jpg"],
      ["sticker", "webp"],
      ["voice", "ogg"],
      ["audio", "mp3"],
      ["video", "mp4"],
      ["animation", "mp4"],
      ["Photo", "jpg"]
    ])("knows a platform's %j as .%s", (type, suffix) => {
      expect(AttachmentName.derive({ type }, 1_700_000_000_000)).toBe(`attachment-1700000000000.${suffix}`)
    })

    it.each([
      ["image/jpeg", "jpg"],
      ["image/png", "png"],
      ["IMAGE/PNG", "png"],
      ["text/plain; charset=utf-8", "txt"],
      ["Text/HTML;charset=UTF-8", "html"],
      [" application/pdf ; name=a.exe", "pdf"],
      ["audio/ogg; codecs=opus", "ogg"],
      ["image/svg+xml", "svg"],
      ["application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"]
    ])("knows the MIME type %j as .%s, wherever it is said", (mimeType, suffix) => {
      expect(AttachmentName.derive({ mimeType }, 7)).toBe(`attachment-7.${suffix}`)
      expect(AttachmentName.derive({ type: mimeType }, 7)).toBe(`attachment-7.${suffix}`)
    })

    it("believes the MIME type before the platform's type", () => {
      expect(AttachmentName.derive({ mimeType: "image/png", type: "photo" }, 7)).toBe("attachment-7.png")
      expect(AttachmentName.derive({ mimeType: "application/x-tgsticker", type: "sticker" }, 7)).toBe(
        "attachment-7.webp"
      )
    })

    it.each([
      [{}],
      [{ mimeType: undefined, type: undefined }],
      [{ mimeType: "" }],
      [{ mimeType: "application/octet-stream" }],
      [{ mimeType: "image/../../x" }],
      [{ type: "document" }],
      [{ type: "constructor" }],
      [{ mimeType: "__proto__" }]
    ])("gives no extension to %j", (attachment) => {
      expect(AttachmentName.extension(attachment)).toEqual(Option.none())
      expect(AttachmentName.derive(attachment, 7)).toBe("attachment-7")
    })

    it.prop(
      "gives a safe name, whatever the types are",
      {
        mimeType: FastCheck.option(HostileText.any, { nil: undefined }),
        type: FastCheck.option(HostileText.any, { nil: undefined }),
        now: FastCheck.maxSafeNat()
      },
      ({ mimeType, now, type }) => {
        const derived = AttachmentName.derive({ mimeType, type }, now)
        expect(AttachmentName.isSafe(derived)).toBe(true)
        expect(derived).toMatch(/^attachment-\d+(\.[a-z0-9]+)?$/)
      }
    )
  })

  describe("distinct", () => {
    it.each([
      ["a.png", ["a.png"], "a-2.png"],
      ["a.png", ["a.png", "a-2.png"], "a-3.png"],
      ["a.tar.gz", ["a.tar.gz"], "a.tar-2.gz"],
      ["README", ["readme"], "README-2"],
      [".env", [".env"], ".env-2"],
      ["A.PNG", ["a.png", "a-2.png"], "A-3.PNG"],
      ["caf\u00e9", ["cafe\u0301"], "caf\u00e9-2"],
      ["J\u030c", ["\u01f0"], "J\u030c-2"],
      ["J\u0323\u030c", ["\u01f0\u0323"], "J\u0323\u030c-2"],
      ["α\u0345\u0301", ["α\u0301\u0345"], "α\u0345\u0301-2"],
      ["GROẞ", ["groß"], "GROẞ-2"],
      ["ΟΔΟΣ", ["οδος"], "ΟΔΟΣ-2"],
      ["οδοσ", ["ΟΔΟΣ"], "οδοσ-2"]
    ])("with %j among %j is %j", (text, taken, expected) => {
      expect(AttachmentName.distinct(safe(text), taken)).toBe(expected)
    })

    it.prop(
      "is safe, and no taken name is the same file even where case and normalization are ignored",
      { given: nameAndTaken },
      ({ given }) => {
        const distinct = AttachmentName.distinct(given.name, given.taken)
        expect(PathSegment.whyUnsafe(distinct)).toEqual(Option.none())
        expect(Buffer.byteLength(distinct)).toBeLessThanOrEqual(255)
        expect(given.taken.filter((taken) => sameFile(distinct, taken))).toEqual([])
      },
      { fastCheck: { numRuns: 500 } }
    )

    it.prop(
      "is the name itself when it is free",
      { name: name.map((text) => safe(`a${text.slice(0, 50)}z`)), taken: FastCheck.array(name) },
      ({ name, taken }) => {
        const others = taken.filter((other) => !/^a/i.test(other))
        expect(AttachmentName.distinct(name, others)).toBe(name)
        expect(AttachmentName.distinct(name, [])).toBe(name)
      }
    )

    it.prop(
      "keeps the extension, however long the name",
      { stem: FastCheck.string({ unit: "grapheme", minLength: 1, maxLength: 300 }), extension },
      ({ extension, stem }) => {
        const whole = Array.from(stem.replace(/[\p{C}\p{Z}/\\.]/gu, "_"))
        while (Buffer.byteLength(`${whole.join("")}.${extension}`) > 255) whole.pop()
        const text = `n${whole.slice(1).join("")}.${extension}`
        const distinct = AttachmentName.distinct(safe(text), [text])
        expect(distinct).not.toBe(text)
        expect(Path.extname(distinct)).toBe(`.${extension}`)
        expect(AttachmentName.isSafe(distinct)).toBe(true)
      }
    )

    it.prop(
      "tells any number of equal names apart",
      { name, count: FastCheck.integer({ min: 2, max: 30 }) },
      ({ count, name }) => {
        const names: Array<string> = []
        for (let i = 0; i < count; i++) names.push(AttachmentName.distinct(safe(name), names))
        expect(new Set(names.map((each) => each.normalize().toLowerCase())).size).toBe(count)
        expect(names.every(AttachmentName.isSafe)).toBe(true)
      }
    )

    it.each([
      ["not at all while there is room", "😀".repeat(62) + ".txt", "😀".repeat(62) + "-2.txt"],
      ["by what is needed", "a".repeat(251) + ".txt", "a".repeat(249) + "-2.txt"],
      ["by whole characters", "ab" + "😀".repeat(62) + ".txt", "ab" + "😀".repeat(61) + "-2.txt"],
      [
        "with an extension of several bytes a character",
        "a".repeat(245) + ".éééé",
        "a".repeat(244) + "-2.éééé"
      ]
    ])("shortens the name %s", (_, text, expected) => {
      expect(AttachmentName.distinct(safe(text), [text])).toBe(expected)
    })

    it("gives up an extension so long that it is none", () => {
      const text = `a.${"x".repeat(240)}`
      expect(AttachmentName.distinct(safe(text), [text])).toBe("a-2")
    })
  })
})
