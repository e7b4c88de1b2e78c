import { describe, expect, it } from "@effect/vitest"
import { Option } from "effect"
import type { AirlockError } from "effect-airlock/protocol"
import { PathSegment } from "effect-airlock/protocol"
import * as Path from "node:path"
import * as HostileText from "./HostileText.js"

const unsafe: ReadonlyArray<readonly [name: string, reason: AirlockError.UnsafeNameReason]> = [
  ["", "empty"],
  [".", "dot-segment"],
  ["..", "dot-segment"],
  ["/", "separator"],
  ["../etc/passwd", "separator"],
  ["/etc/passwd", "separator"],
  ["a/", "separator"],
  ["..\\boot.ini", "separator"],
  ["C:\\boot.ini", "separator"],
  ["a\0.png", "control-character"],
  ["a\nb", "control-character"],
  ["a\u001b[31m", "control-character"],
  ["a\u007f", "control-character"],
  ["a\u009b", "control-character"],
  ["invoice\u202efdp.exe", "control-character"],
  ["a\u2066b", "control-character"],
  ["a\u2028b", "control-character"],
  ["a\ud800", "lone-surrogate"],
  ["\udc00a", "lone-surrogate"],
  ["\ude00\ud83d", "lone-surrogate"],
  ["a.", "trailing-dot-or-space"],
  ["...", "trailing-dot-or-space"],
  ["a ", "trailing-dot-or-space"],
  [" ", "trailing-dot-or-space"],
  ["con", "device-name"],
  ["CON", "device-name"],
  ["Prn.txt", "device-name"],
  ["aux.tar.gz", "device-name"],
  ["NUL", "device-name"],
  ["nul.", "trailing-dot-or-space"],
  ["com0", "device-name"],
  ["com1.txt", "device-name"],
  ["COM¹", "device-name"],
  ["Lpt9.log", "device-name"],
  ["lpt³.x", "device-name"],
  ["conin$", "device-name"],
  ["CONOUT$.txt", "device-name"],
  ["nul .txt", "device-name"],
  ["NUL:", "device-name"],
  ["com1:stream", "device-name"],
  ["a".repeat(256), "too-long"],
  ["é".repeat(128), "too-long"],
  ["漢".repeat(86), "too-long"],
  ["😀".repeat(64), "too-long"]
]

const safe = [
  "a",
  "report.pdf",
  ".env",
  "..a",
  "a..b",
  " a",
  "100%",
  "~",
  "-rf",
  "über uns.txt",
  "e\u0301",
  "写真.jpg",
  "😀",
  "a\u200bb",
  "console",
  "com",
  "com10",
  "com1-2.txt",
  "con-2",
  "xcon",
  "null",
  "conin",
  "a".repeat(255),
  "é".repeat(127),
  "漢".repeat(85),
  "😀".repeat(63)
]

/** A name as a title can show it. */
const shown = (name: string): string =>
  JSON.stringify(name.length > 40 ? `${name.slice(0, 2)}… (${Buffer.byteLength(name)} bytes)` : name).replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  )

/** What a folder name that `messageFolder` gave stands for. */
const decoded = (folder: string): string =>
  Buffer.from(
    folder.replace(/%([0-9A-F]{2})|[^%]/gu, (character, hex: string | undefined) =>
      hex === undefined ? Buffer.from(character).toString("hex") : hex
    ),
    "hex"
  ).toString()

describe("PathSegment", () => {
  describe("whyUnsafe", () => {
    it.each(unsafe.map(([name, reason]) => [shown(name), reason, name] as const))(
      "refuses %s as %s",
      (_, reason, name) => {
        expect(PathSegment.whyUnsafe(name)).toEqual(Option.some(reason))
        expect(PathSegment.isSafe(name)).toBe(false)
      }
    )

    it.each(safe.map((name) => [shown(name), name] as const))("takes %s", (_, name) => {
      expect(PathSegment.whyUnsafe(name)).toEqual(Option.none())
      expect(PathSegment.isSafe(name)).toBe(true)
    })

    it("refuses, inside a name, exactly separators, controls, line breaks, bidi controls but marks, and lone surrogates", () => {
      const refused = /[/\\]|\p{Cc}|\p{Zl}|\p{Zp}|(?![\u061c\u200e\u200f])\p{Bidi_Control}|\p{Surrogate}/u
      const mistaken: Array<string> = []
      for (let unit = 0; unit <= 0xffff; unit++) {
        const character = String.fromCharCode(unit)
        if (PathSegment.isSafe(`a${character}b`) === refused.test(character)) mistaken.push(unit.toString(16))
      }
      expect(mistaken).toEqual([])
    })

    it.prop(
      "takes no name that leads out of its folder",
      { name: HostileText.any.filter(PathSegment.isSafe) },
      ({ name }) => {
        expect(Path.posix.relative("/in/box", Path.posix.join("/in/box", name))).toBe(name)
        expect(Path.posix.dirname(Path.posix.join("/in/box", name))).toBe("/in/box")
        expect(Path.win32.relative("C:\\in\\box", Path.win32.join("C:\\in\\box", name))).toBe(name)
        expect(Path.win32.dirname(Path.win32.join("C:\\in\\box", name))).toBe("C:\\in\\box")
      },
      { fastCheck: { numRuns: 500 } }
    )

    it.prop(
      "takes no name that does not survive as UTF-8 of at most 255 bytes",
      { name: HostileText.any.filter(PathSegment.isSafe) },
      ({ name }) => {
        expect(Buffer.from(name).toString()).toBe(name)
        expect(Buffer.byteLength(name)).toBeLessThanOrEqual(255)
      },
      { fastCheck: { numRuns: 500 } }
    )
  })

  describe("messageFolder", () => {
    it.each([
      ["spaces/x/messages/y", "spaces%2Fx%2Fmessages%2Fy"],
      ["..", "%2E%2E"],
      ["../../etc", "%2E%2E%2F%2E%2E%2Fetc"],
      ["a\\b", "a%5Cb"],
      ["a\0b", "a%00b"],
      ["a.", "a%2E"],
      ["50%", "50%25"],
      ["a%2Fb", "a%252Fb"],
      ["é/", "%C3%A9%2F"],
      ["😀/", "%F0%9F%98%80%2F"],
      ["con", "%63%6F%6E"],
      ["NUL.x", "%4E%55%4C%2E%78"]
    ])("calls the folder of %j %j", (id, folder) => {
      expect(PathSegment.messageFolder(id)).toEqual(Option.some(folder))
    })

    it.prop(
      "leaves a safe id as it is",
      { id: HostileText.any.filter((id) => PathSegment.isSafe(id) && !id.includes("%")) },
      ({ id }) => {
        expect(PathSegment.messageFolder(id)).toEqual(Option.some(id))
      }
    )

    it.prop(
      "gives only safe names",
      { id: HostileText.any },
      ({ id }) => {
        expect(Option.filter(PathSegment.messageFolder(id), (folder) => !PathSegment.isSafe(folder))).toEqual(
          Option.none()
        )
      },
      { fastCheck: { numRuns: 500 } }
    )

    it.prop(
      "gives no two ids one folder: the id can be read from it",
      { id: HostileText.any },
      ({ id }) => {
        expect(Option.map(PathSegment.messageFolder(id), decoded)).toEqual(
          Option.map(PathSegment.messageFolder(id), () => id)
        )
      },
      { fastCheck: { numRuns: 500 } }
    )

    it.prop(
      "gives an id that imitates another's folder a folder of its own",
      { id: HostileText.any },
      ({ id }) => {
        const folder = PathSegment.messageFolder(id)
        const imitation = Option.flatMap(folder, PathSegment.messageFolder)
        expect(
          Option.contains(
            imitation,
            Option.getOrElse(folder, () => "")
          )
        ).toBe(Option.contains(folder, id))
      },
      { fastCheck: { numRuns: 500 } }
    )

    it.each([
      ["is empty", ""],
      ["is not Unicode", "a/\ud800"],
      ["is too long", "a".repeat(256)],
      ["is too long in bytes", "é".repeat(128)],
      ["is too long once encoded", "/".repeat(86)]
    ])("gives no folder to an id that %s", (_, id) => {
      expect(PathSegment.messageFolder(id)).toEqual(Option.none())
    })

    it("gives a folder to the longest id of each kind", () => {
      expect(PathSegment.messageFolder("a".repeat(255))).toEqual(Option.some("a".repeat(255)))
      expect(PathSegment.messageFolder("/".repeat(85))).toEqual(Option.some("%2F".repeat(85)))
    })
  })
})
