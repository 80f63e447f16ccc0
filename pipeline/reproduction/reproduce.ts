/**
 * Reproduces the paper's comparison at a small size, from text to a table of its claims: partition, a search for every
 * model's learning rate, experts, both dense baselines, evaluation, report. Every step is skipped where it is up to date.
 *
 * @module
 */

import type { Words } from "../../kernels/errors.ts";
import { openGpu } from "../../kernels/gpu.ts";
import type { Configuration } from "../settings/configuration.ts";
import { presetOf } from "../settings/presets.ts";
import type { Sources } from "../settings/resolution.ts";
import { readCost } from "../cost/cost.ts";
import type { Evaluation } from "../evaluation/evaluation.ts";
import { evaluateRun } from "../stages/evaluate_run.ts";
import { report } from "../report/report.ts";
import type { Claims, Searched } from "../report/reproduction.ts";
import { partition } from "../stages/partition.ts";
import { jsonText, writeAtomic } from "../run/files.ts";
import { expertFolder } from "../partition/manifests.ts";
import type { RunWatch } from "../stages/session.ts";
import { trainDense, trainExpert, type TrainOptions } from "../stages/train.ts";
import type { TrainResult } from "../stages/train_model.ts";
import { LossNotFiniteError, readStepMetrics, type StepMetrics } from "../training/loop.ts";
import { claimsMarkdown, claimsOf, type Crossing, crossingOf, type CurvePoint, VERDICTS } from "./claims.ts";
import { searchRate } from "./search.ts";

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

const RATES = { experts: "expertRate", dense: "denseRate", "dense-steps": "denseStepsRate" } as const;

/** Rate that every search starts from. */
const FIRST_RATE = 4e-3;

/**
 * Runs everything in the run folder and writes `reproduction.json`, `reproduction.md` and `report.html` there. Rates that `sources`
 * gives as flags are not searched for. Throws what the steps throw.
 */
export async function reproduce(options: ReproduceOptions, watch: RunWatch = {}): Promise<Reproduction> {
  const { run, force, adapter, variants, trialShare = 1 / 8 } = options;
  const { onEvent: emit = () => {}, signal } = watch;
  const summary = await partition(
    { run, sources: { flags: withoutRates(options.sources ?? {}) }, force, adapter, variants },
    watch,
  );
  const given = options.sources?.flags ?? {};
  const experts = summary.experts.length;
  const search: Reproduction["search"] = {};
  const rates: Partial<Configuration> = {};
  const gpu = await openGpu({ adapter: adapter || undefined, variants });
  emit({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
  try {
    const trials: Record<Searched, (trial: TrainOptions) => Promise<number>> = {
      experts: async (trial) => {
        let sum = 0;
        for (let expert = 0; expert < experts; expert++) {
          sum += lossOf(await trainExpert(expert, trial, watch));
        }
        return sum / experts;
      },
      dense: async (trial) => lossOf(await trainDense("batch", trial, watch)),
      "dense-steps": async (trial) => lossOf(await trainDense("steps", trial, watch)),
    };
    for (const [name, validate] of Object.entries(trials) as [Searched, typeof trials[Searched]][]) {
      const field = RATES[name];
      if (given[field] !== undefined) {
        rates[field] = given[field]; // 0 is a dense model's word for the experts' rate
        continue;
      }
      const attempt = async (rate: number) => {
        try {
          return await validate({ ...options, gpu, sources: {}, trial: { share: trialShare, rate } });
        } catch (error) {
          if ((error as Error).cause instanceof LossNotFiniteError) return Infinity;
          throw error;
        }
      };
      search[name] = await searchRate(FIRST_RATE, attempt);
      rates[field] = search[name].rate;
    }
    const settings = { ...options, gpu, sources: { flags: rates } };
    const trained: TrainResult[] = [];
    for (let expert = 0; expert < experts; expert++) trained.push(await trainExpert(expert, settings, watch));
    const models: Reproduction["models"] = {
      experts: trained,
      dense: await trainDense("batch", settings, watch),
      "dense-steps": await trainDense("steps", settings, watch),
    };

    const evaluation = await evaluateRun({ run, gpu }, watch);
    const cost = await readCost({ run, flops: 1, utilisation: 1 });
    const crossing = crossingOf(
      await mixtureCurve(run, evaluation, trained[0].batch),
      await denseCurve(run, evaluation, models["dense-steps"].batch),
    );
    const { mixture, "dense-steps": harder } = evaluation.scores;
    if (crossing) crossing.difference = mixture!.nllPerToken - harder!.nllPerToken; // of all held-out text, not a sample
    const claims = claimsOf(evaluation, summary, cost, crossing);
    const reproduction: Reproduction = { format: 1, claims, search, trialShare, crossing, models };
    await writeAtomic(`${run}/reproduction.json`, jsonText(reproduction));
    await writeAtomic(`${run}/reproduction.md`, reproductionMarkdown(reproduction));
    await report({
      run,
      words: options.words,
      signal,
      onWarning: (message) => emit({ type: "warning", message }),
    });
    return reproduction;
  } finally {
    gpu.close();
  }
}

/** Gives what a trial is judged by. */
const lossOf = ({ validationLoss, loss }: TrainResult): number => validationLoss ?? loss ?? Infinity;

/** Gathers what a preset, a file and flags say, as flags, without the rates that are searched for. */
function withoutRates({ preset, file, flags }: Sources): Partial<Configuration> {
  const values: Partial<Configuration> = { ...presetOf(preset), ...file, ...flags };
  for (const field of Object.values(RATES)) delete values[field];
  return values;
}

/** Reads the held-out curve of a model, against steps. */
async function readCurve(run: string, name: string): Promise<StepMetrics[]> {
  const lines = await readStepMetrics(`${run}/metrics/${name}.jsonl`);
  return lines.filter((line) => line.validationLoss !== undefined);
}

/** Puts the experts' held-out curves together, each weighted by the held-out tokens that are routed to it. */
async function mixtureCurve(
  run: string,
  { segments, models }: Evaluation,
  batch: number,
): Promise<CurvePoint[]> {
  const used = segments.filter(({ tokens }) => tokens > 0);
  const curves = await Promise.all(used.map(({ expert }) => readCurve(run, expertFolder(expert))));
  const total = used.reduce((sum, { tokens }) => sum + tokens, 0);
  return curves[0].flatMap(({ step }) => {
    const losses = curves.map((curve) => curve.find((line) => line.step === step)?.validationLoss);
    if (losses.includes(undefined)) return [];
    const loss = losses.reduce((sum: number, value, i) => sum + value! * used[i].tokens / total, 0);
    return [{ tokens: step * batch * models.config.context, loss }];
  });
}

/** Reads the curve of the dense model with E times the steps, against an E-th of its tokens. */
async function denseCurve(
  run: string,
  { experts, models }: Evaluation,
  batch: number,
): Promise<CurvePoint[]> {
  return (await readCurve(run, "dense-steps")).map(({ step, validationLoss }) => ({
    tokens: step * batch * models.config.context / experts,
    loss: validationLoss!,
  }));
}

/** Writes a reproduction as Markdown: the claims, and how the models were trained. */
export function reproductionMarkdown({ claims, search, trialShare, models }: Reproduction): string {
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
    `| model | steps × batch | real tokens | peak rate | held-out loss by rate, in trials of 1/${
      Math.round(1 / trialShare)
    } of the steps |\n` +
    "| --- | --- | --- | --- | --- |\n" +
    row("each expert (tokens of expert 0)", "experts", models.experts[0]) +
    row("dense, E × batch", "dense", models.dense) +
    row("dense, E × steps", "dense-steps", models["dense-steps"]);
}
