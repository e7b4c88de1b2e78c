/**
 * What many measurements of one thing come to.
 */

/** The middle of some samples, and the quarters below and above which the outer ones lie. */
export interface Statistics {
  readonly median: number
  readonly lower: number
  readonly upper: number
  readonly samples: number
}

/** The value below which the given part of the samples lies, between two samples in proportion. */
export const quantile = (samples: ReadonlyArray<number>, part: number): number => {
  const sorted = samples.toSorted((a, b) => a - b)
  const position = (sorted.length - 1) * part
  const below = Math.floor(position)
  const low = sorted[below] ?? Number.NaN
  const high = sorted[Math.ceil(position)] ?? Number.NaN
  return low + (high - low) * (position - below)
}

export const of = (samples: ReadonlyArray<number>): Statistics => ({
  median: quantile(samples, 0.5),
  lower: quantile(samples, 0.25),
  upper: quantile(samples, 0.75),
  samples: samples.length
})
