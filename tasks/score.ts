/**
 * Scores sequences for every expert: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task score --run runs/a --part 2/4
 *   deno task score - --routers runs/a/partitioner --prefix 64 < tokens.arrows > scores.arrows
 */
import { ensure } from "../kernels/errors.ts";
import { defaultConfiguration } from "../pipeline/settings/configuration.ts";
import { DEVICE, take } from "./cli/options.ts";
import { stageTask } from "./cli/stage.ts";

export const TASK = await stageTask("score", import.meta, {
  ...take("part", "output", "requireGpu"),
  ...DEVICE,
}, async (call) => {
  const { paths, options, onEvent, onWarning } = call;
  const { arrowInput, arrowOutput, checkWritten, pipeValues } = await import("./cli/pipe.ts");
  const values = pipeValues(call);
  ensure(
    values.routers,
    "Cannot score as --routers must name a folder of routers: it is not given",
  );
  await checkWritten(call, [...paths, values.routers]);
  const { lazyDevice } = await import("../pipeline/run/run.ts");
  const { openPartitioner, score } = await import("../pipeline/partition/mod.ts");
  using device = lazyDevice(options, defaultConfiguration(), onEvent);
  // A row may go to any expert.
  const every = { batch: values.scoreBatch || undefined, beam: Infinity };
  const partitioner = await openPartitioner(values.routers, device.open, every);
  const scoring = { partitioner, prefix: values.prefix, signal: call.signal, onWarning };
  await arrowOutput(score(arrowInput(paths), scoring), options.output, call);
  partitioner.close();
});
