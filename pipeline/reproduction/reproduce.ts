/**
 * Reproduces the paper's comparison at a small size, from text to a table of its claims: partition, a
 * search for every model's learning rate, experts, both dense baselines, evaluation, report. Every step is
 * skipped where it is up to date.
 *
 * @module
 */

import { InputError, say, setting, task, type Words } from "../../kernels/errors.ts";
import { readCost } from "../cost/cost.ts";
import { evaluateRun } from "../stages/evaluate_run.ts";
import { partition } from "../stages/partition.ts";
import type { RunWatch } from "../stages/run.ts";
import { resolveSettings } from "../stages/settings.ts";
import type { TrainResult } from "../stages/training_result.ts";
import { report } from "../report/report.ts";
import type { Claims, Searched } from "../report/reproduction.ts";
import { jsonText, writeAtomic } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import { adoptedExperts } from "../training/adoption.ts";
import { claimsMarkdown, head, judgeRun, ROUTING_VERDICTS, row } from "./claims.ts";
import type { Crossing } from "./crossing.ts";
import { openDevice, searchModelRate, train, type TrainingSite } from "./models.ts";
import { givenIn, RATES, TRIAL_SHARE, withoutRates } from "./search.ts";
import { readOutcome } from "./outcome.ts";
import { MODELS } from "./study.ts";
import { percentText } from "./tables.ts";

/** Reports what to reproduce and where. */
export interface ReproduceOptions extends Omit<TrainingSite, "trial" | "resume" | "gpu"> {
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

/**
 * Runs everything in the run folder and writes `reproduction.json`, `reproduction.md` and `report.html`
 * there. Rates that `sources` gives as flags are not searched for. Throws what the steps throw.
 */
export async function reproduce(options: ReproduceOptions, watch: RunWatch = {}): Promise<Reproduction> {
  const { run, sources = {}, force = false, check, reuse, trialShare = TRIAL_SHARE } = options;
  const { onEvent: emit = () => {}, signal } = watch;
  const { configuration: c } = await resolveSettings(run, sources, true); // what differs is refused below
  if (!force) await refuseAdopted(run);
  const gpu = await openDevice(options, c, emit);
  try {
    await partition({ run, sources: { flags: withoutRates(sources) }, force, check, gpu, reuse }, watch);
    const given = givenIn(sources);
    const search: Reproduction["search"] = {};
    const rates: Partial<Configuration> = {};
    for (const model of MODELS) {
      const field = RATES[model];
      rates[field] = given[field]; // 0 stands for the rate of the experts
      if (given[field] !== undefined) continue;
      search[model] = await searchModelRate(model, c, { ...options, gpu }, trialShare, watch);
      rates[field] = search[model].rate;
    }
    const trained = await train(MODELS, c, { ...options, gpu, sources: { flags: rates } }, watch);
    await evaluateRun({ run, gpu, reuse }, watch);
    const [experts, [dense], [steps]] = MODELS.map((model) => trained[model]!);
    const outcome = await readOutcome(run);
    const { communication } = await readCost({ run, flops: 1, utilisation: 1 });
    const reproduction: Reproduction = {
      format: 1,
      claims: judgeRun(outcome, communication),
      ...{ search, trialShare, crossing: outcome.crossing ?? null },
      models: { experts, dense, "dense-steps": steps },
    };
    await writeAtomic(`${run}/reproduction.json`, jsonText(reproduction));
    await writeAtomic(`${run}/reproduction.md`, reproductionMarkdown(reproduction));
    const onWarning = (message: string) => emit({ type: "warning", message });
    await report({ run, gpu, words: options.words, signal, onWarning });
    return reproduction;
  } finally {
    gpu.close();
  }
}

/** Throws an `InputError` where an expert of a run came from another trainer. */
async function refuseAdopted(run: string): Promise<void> {
  const [adopted] = await adoptedExperts(run);
  if (!adopted) return;
  const { expert, from } = adopted;
  const must = `every expert must be trained there: expert ${expert} was adopted from "${from}"`;
  const again = task("train-expert", { run, expert, force: true });
  const remedy = say`choose another ${setting("run")}, or run ${again} first`;
  throw new InputError(`Cannot reproduce in "${run}" as ${must}`, { where: run, remedy });
}

/** The rules for verdicts that the claims do not spell out. */
const VERDICTS =
  'What "yes" takes: a gain whose 95% interval (bootstrap over documents, both models on the same draws) excludes zero; on every segment ' +
  `a lower perplexity, without an interval; ${ROUTING_VERDICTS}.`;

/** Writes a reproduction as Markdown: the claims, and how the models were trained. */
function reproductionMarkdown({ claims, search, trialShare, models }: Reproduction): string {
  const reported = (label: string, name: Searched, { steps, batch, tokens, rate }: TrainResult) => {
    const trials = search[name]?.trials.map(({ rate, validationLoss }) =>
      `${rate}: ${validationLoss.toFixed(3)}`
    );
    const [step, token] = [steps, tokens].map((count) => count.toLocaleString("en"));
    return row([label, `${step} × ${batch}`, token, rate, trials?.join(", ") ?? "given"]);
  };
  const losses = `held-out loss by rate, in trials of ${percentText(trialShare)} of the steps`;
  return [
    claimsMarkdown(claims),
    ...["", VERDICTS, ""],
    ...head(["model", "steps × batch", "real tokens", "peak rate", losses]),
    reported("each expert (tokens of expert 0)", "experts", models.experts[0]),
    reported("dense, E × batch", "dense", models.dense),
    reported("dense, E × steps", "dense-steps", models["dense-steps"]),
  ].join("\n") + "\n";
}
