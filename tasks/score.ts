/**
 * Scores sequences for every expert: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task score --run runs/a --part 2/4
 *   deno task score - --routers runs/a/partitioner --prefix 64 < tokens.arrows > scores.arrows
 */
import { InputError, openGpu } from "../kernels/mod.ts";
import { openPartitioner, score } from "../pipeline/partition/mod.ts";
import { NodeFiles } from "../pipeline/graph/mod.ts";
import { defineTask } from "./command.ts";
import { DEVICE, IN_A_RUN, take } from "./options.ts";
import { arrowInput, arrowOutput, checkWritten, isPipe, pipeValues } from "./pipe.ts";
import { runStageTask } from "./stage.ts";

export const TASK = await defineTask({
  name: "score",
  startsAnew: isPipe,
  positional: "[FILE…|-]",
  options: {
    ...IN_A_RUN,
    ...take("part", "output"),
    ...DEVICE,
    ...take("requireGpu"),
  },
  run: async (call) => {
    const { paths, options, onEvent, onWarning } = call;
    if (paths.length === 0) return await runStageTask("score", call);
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
      vouched: new NodeFiles(),
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
  },
}, import.meta);
