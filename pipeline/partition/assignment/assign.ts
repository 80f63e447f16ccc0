/**
 * Hands sequences to experts: in equal parts (SmallTalk LM, Algorithm 1) or each to its best.
 *
 * The two functions are pure and work on one chunk; `assign` is the stage that cuts a stream into chunks.
 *
 * @module
 */

import {
  checkLineage,
  FORMAT,
  fromBatch,
  type Lineage,
  lineageOf,
  originOf,
  type RecordBatch,
  toBatch,
} from "../../rows/arrow.ts";
import { type Columns, regroup, sliceColumns } from "../../rows/columns.ts";

/** How sequences are handed out: in equal parts, or each to its best expert. */
export type AssignMethod = "balanced" | "argmax";

/** Settings of {@linkcode assign}. */
export interface AssignOptions {
  /** Balanced by default. */
  method?: AssignMethod;
  /** Sequences assigned together (N), a multiple of E; only the last chunk may be shorter. */
  chunk: number;
  /** E, to check the scores against; taken from the scores by default. */
  experts?: number;
  /** M in tokens, for scores whose lineage doesn't say it. */
  prefix?: number;
  /** Hash of the stage's configuration, for the lineage. */
  config?: string;
  /** Takes one line about scores that say less than they should. */
  onWarning?: (message: string) => void;
}

const MOST_EXPERTS = 2 ** 16; // ids are uint16
const BATCH = 1024; // rows per batch that goes out; sets how much is written at a time

/**
 * Assigns the rows of one chunk in equal parts: ordered by their best NLL per predicted token, lowest first, each row
 * takes its best expert that still has room (SmallTalk LM, Algorithm 1, balanced_assignments).
 *
 * Every expert gets `floor(N / E)` rows and the first `N mod E` experts one more. Ties: the earlier row first, the lower
 * expert first. Takes O(N·E) time and 18 bytes per row.
 *
 * @param nll Prefix NLLs `[N, E]`, nats, lower is better; row-major.
 * @param experts E, 1 to 65,536.
 * @param predicted Predicted prefix tokens of each row `[N]`, `min(M, length) - 1`, at least 1; all equal by default.
 * @returns The expert of each row, `[N]`.
 * @throws {RangeError} if a shape is wrong, a value of `nll` isn't finite or one of `predicted` is 0.
 */
export function assignBalanced(nll: Float32Array, experts: number, predicted?: Uint32Array): Uint16Array {
  const rows = checkScores(nll, experts);
  if (predicted !== undefined) checkPredicted(predicted, rows);
  const expert = new Uint16Array(rows);
  const room = Array.from(
    { length: experts },
    (_, e) => Math.floor(rows / experts) + Number(e < rows % experts),
  );
  const open = room.flatMap((n, e) => n > 0 ? [e] : []); // ascending, so that the first of equals is the lowest id
  for (const row of orderByKey(bestPerToken(nll, experts, predicted))) {
    const base = row * experts;
    let best = 0;
    for (let i = 1; i < open.length; i++) {
      if (nll[base + open[i]] < nll[base + open[best]]) best = i;
    }
    expert[row] = open[best];
    if (--room[open[best]] === 0) open.splice(best, 1);
  }
  return expert;
}

/**
 * Assigns every row to the expert of its lowest NLL, with no balance (ties: the lower id), as inference routes.
 *
 * @param nll Prefix NLLs `[N, E]`, nats; row-major.
 * @param experts E, 1 to 65,536.
 * @returns The expert of each row, `[N]`.
 * @throws {RangeError} if the shape is wrong or a value isn't finite.
 */
export function assignArgmax(nll: Float32Array, experts: number): Uint16Array {
  const rows = checkScores(nll, experts);
  const expert = new Uint16Array(rows);
  for (let row = 0; row < rows; row++) {
    const base = row * experts;
    let best = 0;
    for (let e = 1; e < experts; e++) {
      if (nll[base + e] < nll[base + best]) best = e;
    }
    expert[row] = best;
  }
  return expert;
}

/** The sort key of each row: its best NLL over its predicted tokens. */
function bestPerToken(nll: Float32Array, experts: number, predicted?: Uint32Array): Float64Array {
  const keys = new Float64Array(nll.length / experts);
  for (let row = 0; row < keys.length; row++) {
    let best = nll[row * experts];
    for (let e = 1; e < experts; e++) best = Math.min(best, nll[row * experts + e]);
    // Two different quotients of an f32 and an integer below 2^28 differ by more than an f64's rounding, and equal ones
    // round alike: the order of these keys, ties included, is that of the exact quotients.
    keys[row] = best / (predicted === undefined ? 1 : predicted[row]);
  }
  return keys;
}

/**
 * Orders rows by key, ascending, equal keys by row: a least-significant-digit radix sort of row numbers, eight bits a
 * pass, on the bits of the keys. It overwrites the keys. Typed arrays have the bytes of the machine, and every machine
 * that Deno runs on is little-endian.
 */
function orderByKey(keys: Float64Array): Uint32Array {
  const words = new Uint32Array(keys.buffer);
  for (let row = 0; row < keys.length; row++) {
    keys[row] += 0; // -0 becomes 0, its equal
    const high = words[2 * row + 1];
    // As unsigned integers, floats then sort by value: negative ones are inverted, the others get the top bit.
    words[2 * row] ^= high >> 31;
    words[2 * row + 1] = high ^ (high >> 31 | 0x80000000);
  }
  const bytes = new Uint8Array(keys.buffer);
  let order = new Uint32Array(keys.length).map((_, row) => row);
  let next = new Uint32Array(keys.length);
  for (let digit = 0; digit < 8; digit++) {
    const start = new Uint32Array(257);
    for (let at = digit; at < bytes.length; at += 8) start[bytes[at] + 1]++;
    if (start.includes(keys.length)) continue; // all rows have the same digit
    for (let value = 0; value < 256; value++) start[value + 1] += start[value];
    for (const row of order) next[start[bytes[8 * row + digit]]++] = row;
    [order, next] = [next, order];
  }
  return order;
}

/**
 * Adds the column `expert` to scored batches, chunk by chunk. The same rows and batches come out however the input is
 * cut into batches.
 *
 * Holds one chunk in memory. E comes from the scores. The columns that README.md lists are kept, others aren't.
 * Balanced assignment orders by NLL per predicted token, `min(M, length) - 1`, with M from the lineage or `prefix`;
 * where neither says it, rows count as equally long, with a warning.
 *
 * @param batches Batches with the columns `length` and `nll`.
 * @throws {TypeError} if a batch lacks a column.
 * @throws {RangeError} if `chunk` isn't a multiple of E; if E, M or the routers differ between batches or from the
 * options; if an NLL isn't finite.
 */
export function assign(
  batches: ReadableStream<RecordBatch>,
  options: AssignOptions,
): ReadableStream<RecordBatch> {
  const { method = "balanced", chunk, experts, prefix } = options;
  if (method !== "balanced" && method !== "argmax") {
    throw new RangeError(`Cannot assign as method must be "balanced" or "argmax": method is "${method}"`);
  }
  checkAtLeast("chunk", chunk, 1);
  if (prefix !== undefined) checkAtLeast("prefix", prefix, 2);
  if (experts !== undefined) checkExperts(experts), checkChunk(chunk, experts, method);
  return ReadableStream.from(assigned(batches, { ...options, method }));
}

/** Rows waiting for their chunk to fill. */
interface Held {
  rows: number;
  /** Everything but `nll`. */
  parts: Columns[];
  /** f32 `[rows, E]`, then room. */
  nll: Float32Array;
}

async function* assigned(
  batches: ReadableStream<RecordBatch>,
  options: AssignOptions & { method: AssignMethod },
): AsyncGenerator<RecordBatch> {
  const { chunk, method } = options;
  let settled: Settled | undefined; // by the first batch with rows
  let empty: RecordBatch | undefined;
  let held: Held = { rows: 0, parts: [], nll: new Float32Array() };
  for await (const batch of batches) {
    const columns = fromBatch(batch);
    checkLineage(batch, { experts: options.experts, prefix: options.prefix }, "these options");
    if (settled !== undefined) checkLineage(batch, fixedBy(settled.lineage), "the rows before it");
    const scored = scores(batch, columns);
    if (columns.rows === 0) {
      empty ??= toBatch({ ...columns, expert: new Uint16Array() }, lineageOut(batch, options));
      continue;
    }
    const experts = scored.length / columns.rows;
    settled ??= settle(batch, experts, options);
    checkSame(batch, experts, settled.experts);
    checkScores(scored, experts, originOf(batch));
    for (let begin = 0, end = 0; begin < columns.rows; begin = end) {
      end = Math.min(columns.rows, begin + chunk - held.rows);
      hold(held, sliceColumns(columns, begin, end), chunk);
      if (held.rows < chunk) continue;
      yield* handOut(held, settled, method);
      held = { rows: 0, parts: [], nll: new Float32Array() };
    }
  }
  if (held.rows > 0) yield* handOut(held, settled!, method);
  else if (settled === undefined && empty !== undefined) yield empty;
}

/** What the first rows fix for all that follow. */
interface Settled {
  experts: number;
  /** M; unknown for some files of other tools. */
  prefix?: number;
  /** Of the rows that go out. */
  lineage: Lineage;
}

function settle(batch: RecordBatch, experts: number, options: AssignOptions): Settled {
  checkExperts(experts);
  checkChunk(options.chunk, experts, options.method);
  if (options.experts !== undefined) checkSame(batch, experts, options.experts);
  const lineage = { ...lineageOut(batch, options), experts };
  checkLineage(batch, { experts }, "its own scores");
  if (lineage.prefix !== undefined && options.method !== "argmax") checkAtLeast("prefix", lineage.prefix, 2);
  if (lineage.prefix === undefined && options.method !== "argmax") {
    options.onWarning?.(
      `${originOf(batch)} does not say how long the scored prefix is: all sequences count as equally long; ` +
        `set the prefix if some are shorter than it`,
    );
  }
  return { experts, prefix: lineage.prefix, lineage };
}

function lineageOut(batch: RecordBatch, { method, prefix, config, experts }: AssignOptions): Lineage {
  const lineage = lineageOf(batch) ?? { format: FORMAT, prefix, experts };
  return { prefix, experts, ...lineage, stage: "assign", method, config };
}

/** What rows that are assigned together must have in common. */
function fixedBy({ sequenceLength, tokenizer, prefix, experts, routers }: Lineage): Partial<Lineage> {
  return { sequenceLength, tokenizer, prefix, experts, routers };
}

/** Adds rows to those held, in place, as copies, so that the batch they came in can go. */
function hold(held: Held, { nll, ...part }: Columns, chunk: number) {
  const width = nll!.length / part.rows;
  const used = held.rows * width;
  if (held.nll.length < used + nll!.length) {
    const grown = new Float32Array(Math.min(chunk, Math.max(2 * held.rows, held.rows + part.rows)) * width);
    grown.set(held.nll.subarray(0, used));
    held.nll = grown;
  }
  held.nll.set(nll!, used);
  held.rows += part.rows;
  const copies = Object.entries(part).map(([name, values]) => [
    name,
    ArrayBuffer.isView(values) ? (values as Uint32Array).slice() : values,
  ]);
  held.parts.push(Object.fromEntries(copies));
}

/** Assigns the rows held and gives them out in batches of one size, views of one matrix where they can be. */
async function* handOut(held: Held, { experts, prefix, lineage }: Settled, method: AssignMethod) {
  const nll = held.nll.subarray(0, held.rows * experts);
  const expert = method === "argmax"
    ? assignArgmax(nll, experts)
    : assignBalanced(nll, experts, prefix === undefined ? undefined : predictedTokens(held, prefix));
  let end = 0;
  const parts = held.parts.map((part): Columns => {
    const begin = end;
    end += part.rows;
    return {
      ...part,
      nll: nll.subarray(begin * experts, end * experts),
      expert: expert.subarray(begin, end),
    };
  });
  for await (const columns of regroup(parts, BATCH)) yield toBatch(columns, lineage);
}

function predictedTokens({ rows, parts }: Held, prefix: number): Uint32Array {
  const predicted = new Uint32Array(rows);
  let row = 0;
  for (const { length } of parts) {
    for (const tokens of length) predicted[row++] = Math.min(prefix, tokens) - 1;
  }
  return predicted;
}

function scores(batch: RecordBatch, { nll }: Columns): Float32Array {
  if (nll !== undefined) return nll;
  throw new TypeError(
    `Cannot assign ${originOf(batch)} as it must have a column "nll": it has none; score it first`,
  );
}

/** Checks scores `[rows, E]` and returns the number of rows. */
function checkScores(nll: Float32Array, experts: number, where = "the rows"): number {
  checkExperts(experts);
  if (nll.length % experts !== 0) {
    throw new RangeError(
      `Cannot assign ${where} as nll must hold one value per row and expert: ` +
        `nll has ${nll.length} values, experts is ${experts}`,
    );
  }
  for (let i = 0; i < nll.length; i++) {
    if (Number.isFinite(nll[i])) continue;
    throw new RangeError(
      `Cannot assign ${where} as every NLL must be finite: nll of row ${Math.floor(i / experts)}, ` +
        `expert ${i % experts} is ${nll[i]}; train that router again at a lower rate, then score again`,
    );
  }
  return nll.length / experts;
}

function checkPredicted(predicted: Uint32Array, rows: number) {
  if (predicted.length !== rows) {
    throw new RangeError(
      `Cannot assign as predicted must hold one value per row: predicted has ${predicted.length}, rows is ${rows}`,
    );
  }
  const row = predicted.indexOf(0);
  if (row < 0) return;
  throw new RangeError(
    `Cannot assign as every row must predict a token or more: predicted of row ${row} is 0; leave out such rows`,
  );
}

function checkExperts(experts: number) {
  if (Number.isInteger(experts) && experts >= 1 && experts <= MOST_EXPERTS) return;
  throw new RangeError(
    `Cannot assign as experts must be an integer from 1 to ${MOST_EXPERTS}: experts is ${experts}`,
  );
}

function checkChunk(chunk: number, experts: number, method: AssignMethod = "balanced") {
  if (method === "argmax" || chunk % experts === 0) return;
  throw new RangeError(
    `Cannot assign as chunk must be a multiple of experts: chunk is ${chunk}, experts is ${experts}; ` +
      `set the chunk to ${Math.ceil(chunk / experts) * experts}`,
  );
}

function checkSame(batch: RecordBatch, experts: number, expected: number) {
  if (experts === expected) return;
  throw new RangeError(
    `Cannot assign ${originOf(batch)} as all scores must be of the same experts: ` +
      `nll has ${experts} values per row, experts is ${expected}`,
  );
}

function checkAtLeast(name: string, value: number, least: number) {
  if (Number.isSafeInteger(value) && value >= least) return;
  throw new RangeError(`Cannot assign as ${name} must be an integer >= ${least}: ${name} is ${value}`);
}
