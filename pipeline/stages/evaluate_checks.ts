/**
 * Checks before the models of a run are evaluated together: they must be trained, fit one another, and have
 * learnt from the shards that are there now. Warnings say what makes the comparison uneven.
 *
 * @module
 */

import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { loadCheckpointConfig } from "../checkpoints/hugging_face_config.ts";
import { besideMixture, costApart } from "../cost/beside_mixture.ts";
import { readRouters } from "../cost/mixture.ts";
import { type Baseline, BASELINE_NOTES, hasOwnShape, isBaseline } from "../evaluation/baselines.ts";
import type { EvaluationChoices } from "../evaluation/evaluate.ts";
import type { ModelConfig } from "../model/shape.ts";
import { readPartition } from "../partition/manifests.ts";
import { identifyPartitioner, partitionerFolder, PARTITIONERS } from "../partition/partitioners.ts";
import { adoptionOf } from "../training/adoption.ts";
import { shortHash } from "../run/files.ts";
import type { Manifest } from "../run/manifest.ts";
import { checkShape, checkTokenizer } from "../serving/models.ts";
import { baselineTargets } from "./baselines.ts";
import { commandOf } from "./command.ts";
import type { Work } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { trainResult } from "../nodes/training_result.ts";
import { checkTrained, type Model, shardsOf } from "./trained_models.ts";

export type { EvaluationChoices };

const TOKENS_APART = 0.05; // relative difference; tails are padded or dropped, so the same number of steps sees slightly different numbers of tokens

/** Refuses options that need all experts where only some are evaluated. */
export function checkWhole(
  run: string,
  { trained, mix = [], reroute, fallback, routeBy }: EvaluationChoices,
): void {
  if (!trained) return;
  const asked = [
    mix.length > 0 && "mix",
    reroute !== undefined && "reroute",
    fallback !== undefined && "fallback",
    routeBy !== undefined && "routeBy",
  ].find((name) => name !== false);
  if (asked === undefined) return;
  throw new InputError(
    say`Cannot evaluate "${run}" with ${setting(asked)} as every expert must be trained: ${
      String(trained.length)
    } are`,
    { where: run, remedy: say`train the others, or leave it out` },
  );
}

/** Names the options of an evaluation. */
const CHOICES = Object.keys(
  {
    ...{ trained: true, resamples: true, mix: true, routingTemperature: true, reroute: true },
    ...{ fallback: true, margin: true, routeLengths: true, routeBy: true },
  } satisfies Record<keyof EvaluationChoices, true>,
) as (keyof EvaluationChoices)[];

/** Refuses the options of an evaluation where models are scored for it, each by itself: nothing there goes by them. */
export function checkAlone(options: Partial<Record<keyof EvaluationChoices, unknown>>): void {
  const asked = CHOICES.find((name) => {
    const value = options[name];
    return value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
  });
  if (asked === undefined) return;
  throw new InputError(
    say`Cannot use ${setting(asked)} with ${
      setting("part")
    } as it must go with the evaluation of all models: a part scores models, each by itself`,
    { remedy: "leave it out here, and give it where the parts are put together" },
  );
}

/** Makes the error for a fallback to a dense model that is not trained; it says how to train it. */
export function untrained(run: string, name: Baseline): InputError {
  const { task: train, with: settings } = baselineTargets().find((target) => target.name === name)!.command;
  return new InputError(
    say`Cannot evaluate "${run}" as ${
      setting("fallback")
    } must name a dense model that is trained: ${name} is not`,
    { where: run, remedy: say`run ${task(train, { ...settings, run })} first` },
  );
}

/** Checks that the further partitioner takes the experts of a run as they are and has nothing to learn. */
export function checkRouteBy(run: string, routeBy: string | undefined): void {
  if (routeBy === undefined) return;
  const kind = PARTITIONERS.get(routeBy);
  if (kind?.routes && !kind.splits) return;
  const kinds = [...PARTITIONERS.values()].filter(({ routes, splits }) => routes && !splits);
  throw new InputError(
    say`Cannot evaluate "${run}" as ${setting("routeBy")} must be a kind that only routes (${
      kinds.map(({ kind }) => kind).join(", ")
    }): it is "${routeBy}"`,
  );
}

/** Checks that prefixes of other lengths are no longer than the sequences. */
export function checkRouteLengths(run: string, lengths: readonly number[], sequenceLength: number): void {
  const longest = Math.max(0, ...lengths);
  if (longest <= sequenceLength) return;
  throw new InputError(
    say`Cannot evaluate "${run}" as ${
      setting("routeLengths")
    } must be at most the ${sequenceLength} tokens of a sequence: one is ${longest}`,
    { where: run },
  );
}

/** Checks that the partitioner is the one that scored the run and made its partition. */
export async function checkPartitioner({ run, configuration, files }: Work, score: Manifest): Promise<void> {
  const folder = await partitionerFolder(run, configuration.routers);
  const { sha256, experts: routers } = await identifyPartitioner(folder);
  const { experts } = await readPartition(`${run}/partition`, files);
  const remedy = configuration.routers
    ? say`run ${task("partition", { run })}`
    : say`copy its own routers again, or run ${task("train-routers", { run, force: true })}`;
  if (experts !== routers) {
    throw new InputError(
      `Cannot evaluate "${run}" as it must have a part for every router: it has ${experts} parts, ${routers} routers`,
      { where: folder, remedy },
    );
  }
  checkSame(`the routers of "${folder}"`, sha256, score.inputs.routers, {
    must: "be those that scored the run",
    remedy,
  });
}

/** Checks, without their weights, that all experts are trained and fit one another and the partition. */
export async function checkModels(work: Work, models: readonly Model[], tokenize: Manifest): Promise<void> {
  const { run } = work;
  await checkTrained(run, models, "evaluate");
  const like = await likeOf(work, models);
  for (const model of models) {
    await checkModel(work, model, like, tokenize, await shardsOf(work, model, tokenize));
  }
}

/**
 * Gives the shape that models trained in this run must have: that of the first expert that was trained here.
 * If all were adopted, models may have any size.
 */
export async function likeOf(work: Work, models: readonly Model[]): Promise<Like> {
  for (const { folder, what } of models) {
    const { config, notes } = await loadCheckpointConfig(`${work.run}/${folder}`, work.files);
    if (notes.adopted === undefined) return { shape: config, whose: what };
  }
  return { shape: {}, whose: "the run" };
}

/** A shape that models are compared with, and whose it is. */
export interface Like {
  /** The shape, as far as it is given. */
  shape: Partial<ModelConfig>;
  /** Whose it is, as a message names it. */
  whose: string;
}

/** Checks that dense models fit the experts and the training text. */
export async function checkBaselines(
  work: Work,
  baselines: readonly Model[],
  experts: readonly Model[],
  tokenize: Manifest,
): Promise<void> {
  const like = await likeOf(work, experts);
  for (const model of baselines) {
    await checkModel(work, model, like, tokenize, await shardsOf(work, model, tokenize));
  }
}

/**
 * Checks the shape and the tokenizer of a model, and that it learnt from the shards that are there now, as
 * far as it or its manifest tells.
 */
export async function checkModel(
  work: Work,
  model: Model,
  { shape, whose }: Like,
  tokenize: Manifest,
  shards: string,
): Promise<void> {
  const { run } = work;
  const checkpoint = await loadCheckpointConfig(`${run}/${model.folder}`, work.files);
  checkShape(checkpoint, shape, model.what, { whose, textAlone: hasOwnShape(model.name) });
  const { notes } = checkpoint;
  checkTokenizer(model.what, notes.tokenizer, tokenizeResult(tokenize, run).tokenizer);
  for (const trained of [notes.partition, (await work.known(model.stage.name))?.inputs.shards]) {
    if (trained === undefined) continue;
    checkSame(model.what, trained, shards, {
      must: "have been trained on the shards that are there now",
      remedy: say`run ${commandOf(model.stage, run)} again`,
    });
  }
}

const UNKNOWN = "what that cost, and on which tokens, is not known here";

/**
 * Lists what makes the comparison uneven: experts that were trained differently, baselines that should have
 * seen as many tokens as all experts and did not, and baselines that should have cost as much compute and did
 * not. What no manifest tells is not compared.
 */
export async function unequal(
  work: Work,
  experts: readonly Model[],
  baselines: readonly Model[],
  tokenize: Manifest,
): Promise<string[]> {
  const manifests = await Promise.all(experts.map(({ stage }) => work.known(stage.name)));
  const adoptions = manifests.map(adoptionOf);
  const adopted = adoptions.flatMap((adoption, i) =>
    adoption ? [`${experts[i].what} from "${adoption.from}"`] : []
  );
  const untold = manifests.flatMap((manifest, i) => manifest === null ? [experts[i].what] : []);
  const messages = [
    ...adopted.length > 0 ? [`others trained ${adopted.join(", ")}: ${UNKNOWN}`] : [],
    ...untold.length > 0 ? [`no manifest tells of the training of ${untold.join(", ")}: ${UNKNOWN}`] : [],
  ];
  const known = manifests.flatMap((manifest, i) => manifest && !adoptions[i] ? [manifest] : []);
  for (const field of ["steps", "batch", "rate"]) {
    const values = [...new Set(known.map(({ configuration }) => Number(configuration[field])))];
    if (values.length > 1) {
      messages.push(`experts were trained with different ${field}: ${values.join(", ")}`);
    }
  }
  // Only all experts together see as many tokens as a baseline.
  const tokens = known.length === work.configuration.experts
    ? known.reduce((sum, { result }) => sum + Number(result.tokens), 0)
    : undefined;
  for (const model of baselines) {
    const made = await work.known(model.stage.name);
    if (made === null) continue;
    const message = isBaseline(model.name) && !BASELINE_NOTES[model.name].sameTokens
      ? await computeApart(work, model, made, tokenize)
      : tokens && tokensApart(model.name, Number(made.result.tokens), tokens);
    if (message) messages.push(message);
  }
  return messages;
}

/** Warns of a baseline whose training should cost as much as that of the mixture, as both are now, and does not. */
async function computeApart(
  { run, files, configuration }: Work,
  { name, folder }: Model,
  made: Manifest,
  tokenize: Manifest,
): Promise<string | undefined> {
  const { batch, steps } = trainResult(made, run);
  const { vocabulary, trainSequences: train, testSequences: test } = tokenizeResult(tokenize, run);
  const { config } = await loadCheckpointConfig(`${run}/${folder}`, files);
  const settings = { ...configuration, vocabularySize: vocabulary };
  const routers = await readRouters(configuration, run);
  if (configuration.routers !== "" && routers === undefined) return undefined; // what they cost is not known here
  return costApart(name, besideMixture(settings, config, { batch, steps, corpus: { train, test }, routers }));
}

/** Warns of a baseline that should have seen as many tokens as all experts, and did not. */
function tokensApart(name: string, seen: number, tokens: number): string | undefined {
  if (Math.abs(seen / tokens - 1) <= TOKENS_APART) return undefined;
  return `${name} was trained on ${seen} tokens, the experts together on ${tokens}: their costs are not equal`;
}

/** Throws an `InputError` with both values where two hashes differ. */
function checkSame(
  what: string,
  actual: string,
  expected: string,
  { must, remedy }: { must: string; remedy: Text },
): void {
  if (actual === expected) return;
  throw new InputError(
    `Cannot evaluate as ${what} must ${must}: SHA-256 is ${shortHash(actual)}, not ${shortHash(expected)}`,
    { remedy },
  );
}
