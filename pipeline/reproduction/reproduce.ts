/**
 * Reproduces the paper's comparison at a small size, from text to a table of its claims: partition, a
 * search for every model's learning rate, experts, both dense baselines, evaluation, report. Every step is
 * skipped where it is up to date.
 *
 * @module
 */

import type { Words } from "../../kernels/errors.ts";
import type { Configuration } from "../settings/configuration.ts";
import { readCost } from "../cost/cost.ts";
import { evaluateRun } from "../stages/evaluate_run.ts";
import { report } from "../report/report.ts";
import type { Claims, Searched } from "../report/reproduction.ts";
import { partition } from "../stages/partition.ts";
import { jsonText } from "../run/files.ts";
import { writePages } from "../run/manifest.ts";
import { resolveRun } from "../stages/resolution.ts";
import { openGpuFor, type RunWatch } from "../stages/session.ts";
import { refuseAdoptedExperts, type TrainOptions } from "../stages/train.ts";
import type { TrainResult } from "../nodes/training_result.ts";
import { claimsMarkdown, claimsOf, type Crossing, VERDICTS } from "./claims.ts";
import { runCrossing } from "./crossing.ts";
import { allOf, givenIn, RATES, searchModelRate, trainModels, TRIAL_SHARE, withoutRates } from "./models.ts";
import { percentText } from "./studies/study.ts";

/** Says what to reproduce and where. */
export interface ReproduceOptions extends Omit<TrainOptions, "trial" | "resume" | "gpu"> {
  /** Part of the training that a trial of a learning rate takes. Default: 1/8. */
  trialShare?: number;
  /** Words settings and tasks in the report. Default: as a library names them. */
  words?: Words;
}

/** What a reproduction came to: `reproduction.json`. */
export interface Reproduction extends Claims {
  /** Where the mixture's curve crosses that of the dense model with E times the steps. */
  crossing: Crossing | null;
  /** What the models were trained with. */
  models: { experts: TrainResult[]; dense: TrainResult; "dense-steps": TrainResult };
}

/** The models of the paper's comparison, and a harder baseline. */
const MODELS = ["experts", "dense", "dense-steps"] as const satisfies readonly Searched[];

/**
 * Runs everything in the run folder and writes `reproduction.json`, `reproduction.md` and `report.html`
 * there. Rates that `sources` gives as flags are not searched for. Throws what the steps throw.
 */
export async function reproduce(options: ReproduceOptions, watch: RunWatch = {}): Promise<Reproduction> {
  const { run, force, check, trialShare = TRIAL_SHARE } = options;
  const { onEvent: emit = () => {}, signal } = watch;
  await refuseAdoptedExperts("reproduce in", options);
  const { configuration } = await resolveRun(run, options.sources ?? {}, true); // what differs is refused below
  const gpu = await openGpuFor(options, configuration, emit);
  try {
    const sources = { flags: withoutRates(options.sources ?? {}) };
    const summary = await partition({ run, sources, force, check, gpu, reuse: options.reuse }, watch);
    const given = givenIn(options.sources ?? {});
    const experts = summary.experts.length;
    const search: Reproduction["search"] = {};
    const rates: Partial<Configuration> = {};
    for (const name of MODELS) {
      const field = RATES[name];
      if (given[field] !== undefined) {
        rates[field] = given[field]; // 0 stands for the rate of the experts
        continue;
      }
      search[name] = await searchModelRate(name, experts, { ...options, gpu }, trialShare, watch);
      rates[field] = search[name].rate;
    }
    const settings = { ...options, gpu, sources: { flags: rates } };
    const models = {
      experts: await trainModels("experts", allOf(experts), settings, watch),
      dense: (await trainModels("dense", [], settings, watch))[0],
      "dense-steps": (await trainModels("dense-steps", [], settings, watch))[0],
    };

    const evaluation = await evaluateRun({ run, gpu, reuse: options.reuse }, watch);
    const cost = await readCost({ run, flops: 1, utilisation: 1 });
    const batches = { experts: models.experts[0].batch, steps: models["dense-steps"].batch };
    const crossing = await runCrossing(run, evaluation, batches);
    const claims = claimsOf(evaluation, summary, cost, crossing);
    const reproduction: Reproduction = { format: 1, claims, search, trialShare, crossing, models };
    await writePages(run, "reproduce", {
      "reproduction.json": jsonText(reproduction),
      "reproduction.md": reproductionMarkdown(reproduction),
    });
    const onWarning = (message: string) => emit({ type: "warning", message });
    await report({ run, gpu, words: options.words, signal, onWarning });
    return reproduction;
  } finally {
    gpu.close();
  }
}

/** Writes a reproduction as Markdown: the claims, and how the models were trained. */
function reproductionMarkdown({ claims, search, trialShare, models }: Reproduction): string {
  const trials = (name: Searched) => {
    const found = search[name];
    if (!found) return "given";
    return found.trials.map(({ rate, validationLoss }) => `${rate}: ${validationLoss.toFixed(3)}`).join(", ");
  };
  const row = (label: string, name: Searched, { steps, batch, tokens, rate }: TrainResult) =>
    `| ${label} | ${steps.toLocaleString("en")} × ${batch} | ${tokens.toLocaleString("en")} | ${rate} | ${
      trials(name)
    } |\n`;
  return claimsMarkdown(claims) + "\n" + `${VERDICTS}\n\n` +
    `| model | steps × batch | real tokens | peak rate | held-out loss by rate, in trials of ${
      percentText(trialShare)
    } of the steps |\n` +
    "| --- | --- | --- | --- | --- |\n" +
    row("each expert (tokens of expert 0)", "experts", models.experts[0]) +
    row("dense, E × batch", "dense", models.dense) +
    row("dense, E × steps", "dense-steps", models["dense-steps"]);
}
