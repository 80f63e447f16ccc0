/**
 * Puts an expert that another trainer made into a run.
 *
 *   deno task adopt --run runs/a --expert 2 --from trained-elsewhere
 */
import { InputError } from "../kernels/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { adoptExpert } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { count } from "./layout.ts";
import { take } from "./options.ts";

export const TASK = await defineTask({
  name: "adopt",
  startsAnew: true,
  options: {
    ...take("run"),
    expert: field.integer({ min: 0 }, "the expert that it becomes"),
    from: field.path({ value: "FOLDER" }, "checkpoint folder (GPTNeoXForCausalLM) of any size"),
    force: field.flag("replace the expert that is there, or accept one that notes another part"),
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { run, expert, from } = options;
    if (expert === undefined || from === undefined) {
      const name = expert === undefined ? "expert" : "from";
      throw new InputError(`Cannot adopt as --${name} must be given: it is not`);
    }
    const adopted = await adoptExpert({ ...options, expert, from }, { signal, onEvent });
    const { folder, parameters, shape: { hidden, layers, heads }, state } = adopted;
    const what = `expert ${expert} ${state === "done" ? "is" : "was"} adopted from ${adopted.from}`;
    const size = `${count(parameters)} weights, H=${hidden} L=${layers} heads=${heads}`;
    print({ run, ...adopted }, `${run}/${folder}: ${what}, ${size}`);
  },
}, import.meta);
