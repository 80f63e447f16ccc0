/**
 * Evaluates the mixture of a run on held-out documents, beside the dense models that are trained there.
 *
 *   deno task evaluate --run runs/a
 */
import { evaluateRun } from "../mod.ts";
import { runTask } from "./command.ts";
import { evaluationText } from "./evaluation_text.ts";

if (import.meta.main) {
  await runTask({
    name: "evaluate",
    about:
      "Evaluates the mixture of a run on its held-out documents: perplexities, gains, sources, segments, prefixes.",
    run: async ({ options: { run, resamples, force, adapter, variants, json }, signal, onEvent }) => {
      const evaluation = await evaluateRun({ run, resamples, force, adapter, variants }, { signal, onEvent });
      console.log(json ? JSON.stringify({ run, ...evaluation }, null, 2) : evaluationText(run, evaluation));
    },
  });
}
