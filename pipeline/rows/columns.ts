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
  /** Position of the first token that counts in a loss, u32 `[rows]`; all count where it is absent. */
  begin?: Uint32Array;
  /** Prefix negative log-likelihood per router, f32 `[rows, E]`, nats, summed over the prefix. */
  nll?: Float32Array;
  /** Assigned expert, u16 `[rows]`. */
  expert?: Uint16Array;
}

/** The arrays of columns of numbers, or of lists of them. */
export const ARRAYS = {
  ...{ sequence: BigUint64Array, document: BigUint64Array, tokens: Uint32Array },
  ...{ length: Uint32Array, begin: Uint32Array, nll: Float32Array, expert: Uint16Array },
  ...{ best: Uint16Array, cost: Float32Array, lowest: Float32Array }, // of assignments
};

/** Gives the type of array that holds the ids of a vocabulary: u16 where they fit, otherwise u32. */
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
      Array.isArray(values) ? values.slice(begin, end) : values.subarray(begin * width, end * width),
  );
}

const WIDE = 32; // from so many values on, one call of `set` costs less than a loop

/** Returns copies of the rows at `indices`, in that order. */
export function takeColumns(columns: Columns, indices: ArrayLike<number>): Columns {
  const rows = indices.length;
  return mapColumns(columns, rows, (values, width) => {
    const taken = roomLike(values, rows * width) as Float32Array;
    for (let row = 0; row < rows; row++) {
      const from = indices[row] * width, into = row * width;
      if (width >= WIDE) taken.set((values as Float32Array).subarray(from, from + width), into);
      else for (let k = 0; k < width; k++) taken[into + k] = values[from + k] as number;
    }
    return taken;
  });
}

/**
 * Returns copies of all rows of `parts`, one part after another, with the columns of the first part that has
 * rows. Throws an `InputError` where parts differ in columns or in values per row.
 */
export function concatColumns(parts: Columns[]): Columns {
  const full = parts.filter((part) => part.rows > 0);
  if (full.length <= 1) return full[0] ?? parts[0];
  const rows = full.reduce((sum, part) => sum + part.rows, 0);
  const joined = mapColumns(full[0], rows, (values, width) => roomLike(values, rows * width));
  let at = 0;
  for (const part of full) {
    mapColumns(joined, rows, (target, width, name) => {
      const values = part[name] as Values | undefined;
      if (values?.length !== part.rows * width) {
        throw new InputError(
          `Cannot join rows as column "${name}" must hold ${width} values per row in all of them: ` +
            `it holds ${(values?.length ?? 0) / part.rows}`,
        );
      }
      if (Array.isArray(target)) {
        for (let row = 0; row < part.rows; row++) target[at + row] = values[row] as string;
      } else (target as Float32Array).set(values as Float32Array, at * width);
      return target;
    });
    at += part.rows;
  }
  return joined;
}

/** Returns room for so many values like those of a column. */
const roomLike = (values: Values, length: number): Values =>
  Array.isArray(values)
    ? new Array<string>(length).fill("")
    : new (values.constructor as Float32ArrayConstructor)(length);

/**
 * Yields the same rows in groups of exactly `rows`, which may be a function of the next group; the last group may be shorter. So what is
 * written does not depend on how the rows were cut before. Input without rows gives one group without rows.
 */
export async function* regroup(
  source: AsyncIterable<Columns> | Iterable<Columns>,
  rows: number | (() => number),
): AsyncGenerator<Columns> {
  const size = typeof rows === "function" ? rows : () => rows;
  let held: Columns[] = [], count = 0, yielded = false;
  for await (const part of source) {
    held.push(part);
    count += part.rows;
    if (count < size()) continue;
    const all = concatColumns(held);
    let at = 0;
    for (let next = size(); count - at >= next; next = size()) yield sliceColumns(all, at, at += next);
    [held, count, yielded] = [[sliceColumns(all, at, count)], count - at, true];
  }
  if (count > 0 || held.length > 0 && !yielded) yield concatColumns(held);
}

const END = Symbol("end");

/** What reads items to their end, fed one by one; each waits until it is taken. */
export class Feed<Item, Result> {
  #given = Promise.withResolvers<Item | typeof END>(); // the next item
  #taken = Promise.withResolvers<void>(); // that it is taken
  readonly #result: Promise<Result>;

  /** `read` begins at once. */
  constructor(read: (items: AsyncGenerator<Item>) => Promise<Result>) {
    this.#result = read(this.#items());
    this.#result.catch((error) => {
      this.#taken.promise.catch(() => {}); // nobody may wait for it
      this.#taken.reject(error);
    });
  }

  /** Gives it an item. Throws what it throws. */
  async add(item: Item): Promise<void> {
    this.#given.resolve(item);
    await this.#taken.promise;
    this.#taken = Promise.withResolvers();
  }

  /** Ends the items. */
  async close(): Promise<Result> {
    this.#given.resolve(END);
    return await this.#result;
  }

  /** Ends the items with an error, and waits until they are left. */
  async abort(reason: unknown): Promise<void> {
    this.#given.promise.catch(() => {}); // they may be left already
    this.#given.reject(reason);
    await this.#result.catch(() => {});
  }

  async *#items(): AsyncGenerator<Item> {
    for (;;) {
      const item = await this.#given.promise;
      if (item === END) return;
      this.#given = Promise.withResolvers();
      this.#taken.resolve();
      yield item;
    }
  }
}
