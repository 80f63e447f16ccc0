/**
 * Hands sequences to experts: a stage that feeds rows to a way of assigning, chunk by chunk, and writes the
 * expert that it gives to each row.
 */

import { InputError, say, setting, type Text } from "../../../kernels/errors.ts";
import { predictedTokens, prefixSpan } from "../../model/span.ts";
import { checkLineage, FORMAT, identityOf, type Lineage, lineageOf } from "../../rows/lineage.ts";
import { fromBatch, originOf, type RecordBatch, scoresOf, toBatch } from "../../rows/arrow.ts";
import { type Columns, regroup, sliceColumns } from "../../rows/columns.ts";
import { checkSettings } from "../../settings/configuration.ts";
import { checkCosts, checkWidth, equalRooms } from "./assignment.ts";
import type { Assignment, CostRows, Proof } from "./assignment.ts";
import { assignmentOf } from "./assignments.ts";
import { byPrices, type Prices } from "./prices.ts";

/** Settings of {@linkcode assign}. */
export interface AssignOptions {
  /** A key of {@linkcode ASSIGNMENTS}; `balanced` by default. */
  method?: string;
  /** Prices to assign by instead: each row goes where cost + price is least. */
  prices?: Prices;
  /** Sequences read together, and where the method is by chunk assigned together: then a multiple of E. The last chunk may be shorter. */
  chunk: number;
  /** E, to check the scores against; taken from the scores by default. */
  experts?: number;
  /** M in tokens, for scores whose lineage doesn't say it. */
  prefix?: number;
  /** Hash of the stage's configuration, for the lineage. */
  config?: string;
  /** Called with a warning about scores that say less than they should. */
  onWarning?: (message: Text) => void;
  /** Called with the proof of the method, when all rows are out. */
  onProof?: (proof: Proof) => void;
}

const [METHOD, CHUNK, EXPERTS, PREFIX] = ["method", "chunk", "experts", "prefix"].map((name) =>
  setting(name)
);
const BATCH = 1024; // rows per batch of the result, and so of each write

/**
 * Adds the column `expert` to scored batches. The same rows and batches come out however the input is cut into batches.
 *
 * Holds one chunk in memory. E comes from the scores. The columns that pipeline/FORMATS.md lists are kept, others aren't. A method that
 * goes by cost per predicted token, `min(M, length) - 1`, takes M from the lineage or `prefix`; where neither says it, rows count as
 * equally long, with a warning. The same call once more gives the same experts, so that an assignment can be checked.
 *
 * @param source Batches with the columns `length` and `nll`, or what opens them at their beginning: a method may read them more
 * than once.
 * @throws {InputError} if a batch lacks a column; if the method or E is impossible; if the chunk isn't a multiple of E where it must be;
 * if E, M or the partitioners differ between batches or from the options; if a cost isn't finite.
 */
export function assign(
  source: ReadableStream<RecordBatch> | (() => ReadableStream<RecordBatch>),
  { method = "balanced", ...options }: AssignOptions,
): ReadableStream<RecordBatch> {
  const assignment = options.prices ? byPrices(options.prices) : assignmentOf(method);
  if (typeof source !== "function" && assignment.passes > 1) {
    throw new InputError(
      say`Cannot assign with ${METHOD} "${method}" as its rows must be read up to ${assignment.passes} times: they come from a pipe`,
      { remedy: "give files" },
    );
  }
  const { chunk, experts, prefix } = options;
  checkSettings({ chunk, experts, prefix });
  checkChunk(chunk, experts, assignment);
  const open = typeof source === "function" ? source : () => source;
  return ReadableStream.from(assigned(open, assignment, options));
}

type Options = Omit<AssignOptions, "method">;

/** Rows waiting for their chunk to fill. */
interface Held {
  rows: number;
  /** Everything but `nll`. */
  parts: Columns[];
  /** f32 `[rows, E]`, then room. */
  nll: Float32Array;
}

async function* assigned(
  open: () => ReadableStream<RecordBatch>,
  assignment: Assignment,
  options: Options,
): AsyncGenerator<RecordBatch> {
  const { chunk } = options;
  let settled: Settled | undefined; // by the first batch with rows
  let empty: RecordBatch | undefined;
  let lent: Held;

  /** Checks that a batch is of the same kind as those before it, and gives what they have in common; undefined where it has no rows. */
  function settledBy(batch: RecordBatch, { nll, rows }: Pick<Columns, "nll" | "rows">): Settled | undefined {
    checkLineage(batch, { experts: options.experts, prefix: options.prefix }, "these options");
    if (settled !== undefined) checkLineage(batch, identityOf(settled.lineage), "the rows before it");
    if (rows === 0) {
      const columns = { ...fromBatch(batch), expert: new Uint16Array() };
      empty ??= toBatch(columns, lineageOut(batch, assignment, options));
      return undefined;
    }
    const experts = nll!.length / rows;
    settled ??= settle(batch, experts, assignment, options);
    checkWidth(originOf(batch), experts, settled.experts);
    return settled;
  }

  async function* look(): AsyncGenerator<CostRows> {
    for await (const batch of open()) {
      const where = originOf(batch);
      const columns = scoresOf(batch, where);
      const kind = settledBy(batch, columns);
      if (kind === undefined) continue;
      const { rows, nll: costs } = columns;
      yield { experts: kind.experts, costs, predicted: predictedOf(rows, [columns], kind), where };
    }
  }

  async function* chunks(): AsyncGenerator<CostRows> {
    const held = emptyHands();
    for await (const batch of open()) {
      const columns = fromBatch(batch, originOf(batch), ["nll"]);
      const kind = settledBy(batch, columns);
      if (kind === undefined) continue;
      checkCosts(columns.nll!, kind.experts, originOf(batch));
      for (let begin = 0, end = 0; begin < columns.rows; begin = end) {
        end = Math.min(columns.rows, begin + chunk - held.rows);
        hold(held, sliceColumns(columns, begin, end), chunk);
        if (held.rows === chunk) yield* lend(held, kind);
      }
    }
    if (held.rows > 0) yield* lend(held, settled!);
  }

  /** Gives rows to the assignment; once it asks for more, the memory of the rows is free. */
  function* lend(held: Held, kind: Settled): Generator<CostRows> {
    lent = held;
    const { experts } = kind;
    const rows: CostRows = {
      experts,
      costs: held.nll.subarray(0, held.rows * experts),
      predicted: predictedOf(held.rows, held.parts, kind),
    };
    yield rows;
    Object.assign(held, emptyHands());
    rows.costs = held.nll;
  }

  async function* answers(): AsyncGenerator<Uint16Array> {
    const proof = yield* assignment.assign({ look, open: chunks, rooms: equalRooms });
    if (proof !== undefined) options.onProof?.(proof);
  }

  for await (const expert of answers()) yield* handOut(lent!, expert, settled!);
  if (settled === undefined && empty !== undefined) yield empty;
}

const emptyHands = (): Held => ({ rows: 0, parts: [], nll: new Float32Array() });

/** What the first rows decide for all that follow. */
interface Settled {
  experts: number;
  /** M; unknown for some files of other tools. */
  prefix?: number;
  /** Of the rows that go out. */
  lineage: Lineage;
  /** Whether the method goes by costs per predicted token. */
  perToken: boolean;
}

function settle(batch: RecordBatch, experts: number, assignment: Assignment, options: Options): Settled {
  const where = originOf(batch);
  checkSettings({ experts });
  checkChunk(options.chunk, experts, assignment);
  checkWidth(where, experts, options.experts ?? experts);
  const lineage = { ...lineageOut(batch, assignment, options), experts };
  checkLineage(batch, { experts }, "its own scores");
  const { prices } = options;
  if (prices) {
    const lineage = { prefix: prices.prefix, experts: prices.experts, routers: prices.partitioner };
    checkLineage(batch, lineage, "the prices");
  }
  const { prefix } = lineage;
  if (assignment.perToken) checkSettings({ prefix });
  if (assignment.perToken && prefix === undefined) {
    options.onWarning?.(
      say`${where} does not say how long the scored prefix is: all sequences count as equally long; set ${PREFIX} if some are shorter than it`,
    );
  }
  return { experts, prefix, lineage, perToken: assignment.perToken };
}

function lineageOut(
  batch: RecordBatch,
  { method }: Assignment,
  { prefix, config, experts }: Options,
): Lineage {
  const lineage = lineageOf(batch) ?? { format: FORMAT, prefix, experts };
  return { prefix, experts, ...lineage, stage: "assign", method, config };
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

/** Gives out the rows held in batches of one size, views of one matrix where they can be. */
async function* handOut({ parts, nll }: Held, expert: Uint16Array, { experts, lineage }: Settled) {
  let end = 0;
  const columns = parts.map((part): Columns => {
    const begin = end;
    end += part.rows;
    return {
      ...part,
      nll: nll.subarray(begin * experts, end * experts),
      expert: expert.subarray(begin, end),
    };
  });
  for await (const batch of regroup(columns, BATCH)) yield toBatch(batch, lineage);
}

/** Gives the predicted tokens of rows whose lengths lie in `parts`; undefined where the method does not go by them, or M is unknown. */
function predictedOf(
  rows: number,
  parts: readonly Pick<Columns, "length">[],
  { perToken, prefix, lineage }: Settled,
): Uint32Array | undefined {
  if (!perToken || prefix === undefined || lineage.costs !== undefined) return undefined;
  const predicted = new Uint32Array(rows);
  let row = 0;
  for (const { length } of parts) {
    for (const tokens of length) predicted[row++] = predictedTokens(prefixSpan(tokens, prefix));
  }
  return predicted;
}

function checkChunk(chunk: number, experts: number | undefined, { byChunk }: Assignment) {
  if (chunk > 0 && (!byChunk || chunk % (experts ?? 1) === 0)) return;
  const least = Math.max(1, Math.ceil(chunk / (experts ?? 1))) * (experts ?? 1);
  const fact = say`${CHUNK} is ${chunk}, ${EXPERTS} is ${experts ?? "any"}`;
  throw new InputError(say`Cannot assign as ${CHUNK} must be a multiple of ${EXPERTS}, and not 0: ${fact}`, {
    remedy: say`set ${setting("chunk", least)}`,
  });
}
