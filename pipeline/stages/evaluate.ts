/**
 * The stage `evaluate` scores held-out sequences with the mixture of a run, beside the dense models that are trained there, and
 * keeps the result as `evaluation.json`, and what every document came to as `evaluation.arrow`.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { type DocumentScores, writeDocumentScores } from "../evaluation/documents.ts";
import { evaluate, type EvaluationChoices, RESAMPLES } from "../evaluation/evaluate.ts";
import { checkFallback } from "../evaluation/margins.ts";
import { mixesOf } from "../evaluation/mix.ts";
import type { PassOptions } from "../evaluation/model_pass.ts";
import { routingPrefixes } from "../evaluation/routes.ts";
import type { Baseline } from "../evaluation/baselines.ts";
import { type Evaluation, EVALUATION_FORMAT } from "../evaluation/evaluation.ts";
import { partitionerFolder, partitionerKind, PARTITIONERS } from "../partition/partitioners.ts";
import { readShards } from "../rows/arrow.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { exists, jsonText, writeAtomic } from "../run/files.ts";
import { type Manifest, outputsHash, outputsUnder } from "../run/manifest.ts";
import type { Configuration } from "../settings/configuration.ts";
import { openMixture } from "../serving/mixture.ts";
import type { ModelName } from "../serving/models.ts";
import type { ManifestReader, RunContext, Stage, StageKind, Work } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import {
  checkBaselines,
  checkModels,
  checkPartitioner,
  checkRouteBy,
  checkRouteLengths,
  checkWhole,
  unequal,
  untrained,
} from "./evaluate_checks.ts";
import {
  evaluatePart,
  isScored,
  knownScores,
  MADE_PARTS,
  ofPart,
  PLACE,
  removeParts,
} from "./evaluate_parts.ts";
import { baselineModels, expertModel, EXPERTS, leftOut, weightsHash } from "./trained_models.ts";

/** The stage's result, by its path in the run folder. */
export const EVALUATION = "evaluation.json";
/** What every held-out document came to; evaluations of older versions have none. */
export const DOCUMENTS = "evaluation.arrow";
const ABOUT =
  "Evaluates the mixture of a run on its held-out documents: perplexities, gains, sources, segments, prefixes.";

const NEEDS = ["tokenize", "train-routers", "score", "assign", "split"];

/** Evaluates the mixture of a run. */
export const evaluation: StageKind = {
  about: ABOUT,
  takes: [],
  of: (configuration) => [evaluateStage(configuration)],
};

/** Makes the stage. */
export function evaluateStage(
  { experts, prefix, sequenceLength }: Configuration,
  choices: EvaluationChoices = {},
): Stage {
  const { resamples = RESAMPLES, routeBy, mix = [], routingTemperature, reroute, fallback, margin } = choices;
  const { trained } = choices;
  const measured = routingPrefixes(prefix, sequenceLength);
  const routeLengths = [...new Set(choices.routeLengths)].filter((tokens) => !measured.includes(tokens))
    .sort((a, b) => a - b);
  const several = {
    mix: mix.length === 0 ? undefined : mix,
    routingTemperature,
    reroute,
    fallback,
    margin,
    routeBy,
    routeLengths: routeLengths.length === 0 ? undefined : routeLengths,
    trained,
  };
  const models = Array.from({ length: experts }, (_, expert) => expertModel(expert));
  const baselines = baselineModels();
  return {
    name: "evaluate",
    about: ABOUT,
    needs: NEEDS,
    uses: [...models, ...baselines].map(({ stage }) => stage.name),
    onRequest: true,
    settings: ["prefix", "seed", "routers"],
    revision: 2, // not raised for DOCUMENTS: the result is the same, so evaluations without that file stay up to date
    outputs: [EVALUATION, DOCUMENTS],
    makes: MADE_PARTS,
    keeps: [`${PLACE.folder}/`],
    async values({ configuration: { prefix, seed }, gpu }) {
      const device = await gpu?.(); // not opened to tell a state, which holds for any GPU and whatever was asked for
      const on = device ? { resamples, ...several, adapter: device.adapter, variants: device.variants } : {};
      return { format: EVALUATION_FORMAT, prefix, seed, ...on };
    },
    async inputs(context, manifest): Promise<Record<string, string>> {
      const [tokenize, score] = [await manifest("tokenize"), await manifest("score")];
      if (!tokenize || !score) return {};
      const hashes: Record<string, string> = {};
      for (const model of [...models, ...baselines]) {
        const sha256 = await weightsHash(context, model, manifest);
        if (sha256) hashes[model.name] = sha256;
      }
      return { tokens: outputsHash(tokenize, "tokens/test-"), routers: score.inputs.routers, ...hashes };
    },
    async prepare(work, { inputs }) {
      const { run, configuration, emit } = work;
      const [tokenize, score] = [await work.manifest("tokenize"), await work.manifest("score")];
      if (tokenizeResult(tokenize, run).testSequences === 0) {
        throw new InputError(`Cannot evaluate "${run}" as there must be held-out sequences: there are none`, {
          where: run,
          remedy: say`partition again with a larger ${setting("holdout")}`,
        });
      }
      await checkPartitioner(work, score);
      const own = trained ? trained.map((expert) => models[expert]) : models;
      await checkModels(work, own, tokenize);
      checkRouteBy(run, routeBy);
      checkRouteLengths(run, routeLengths, sequenceLength);
      const dense = baselines.filter(({ name }) => name in inputs);
      await checkBaselines(work, dense, own, tokenize);
      const names = dense.map(({ name }) => name as Baseline);
      if (fallback !== undefined && !names.includes(fallback)) throw untrained(run, fallback);
      checkFallback(choices, names);
      checkWhole(run, choices);
      const { kind, routes } = await partitionerKind(await partitionerFolder(run, configuration.routers));
      mixesOf(choices, { kind, experts });
      const doubts = [...await leftOut(run, baselines), ...await unequal(work, own, dense, tokenize)];
      return async () => {
        for (const message of doubts) emit({ type: "warning", message });
        if (!routes) {
          const message =
            `parts by ${kind} cannot route a prompt: held-out sequences go where their true labels say`;
          emit({ type: "warning", message });
        }
        const known = (name: ModelName) => knownScores(work, models.concat(dense), name, inputs);
        const { evaluation, scores } = await evaluateRun(work, { ...choices, routeLengths }, {
          tokenize,
          experts,
          baselines: names,
          known,
        });
        const { documents, sequences, tokens } = evaluation;
        const outputs = {
          [DOCUMENTS]: await writeDocumentScores(`${run}/${DOCUMENTS}`, scores, evaluation),
          [EVALUATION]: await writeAtomic(`${run}/${EVALUATION}`, jsonText(evaluation)),
        };
        const result = { documents, sequences, tokens };
        return trained ? { outputs, result } : { outputs, result, afterwards: () => removeParts(run) };
      };
    },
    part: (work, { inputs }, part) =>
      evaluatePart(work, ofPart(models.concat(baselines), part), models.concat(baselines), inputs),
    reads: ({ inputs }, part = { index: 1, of: 1 }) => [
      ...NEEDS,
      ...ofPart(models.concat(baselines), part).filter(({ name }) => name in inputs).map(({ stage }) =>
        stage.name
      ),
    ],
  };
}

/**
 * Says of every model that an evaluation takes, in the order of its parts, whether the held-out sequences are
 * scored with it on a device such as the run was made on. On another one they are scored again.
 */
export async function scoredModels(context: RunContext, manifest: ManifestReader): Promise<boolean[]> {
  const { run, configuration } = context;
  const experts = Array.from({ length: configuration.experts }, (_, expert) => expertModel(expert));
  const models = [...experts, ...baselineModels()];
  const device = (await readRunConfiguration(run, { edited: true }))?.adapter;
  if (device === undefined || !await exists(`${run}/${PLACE.folder}`)) return models.map(() => false);
  const inputs = await evaluateStage(configuration).inputs(context, manifest);
  const { description: adapter, variants } = device;
  return await Promise.all(models.map((model) => isScored(run, { adapter, variants }, model, inputs)));
}

/** Evaluates the experts and baselines of a run on its held-out shards. */
async function evaluateRun(
  { run, configuration: { prefix, seed, routers }, files, gpu, emit, signal }: Work,
  choices: EvaluationChoices,
  { tokenize, experts, baselines, known }:
    & { tokenize: Manifest; experts: number; baselines: readonly Baseline[] }
    & Pick<PassOptions, "known">,
): Promise<{ evaluation: Evaluation; scores: DocumentScores }> {
  const { routeBy, ...asked } = choices;
  const mixture = await openMixture({
    run,
    partitioner: await partitionerFolder(run, routers),
    models: 1,
    vouched: files,
    gpu: await gpu(),
  });
  const other = routeBy === undefined
    ? undefined
    : await PARTITIONERS.get(routeBy)!.open(`${run}/${EXPERTS}`, gpu, { vouched: files });
  const shards = outputsUnder(tokenize, "tokens/test-").map((path) => `${run}/${path}`);
  // How much text goes to the experts that are there is known only once it is routed.
  const passes = 1 + Number(asked.reroute !== undefined) + Number(other !== undefined) + experts +
    baselines.length;
  const total = asked.trained ? undefined : passes * tokenizeResult(tokenize, run).testSequences;
  let scores: DocumentScores;
  const evaluation = await evaluate({
    ...asked,
    ...{ mixture, routeBy: other, prefix, seed, baselines, known, signal },
    open: () => readShards(shards, files),
    onProgress: (done) => emit({ type: "progress", stage: "evaluate", done, total, unit: "sequences" }),
    onDocuments: (found) => scores = found,
    onWarning: (message) => emit({ type: "warning", message }),
  }).finally(() => {
    other?.close();
    mixture.close();
  });
  return { evaluation, scores: scores! };
}
