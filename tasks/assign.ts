/**
 * Assigns scored sequences to experts: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task assign --run runs/a
 *   deno task score - --routers runs/a/partitioner < tokens.arrows | deno task assign - > assigned.arrows
 *   deno task assign new.arrow --prices runs/a/assignments/prices.json --output assigned.arrow
 */
import { dirname } from "node:path";
import {
  assign,
  assignmentOf,
  chunkOf,
  drift,
  field,
  InputError,
  type Lineage,
  lineageOf,
  type Proof,
  readPrices,
  summaryOf,
  writePrices,
} from "../mod.ts";
import { defineTask } from "./command.ts";
import { IN_A_RUN, OUTPUT } from "./options.ts";
import { arrowInput, arrowInputAgain, arrowOutput, peekExperts, pipeValues } from "./pipe.ts";
import { runStageTask } from "./stage.ts";
import { driftText, proofText } from "./text.ts";

export const TASK = await defineTask({
  name: "assign",
  about:
    "Assigns scored sequences to experts, in equal parts, chunk by chunk. Without FILE it works in a run folder.",
  positional: "[FILE…|-]",
  options: {
    ...IN_A_RUN,
    ...field.section("Command", {
      prices: field.path({
        value: "FILE",
        help: "prices.json of an optimal assignment, to assign files or a pipe by without any other row",
      }),
    }),
    ...OUTPUT,
  },
  run: async (call) => {
    const { paths, options, signal, onWarning } = call;
    if (paths.length === 0 && options.prices !== undefined) {
      throw new InputError("Cannot assign by --prices as files or - must be named: none is");
    }
    if (paths.length === 0) return await runStageTask("assign", call);
    const values = pipeValues(call);
    const prices = options.prices === undefined ? undefined : await readPrices(options.prices);
    if (prices && values.method !== undefined) {
      throw new InputError(
        `Cannot assign by --prices as no --method may be given besides: it is ${values.method}`,
      );
    }
    let proof: Proof | undefined;
    const given = { method: values.method, prices, onWarning, onProof: (proved: Proof) => proof = proved };
    const passes = prices ? 1 : assignmentOf(values.method ?? "balanced").passes;
    if (passes === 1) {
      const { experts, batches } = await peekExperts(arrowInput(paths));
      const chunk = chunkOf({ chunk: values.chunk ?? 0, experts });
      await arrowOutput(assign(batches, { ...given, chunk }), options.output, signal);
      if (prices && proof) console.error(driftText(drift(proof.loads, prices.rows)));
      return;
    }
    await using input = await arrowInputAgain(paths, `${values.method} reads it up to ${passes} times`);
    const { experts, batches } = await peekExperts(input.open());
    let lineage: Lineage | null = null;
    for await (const batch of batches) {
      lineage = lineageOf(batch);
      break;
    }
    const chunk = chunkOf({ chunk: values.chunk ?? 0, experts });
    await arrowOutput(assign(input.open, { ...given, chunk }), options.output, signal);
    if (proof === undefined) return;
    console.error(proofText(summaryOf(proof)));
    if (!proof.prices || !options.output || options.output === "-") return;
    const path = `${dirname(options.output)}/prices.json`;
    const { prefix, routers: partitioner } = lineage ?? {};
    const { rows, prices: kept } = proof;
    await writePrices(path, { method: values.method!, experts, rows, prefix, partitioner, prices: kept });
    console.error(`${path}: the prices, which assign other sequences like these`);
  },
}, import.meta);
