/**
 * Assigns scored sequences to experts: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task assign --run runs/a
 *   deno task score - --routers runs/a/partitioner < tokens.arrows | deno task assign - > assigned.arrows
 *   deno task assign new.arrow --prices runs/a/assignments/prices.json --output assigned.arrow
 */
import { assignFiles } from "./assign_files.ts";
import { take } from "./options.ts";
import { checkWritten, pipeValues } from "./pipe.ts";
import { stageTask } from "./stage.ts";

export const TASK = await stageTask("assign", import.meta, take("part", "output"), async (call) => {
  const { paths, sources, options: { output }, signal, tell, onWarning } = call;
  const { method: set, chunk } = pipeValues(call, ["shardSequences"]);
  const { prefix, prices } = sources.flags ?? {}; // a file of settings has one that may be of other scores
  const method = prices === undefined ? set : sources.flags?.method; // a file of settings always has one
  await checkWritten(call, [...paths, prices ?? ""]);
  await assignFiles({ paths, method, prefix, chunk, prices, output, signal, tell, onWarning });
});
