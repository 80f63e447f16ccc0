/**
 * Hands sequences to experts: feeds rows to a way of assigning, chunk by chunk, and writes the
 * expert of each.
 */

import { InputError, say, setting, type Text } from "../../../kernels/errors.ts";
import { routedPredictions } from "../score.ts";
import {
  checkLineage,
  FORMAT,
  type Lineage,
  pickIdentity,
  readLineage,
} from "../../rows/lineage.ts";
import { findOrigin, fromBatch, type RecordBatch, toBatch } from "../../rows/arrow.ts";
import { type Columns, regroup, sliceColumns } from "../../rows/columns.ts";
import { checkSettings } from "../../settings/configuration.ts";
import {
  type Assignment,
  checkCosts,
  checkWidth,
  type CostRows,
  equalRooms,
  type Proof,
} from "./assignment.ts";
import { findAssignment } from "./assignments.ts";
import { byPrices, type Prices } from "./prices.ts";

/** Settings of {@linkcode assign}. */
export interface AssignOptions {
  /** A key of {@linkcode ASSIGNMENTS}; `balanced` by default. */
  method?: string;
  /** Prices to assign by instead: each row goes where cost + price is least. */
  prices?: Prices;
  /**
   * Sequences read together, and where the method is by chunk assigned together: then a multiple of
   * E.
   */
  chunk: number;
  /** E, to check the scores against; taken from the scores by default. */
  experts?: number;
  /** M in tokens, for scores whose lineage doesn't say it. */
  prefix?: number;
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
 * Adds the column `expert` to scored batches. The same rows and batches come out however the input
 * is cut into batches.
 *
 * Holds one chunk in memory. E comes from the scores. The columns that pipeline/FORMATS.md lists
 * are kept, others aren't. A method that goes by cost per predicted token, `min(M, length) - 1`,
 * takes M from the lineage or `prefix`; where neither says it, rows count as equally long, with a
 * warning. The same call once more gives the same experts, so that an assignment can be checked.
 *
 * @param source Batches with the columns `length` and `nll`, or what opens them at their beginning:
 * a method may read them more than once.
 * @throws {InputError} if a batch lacks a column; if the method or E is impossible; if the chunk
 * isn't a multiple of E where it must be; if E, M or the partitioners differ between batches or
 * from the options; if a cost isn't finite.
 */
export function assign(
  source: ReadableStream<RecordBatch> | (() => ReadableStream<RecordBatch>),
  { method = "balanced", ...options }: AssignOptions,
): ReadableStream<RecordBatch> {
  const assignment = options.prices ? byPrices(options.prices) : findAssignment(method);
  if (typeof source !== "function" && assignment.passes > 1) {
    throw new InputError(
      say`Cannot assign with ${METHOD} "${method}" as its rows must be read \
up to ${assignment.passes} times: they come from a pipe`,
      { remedy: "give files" },
    );
  }
  const { chunk, experts, prefix } = options;
  checkSettings({ chunk, experts, prefix });
  checkChunk(chunk, experts, assignment);
  const open = typeof source === "function" ? source : () => source;
  return ReadableStream.from(assigned(open, assignment, options));
}

async function* assigned(
  open: () => ReadableStream<RecordBatch>,
  assignment: Assignment,
  options: AssignOptions,
): AsyncGenerator<RecordBatch> {
  let facts: Known | undefined; // by the first batch with rows
  let empty: RecordBatch | undefined;
  let lent: Columns;

  async function* scored(): AsyncGenerator<Columns> {
    for await (const batch of open()) {
      const where = findOrigin(batch);
      const columns = fromBatch(batch, where, ["nll"]);
      const { rows } = columns;
      checkLineage(batch, { experts: options.experts, prefix: options.prefix }, "these options");
      if (facts !== undefined) {
        checkLineage(batch, pickIdentity(facts.lineage), "the rows before it");
      }
      if (rows === 0) {
        empty ??= toBatch(
          { ...columns, expert: new Uint16Array() },
          lineageOut(batch, assignment, options),
        );
        continue;
      }
      const experts = columns.nll!.length / rows;
      checkWidth(where, experts, options.experts ?? facts?.experts ?? experts);
      facts ??= readKnown(batch, experts, assignment, options);
      checkCosts(columns.nll!, experts, where);
      yield columns;
    }
  }

  async function* chunks(): AsyncGenerator<CostRows> {
    for await (lent of regroup(scored(), options.chunk)) {
      const { experts, prefix } = facts!;
      const predicted = prefix === undefined ? undefined : routedPredictions(lent, prefix);
      yield { experts, costs: lent.nll!, predicted };
    }
  }

  async function* answers(): AsyncGenerator<Uint16Array> {
    const proof = yield* assignment.assign({ open: chunks, rooms: equalRooms });
    if (proof !== undefined) options.onProof?.(proof);
  }

  for await (const expert of answers()) {
    for (let begin = 0; begin < lent!.rows; begin += BATCH) {
      const rows = { ...lent!, expert };
      yield toBatch(sliceColumns(rows, begin, Math.min(rows.rows, begin + BATCH)), facts!.lineage);
    }
  }
  if (facts === undefined && empty !== undefined) yield empty;
}

/** What the first rows decide for all that follow. */
interface Known {
  experts: number;
  /** M, where the method goes by costs per predicted token and costs are sums over these. */
  prefix?: number;
  /** Of the rows that go out. */
  lineage: Lineage;
}

function readKnown(
  batch: RecordBatch,
  experts: number,
  assignment: Assignment,
  options: AssignOptions,
): Known {
  const where = findOrigin(batch);
  const { prices } = options;
  checkSettings({ experts });
  checkChunk(options.chunk, experts, assignment);
  const lineage = { ...lineageOut(batch, assignment, options), experts };
  checkLineage(batch, { experts }, "its own scores");
  if (prices) {
    const { prefix, experts, partitioner: routers } = prices;
    checkLineage(batch, { prefix, experts, routers }, "the prices");
  }
  if (!assignment.perToken) return { experts, lineage };
  const { prefix, costs } = lineage;
  checkSettings({ prefix });
  if (prefix === undefined) {
    options.onWarning?.(
      say`${where} does not say how long the scored prefix is: \
all sequences count as equally long; set ${PREFIX} if some are shorter than it`,
    );
  }
  return { experts, lineage, prefix: costs === undefined ? prefix : undefined };
}

function lineageOut(batch: RecordBatch, { method }: Assignment, options: AssignOptions): Lineage {
  const { prefix, experts } = options;
  const lineage = readLineage(batch) ?? { format: FORMAT, prefix, experts };
  return { prefix, experts, ...lineage, stage: "assign", method };
}

function checkChunk(chunk: number, experts: number | undefined, { byChunk }: Assignment) {
  if (chunk > 0 && (!byChunk || chunk % (experts ?? 1) === 0)) return;
  const least = Math.max(1, Math.ceil(chunk / (experts ?? 1))) * (experts ?? 1);
  const fact = say`${CHUNK} is ${chunk}, ${EXPERTS} is ${experts ?? "any"}`;
  throw new InputError(
    say`Cannot assign as ${CHUNK} must be a multiple of ${EXPERTS}, and not 0: ${fact}`,
    {
      remedy: say`set ${setting("chunk", least)}`,
    },
  );
}
