/**
 * Assigns scored sequences to experts: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task assign --run runs/a
 *   deno task score - --routers runs/a/partitioner < tokens.arrows | deno task assign - > assigned.arrows
 */
import { assign, chunkOf } from "../mod.ts";
import { defineTask } from "./command.ts";
import { IN_A_RUN, OUTPUT } from "./options.ts";
import { arrowInput, arrowOutput, peekExperts, pipeValues } from "./pipe.ts";
import { runStageTask } from "./stage.ts";

export const TASK = await defineTask({
  name: "assign",
  about:
    "Assigns scored sequences to experts, in equal parts, chunk by chunk. Without FILE it works in a run folder.",
  positional: "[FILE…|-]",
  options: { ...IN_A_RUN, ...OUTPUT },
  run: async (call) => {
    const { paths, options, onWarning } = call;
    if (paths.length === 0) return await runStageTask("assign", call);
    const values = pipeValues(call);
    const { experts, batches } = await peekExperts(arrowInput(paths));
    const chunk = chunkOf({ chunk: values.chunk ?? 0, experts });
    const assigned = assign(batches, { method: values.method, chunk, onWarning });
    await arrowOutput(assigned, options.output, call);
  },
}, import.meta);
