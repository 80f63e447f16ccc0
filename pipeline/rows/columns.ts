/**
 * Rows as plain typed arrays. Stages compute on these, without any Arrow library.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { joinArrays } from "./bytes.ts";

/** The rows of a batch, with one array per column. Columns that the rows do not have are absent. */
export interface Columns {
  /** Number of rows. */
  rows: number;
  /** Ids, unique in the corpus, u64 `[rows]`. */
  sequence: BigUint64Array;
  /** Ids of the source documents, u64 `[rows]`. */
  document?: BigUint64Array;
  /** Domain or file labels `[rows]`, "" if none. */
  source?: string[];
  /** Token ids `[rows, S]`, padded with EOS after `length`. */
  tokens?: Uint16Array | Uint32Array;
  /** Real tokens of each row, u32 `[rows]`. */
  length: Uint32Array;
  /**
   * Position of the first token that counts in a loss, u32 `[rows]`; all count where it is absent.
   */
  begin?: Uint32Array;
  /** Prefix negative log-likelihood per router, f32 `[rows, E]`, nats, summed over the prefix. */
  nll?: Float32Array;
  /** Assigned expert, u16 `[rows]`. */
  expert?: Uint16Array;
}

/** The arrays of columns of numbers, or of lists of them. */
export const ARRAYS = {
  sequence: BigUint64Array,
  document: BigUint64Array,
  tokens: Uint32Array,
  length: Uint32Array,
  begin: Uint32Array,
  nll: Float32Array,
  expert: Uint16Array,
  best: Uint16Array,
  cost: Float32Array,
  lowest: Float32Array, // of assignments
};

/** Returns the array type for the ids of a vocabulary: u16 where they fit, otherwise u32. */
export function tokenArray(vocabulary: number): Uint16ArrayConstructor | Uint32ArrayConstructor {
  return vocabulary <= 65_536 ? Uint16Array : Uint32Array;
}

/** Ids of tokens. */
export type TokenArray = Uint16Array | Uint32Array;

/** Joins the token ids of several pieces of a text, all in arrays of one type. */
export function joinTokens<Ids extends TokenArray>(parts: readonly Ids[]): Ids {
  return parts.length === 1
    ? parts[0]
    : joinArrays(parts[0].constructor as new (length: number) => Ids, parts);
}

/** A column's array: anything with a length that can be sliced. */
type Values = NonNullable<Columns["tokens"]> | BigUint64Array | Float32Array | string[];

/** Applies `change` to every column that is present; `width` is its values per row. */
function mapColumns(
  columns: Columns,
  rows: number,
  change: (values: Values, width: number, name: keyof Columns) => Values,
): Columns {
  const { sequence, length } = columns;
  const changed = Object.entries(columns).flatMap(([name, values]) => {
    if (typeof values === "number" || values === undefined) return [];
    const width = columns.rows === 0 ? 0 : values.length / columns.rows;
    return [[name, change(values, width, name as keyof Columns)]];
  });
  return { rows, sequence, length, ...Object.fromEntries(changed) };
}

/** Returns rows `begin` to `end` (exclusive) as views of the same memory. */
export function sliceColumns(columns: Columns, begin: number, end: number): Columns {
  return mapColumns(
    columns,
    end - begin,
    (values, width) =>
      Array.isArray(values)
        ? values.slice(begin, end)
        : values.subarray(begin * width, end * width),
  );
}

const WIDE = 32; // values per row from which on one call of `set` is faster than a loop

/** Makes empty columns of `rows` rows, of the same types and widths. */
export function roomFor(columns: Columns, rows: number): Columns {
  return mapColumns(
    columns,
    rows,
    (values, width) =>
      Array.isArray(values)
        ? new Array<string>(rows).fill("")
        : new (values.constructor as Float32ArrayConstructor)(rows * width),
  );
}

/**
 * Copies the rows at `indices`, in that order, into `into` from row `at` on; by default into new
 * columns. Returns `into`. Throws an `InputError` where a column of `into` is missing or has
 * another number of values per row.
 */
export function takeColumns(
  columns: Columns,
  indices: ArrayLike<number>,
  into: Columns = roomFor(columns, indices.length),
  at = 0,
): Columns {
  if (indices.length === 0) return into;
  mapColumns(into, into.rows, (target, width, name) => {
    const taken = target as Float32Array;
    const values = needValues(columns, name, width) as Float32Array;
    for (let row = 0; row < indices.length; row++) {
      const from = indices[row] * width;
      const to = (at + row) * width;
      if (width >= WIDE) taken.set(values.subarray(from, from + width), to);
      else for (let k = 0; k < width; k++) taken[to + k] = values[from + k];
    }
    return target;
  });
  return into;
}

/** Returns a column that must have `width` values per row. */
function needValues(columns: Columns, name: keyof Columns, width: number): Values {
  const values = columns[name] as Values | undefined;
  if (values?.length === columns.rows * width) return values;
  const has = (values?.length ?? 0) / columns.rows;
  throw new InputError(
    `Cannot join rows as column "${name}" must hold ${width} values per row in all ` +
      `of them: it holds ${has}`,
  );
}

/**
 * Returns copies of all rows of `parts`, one part after another, with the columns of the first part
 * that has rows. Throws what {@linkcode takeColumns} throws.
 */
export function concatColumns(parts: Columns[]): Columns {
  const full = parts.filter((part) => part.rows > 0);
  if (full.length <= 1) return full[0] ?? parts[0];
  const rows = full.reduce((sum, part) => sum + part.rows, 0);
  return mapColumns(full[0], rows, (first, width, name) => {
    const all = full.map((part) => needValues(part, name, width));
    if (Array.isArray(first)) return all.flat() as string[];
    return joinArrays(first.constructor as Float32ArrayConstructor, all as Float32Array[]);
  });
}

/**
 * Yields the same rows in groups of exactly `size`; the last group may be shorter. So what is
 * written does not depend on how the rows were cut before. Input without rows gives one group
 * without rows.
 */
export async function* regroup(
  source: AsyncIterable<Columns> | Iterable<Columns>,
  size: number,
): AsyncGenerator<Columns> {
  let held: Columns[] = [];
  let count = 0;
  let yielded = false;
  for await (const part of source) {
    held.push(part);
    count += part.rows;
    if (count < size) continue;
    const all = concatColumns(held);
    let at = 0;
    while (count - at >= size) yield sliceColumns(all, at, at += size);
    [held, count, yielded] = [[sliceColumns(all, at, count)], count - at, true];
  }
  if (count > 0 || held.length > 0 && !yielded) yield concatColumns(held);
}
