/**
 * Scores sequences with every router: in a run folder, or from files or a pipe to a file or a pipe.
 *
 *   deno task score --run runs/a --part 2/4
 *   deno task score - --routers runs/a/routers --prefix 64 < tokens.arrows > scores.arrows
 */
import { field, InputError, loadRouters, openGpu, score } from "../mod.ts";
import { defineTask, runTask } from "./command.ts";
import { DEVICE, IN_A_RUN, OUTPUT } from "./options.ts";
import { arrowInput, arrowOutput, pipeValues } from "./pipe.ts";
import { parsePart, runStageTask } from "./stage.ts";

export const TASK = defineTask({
  name: "score",
  about: "Scores the prefix of every sequence with every router. Without FILE it works in a run folder.",
  positional: "[FILE…|-]",
  options: {
    ...IN_A_RUN,
    part: field.custom(parsePart, {
      value: "I/N",
      help: "score every N-th shard from the I-th on, so that N processes share a run",
    }),
    ...OUTPUT,
    ...DEVICE,
  },
  run: async (call) => {
    const { paths, options, signal, onEvent } = call;
    if (paths.length === 0) return await runStageTask("score", call);
    const values = pipeValues(call);
    if (!values.routers) {
      throw new InputError("Cannot score as --routers must name a folder of routers: it is not given");
    }
    const routers = await loadRouters(values.routers);
    const prefix = values.prefix ?? routers.notes.prefix;
    if (!prefix) throw new InputError("Cannot score as the routers do not say their prefix: set --prefix");
    const gpu = await openGpu({ adapter: options.adapter || undefined, variants: options.variants });
    onEvent({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
    const onWarning = (message: string) => onEvent({ type: "warning", message });
    const batches = score(arrowInput(paths), {
      gpu,
      routers,
      prefix,
      batch: values.scoreBatch || undefined,
      onWarning,
    });
    await arrowOutput(batches, options.output, signal);
    gpu.close();
  },
});

if (import.meta.main) await runTask(TASK);
