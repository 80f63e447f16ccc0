/**
 * Trains a dense baseline on the whole training set: for the same tokens as all experts together,
 * or with more parameters for the same training FLOPs.
 *
 *   deno task train-dense --run runs/docs --match compute
 */
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { IN_A_RUN, PLANNED, TRAINING } from "./cli/options.ts";
import { planText, trainedText } from "./cli/text.ts";
import { words } from "./cli/wording.ts";

export const TASK = await defineTask({
  name: "train-dense",
  drains: true, // a step in hand ends, and is saved
  options: {
    ...IN_A_RUN,
    match: field.choice(
      ["batch", "steps", "compute"],
      { default: "batch" },
      "E times the experts' batch (the paper's baseline), E times their steps " +
        "(harder to beat), or the mixture's FLOPs with a larger model",
    ),
    ...PLANNED,
    ...TRAINING,
  },
  run: async ({ sources, options, signal, onEvent, print }) => {
    const { run, match } = options;
    const { planModels, trainModels } = await import("../pipeline/run/mod.ts");
    const { denseTarget } = await import("../pipeline/stages/mod.ts");
    const choose = () => [denseTarget(match)];
    if (options.dryRun) {
      const plan = await planModels(choose, { ...options, sources, device: options, words });
      return print(plan, planText(plan));
    }
    const models = await trainModels(choose, { ...options, sources }, {
      signal,
      onEvent,
    });
    print({ run, models }, trainedText(run, models));
  },
}, import.meta);
