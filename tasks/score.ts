/**
 * Scores sequences for every expert: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task score --run runs/a --part 2/4
 *   deno task score - --routers runs/a/partitioner --prefix 64 < tokens.arrows > scores.arrows
 */
import { InputError, openGpu } from "../kernels/mod.ts";
import { openPartitioner, score } from "../pipeline/partition/mod.ts";
import { DEVICE, take } from "./options.ts";
import { arrowInput, arrowOutput, checkWritten, pipeValues } from "./pipe.ts";
import { stageTask } from "./stage.ts";

export const TASK = await stageTask("score", import.meta, {
  ...take("part", "output", "requireGpu"),
  ...DEVICE,
}, async (call) => {
  const { paths, options, onEvent, onWarning } = call;
  const values = pipeValues(call);
  if (!values.routers) {
    throw new InputError("Cannot score as --routers must name a folder of routers: it is not given");
  }
  await checkWritten(call, [...paths, values.routers]);
  const open = async () => {
    const { adapter, variants, requireGpu } = options;
    const gpu = await openGpu({ adapter: adapter || undefined, variants, requireGpu });
    onEvent({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
    return gpu;
  };
  let gpu: ReturnType<typeof open> | undefined;
  const batch = values.scoreBatch || undefined;
  const partitioner = await openPartitioner(values.routers, () => gpu ??= open(), {
    batch,
    beam: Infinity, // scores on files may send a row to any expert
  });
  const scored = score(arrowInput(paths), {
    partitioner,
    prefix: values.prefix,
    signal: call.signal,
    onWarning,
  });
  await arrowOutput(scored, options.output, call);
  partitioner.close();
  (await gpu)?.close();
});
