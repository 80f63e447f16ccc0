/**
 * Compares runs side by side, by what their folders hold.
 *
 *   deno task compare runs/em runs/ctbm --output compare.html
 */
import { InputError } from "../kernels/errors.ts";
import { compareRuns } from "../pipeline/comparison/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { comparisonJson, comparisonText } from "./compare_text.ts";
import { words } from "./wording.ts";

export const TASK = await defineTask({
  name: "compare",
  startsAnew: true,
  positional: "RUN RUN…",
  options: {
    output: field.path({ value: "FILE" }, "HTML page with plots to write as well"),
  },
  run: async ({ paths, options, signal, onWarning, print }) => {
    const { output } = options;
    if (output === "-") {
      throw new InputError("Cannot write the page as --output must name a file: it is -");
    }
    const comparison = await compareRuns({ runs: paths, output, words, signal, onWarning });
    print(comparisonJson(comparison), comparisonText(comparison));
  },
}, import.meta);
