/**
 * Makes the stage that trains a model in a run folder: an expert, a dense model or a Switch model, from its shards to a Hugging Face
 * folder, with checkpoints that a training goes on from, to the same bytes.
 *
 *     training_target.ts   what sets one model apart from the others
 *     training_inputs.ts   what is read and checked before a training begins
 *     saved_training.ts    which checkpoint it goes on from, and what forbids that
 *     make_model.ts        the training itself
 *     training_result.ts   what its manifest says of it
 *
 * @module
 */

import { type AdapterKind, revisionOf } from "../../kernels/device/variants.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { InputError } from "../../kernels/errors.ts";
import { besideMixture, type TrainingCost } from "../cost/beside_mixture.ts";
import { slowedFlops, trainingFlops } from "../cost/flops.ts";
import { trainingMemory } from "../cost/memory.ts";
import { refuseLarge, trainingDoubts } from "../cost/training.ts";
import { parameterCount } from "../model/shape.ts";
import { adoptionOf } from "../training/adoption.ts";
import { exists } from "../run/files.ts";
import { isHeld } from "../run/lock.ts";
import { readManifest, stageKey } from "../run/manifest.ts";
import { type Configuration, namesOf } from "../settings/configuration.ts";
import { EXPERTS, OPTIMISER } from "../settings/experts.ts";
import { startWeights } from "../training/recipe.ts";
import type { Estimate, RunContext, Stage } from "./stage.ts";
import { commandOf } from "./command.ts";
import { makeModel } from "./make_model.ts";
import { loadSaved, refuseChanged } from "./saved_training.ts";
import { type Known, readKnown, settleInputs } from "./training_inputs.ts";
import {
  corpusOf,
  modelOf,
  type Place,
  type Target,
  TRAINING_REVISION,
  type TrainingOptions,
} from "./training_target.ts";

/** Settings that every model's training depends on. */
const SETTINGS = [
  ...namesOf(EXPERTS, "expertRate", "denseRate", "denseStepsRate"),
  ...namesOf(OPTIMISER),
  "seed",
] as const;

/** Makes the stage that trains a model. */
export function trainingStage(target: Target, options: TrainingOptions = {}): Stage {
  const { trial } = options;
  const name = trial ? `${target.name}-${trial.rate}` : target.name;
  const folder = trial ? `search/${name}` : target.folder;
  const metrics = trial ? `${folder}/metrics.jsonl` : `metrics/${name}.jsonl`;
  let known: Promise<Known> | undefined;
  const know = (context: RunContext) => known ??= readKnown(context, target, trial);
  let begin: ReturnType<typeof startWeights> | undefined; // a checkpoint is read once
  const startOf = async (context: RunContext) => {
    const { recipe, tokenizer } = await know(context);
    return await (begin ??= startWeights(context.configuration, recipe.model, tokenizer));
  };
  const stage: Stage = {
    name: `${trial ? "search" : "train"}-${name}`,
    about: target.about,
    command: target.command,
    needs: target.needs,
    onRequest: true,
    ...target.optional && { optional: true },
    alone: true,
    guards: true,
    settings: [...SETTINGS, ...target.settings ?? [], ...target.rates],
    revision: TRAINING_REVISION,
    outputs: [`${folder}/`, metrics],
    async values(context) {
      const made = options.force || trial
        ? null
        : await readManifest(context.run, stage.name).catch(() => null);
      if (made && adoptionOf(made)) return made.configuration; // what another trainer made stands on no setting
      return { ...(await know(context)).recipe, saveDtype: context.configuration.saveDtype };
    },
    async inputs(context): Promise<Record<string, string>> {
      const { data, tokenizer } = await know(context);
      return { shards: data.shards, tokenizer };
    },
    external: async (context) => ({ init: (await startOf(context)).sha256 }),
    async begun(run) {
      const left = await Promise.all(
        ["config.json", "checkpoints"].map((file) => exists(`${run}/${folder}/${file}`)),
      );
      return left.includes(true) || await isHeld(run, stage.name);
    },
    estimate: (configuration, { sequences }, flops, kind) =>
      estimateOf(target, options, configuration, { sequences, flops, kind }),
    async prepare(work, identity, before) {
      const { run, configuration, emit } = work;
      const inputs = await know(work);
      const { data, recipe, eos, tokenizer } = inputs;
      const { force = false, resume = false, checkpointEvery = 200, checkpointMinutes = 15, keep = 2 } =
        options;
      const place: Place = { name, stage, folder: `${run}/${folder}`, metrics: `${run}/${metrics}`, recipe };
      if (recipe.batch % recipe.microBatch !== 0) {
        throw new InputError(
          `Cannot train as the batch must be a multiple of the micro-batch: batch is ${recipe.batch}, micro-batch is ${recipe.microBatch}`,
        );
      }
      const accepts = { again: work.force, resume, changes: force || resume || trial !== undefined };
      const begins = { run, place, identity, before, accepts };
      refuseChanged(begins);
      const gpu = await work.gpu();
      refuseLarge(`${name} of "${run}"`, recipe, gpu, options);
      const { adapter, variants } = gpu;
      // Another adapter rounds differently: a checkpoint is continued on its own alone.
      const settings = { ...recipe, adapter, variants, ...revisionOf(variants) };
      const key = stageKey(`${identity.stage} state`, TRAINING_REVISION, settings, identity.inputs);
      const saved = await loadSaved({ ...begins, settings, key }, emit);
      const cost = trial ? undefined : costOf(target, configuration, inputs, gpu);
      const unknownRouters = inputs.data.routers === undefined ? configuration.routers : undefined;
      for (const message of trial ? [] : trainingDoubts(target, recipe, { unknownRouters, cost })) {
        emit({ type: "warning", message });
      }
      const start = await settleInputs(work, data, async () => (await startOf(work)).weights);
      const notes = { tokenizer, eos, ...(target.notesShards ? { partition: data.shards } : {}) };
      const { size } = await Deno.stat(`${run}/tokenizer.json`);
      work.files.add(run, { "tokenizer.json": { bytes: size, sha256: tokenizer } });
      return () =>
        makeModel(work, {
          ...{ place, data, settings, key, inputs: identity.inputs, notes, start, saved, cost },
          ...{ checkpointEvery, checkpointMinutes, keep },
          recompute: options.recompute,
          train: options.train,
          smallerRate: (rate, more) => {
            const name = target.rates.find((rate) => configuration[rate] > 0) ?? "expertRate";
            return commandOf(stage, run, { [name]: rate, ...more });
          },
        });
    },
  };
  return stage;
}

/** Counts what training a model costs beside the mixture, where that is not a matter of tokens alone. */
function costOf(
  { tellsCost }: Target,
  configuration: Configuration,
  { data, recipe: { model, batch, steps } }: Known,
  { kind }: Gpu,
): TrainingCost | undefined {
  if (!tellsCost) return undefined;
  const settings = { ...configuration, vocabularySize: model.vocabulary };
  const { routers } = data;
  return besideMixture(settings, model, { batch, steps, corpus: corpusOf(data), routers, kind });
}

/** Estimates a training: its steps, its folder and its checkpoints, and the trainer's memory. */
function estimateOf(
  target: Target,
  { recompute, keep = 2, checkpointEvery = 200 }: TrainingOptions,
  configuration: Configuration,
  { sequences, flops, kind }: { sequences: number; flops: number; kind?: AdapterKind },
): Estimate {
  const model = modelOf(target, configuration);
  const batch = target.batch(configuration);
  const steps = target.steps(configuration, { sequences });
  const again = recompute ? 4 / 3 : 1; // a forward pass more to three
  const kept = checkpointEvery > 0 ? Math.min(keep, Math.floor(steps / checkpointEvery)) : 0;
  const parameters = parameterCount(model);
  const { microBatch, sequenceLength: length, dtype, saveDtype } = configuration;
  return {
    seconds: slowedFlops(again * steps * trainingFlops(model, batch, length), model, kind) / flops,
    diskBytes: parameters * ((saveDtype === "f32" ? 4 : 2) + 12 * kept), // weights, and two moments beside them
    memoryBytes: trainingMemory(model, {
      batch,
      microBatch: microBatch || configuration.expertBatch,
      length,
      recompute,
      dtype,
      kind,
    })
      .total,
  };
}
