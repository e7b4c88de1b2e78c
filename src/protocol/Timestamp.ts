/**
 * Points in time as the two databases store them: always written as `Date.prototype.toISOString()`, and read
 * in that form or in SQLite's `YYYY-MM-DD HH:MM:SS`, which older writers used and which is UTC.
 *
 * The two forms must never be compared as text, because `'T' > ' '`. Compare the milliseconds that `parse`
 * gives.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"

const pattern =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\s?(Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d)?)?$/i

const minuteInMillis = 60_000

/**
 * Whether milliseconds since 1970 are in the years 0000 to 9999, which the stored form can hold.
 *
 * @since 0.1.0
 * @category predicates
 */
export const isStorable = (millis: number): boolean =>
  millis >= -62_167_219_200_000 && millis < 253_402_300_800_000

const offsetMillis = (zone: string | undefined): number => {
  if (zone === undefined || zone.toUpperCase() === "Z") return 0
  const sign = zone.startsWith("-") ? -1 : 1
  return sign * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(-2))) * minuteInMillis
}

/**
 * Milliseconds since 1970 of a stored timestamp, or none if it is not one. A missing zone means UTC. A day
 * that the calendar does not have (`2026-02-30`), an offset of a day or more, and a time that an offset puts
 * outside the years 0000 to 9999 are not timestamps.
 *
 * @since 0.1.0
 * @category parsing
 */
export const parse = (text: string): Option.Option<number> => {
  const match = pattern.exec(text.trim())
  if (match === null) return Option.none()
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
    number
  ]
  const fields = { year, month, day, hours: hour, minutes: minute, seconds: second }
  const millis = Number((match[7] ?? "").padEnd(3, "0").slice(0, 3))
  return Option.flatMap(DateTime.make({ ...fields, millis }), (utc) => {
    const parts = DateTime.toPartsUtc(utc)
    const exact =
      parts.year === year &&
      parts.month === month &&
      parts.day === day &&
      parts.hours === hour &&
      parts.minutes === minute &&
      parts.seconds === second
    const instant = utc.epochMillis - offsetMillis(match[8])
    return exact && isStorable(instant) ? Option.some(instant) : Option.none()
  })
}

/**
 * The form that every writer writes, from milliseconds since 1970: `2026-07-01T09:30:00.000Z`. They must be
 * storable.
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = (millis: number): string => new Date(millis).toISOString()

/**
 * The stored form of a timestamp that somebody handed over in any form that `parse` reads.
 *
 * @since 0.1.0
 * @category formatting
 */
export const normalize = (text: string): Option.Option<string> => Option.map(parse(text), format)

/**
 * Whether a stored time has come: it is absent, or not after `now` (milliseconds since 1970). A text that is
 * not a timestamp has come too, because waiting for it would be waiting for ever.
 *
 * @since 0.1.0
 * @category predicates
 */
export const hasCome = (text: string | null, now: number): boolean =>
  text === null || Option.getOrElse(parse(text), () => now) <= now
