/**
 * Assigns scored sequences to experts: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task assign --run runs/a
 *   deno task score - --routers runs/a/partitioner < tokens.arrows | deno task assign - > assigned.arrows
 *   deno task assign new.arrow --prices runs/a/assignments/prices.json --output assigned.arrow
 */
import { InputError } from "../kernels/errors.ts";
import {
  assign,
  type AssignOptions,
  type Drift,
  drift,
  findAssignment,
  type Proof,
  readPrices,
  writePrices,
} from "../pipeline/partition/mod.ts";
import { type Lineage, readLineage, type RecordBatch } from "../pipeline/rows/mod.ts";
import { checkOutput, chooseChunk, proofSummary } from "../pipeline/stages/mod.ts";
import { percent } from "./layout.ts";
import { take } from "./options.ts";
import {
  arrowInput,
  arrowInputAgain,
  arrowOutput,
  checkWritten,
  peekExperts,
  type PipeOptions,
  pipeValues,
} from "./pipe.ts";
import { stageTask } from "./stage.ts";
import { proofText } from "./text.ts";

/** What is assigned, how, and where the result goes. */
export interface AssignFilesOptions
  extends Pick<AssignOptions, "method" | "prefix" | "onWarning">, PipeOptions {
  /** Files; `-` is standard input. */
  paths: string[];
  /** Sequences assigned together; 0 chooses. */
  chunk?: number;
  /** File of prices to assign by. */
  prices?: string;
  /** File that is written; standard output without it. */
  output?: string;
}

/** Reports how far the shares of an assignment by prices are from equal ones, and warns if the text is of another kind. */
function driftText({ deviation, limit }: Drift): string {
  const largest = `the largest deviation of a share from an equal one is ${percent(deviation)}`;
  const chance = `the ${percent(limit)} that chance allows`;
  if (deviation <= limit) return `${largest}, within ${chance}`;
  return `warning: ${largest}, beyond ${chance}: the text is of another kind than that of the prices`;
}

/** Assigns files or a pipe. Throws an `InputError` where prices are given and a method as well. */
export async function assignFiles(options: AssignFilesOptions): Promise<void> {
  const { paths, method, prefix, chunk = 0, prices, output, onWarning, signal, tell } = options;
  if (prices !== undefined && method !== undefined) {
    throw new InputError(`Cannot assign by --prices as no --method may be given as well: it is ${method}`);
  }
  const known = prices === undefined ? undefined : await readPrices(prices);
  let proof: Proof | undefined;
  const given = { method, prefix, prices: known, onWarning, onProof: (proved: Proof) => proof = proved };
  const write = (
    batches: ReadableStream<RecordBatch> | (() => ReadableStream<RecordBatch>),
    experts: number,
  ) =>
    arrowOutput(assign(batches, { ...given, chunk: chooseChunk({ chunk, experts }) }), output, {
      signal,
      tell,
    });
  const passes = known ? 1 : findAssignment(method ?? "balanced").passes;
  if (passes === 1) {
    const { experts, batches } = await peekExperts(arrowInput(paths));
    await write(batches, experts);
    if (known && proof) tell(driftText(drift(proof.loads, known.rows)));
    return;
  }
  const pricesOutput = output && output !== "-" ? `${output}.prices.json` : undefined;
  if (pricesOutput !== undefined) await checkOutput(pricesOutput, paths);
  const open = await arrowInputAgain(paths, `${method} reads it up to ${passes} times`, { signal, tell });
  const { experts, batches } = await peekExperts(open());
  let lineage: Lineage | null = null;
  for await (const batch of batches) {
    lineage = readLineage(batch);
    break;
  }
  await write(open, experts);
  if (proof === undefined) return;
  tell(proofText(proofSummary(proof), lineage?.costs));
  if (!proof.prices) return;
  const what = "the prices, which assign other sequences like these";
  if (pricesOutput === undefined) return tell(`${what}, are not kept: --output PATH keeps them`);
  const { prefix: scored = prefix, routers: partitioner } = lineage ?? {};
  const { rows, prices: kept } = proof;
  const found = { method: method!, experts, rows, prefix: scored, partitioner, prices: kept };
  await writePrices(pricesOutput, found, { sealed: true });
  tell(`${pricesOutput}: ${what}`);
}

export const TASK = await stageTask("assign", import.meta, take("part", "output"), async (call) => {
  const { paths, sources, options: { output }, signal, tell, onWarning } = call;
  const { method: set, chunk } = pipeValues(call, ["shardSequences"]);
  const { prefix, prices } = sources.flags ?? {}; // a file of settings has one that may be of other scores
  const method = prices === undefined ? set : sources.flags?.method; // a file of settings always has one
  await checkWritten(call, [...paths, prices ?? ""]);
  await assignFiles({ paths, method, prefix, chunk, prices, output, signal, tell, onWarning });
});
