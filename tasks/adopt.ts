/**
 * Puts an expert that another trainer made into a run.
 *
 *   deno task adopt --run runs/a --expert 2 --from trained-elsewhere
 */
import { countText } from "../pipeline/graph/numbers.ts";
import { ensure } from "../kernels/errors.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { take } from "./cli/options.ts";

export const TASK = await defineTask({
  name: "adopt",
  startsAnew: true,
  options: {
    ...take("run"),
    expert: field.integer({ min: 0 }, "the expert that it becomes"),
    from: field.path(
      { value: "FOLDER" },
      "checkpoint folder (GPTNeoXForCausalLM or LlamaForCausalLM)",
    ),
    force: field.flag("replace the expert that is there, or accept one that notes another part"),
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { run, expert, from } = options;
    ensure(expert !== undefined, "Cannot adopt as --expert must be given: it is not");
    ensure(from !== undefined, "Cannot adopt as --from must be given: it is not");
    const { adoptExpert } = await import("../pipeline/run/mod.ts");
    const adopted = await adoptExpert({ ...options, expert, from }, { signal, onEvent });
    const { folder, parameters, shape: { hidden, layers, heads }, state } = adopted;
    const fact = `expert ${expert} ${state === "done" ? "is" : "was"} adopted from ${adopted.from}`;
    const size = `${countText(parameters)} weights, H=${hidden} L=${layers} heads=${heads}`;
    print({ run, ...adopted }, `${run}/${folder}: ${fact}, ${size}`);
  },
}, import.meta);
