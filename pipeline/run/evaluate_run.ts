/**
 * Evaluates the mixture of a run next to the models of all text that are trained there. Before
 * models are scored, what is asked for is checked against what is there; warnings say what makes
 * the comparison uneven.
 *
 * @module
 */

import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { loadCheckpointConfig } from "../model/checkpoints/hugging_face_config.ts";
import { comparedCost, costApart, readRouters } from "../cost/mixture.ts";
import { type Baseline, BASELINE_NOTES } from "../evaluation/baselines.ts";
import { figuresOn, readDocumentScores, type SomeFigures } from "../evaluation/tables.ts";
import { CHOICES, type EvaluationChoices } from "../evaluation/evaluate.ts";
import { type Evaluation, gainText, readEvaluation } from "../evaluation/evaluation.ts";
import { listMixes } from "../evaluation/mix.ts";
import { routingPrefixes } from "../evaluation/passes.ts";
import { listScratches } from "../graph/folder.ts";
import { EVALUATION, type Manifest, readManifest } from "../graph/node.ts";
import { listSome } from "../graph/printable.ts";
import { changedInput } from "../graph/walk.ts";
import { partitionerFolder, partitionerKind } from "../partition/partitioners.ts";
import type { Configuration } from "../settings/configuration.ts";
import { readTextCounts } from "../text/counts.ts";
import { describeAdoption } from "../training/adoption.ts";
import {
  DOCUMENTS,
  EVALUATE,
  type EvaluateRequest,
  type EvaluationOf,
  modelScoresNode,
  RESULT,
} from "../stages/evaluate.ts";
import { type PartitionPlan, type PlanOptions, planRequests } from "./estimate.ts";
import { tokensOfRun } from "./models.ts";
import { type TrainResult, trainResult } from "../stages/train_result.ts";
import { overlapState, readLeaks } from "./overlap.ts";
import { needConfiguration } from "../stages/parts.ts";
import {
  chooseShare,
  type OpenRun,
  openRun,
  type Part,
  type RunOptions,
  type RunWatch,
} from "./run.ts";
import { allTargets, type Target } from "../stages/targets.ts";

/** The settings of a run and its models that are evaluated. */
type Evaluated = Pick<EvaluationOf, "configuration" | "models">;

/** Reports what to evaluate and how. */
export interface EvaluateRunOptions
  extends Omit<RunOptions, "sources">, Omit<EvaluationChoices, "trained"> {
  /** Evaluates only the experts that are trained, on the text that goes to them. */
  trained?: boolean;
}

/**
 * Opens a run to evaluate it. Throws an `InputError` where an expert is not trained, unless `some`
 * will do, or nothing is held out.
 */
async function opened<Result>(
  options: EvaluateRunOptions,
  watch: RunWatch,
  some: boolean,
  body: (models: readonly Target[], open: OpenRun) => Promise<Result>,
): Promise<Result> {
  const { run } = options;
  await needConfiguration(run);
  return await openRun(options, watch, EVALUATE, async (open) => {
    await tokensOfRun(run);
    if ((await readTextCounts(run))?.testSequences === 0) {
      throw new InputError(
        `Cannot evaluate "${run}" as there must be held-out sequences: there are none`,
        {
          where: run,
          remedy: say`partition again with a larger ${setting("holdout")}`,
        },
      );
    }
    return await body(await modelsOfRun(run, open.configuration, "evaluate", some), open);
  });
}

/**
 * Evaluates the mixture of a run on its held-out sequences, next to the models of all text that are
 * trained there, unless that is done.
 *
 * Throws an `InputError` where the run is not partitioned, nothing is held out, a file is damaged,
 * or what is asked for is impossible. Also where an expert is not trained or was trained on another
 * part, or where models differ in shape or tokenizer. Throws what {@linkcode openRun} throws as
 * well.
 */
export async function evaluateRun(
  options: EvaluateRunOptions,
  watch: RunWatch = {},
): Promise<Evaluation> {
  const { run, trained = false } = options;
  return await opened(options, watch, trained, async (models, { configuration, makeStage }) => {
    const subject = { configuration, models };
    const choices = await checkChoices(run, subject, options);
    const doubts = [...await leftOut(run, subject), ...await unequal(run, subject)];
    const request: EvaluateRequest = { models, choices, doubts };
    await makeStage(EVALUATE, request);
    return await readEvaluation(`${run}/${EVALUATION}/${RESULT}`);
  });
}

/** Plans what {@linkcode evaluateRun} would make. Throws what it would throw beforehand. */
export async function planEvaluation(
  options: EvaluateRunOptions & PlanOptions,
): Promise<PartitionPlan> {
  const { run, trained = false } = options;
  return await opened(options, {}, trained, async (models, { configuration }) => {
    const choices = await checkChoices(run, { configuration, models }, options);
    const request: EvaluateRequest = { models, choices };
    return await planRequests({ ...options, stage: EVALUATE, requests: [request] });
  });
}

/**
 * Gives the figures of an evaluation on the held-out documents alone that share nothing with
 * training text, where somebody has looked for that; undefined elsewhere. Warns of a gain that is
 * outside the interval that it has on all documents.
 */
export async function evaluateClean(
  run: string,
  evaluation: Evaluation,
  { onEvent }: RunWatch = {},
): Promise<SomeFigures | undefined> {
  const warn = (message: Text) => onEvent?.({ type: "warning", message });
  const state = await overlapState(run);
  const overlapTask = task("overlap", { run });
  if (state === "out of date") {
    warn(say`what was found to overlap is of other text: run ${overlapTask} again`);
  }
  if (state !== "up to date") return undefined;
  const leaks = await readLeaks(run);
  const scores = await readDocumentScores(`${run}/${EVALUATION}/${DOCUMENTS}`);
  const clean = await figuresOn(scores, (id) => !leaks.has(id), evaluation);
  if (!clean) warn("every held-out document shares a passage with training text, or nearly all");
  for (const gain of clean?.gains ?? []) {
    const all = evaluation.gains.find(({ baseline }) => baseline === gain.baseline)!;
    if (gain.percent >= all.low && gain.percent <= all.high) continue;
    const both = `${gainText(gain)} on clean documents, ${gainText(all)} on all`;
    warn(
      `duplicates or leaks change a result: compared with ${gain.baseline} the ` +
        `perplexity is ${both}`,
    );
  }
  return clean;
}

/**
 * How far scoring has come: the models that this process was to score (`own`); trained models, and
 * how many of them are scored.
 */
export type ScoredModels = { own: string[] } & Record<"models" | "evaluated", number>;

/**
 * Scores the held-out sequences of a run with every so-manieth of its models that are trained: the
 * experts, then the others. Other experts need not be trained yet. {@linkcode evaluateRun} puts the
 * scores together: the choices of an evaluation are for it, and refused here.
 */
export async function evaluateModels(
  part: Part,
  options: EvaluateRunOptions,
  watch: RunWatch = {},
): Promise<ScoredModels> {
  const asked = CHOICES.find((name) => isAsked(options[name]));
  if (asked !== undefined) {
    const rule =
      "it must go with the evaluation of all models: a part scores models, each by itself";
    throw new InputError(say`Cannot use ${setting(asked)} with ${setting("part")} as ${rule}`, {
      remedy: "leave it out here, and give it where the parts are put together",
    });
  }
  return await opened(options, watch, true, async (models, open) => {
    const { configuration, planStage, makeStage } = open;
    // Shares are those of all models, so that no model that is trained meanwhile moves another one.
    const everyModel: EvaluateRequest = { models: allTargets(configuration) };
    const nodes = await planStage(EVALUATE, everyModel);
    const isMine = chooseShare(part, nodes);
    const names = new Set(nodes.filter(isMine).map(({ name }) => name));
    const ownModels = models.filter((model) => names.has(modelScoresNode(model)));
    const request: EvaluateRequest = { models };
    const walk = await makeStage(EVALUATE, request, {
      wanted: ({ name, given = false }) => given || names.has(name),
    });
    walk.refresh(); // others have scored some as well
    const states = await Promise.all(
      models.map((model) => walk.of(walk.node(modelScoresNode(model)))),
    );
    const evaluated = states.filter(({ state }) => state === "made").length;
    return { own: ownModels.map(({ name }) => name), evaluated, models: models.length };
  });
}

const MOST_NAMED = 8;

/**
 * Lists the models of a run that are trained. Throws an `InputError` where one was trained on
 * another text than is there now. Also where an expert is not trained; with `some`, only where no
 * expert is.
 */
export async function modelsOfRun(
  run: string,
  configuration: Configuration,
  verb: string,
  some = false,
): Promise<Target[]> {
  const models: Target[] = [];
  const missing: number[] = [];
  for (const target of allTargets(configuration)) {
    const manifest = await readManifest(`${run}/${target.node}`);
    if (manifest) {
      await checkText(run, target, manifest, verb);
      models.push(target);
    } else if (target.expert !== undefined) missing.push(target.expert);
  }
  const trained = models.filter(({ expert }) => expert !== undefined).length;
  if (missing.length === 0 || some && trained > 0) return models;
  const isOne = missing.length === 1;
  const names = listSome(missing.map(String), MOST_NAMED);
  const fact = `${isOne ? "expert" : "experts"} ${names} ${isOne ? "is" : "are"} not`;
  const alternative = verb === "evaluate" && trained > 0
    ? say`, or evaluate those that are, with ${setting("trained")}`
    : "";
  throw new InputError(`Cannot ${verb} "${run}" as every expert must be trained: ${fact}`, {
    where: `${run}/experts`,
    remedy: say`run ${
      task("train-expert", { run, expert: isOne ? missing[0] : "all" })
    } first${alternative}`,
  });
}

/** Throws an `InputError` where a model learned from other files than are there now. */
async function checkText(
  run: string,
  { name, command }: Target,
  { inputs }: Manifest,
  verb: string,
): Promise<void> {
  const node = await changedInput(run, inputs);
  if (node === undefined) return;
  throw new InputError(
    `Cannot ${verb} "${run}" as ${name} must have been trained on what is there now: ` +
      `"${node}" is another one`,
    {
      where: `${run}/${node}`,
      remedy: say`run ${task(command.task, { run, ...command.with })} again`,
    },
  );
}

const isAsked = (value: unknown) =>
  value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);

/**
 * Takes what is asked for, as far as it changes a result. Throws an `InputError` where that is
 * impossible in a run.
 */
async function checkChoices(
  run: string,
  { configuration: { experts, prefix, sequenceLength, routers }, models }: Evaluated,
  options: EvaluateRunOptions,
): Promise<EvaluationChoices> {
  const { margin, calibrate } = options;
  const fallback = options.fallback ?? (calibrate === undefined ? undefined : "dense");
  const ids = models.flatMap(({ expert }) => expert ?? []);
  const measured = routingPrefixes(prefix, sequenceLength);
  const routeLengths = [...new Set(options.routeLengths)].filter((tokens) =>
    !measured.includes(tokens)
  );
  const all: EvaluationChoices = {
    ...options,
    fallback,
    trained: options.trained && ids.length < experts ? ids : undefined,
    routeLengths: routeLengths.sort((a, b) => a - b),
  };
  const choices: EvaluationChoices = Object.fromEntries(
    CHOICES.filter((name) => isAsked(all[name])).map((name) => [name, all[name]]),
  );
  const refuse = (fact: Text, remedy?: Text) =>
    new InputError(say`Cannot evaluate "${run}" ${fact}`, { where: run, remedy });
  const longest = Math.max(0, ...routeLengths);
  if (longest > sequenceLength) {
    const rule = `must be at most the ${sequenceLength} tokens of a sequence: one is ${longest}`;
    throw refuse(say`as ${setting("routeLengths")} ${rule}`);
  }
  const dense = allTargets({ experts }).find(({ name }) => name === fallback);
  if (dense && !models.some(({ name }) => name === fallback)) {
    throw refuse(
      say`as ${setting("fallback")} must name a dense model that is trained: ${dense.name} is not`,
      say`run ${task(dense.command.task, { ...dense.command.with, run })} first`,
    );
  }
  if (margin !== undefined && calibrate !== undefined) {
    throw refuse(
      say`as only one of ${setting("margin")} and ${setting("calibrate")} may be given: both are`,
    );
  }
  if (margin !== undefined && fallback === undefined) {
    const rule = "belongs to a dense model that takes what is unsure";
    throw refuse(
      say`as ${setting("margin")} ${rule}: it is ${margin}, and no model is named`,
      say`name it with ${setting("fallback")}`,
    );
  }
  const needsAll = (["mix", "reroute", "fallback", "routeBy"] as const).find((name) =>
    choices[name]
  );
  if (choices.trained && needsAll) {
    throw refuse(
      say`with ${setting(needsAll)} as every expert must be trained: ${String(ids.length)} are`,
      "train the others, or leave it out",
    );
  }
  const { kind } = await partitionerKind(await partitionerFolder(run, routers));
  listMixes(choices, { kind, experts });
  return choices;
}

/** Tells of models of all text whose training has not ended, of which none is used. */
async function leftOut(run: string, { configuration, models }: Evaluated): Promise<Text[]> {
  const messages: Text[] = [];
  const evaluated = new Set(models.map(({ name }) => name));
  for (const { name, node, expert, command } of allTargets(configuration)) {
    if (
      expert !== undefined || evaluated.has(name) || (await listScratches(run, node)).length === 0
    ) {
      continue;
    }
    const goesOn = task(command.task, { run, ...command.with });
    messages.push(
      say`${name} is left out, as its training has not ended: ${goesOn} goes on with it`,
    );
  }
  return messages;
}

// Relative difference; tails are padded or dropped, so the same number of steps sees slightly
// different numbers of tokens.
const TOKENS_APART = 0.05;

/**
 * Lists what makes the comparison uneven: experts that were trained differently, or by others. Also
 * models that should have seen as many tokens as all experts, or have cost as much compute, and did
 * not. What no manifest tells is not compared.
 */
async function unequal(run: string, { configuration, models }: Evaluated): Promise<string[]> {
  const messages: string[] = [];
  const adopted: string[] = [];
  const experts: TrainResult[] = [];
  const baselines: { model: Target; result: TrainResult }[] = [];
  for (const model of models) {
    const manifest = (await readManifest(`${run}/${model.node}`))!;
    const adoption = describeAdoption(manifest);
    if (adoption) adopted.push(`expert ${model.expert} from "${adoption.from}"`);
    else if (model.expert !== undefined) experts.push(trainResult(manifest, run));
    else baselines.push({ model, result: trainResult(manifest, run) });
  }
  const unknown = "what that cost, and on which tokens, is not known here";
  if (adopted.length > 0) messages.push(`others trained ${adopted.join(", ")}: ${unknown}`);
  for (const field of ["steps", "batch", "rate"] as const) {
    const values = new Set(experts.map((result) => result[field]));
    if (values.size > 1) {
      messages.push(`experts were trained with different ${field}: ${[...values].join(", ")}`);
    }
  }
  // Only all experts together see as many tokens as another model.
  const seen = experts.length === configuration.experts
    ? experts.reduce((sum, { tokens }) => sum + tokens, 0)
    : undefined;
  for (const { model: { name, node }, result: { tokens, steps, batch } } of baselines) {
    if (BASELINE_NOTES[name as Baseline].sameTokens) {
      if (seen === undefined || Math.abs(tokens / seen - 1) <= TOKENS_APART) continue;
      const costs = "their costs are not equal";
      messages.push(
        `${name} was trained on ${tokens} tokens, the experts together on ${seen}: ${costs}`,
      );
      continue;
    }
    const [routers, counts] = [await readRouters(configuration, run), await readTextCounts(run)];
    // What they cost is not known here.
    if (!counts || configuration.routers !== "" && routers === undefined) continue;
    const { config } = await loadCheckpointConfig(`${run}/${node}`);
    const corpus = { train: counts.trainSequences, test: counts.testSequences };
    const sized = { ...configuration, vocabularySize: config.vocabulary };
    const apart = costApart(name, comparedCost(sized, config, { batch, steps, corpus, routers }));
    if (apart) messages.push(apart);
  }
  return messages;
}
