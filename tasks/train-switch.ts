/**
 * Trains a Switch Transformer on the whole training set: experts in every layer, chosen token by
 * token.
 *
 *   deno task train-switch --run runs/docs --switch-capacity 1.25
 */
import { defineTask } from "./cli/command.ts";
import { IN_A_RUN, PLANNED, TRAINING } from "./cli/options.ts";
import { planText, trainedText } from "./cli/text.ts";
import { words } from "./cli/wording.ts";

export const TASK = await defineTask({
  name: "train-switch",
  drains: true, // a step in hand ends, and is saved
  options: { ...IN_A_RUN, ...PLANNED, ...TRAINING },
  run: async ({ sources, options, signal, onEvent, print }) => {
    const { run } = options;
    const { planModels, trainModels } = await import("../pipeline/run/mod.ts");
    const { switchTarget } = await import("../pipeline/stages/mod.ts");
    const choose = () => [switchTarget()];
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
