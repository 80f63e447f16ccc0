/**
 * Writes the report of a run: one HTML page that needs nothing else.
 *
 *   deno task report --run runs/a
 */
import { type Report, report, SAMPLE_TOKENS } from "../pipeline/report/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { DEVICE, take } from "./cli/options.ts";
import { words } from "./cli/wording.ts";

/** Reports what was written, and which parts are missing or not up to date. */
function reportText({ output, plots, missing, outOfDate }: Report): string {
  const left = missing.map(({ part, command }) => {
    const remedy = command
      ? `run ${command}`
      : "report on the whole run that this part was copied from";
    return `left out: ${part[0].toLowerCase()}${part.slice(1)}; ${remedy}`;
  });
  const late = outOfDate.map(({ part, command }) => `not up to date: ${part}; run ${command}`);
  return [output, ...plots, ...left, ...late].join("\n");
}

export const TASK = await defineTask({
  name: "report",
  startsAnew: true,
  options: {
    ...take("run"),
    output: field.path({ value: "PATH" }, "file to write instead of the run's report.html"),
    ...DEVICE,
    samples: field.integer(
      { default: SAMPLE_TOKENS, min: 0 },
      "most tokens of the text that every expert writes for the page; 0 for none",
    ),
    plots: field.path({ value: "FOLDER" }, "folder that gets each plot as an SVG file as well"),
  },
  run: async ({ options, signal, onWarning, print }) => {
    const result = await report({ ...options, words, signal, onWarning });
    print(result, reportText(result));
  },
}, import.meta);
