/**
 * Writes the report of a run: one HTML page that needs nothing else.
 *
 *   deno task report --run runs/a
 */
import { field, InputError, type Report, report } from "../mod.ts";
import { defineTask, runTask } from "./command.ts";
import { OUTPUT, RUN } from "./options.ts";
import { words } from "./wording.ts";

/** Says what was written, and what is not in it yet. */
function reportText({ output, plots, missing }: Report): string {
  return [
    output,
    ...plots,
    ...missing.map(({ part, command }) =>
      `left out: ${part.replace(/^\w/, (c) => c.toLowerCase())}; ${
        command ? `run ${command}` : "report on the whole run that this part was copied from"
      }`
    ),
  ].join("\n");
}

export const TASK = defineTask({
  name: "report",
  startsAnew: true,
  about: "Writes what a run did as one HTML page with plots, from whatever its folder holds.",
  options: {
    ...RUN,
    ...OUTPUT,
    plots: field.path({
      value: "FOLDER",
      help: "folder that gets each plot as an SVG file of its own as well",
    }),
  },
  run: async ({ options, signal, onEvent }) => {
    if (options.output === "-") {
      throw new InputError("Cannot write the report as --output must name a file: it is -");
    }
    const result = await report({
      run: options.run,
      output: options.output,
      plots: options.plots,
      words,
      signal,
      onWarning: (message) => onEvent({ type: "warning", message }),
    });
    console.log(options.json ? JSON.stringify(result, null, 2) : reportText(result));
  },
});

if (import.meta.main) await runTask(TASK);
