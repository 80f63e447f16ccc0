/**
 * Puts an expert that another trainer made into a run.
 *
 *   deno task adopt --run runs/a --expert 2 --from trained-elsewhere
 */
import { InputError } from "../kernels/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { adoptExpert } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { RUN } from "./options.ts";
import { adoptedText } from "./text.ts";

export const TASK = await defineTask({
  name: "adopt",
  startsAnew: true,
  options: {
    ...RUN,
    expert: field.integer({ min: 0, help: "the expert that it becomes" }),
    from: field.path({ value: "FOLDER", help: "checkpoint folder (GPTNeoXForCausalLM) of any size" }),
    force: field.flag({ help: "replace the expert that is there, or accept one that notes another part" }),
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { run, expert, from } = options;
    for (const [name, value] of Object.entries({ expert, from })) {
      if (value === undefined) throw new InputError(`Cannot adopt as --${name} must be given: it is not`);
    }
    const adopted = await adoptExpert({ ...options, expert: expert!, from: from! }, { signal, onEvent });
    print({ run, ...adopted }, adoptedText(run, adopted));
  },
}, import.meta);
