import { afterAll, afterEach, describe, expect, it } from "@effect/vitest"
import { Clock, Effect, FastCheck, Option, TestClock } from "effect"
import { Timestamp } from "effect-airlock/protocol"
import * as Raw from "../support/Raw.js"

const sqlite = Raw.open(":memory:")
afterAll(() => sqlite.close())

const ask = (sql: string, ...parameters: ReadonlyArray<unknown>): unknown =>
  sqlite.prepare(`SELECT ${sql} AS answer`).all(...parameters)[0]?.["answer"]

const firstMillis = Date.parse("0000-01-01T00:00:00.000Z")
const lastMillis = Date.UTC(9999, 11, 31, 23, 59, 59, 999)
const millis = FastCheck.integer({ min: 0, max: lastMillis })
const two = (n: number) => String(n).padStart(2, "0")
const daysOf = (year: number, month: number) => new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate()

const noon = Date.UTC(2026, 6, 1, 12)

describe("Timestamp", () => {
  describe("parse", () => {
    it.each([
      ["2026-07-01T12:00:00.000Z", noon],
      ["2026-07-01T12:00:00Z", noon],
      ["2026-07-01t12:00:00z", noon],
      ["2026-07-01T12:00Z", noon],
      ["2026-07-01T12:00:00.5Z", noon + 500],
      ["2026-07-01T12:00:00.123456789Z", noon + 123],
      ["2026-07-01 12:00:00", noon],
      ["2026-07-01 12:00", noon],
      ["2026-07-01 12:00:00.250", noon + 250],
      ["2026-07-01 12:00:00Z", noon],
      ["2026-07-01T12:00:00", noon],
      ["2026-07-01", Date.UTC(2026, 6, 1)],
      [" 2026-07-01T12:00:00.000Z\n", noon],
      ["2024-02-29 00:00:00", Date.UTC(2024, 1, 29)],
      ["1969-12-31T23:59:59.999Z", -1],
      ["9999-12-31T23:59:59.999Z", lastMillis]
    ])("reads %j", (text, expected) => {
      expect(Timestamp.parse(text)).toEqual(Option.some(expected))
    })

    it.each([
      "2026-07-01T14:00:00+02:00",
      "2026-07-01T14:00:00+0200",
      "2026-07-01 14:00:00 +02:00",
      "2026-07-01T17:45+05:45",
      "2026-07-01T08:30:00.000-03:30",
      "2026-07-02T02:00:00+14:00",
      "2026-07-01T12:00:00+00:00",
      "2026-07-01T12:00:00-00:00"
    ])("takes the offset of %j away", (text) => {
      expect(Timestamp.parse(text)).toEqual(Option.some(noon))
    })

    it.each([
      "2026-02-29",
      "2026-02-30T12:00:00Z",
      "1900-02-29 00:00:00",
      "2026-04-31",
      "2026-00-01",
      "2026-13-01",
      "2026-07-00",
      "2026-07-32",
      "2026-07-01T24:00:00Z",
      "2026-07-01T25:00:00Z",
      "2026-07-01T12:60:00Z",
      "2026-07-01 12:00:60",
      "2026-07-01T12:00:00+24:00",
      "2026-07-01T12:00:00+02:60",
      "2026-07-01T12:00:00-99:99"
    ])("knows no %j", (text) => {
      expect(Timestamp.parse(text)).toEqual(Option.none())
    })

    it.each([
      "",
      " ",
      "now",
      "tomorrow at noon",
      "1782907200000",
      "2461223.0",
      "2026",
      "2026-07",
      "20260701T120000Z",
      "2026-7-1",
      "26-07-01",
      "07/01/2026",
      "+002026-07-01T12:00:00.000Z",
      "2026-07-01T",
      "2026-07-01T12",
      "2026-07-01Z",
      "2026-07-01T12:00:00.Z",
      "2026-07-01T12:00:00,5Z",
      "2026-07-01T12:00:00ZZ",
      "2026-07-01T12:00:00+2",
      "2026-07-01T12:00:00 PM",
      "2026-07-01T12:00:00 UTC",
      "2026-07-01 12:00:00; DROP TABLE messages_in",
      "2026-07-01\n2026-07-02",
      "２０２６-07-01",
      "Wed, 01 Jul 2026 12:00:00 GMT"
    ])("does not take %j for a timestamp", (text) => {
      expect(Timestamp.parse(text)).toEqual(Option.none())
    })

    it.prop(
      "reads exactly the days that the calendar has",
      {
        year: FastCheck.integer({ min: 0, max: 9999 }),
        month: FastCheck.integer({ min: 1, max: 12 }),
        day: FastCheck.integer({ min: 1, max: 31 })
      },
      ({ day, month, year }) => {
        const text = `${String(year).padStart(4, "0")}-${two(month)}-${two(day)}`
        expect(Timestamp.parse(text)).toEqual(
          day <= daysOf(year, month) ? Option.some(Date.parse(`${text}T00:00:00Z`)) : Option.none()
        )
      },
      { fastCheck: { numRuns: 500 } }
    )

    it.prop("reads what SQLite writes as the same instant", { millis }, ({ millis }) => {
      const seconds = Math.floor(millis / 1000)
      const text = ask("datetime(?, 'unixepoch')", seconds)
      expect(text).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/)
      expect(Timestamp.parse(String(text))).toEqual(Option.some(seconds * 1000))
      expect(Timestamp.parse(String(text))).toEqual(Timestamp.parse(Timestamp.format(seconds * 1000)))
    })

    describe("in every time zone of the process", () => {
      const own = process.env["TZ"]
      afterEach(() => {
        if (own === undefined) delete process.env["TZ"]
        else process.env["TZ"] = own
      })

      it.each([
        ["America/Los_Angeles", 7],
        ["Asia/Kolkata", -5.5],
        ["Pacific/Kiritimati", -14]
      ])("takes a missing zone for UTC (%s)", (zone, hours) => {
        process.env["TZ"] = zone
        expect(new Date("2026-07-01T12:00:00").getTime()).toBe(noon + hours * 3_600_000)
        expect(Timestamp.parse("2026-07-01 12:00:00")).toEqual(Option.some(noon))
        expect(Timestamp.parse("2026-07-01T12:00:00")).toEqual(Option.some(noon))
        expect(Timestamp.parse("2026-07-01")).toEqual(Option.some(Date.UTC(2026, 6, 1)))
        expect(Timestamp.normalize("2026-07-01 12:00:00")).toEqual(Option.some("2026-07-01T12:00:00.000Z"))
        expect(Timestamp.format(noon)).toBe("2026-07-01T12:00:00.000Z")
      })
    })
  })

  describe("format", () => {
    it.prop("writes what Date.prototype.toISOString writes", { millis }, ({ millis }) => {
      expect(Timestamp.format(millis)).toBe(new Date(millis).toISOString())
    })

    it.prop("is undone by parse", { millis }, ({ millis }) => {
      expect(Timestamp.parse(Timestamp.format(millis))).toEqual(Option.some(millis))
    })

    it.prop("is read by SQLite as the same second", { millis }, ({ millis }) => {
      expect(ask("unixepoch(?)", Timestamp.format(millis))).toBe(Math.floor(millis / 1000))
    })
  })

  describe("normalize", () => {
    it.each([
      ["2026-07-01 12:00:00", "2026-07-01T12:00:00.000Z"],
      ["2026-07-01T14:00:00+02:00", "2026-07-01T12:00:00.000Z"],
      ["2026-07-01", "2026-07-01T00:00:00.000Z"]
    ])("stores %j as %j", (text, stored) => {
      expect(Timestamp.normalize(text)).toEqual(Option.some(stored))
    })

    it("stores nothing for what is no timestamp", () => {
      expect(Timestamp.normalize("soon")).toEqual(Option.none())
    })

    it.prop(
      "stores only what parse reads as the same instant",
      {
        local: FastCheck.oneof(
          millis,
          FastCheck.integer({ min: lastMillis - 86_400_000, max: lastMillis }),
          FastCheck.integer({ min: firstMillis, max: firstMillis + 86_400_000 })
        ),
        sign: FastCheck.constantFrom("+", "-"),
        hours: FastCheck.integer({ min: 0, max: 23 }),
        minutes: FastCheck.integer({ min: 0, max: 59 })
      },
      ({ hours, local, minutes, sign }) => {
        const text = new Date(local).toISOString().replace("Z", `${sign}${two(hours)}:${two(minutes)}`)
        const offset = (hours * 60 + minutes) * 60_000
        const instant = local - (sign === "-" ? -offset : offset)
        const read = Timestamp.parse(text)
        expect(read).toEqual(
          instant >= firstMillis && instant <= lastMillis ? Option.some(instant) : Option.none()
        )
        expect(Option.flatMap(Timestamp.normalize(text), Timestamp.parse)).toEqual(read)
      },
      { fastCheck: { numRuns: 500 } }
    )
  })

  describe("hasCome", () => {
    it.effect.each(["2026-07-01T12:00:00.000Z", "2026-07-01 12:00:00", "2026-07-01T14:00:00+02:00"])(
      "%j has come when the clock shows it, and not a millisecond before",
      (text) =>
        Effect.gen(function* () {
          const hasCome = Effect.map(Clock.currentTimeMillis, (now) => Timestamp.hasCome(text, now))
          yield* TestClock.setTime(noon - 86_400_000)
          expect(yield* hasCome).toBe(false)
          yield* TestClock.adjust("23 hours")
          expect(yield* hasCome).toBe(false)
          yield* TestClock.adjust("3599999 millis")
          expect(yield* hasCome).toBe(false)
          yield* TestClock.adjust("1 millis")
          expect(yield* hasCome).toBe(true)
          yield* TestClock.adjust("1 hour")
          expect(yield* hasCome).toBe(true)
        })
    )

    it.prop("is the order of instants, in both forms", { due: millis, now: millis }, ({ due, now }) => {
      const seconds = Math.floor(due / 1000)
      expect(Timestamp.hasCome(Timestamp.format(due), now)).toBe(due <= now)
      expect(Timestamp.hasCome(String(ask("datetime(?, 'unixepoch')", seconds)), now)).toBe(
        seconds * 1000 <= now
      )
    })

    it("is not the order of texts, in which SQLite's form comes before every time of its day", () => {
      const inTheEvening = "2026-07-01 20:00:00"
      expect(inTheEvening <= Timestamp.format(noon)).toBe(true)
      expect(Timestamp.hasCome(inTheEvening, noon)).toBe(false)

      const inTheMorning = "2026-07-01T08:00:00.000Z"
      expect(inTheMorning <= "2026-07-01 12:00:00").toBe(false)
      expect(Timestamp.hasCome(inTheMorning, noon)).toBe(true)
    })

    it("is true of no time at all, and of a text that never comes", () => {
      expect(Timestamp.hasCome(null, noon)).toBe(true)
      expect(Timestamp.hasCome("soon", noon)).toBe(true)
      expect(Timestamp.hasCome("", 0)).toBe(true)
      expect(Timestamp.hasCome("2026-02-30 00:00:00", 0)).toBe(true)
    })
  })
})
