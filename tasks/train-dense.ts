/**
 * Trains a dense baseline on the whole training set, for the same tokens as all experts together.
 *
 *   deno task train-dense --run runs/docs --match steps
 */
import { trainDense } from "../pipeline/stages/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { IN_A_RUN, TRAINING } from "./options.ts";
import { trainedText } from "./text.ts";

export const TASK = await defineTask({
  name: "train-dense",
  about:
    "Trains one model of the experts' size on the whole training set of a run, in its shuffled order, for as many tokens as " +
    "all experts together see.",
  options: {
    ...IN_A_RUN,
    match: field.choice(["batch", "steps"], {
      default: "batch",
      help: "E times the experts' batch (the paper's baseline) or E times their steps (harder to beat)",
    }),
    ...TRAINING,
  },
  run: async ({ sources, options, signal, onEvent, print }) => {
    const { run, match } = options;
    const models = [await trainDense(match, { ...options, sources }, { signal, onEvent })];
    print({ run, models }, trainedText(run, models));
  },
}, import.meta);
