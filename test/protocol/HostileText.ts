/**
 * Texts as chat platforms and agents may send them where a name or an id is expected.
 */
import { FastCheck } from "effect"

const piece = FastCheck.oneof(
  { weight: 12, arbitrary: FastCheck.constantFrom(..."abzAZ059-_.%~ ") },
  {
    weight: 4,
    arbitrary: FastCheck.constantFrom(
      "é",
      "e\u0301",
      "J\u030c",
      "\u01f0",
      "Σ",
      "σ",
      "ς",
      "\u212a",
      "漢",
      "😀"
    )
  },
  {
    weight: 2,
    arbitrary: FastCheck.constantFrom(
      "/",
      "\\",
      "..",
      ":",
      "con",
      "NUL",
      "com1",
      ".txt",
      "%2F",
      "a".repeat(60)
    )
  },
  { weight: 1, arbitrary: FastCheck.constantFrom("\0", "\n", "\u007f", "\u0085", "\u202e", "\u2028") },
  {
    weight: 1,
    arbitrary: FastCheck.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit))
  }
)

/** Any text: mostly plausible, sometimes long, sometimes not even Unicode. */
export const any = FastCheck.oneof(
  { weight: 4, arbitrary: FastCheck.string({ unit: piece, maxLength: 8 }) },
  { weight: 1, arbitrary: FastCheck.string({ unit: piece, maxLength: 40 }) },
  {
    weight: 1,
    arbitrary: FastCheck.tuple(piece, FastCheck.integer({ min: 60, max: 260 })).map(([text, count]) =>
      text.repeat(count)
    )
  }
)
