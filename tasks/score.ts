/**
 * Scores sequences for every expert: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task score --run runs/a --part 2/4
 *   deno task score - --routers runs/a/partitioner --prefix 64 < tokens.arrows > scores.arrows
 */
import { ensure } from "../kernels/errors.ts";
import { DEVICE, take } from "./options.ts";
import { stageTask } from "./stage.ts";

export const TASK = await stageTask("score", import.meta, {
  ...take("part", "output", "requireGpu"),
  ...DEVICE,
}, async (call) => {
  const { paths, options, onEvent, onWarning } = call;
  const { arrowInput, arrowOutput, checkWritten, pipeValues } = await import("./pipe.ts");
  const values = pipeValues(call);
  ensure(values.routers, "Cannot score as --routers must name a folder of routers: it is not given");
  await checkWritten(call, [...paths, values.routers]);
  const { openGpu } = await import("../kernels/device/gpu.ts");
  const { openPartitioner, score } = await import("../pipeline/partition/mod.ts");
  const open = async () => {
    const { adapter, variants, requireGpu } = options;
    const gpu = await openGpu({ adapter: adapter || undefined, variants, requireGpu });
    onEvent({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
    return gpu;
  };
  let gpu: ReturnType<typeof open> | undefined;
  const every = { batch: values.scoreBatch || undefined, beam: Infinity }; // a row may go to any expert
  const partitioner = await openPartitioner(values.routers, () => gpu ??= open(), every);
  const how = { partitioner, prefix: values.prefix, signal: call.signal, onWarning };
  await arrowOutput(score(arrowInput(paths), how), options.output, call);
  partitioner.close();
  (await gpu)?.close();
});
