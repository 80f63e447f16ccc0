/**
 * TF-IDF of token ids: how often each id occurs in a sequence, times how rare it is among sequences, with
 * rows scaled to length 1.
 */

/** Rows of which few columns are not 0. */
export interface SparseRows {
  /** Number of rows. */
  rows: number;
  /** Where each row begins `[rows + 1]`. */
  begin: Uint32Array;
  /** Columns of its entries, each once in a row. */
  column: Uint32Array;
  /** Their values. */
  value: Float64Array;
}

/** Counts ids below a vocabulary's size in rows that come one by one; the end-of-text id is left out. */
export class TokenCounter {
  readonly #place: Int32Array; // occurrences of each id in the current row
  readonly #eos: number;
  #rows = 0;
  #used = 0;
  #begin = new Uint32Array(1024);
  #column = new Uint32Array(4096);
  #value = new Float64Array(4096);

  /** Starts without rows. */
  constructor(vocabulary: number, eos: number) {
    this.#place = new Int32Array(vocabulary).fill(-1);
    this.#eos = eos;
  }

  /** Counts the ids of a row: `length` of them from `at`. */
  add(tokens: Uint16Array | Uint32Array, at: number, length: number): void {
    const first = this.#used, place = this.#place;
    if (this.#column.length < first + length) {
      const size = Math.max(2 * this.#column.length, first + length);
      this.#column = grown(this.#column, new Uint32Array(size));
      this.#value = grown(this.#value, new Float64Array(size));
    }
    for (let i = at; i < at + length; i++) {
      const id = tokens[i];
      if (id === this.#eos) continue;
      if (place[id] < 0) {
        place[id] = this.#used;
        this.#column[this.#used] = id;
        this.#value[this.#used++] = 0;
      }
      this.#value[place[id]]++;
    }
    for (let i = first; i < this.#used; i++) place[this.#column[i]] = -1;
    if (this.#begin.length < this.#rows + 2) {
      this.#begin = grown(this.#begin, new Uint32Array(2 * this.#begin.length));
    }
    this.#begin[++this.#rows] = this.#used;
  }

  /** Gives the counts of all rows; the entries of a row stand in the order in which their ids first came. */
  get counts(): SparseRows {
    return {
      rows: this.#rows,
      begin: this.#begin.subarray(0, this.#rows + 1),
      column: this.#column.subarray(0, this.#used),
      value: this.#value.subarray(0, this.#used),
    };
  }
}

function grown<T extends Uint32Array | Float64Array>(values: T, room: T): T {
  room.set(values);
  return room;
}

/** Gives the inverse document frequency of every id `[vocabulary]`, ln((1 + n) / (1 + df)) + 1, where df of n rows hold it. */
export function inverseFrequencies({ rows, column }: SparseRows, vocabulary: number): Float64Array {
  const holding = new Uint32Array(vocabulary);
  for (const id of column) holding[id]++;
  return Float64Array.from(holding, (df) => Math.log((1 + rows) / (1 + df)) + 1);
}

/**
 * Weights counts by the inverse frequencies and scales each row to length 1. The values are changed in place.
 */
export function weigh(counts: SparseRows, frequencies: ArrayLike<number>): SparseRows {
  const { begin, column, value } = counts;
  for (let row = 0; row < counts.rows; row++) {
    let square = 0;
    for (let i = begin[row]; i < begin[row + 1]; i++) {
      value[i] *= frequencies[column[i]];
      square += value[i] ** 2;
    }
    const length = Math.sqrt(square);
    for (let i = begin[row]; i < begin[row + 1]; i++) value[i] /= length;
  }
  return counts;
}
