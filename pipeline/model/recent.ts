/** What was made for some sizes and is kept, as making it takes milliseconds: plans of passes, scorers. */

/** Makes each value when it is first asked for. Of more than `most` those that were used last are kept; `drop` frees another one. */
export function keepRecent<Sizes extends number[], Value>(
  make: (...sizes: Sizes) => Value,
  most = Infinity,
  drop: (value: Value) => void = () => {},
) {
  const kept = new Map<string, Value>(); // the one that was used last stands last
  return {
    /** Values that are kept. */
    get count(): number {
      return kept.size;
    },
    /** Gives the value of these sizes. */
    of(...sizes: Sizes): Value {
      const key = sizes.join();
      if (!kept.has(key) && kept.size >= most) {
        const [[oldest, value]] = kept;
        kept.delete(oldest);
        drop(value);
      }
      const value = kept.has(key) ? kept.get(key)! : make(...sizes);
      kept.delete(key);
      kept.set(key, value);
      return value;
    },
    /** Frees all. */
    clear(): void {
      kept.forEach(drop);
      kept.clear();
    },
  };
}
