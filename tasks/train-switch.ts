/**
 * Trains a Switch Transformer on the whole training set: experts in every layer, chosen token by
 * token.
 *
 *   deno task train-switch --run runs/docs --switch-capacity 1.25
 */
import { defineTask } from "./cli/command.ts";
import { IN_A_RUN, TRAINING } from "./cli/options.ts";
import { trainedText } from "./cli/text.ts";

export const TASK = await defineTask({
  name: "train-switch",
  drains: true, // a step in hand ends, and is saved
  options: { ...IN_A_RUN, ...TRAINING },
  run: async ({ sources, options, signal, onEvent, print }) => {
    const { run } = options;
    const { trainModels } = await import("../pipeline/run/mod.ts");
    const { switchTarget } = await import("../pipeline/stages/mod.ts");
    const models = await trainModels(() => [switchTarget()], { ...options, sources }, {
      signal,
      onEvent,
    });
    print({ run, models }, trainedText(run, models));
  },
}, import.meta);
