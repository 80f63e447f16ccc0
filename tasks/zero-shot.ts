/**
 * Asks zero-shot tasks of the mixture of a run, next to the dense models that are trained there.
 *
 *   deno task zero-shot --run runs/a --task arc_easy,sciq --data data
 */
import { writeHarnessResults } from "../pipeline/evaluation/mod.ts";
import { MIXING } from "../pipeline/serving/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { askRun, checkOutputFolder } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { DEVICE, take } from "./options.ts";
import { zeroShotText } from "./zero_shot_text.ts";

const { custom, flag, integer, path, section } = field;

/** Reads `arc_easy,sciq`; commas alone are a name that no task has. */
function namesIn(text: string): string[] {
  const names = text.split(",").filter((name) => name !== "");
  return names.length > 0 || text === "" ? names : [text];
}

const QUESTIONS = section("Command", {
  task: custom(namesIn, {
    value: "NAME,…",
    help:
      "tasks to ask; without it all whose data are there, or those made of held-out text if there are no data",
  }),
  data: path({ value: "FOLDER", help: "folder with TASK.jsonl or TASK.parquet, as data sets publish them" }),
  fewShot: integer({ default: 0, min: 0, max: 1000, help: "examples before each question" }),
  limit: integer({ min: 1, help: "questions of a task, or of each set of it, to ask: the first ones" }),
  routeWithChoice: flag({
    help: "let each choice route with its context; without it the context alone does",
  }),
  resamples: integer({
    default: 1000,
    min: 1,
    max: 1_000_000,
    help: "bootstrap draws of questions, or of their documents",
  }),
  output: path({ value: "FOLDER", help: "write results there as the LM Evaluation Harness does" }),
});

export const TASK = await defineTask({
  name: "zero-shot",
  options: {
    ...{ ...take("run", "force", "check"), ...DEVICE, ...take("requireGpu"), ...QUESTIONS, ...take("mix") },
    routingTemperature: MIXING.routingTemperature,
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { run, task: tasks, routeWithChoice, output, limit } = options;
    if (output !== undefined) await checkOutputFolder(output);
    const routing = routeWithChoice ? "choice" : "context";
    const results = await askRun({ ...options, tasks, routing }, { signal, onEvent });
    if (output !== undefined) await writeHarnessResults(output, results, { run, limit });
    print({ run, results }, zeroShotText(run, results));
  },
}, import.meta);
