/** At most `size` of many things, evenly spread, the first and the last among them; of one, the one in the middle. */
export const spread = <A>(all: ReadonlyArray<A>, size: number): ReadonlyArray<A> =>
  all.length <= size
    ? all
    : Array.from({ length: size }, (_, index) =>
        size === 1 ? Math.floor(all.length / 2) : Math.round((index * (all.length - 1)) / (size - 1))
      ).flatMap((index) => all[index] ?? [])
