import { describe, expect, it } from "@effect/vitest"
import * as StoredRecord from "../../src/storage/StoredRecord.js"

describe("StoredRecord", () => {
  it("has null for a fraction that is no number, as SQLite has", () => {
    const of = (value: number) => {
      // A header of two bytes, and one column that is a fraction.
      const bytes = Buffer.from([2, 7, ...new Uint8Array(8)])
      bytes.writeDoubleBE(value, 2)
      const row = StoredRecord.parse(bytes)
      return [row?.type(0), row?.value(0)]
    }
    expect(of(1.5)).toEqual(["real", 1.5])
    expect(of(Number.POSITIVE_INFINITY)).toEqual(["real", Number.POSITIVE_INFINITY])
    expect(of(Number.NaN)).toEqual(["null", null])
  })
})
