/**
 * When a message recurs. Cron expressions are read by `croner`, which knows months that lack a day, `L`, `#`, `@daily`,
 * and what happens to an hour when the clocks change.
 *
 * @since 0.1.0
 */
import { Cron } from "croner"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"

/**
 * The first instant after `after` (both in milliseconds since 1970) that a cron expression names, read in an IANA
 * time zone. None if the text is not a cron expression, or names no instant, such as the 31st of February.
 *
 * @since 0.1.0
 * @category recurrence
 */
export const next = (expression: string, timeZone: string, after: number): Option.Option<number> =>
  Either.try(() =>
    new Cron(expression, { timezone: timeZone, paused: true }).nextRun(
      DateTime.toDateUtc(DateTime.unsafeMake(after))
    )
  ).pipe(
    Either.getRight,
    Option.flatMap(Option.fromNullable),
    Option.map((date) => date.getTime())
  )
