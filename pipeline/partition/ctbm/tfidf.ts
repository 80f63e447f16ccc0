/**
 * TF-IDF of token ids: how often each id occurs in a sequence, times how rare it is among sequences, with
 * rows scaled to length 1.
 */

/** A row of which few columns are not 0. */
export interface SparseRow {
  /** Columns of its entries, each once. */
  column: Uint32Array;
  /** Their values. */
  value: Float64Array;
}

/** Counts the ids of a sequence, the end of a text left out; entries stand in the order in which ids first came. */
export function countTokens(tokens: Uint16Array | Uint32Array, eos: number): SparseRow {
  const counts = new Map<number, number>();
  for (const id of tokens) if (id !== eos) counts.set(id, (counts.get(id) ?? 0) + 1);
  return { column: Uint32Array.from(counts.keys()), value: Float64Array.from(counts.values()) };
}

/** Gives the inverse document frequency of every id `[vocabulary]`, ln((1 + n) / (1 + df)) + 1, where df of n rows hold it. */
export function inverseFrequencies(rows: readonly SparseRow[], vocabulary: number): Float64Array {
  const holding = new Uint32Array(vocabulary);
  for (const { column } of rows) for (const id of column) holding[id]++;
  return Float64Array.from(holding, (df) => Math.log((1 + rows.length) / (1 + df)) + 1);
}

/** Weights the counts of a row by the inverse frequencies and scales it to length 1. */
export function weigh({ column, value }: SparseRow, frequencies: ArrayLike<number>): SparseRow {
  const weighed = value.map((count, i) => count * frequencies[column[i]]);
  let square = 0;
  for (const x of weighed) square += x ** 2;
  const length = Math.sqrt(square);
  return { column, value: weighed.map((x) => x / length) };
}
