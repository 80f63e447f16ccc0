/**
 * Trains a dense baseline on the whole training set, for the same tokens as all experts together.
 *
 *   deno task train-dense --run runs/docs --match steps
 */
import { trainDense } from "../mod.ts";
import { runTask } from "./command.ts";
import { trainedText } from "./text.ts";

if (import.meta.main) {
  await runTask({
    name: "train-dense",
    about:
      "Trains one model of the experts' size on the whole training set of a run, in its shuffled order, for as many tokens as " +
      "all experts together see.",
    run: async ({ sources, options, signal, onEvent }) => {
      const { run, match, json } = options;
      const result = await trainDense(match, { ...options, run, sources, signal, onEvent });
      console.log(json ? JSON.stringify({ run, models: [result] }, null, 2) : trainedText(run, [result]));
    },
  });
}
