/**
 * Assigns scored sequences to experts: in a run folder, or from files or a pipe to a file or a
 * pipe.
 *
 *   deno task assign --run runs/a
 *   deno task score - --routers runs/a/partitioner < tokens.arrows |
 *     deno task assign - > assigned.arrows
 *   deno task assign new.arrow --prices runs/a/assignments/prices.json --output assigned.arrow
 */
import { percent } from "../pipeline/graph/numbers.ts";
import { ensure } from "../kernels/errors.ts";
import type { Drift, Proof } from "../pipeline/partition/mod.ts";
import { take } from "./cli/options.ts";
import { stageTask } from "./cli/stage.ts";
import { proofText } from "./cli/text.ts";

/**
 * Reports how far the shares of an assignment by prices are from equal ones, and warns if the text
 * is of another kind.
 */
function driftText({ deviation, limit }: Drift): string {
  const largest = `the largest deviation of a share from an equal one is ${percent(deviation)}`;
  const chance = `the ${percent(limit)} that chance allows`;
  if (deviation <= limit) return `${largest}, within ${chance}`;
  return `warning: ${largest}, beyond ${chance}: the text is of another kind than ` +
    "that of the prices";
}

export const TASK = await stageTask("assign", import.meta, take("part", "output"), async (call) => {
  const pipe = await import("./cli/pipe.ts");
  const partition = await import("../pipeline/partition/mod.ts");
  const { assign, drift, findAssignment, readPrices, writePrices } = partition;
  const { checkOutput, proofSummary } = await import("../pipeline/run/mod.ts");
  const { chooseChunk } = await import("../pipeline/stages/mod.ts");
  const { paths, sources, options: { output }, tell, onWarning } = call;
  const { method: set, chunk = 0 } = pipe.pipeValues(call, ["shardSequences"]);
  // A file of settings has one that may be of other scores.
  const { prefix, prices } = sources.flags ?? {};
  // A file of settings always has one.
  const method = prices === undefined ? set : sources.flags?.method;
  await pipe.checkWritten(call, [...paths, prices ?? ""]);
  const isOne = prices === undefined || method === undefined;
  ensure(isOne, `Cannot assign by --prices as no --method may be given as well: it is ${method}`);
  const runPrices = prices === undefined ? undefined : await readPrices(prices);
  let proof: Proof | undefined;
  const assigning = {
    method,
    prefix,
    prices: runPrices,
    onWarning,
    onProof: (proved: Proof) => proof = proved,
  };
  const write = (batches: Parameters<typeof assign>[0], experts: number) =>
    pipe.arrowOutput(
      assign(batches, { ...assigning, chunk: chooseChunk({ chunk, experts }) }),
      output,
      call,
    );
  const passes = runPrices ? 1 : findAssignment(method ?? "balanced").passes;
  if (passes === 1) {
    const { experts, batches } = await pipe.peekExperts(pipe.arrowInput(paths));
    await write(batches, experts);
    if (runPrices && proof) tell(driftText(drift(proof.loads, runPrices.rows)));
    return;
  }
  // Prices have the name of the output, so that no output takes the place of another one's.
  const pricesOutput = output && output !== "-" ? `${output}.prices.json` : undefined;
  if (pricesOutput !== undefined) await checkOutput(pricesOutput, paths);
  const open = await pipe.arrowInputAgain(paths, `${method} reads it up to ${passes} times`, call);
  const { experts, lineage, batches } = await pipe.peekExperts(open());
  await batches.cancel();
  await write(open, experts);
  if (proof === undefined) return;
  tell(proofText(proofSummary(proof), lineage?.costs));
  if (!proof.prices) return;
  const subject = "the prices, which assign other sequences like these";
  if (pricesOutput === undefined) return tell(`${subject}, are not kept: --output PATH keeps them`);
  const { prefix: scored = prefix, routers: partitioner } = lineage ?? {};
  const { rows, prices: kept } = proof;
  const pricesFound = { method: method!, experts, rows, prefix: scored, partitioner, prices: kept };
  await writePrices(pricesOutput, pricesFound, { sealed: true });
  tell(`${pricesOutput}: ${subject}`);
});
