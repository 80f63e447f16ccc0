/**
 * Embeddings of sequences: their TF-IDF along the directions in which sequences differ most, scaled
 * to length 1.
 */

/** A row of which few columns are not 0. */
export interface SparseRow {
  /** Columns of its entries, each once. */
  column: Uint32Array;
  /** Their values. */
  value: Float64Array;
}

/**
 * Counts the ids of a sequence, the end of a text left out; entries stand in the order in which ids
 * first came.
 */
export function countTokens(tokens: Uint16Array | Uint32Array, eos: number): SparseRow {
  const counts = new Map<number, number>();
  for (const id of tokens) if (id !== eos) counts.set(id, (counts.get(id) ?? 0) + 1);
  return { column: Uint32Array.from(counts.keys()), value: Float64Array.from(counts.values()) };
}

/**
 * Gives the inverse document frequency of every id `[vocabulary]`, ln((1 + n) / (1 + df)) + 1,
 * where df of n rows hold it.
 */
function inverseFrequencies(rows: readonly SparseRow[], vocabulary: number): Float64Array {
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

/** What turns counts of token ids into embeddings. */
interface Embedding {
  /** Dimensions of an embedding, d. */
  dimensions: number;
  /** Inverse document frequencies `[V]`. */
  frequencies: ArrayLike<number>;
  /** Right singular vectors `[V, d]`, row-major. */
  vectors: ArrayLike<number>;
}

/**
 * Learns an embedding from the counts of a sample, with `dimensions` dimensions or, if there are
 * fewer, as many as the sample has; `values` are the singular values.
 */
export async function learnEmbedding(
  counts: readonly SparseRow[],
  vocabulary: number,
  dimensions: number,
  seed: number,
): Promise<Embedding & { values: Float64Array }> {
  // With its library, which nothing else of c-BTM needs.
  const { decompose } = await import("./svd.ts");
  const frequencies = inverseFrequencies(counts, vocabulary);
  const weighed = counts.map((row) => weigh(row, frequencies));
  const { values, vectors } = decompose(weighed, vocabulary, dimensions, seed);
  return { dimensions: values.length, frequencies, vectors, values };
}

/**
 * Embeds counts of sequences: f64 `[rows, d]`. Each row has length 1; a row without known ids is 0.
 */
export function embed(
  counts: readonly SparseRow[],
  { dimensions, frequencies, vectors }: Embedding,
): Float64Array {
  const points = new Float64Array(counts.length * dimensions);
  counts.forEach((row, at) => {
    const { column, value } = weigh(row, frequencies);
    const point = points.subarray(at * dimensions, (at + 1) * dimensions);
    for (let i = 0; i < column.length; i++) {
      const begin = column[i] * dimensions;
      const x = value[i];
      for (let d = 0; d < dimensions; d++) point[d] += x * vectors[begin + d];
    }
    let square = 0;
    for (const x of point) square += x * x;
    const length = Math.sqrt(square);
    if (length > 0) { for (let d = 0; d < dimensions; d++) point[d] /= length; }
  });
  return points;
}

/**
 * Measures the squared distance from every point `[rows, d]` to every centre `[E, d]`: f32
 * `[rows, E]`.
 */
export function squaredDistances(
  points: Float64Array,
  centres: ArrayLike<number>,
  dimensions: number,
  experts: number,
): Float32Array {
  const rows = dimensions === 0 ? 0 : points.length / dimensions;
  const result = new Float32Array(rows * experts);
  for (let row = 0; row < rows; row++) {
    for (let e = 0; e < experts; e++) {
      let sum = 0;
      for (let d = 0, p = row * dimensions, c = e * dimensions; d < dimensions; d++) {
        const difference = points[p++] - centres[c++];
        sum += difference * difference;
      }
      result[row * experts + e] = sum;
    }
  }
  return result;
}
