import { describe, expect, it } from "@effect/vitest"
import { FastCheck, Option } from "effect"
import { AttachmentContent } from "effect-airlock/protocol"

const bytes = FastCheck.uint8Array({ maxLength: 200 })
const unpadded = (base64: string) => base64.replace(/=+$/, "")

/** How chat platforms and agents write base64. */
const alphabets: Readonly<Record<string, (bytes: Uint8Array) => string>> = {
  standard: (bytes) => Buffer.from(bytes).toString("base64"),
  "standard without padding": (bytes) => unpadded(Buffer.from(bytes).toString("base64")),
  "URL-safe": (bytes) => Buffer.from(bytes).toString("base64url"),
  "URL-safe with padding": (bytes) => {
    const text = Buffer.from(bytes).toString("base64url")
    return text.padEnd(Math.ceil(text.length / 4) * 4, "=")
  },
  "broken into lines": (bytes) =>
    Buffer.from(bytes)
      .toString("base64")
      .replace(/.{1,76}/g, "$&\r\n"),
  "broken within its padding": (bytes) => Buffer.from(bytes).toString("base64").replace(/=/g, "\n=")
}

const jsonKey = FastCheck.oneof(
  FastCheck.string(),
  FastCheck.constantFrom("name", "localPath", "mimeType", "type", "url", "__proto__", "constructor")
)

/** JSON values as `JSON.parse` gives them. */
const json = FastCheck.json({ maxDepth: 2 }).map((text): unknown => JSON.parse(text))

/** A JSON object that has these entries, whatever their keys are. */
const objectOf = (key: FastCheck.Arbitrary<string>): FastCheck.Arbitrary<AttachmentContent.JsonObject> =>
  FastCheck.array(FastCheck.tuple(key, json), { maxLength: 5 }).map((entries): AttachmentContent.JsonObject =>
    Object.fromEntries(entries)
  )

const withBytes = FastCheck.tuple(objectOf(jsonKey), bytes).map(
  ([rest, bytes]): AttachmentContent.JsonObject => ({
    ...rest,
    data: Buffer.from(bytes).toString("base64")
  })
)

const withoutBytes = FastCheck.oneof(
  FastCheck.constantFrom<unknown>(
    null,
    [],
    ["data"],
    "data",
    1,
    true,
    { data: null },
    { data: 7 },
    { data: ["QQ=="] }
  ),
  objectOf(jsonKey.filter((key) => key !== "data"))
)

const contentWith = (entry: FastCheck.Arbitrary<unknown>) =>
  FastCheck.record({
    rest: objectOf(jsonKey.filter((key) => key !== "attachments")),
    attachments: FastCheck.array(entry, { maxLength: 6 })
  }).map(({ attachments, rest }): AttachmentContent.JsonObject => ({ ...rest, attachments }))

const indentation = FastCheck.constantFrom("", " ", "\t")

/** What the host does with a content: every embedded attachment goes to a file of its position. */
const place = (text: string): string => {
  const content = AttachmentContent.parseJson(text)
  const embedded = Option.match(content, { onNone: () => [], onSome: AttachmentContent.embedded })
  const replaced = embedded.map(
    ({ entry, index }) =>
      [index, AttachmentContent.placed(entry, `file-${index}`, `inbox/m/file-${index}`)] as const
  )
  return AttachmentContent.rewrite(text, content, new Map(replaced), [])
}

const without = (value: unknown, ...keys: ReadonlyArray<string>): unknown =>
  AttachmentContent.isJsonObject(value) ? Object.entries(value).filter(([key]) => !keys.includes(key)) : value

describe("AttachmentContent", () => {
  describe("isBase64", () => {
    it.each([
      "",
      "QQ==",
      "QQ",
      "QUI=",
      "QUI",
      "QUJD",
      "QUJDRA==",
      "+/+/",
      "-_-_",
      "QUJD\nRA==\n",
      "QUJD\r\nRA==",
      "Q U J D",
      "\n"
    ])("takes %j", (text) => {
      expect(AttachmentContent.isBase64(text)).toBe(true)
    })

    it.each([
      "Q",
      "QUJDR",
      "QUJDR===",
      "Q=Q=",
      "QQ==QUJD",
      "=QUJ",
      "QQ===",
      "====",
      "QUJ!",
      "QU.D",
      "QUJD\0",
      "QUJDé===",
      "ＱＵＪＤ",
      "\u00a0QUJD",
      "data:image/png;base64,QUJD",
      "%51%55",
      "[object Object]"
    ])("refuses %j", (text) => {
      expect(AttachmentContent.isBase64(text)).toBe(false)
    })

    describe.each(Object.entries(alphabets))("in the alphabet %s", (_, encode) => {
      it.prop("takes any bytes, and they decode to themselves", { bytes }, ({ bytes }) => {
        const text = encode(bytes)
        expect(AttachmentContent.isBase64(text)).toBe(true)
        expect(new Uint8Array(Buffer.from(text, "base64"))).toEqual(bytes)
      })
    })

    it.prop(
      "takes no text of which a decoder would drop a character",
      { text: FastCheck.string({ unit: FastCheck.constantFrom(..."QUa09+/-_=\n!é "), maxLength: 12 }) },
      ({ text }) => {
        if (!AttachmentContent.isBase64(text)) return
        const meaningful = text.replace(/[\s=]/g, "").replaceAll("-", "+").replaceAll("_", "/")
        expect(unpadded(Buffer.from(text, "base64").toString("base64"))).toHaveLength(meaningful.length)
      },
      { fastCheck: { numRuns: 1000 } }
    )
  })

  describe("isJsonObject", () => {
    it("takes objects, and nothing else that JSON has", () => {
      expect([{}, { a: 1 }].every(AttachmentContent.isJsonObject)).toBe(true)
      expect([null, [], [{}], "{}", 0, true, undefined].some(AttachmentContent.isJsonObject)).toBe(false)
    })
  })

  describe("parseJson", () => {
    it.prop("reads every JSON text", { value: json, indentation }, ({ indentation, value }) => {
      expect(AttachmentContent.parseJson(JSON.stringify(value, null, indentation))).toEqual(
        Option.some(value)
      )
    })

    it.each(["", " ", "hello", "{", "{'a': 1}", '{"a": 1,}', "undefined", "NaN", '{"a": 1} {"b": 2}'])(
      "does not read %j",
      (text) => {
        expect(AttachmentContent.parseJson(text)).toEqual(Option.none())
      }
    )
  })

  describe("embedded", () => {
    it("finds the entries that carry bytes, with their positions", () => {
      const content = {
        text: "look",
        attachments: [
          null,
          { name: "a", data: "QQ==" },
          [],
          "QQ==",
          { url: "https://x" },
          { data: "" },
          { data: 1 }
        ]
      }
      expect(AttachmentContent.embedded(content)).toEqual([
        { index: 1, entry: { name: "a", data: "QQ==" } },
        { index: 5, entry: { data: "" } }
      ])
    })

    it.each([
      [null],
      ["text"],
      [7],
      [[{ data: "QQ==" }]],
      [{}],
      [{ data: "QQ==" }],
      [{ attachments: null }],
      [{ attachments: "QQ==" }],
      [{ attachments: { 0: { data: "QQ==" }, length: 1 } }]
    ])("finds nothing in %j", (content) => {
      expect(AttachmentContent.embedded(content)).toEqual([])
    })

    it.prop(
      "finds all of them and no other entry",
      { content: contentWith(FastCheck.oneof(withBytes, withoutBytes)) },
      ({ content }) => {
        const entries = content["attachments"] as ReadonlyArray<unknown>
        const positions = AttachmentContent.embedded(content).map(({ index }) => index)
        expect(positions).toEqual(
          entries.flatMap((entry, index) =>
            typeof (entry as { data?: unknown } | null)?.data === "string" ? [index] : []
          )
        )
      }
    )
  })

  describe("rewrite", () => {
    it.prop(
      "leaves a text that is not JSON as it is, byte for byte",
      { text: FastCheck.string() },
      ({ text }) => {
        const plain = `.${text}`
        expect(place(plain)).toBe(plain)
      }
    )

    it.prop(
      "leaves JSON without embedded attachments as it is, byte for byte",
      { content: FastCheck.oneof(json, contentWith(withoutBytes)), indentation },
      ({ content, indentation }) => {
        const text = JSON.stringify(content, null, indentation)
        expect(place(text)).toBe(text)
      }
    )

    it.each(['{ "id": 12345678901234567890 }', '{"a":1,"a":2}', '{"a":"\\u0041"}', "1e2", " null "])(
      "does not reformat %j",
      (text) => {
        expect(place(text)).toBe(text)
      }
    )

    it.prop(
      "takes the bytes out of each entry, and keeps every other field, entry and key",
      { content: contentWith(FastCheck.oneof(withBytes, withoutBytes)), indentation },
      ({ content, indentation }) => {
        const before = content["attachments"] as ReadonlyArray<unknown>
        const result = JSON.parse(
          place(JSON.stringify(content, null, indentation))
        ) as AttachmentContent.JsonObject
        const after = result["attachments"] as ReadonlyArray<unknown>
        expect(without(result, "attachments")).toEqual(without(content, "attachments"))
        expect(after).toHaveLength(before.length)
        expect(AttachmentContent.embedded(result)).toEqual([])
        const moved = new Set(AttachmentContent.embedded(content).map(({ index }) => index))
        for (const [index, entry] of after.entries()) {
          if (!moved.has(index)) expect(entry).toEqual(before[index])
          else {
            expect(entry).toMatchObject({ name: `file-${index}`, localPath: `inbox/m/file-${index}` })
            expect(entry).not.toHaveProperty("data")
            expect(without(entry, "name", "localPath")).toEqual(
              without(before[index], "name", "localPath", "data")
            )
          }
        }
      },
      { fastCheck: { numRuns: 300 } }
    )

    it.prop(
      "puts added entries at the end, in their order",
      {
        content: contentWith(withoutBytes),
        added: FastCheck.array(objectOf(jsonKey), { minLength: 1, maxLength: 4 })
      },
      ({ added, content }) => {
        const result = AttachmentContent.rewrite(
          JSON.stringify(content),
          Option.some(content),
          new Map(),
          added
        )
        expect(JSON.parse(result)).toEqual({
          ...content,
          attachments: [...(content["attachments"] as ReadonlyArray<unknown>), ...added]
        })
      }
    )

    it("makes the array of attachments where there is none", () => {
      const added = [{ name: "a", localPath: "inbox/m/a" }]
      for (const content of [{ text: "hi" }, { text: "hi", attachments: null }]) {
        const result = AttachmentContent.rewrite(
          JSON.stringify(content),
          Option.some(content),
          new Map(),
          added
        )
        expect(JSON.parse(result)).toEqual({ text: "hi", attachments: added })
      }
    })

    it.prop(
      "makes plain text the text of an object when there is something to add",
      { text: FastCheck.oneof(FastCheck.string(), FastCheck.constantFrom("42", '"quoted"', "[1]", "null")) },
      ({ text }) => {
        const content = AttachmentContent.parseJson(text)
        const added = [{ name: "a", localPath: "inbox/m/a" }]
        expect(JSON.parse(AttachmentContent.rewrite(text, content, new Map(), added))).toEqual({
          text,
          attachments: added
        })
      }
    )
  })

  describe("placed", () => {
    it("names the file instead of carrying its bytes", () => {
      const entry = { type: "photo", name: "../a.png", data: "QQ==", caption: "hi" }
      expect(AttachmentContent.placed(entry, "a.png", "inbox/m/a.png")).toEqual({
        type: "photo",
        caption: "hi",
        name: "a.png",
        localPath: "inbox/m/a.png"
      })
      expect(entry.data).toBe("QQ==")
    })
  })
})
