/**
 * Evaluates the mixture of a run on held-out documents, next to the dense models that are trained there.
 *
 *   deno task evaluate --run runs/a
 */
import { type Baseline, BASELINES } from "../pipeline/evaluation/mod.ts";
import { routesByPrefix } from "../pipeline/partition/mod.ts";
import { MIXING } from "../pipeline/serving/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { evaluateClean, evaluateModels, evaluateRun } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { evaluationText, scoredText } from "./evaluation_text.ts";
import { DEVICE, take } from "./options.ts";

export const TASK = await defineTask({
  name: "evaluate",
  options: {
    ...{ ...take("run", "force", "check", "part"), ...DEVICE, ...take("requireGpu") },
    trained: field.flag({ help: "evaluate the experts that are trained, on the text that goes to them" }),
    resamples: field.integer({ min: 1, max: 1e6, help: "bootstrap draws of documents; without it 1000" }),
    ...take("mix", "beam"),
    routingTemperature: MIXING.routingTemperature,
    reroute: MIXING.reroute,
    fallback: field.choice<Baseline, undefined>(BASELINES, {
      help: "dense model that takes sequences whose expert is unsure",
    }),
    margin: field.number({
      min: 0,
      help: "margin below which an expert is unsure; without it a curve over all margins alone",
    }),
    routeLengths: field.integers({
      default: [],
      value: "N,N,…",
      min: 1,
      max: 1_000_000,
      help: "further numbers of tokens to route by, apart from 4, 8, 16, … and all",
    }),
    routeBy: field.choice(["self"], {
      help: "also route in another way than the run's own: self, by the experts' own NLL of the prefix",
    }),
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { run, part } = options;
    if (part) {
      const scored = await evaluateModels(part, options, { signal, onEvent });
      return print({ run, stage: "evaluate", ...scored }, scoredText(run, part, scored));
    }
    const evaluation = await evaluateRun(options, { signal, onEvent });
    const clean = await evaluateClean(run, evaluation, { onEvent });
    const routes = await routesByPrefix(run);
    print({ run, routes, ...evaluation, clean }, evaluationText(run, evaluation, routes, clean));
  },
}, import.meta);
