/**
 * Assigns scored sequences to experts: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task assign --run runs/a
 *   deno task score - --routers runs/a/partitioner < tokens.arrows | deno task assign - > assigned.arrows
 *   deno task assign new.arrow --prices runs/a/assignments/prices.json --output assigned.arrow
 */
import { assignFiles } from "./assign_files.ts";
import { defineTask } from "./command.ts";
import { IN_A_RUN, take } from "./options.ts";
import { checkWritten, isPipe, pipeValues } from "./pipe.ts";
import { runStageTask } from "./stage.ts";

export const TASK = await defineTask({
  name: "assign",
  startsAnew: isPipe,
  positional: "[FILE…|-]",
  options: { ...IN_A_RUN, ...take("part", "output") },
  run: async (call) => {
    const { paths, sources, options: { output }, signal, tell, onWarning } = call;
    if (paths.length === 0) return await runStageTask("assign", call);
    const { method: settled, chunk } = pipeValues(call, ["shardSequences"]);
    const { prefix, prices } = sources.flags ?? {}; // a file of settings has one that may be of other scores
    const method = prices === undefined ? settled : sources.flags?.method; // a file of settings always has one
    await checkWritten(call, [...paths, prices ?? ""]);
    await assignFiles({ paths, method, prefix, chunk, prices, output, signal, tell, onWarning });
  },
}, import.meta);
