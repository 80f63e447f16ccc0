/**
 * Examines the machine that is to train.
 *
 *   deno task doctor --json > machine.json
 */
import { RunError } from "../kernels/mod.ts";
import { examine } from "../pipeline/doctor/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { doctorText } from "./doctor_text.ts";
import { DEVICE } from "./options.ts";

export const TASK = await defineTask({
  name: "doctor",
  startsAnew: true,
  options: {
    ...DEVICE,
    ...field.section("Command", {
      quick: field.flag({
        help: "only show that everything runs: the figures mean nothing and are not kept",
      }),
    }),
  },
  run: async ({ options, signal, tell, print }) => {
    const { adapter, variants, quick } = options;
    const onStep = (what: string) => tell(`looking at ${what} …`);
    const diagnosis = await examine({ adapter: adapter || undefined, variants, quick, signal, onStep });
    print(diagnosis, doctorText(diagnosis, quick));
    const errors = diagnosis.problems.filter(({ severity }) => severity === "error");
    if (errors.length === 0) return;
    const first = errors[0].what.replace(/\.$/, "");
    throw new RunError(`Cannot train here as the machine must be in order: ${first}`);
  },
}, import.meta);
