/**
 * Evaluates the mixture of a run on held-out documents, beside the dense models that are trained there.
 *
 *   deno task evaluate --run runs/a
 */
import { evaluateRun } from "../mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { evaluateModels } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { CHECK, DEVICE, FORCE, PART, RUN } from "./options.ts";
import { evaluationText } from "./evaluation_text.ts";
import { partText } from "./stage.ts";

export const TASK = await defineTask({
  name: "evaluate",
  about:
    "Evaluates the mixture of a run on its held-out documents: perplexities, gains, sources, segments, prefixes.",
  options: {
    ...RUN,
    ...FORCE,
    ...CHECK,
    ...PART,
    ...DEVICE,
    resamples: field.integer({ default: 1000, min: 1, max: 1_000_000, help: "bootstrap draws of documents" }),
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { run, part } = options;
    if (part) {
      const result = await evaluateModels(part, options, { signal, onEvent });
      const text = `${run}: evaluate is complete${partText(run, "evaluate", part, result)}`;
      return print({ run, stage: "evaluate", ...result }, text);
    }
    const evaluation = await evaluateRun(options, { signal, onEvent });
    print({ run, ...evaluation }, evaluationText(run, evaluation));
  },
}, import.meta);
