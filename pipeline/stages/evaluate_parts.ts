/**
 * An evaluation in parts: each process scores the held-out text with some of the models and leaves its
 * results for the evaluation as a whole.
 *
 * @module
 */

import { revisionOf, type Variants } from "../../kernels/device/variants.ts";
import { loadCheckpointConfig } from "../checkpoints/hugging_face_config.ts";
import { BASELINES } from "../evaluation/baselines.ts";
import { type ModelScores, scoreModel } from "../evaluation/model_pass.ts";
import { partitionerFolder } from "../partition/partitioners.ts";
import { readShards } from "../rows/arrow.ts";
import { exists, removeFiles, sha256, wholeName, writeAtomic } from "../run/files.ts";
import { outputsUnder, stageKey } from "../run/manifest.ts";
import { openMixture } from "../serving/mixture.ts";
import type { ModelName } from "../serving/models.ts";
import { checkModel } from "./evaluate_checks.ts";
import { noteOf, type Part, writeNote } from "./notes.ts";
import type { Work } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { type Model, modelName, shardsOf } from "./trained_models.ts";

/** The files that a part leaves of a model: the NLL of every held-out sequence, f32, little endian. */
export const PLACE = { stage: "evaluate", folder: "evaluation" };
const MODEL_NAMES = `expert-\\d{2,}|${BASELINES.join("|")}`;
/** Matches the files of an evaluation, also of one in parts, by their paths in the run folder. */
export const MADE_PARTS = new RegExp(
  `^(evaluation\\.(json|arrow)|(manifests/evaluate|evaluation)/(${MODEL_NAMES})\\.f32(\\.json)?)$`,
);

/** Lists the models that a part scores. */
export const ofPart = (models: readonly Model[], { index, of }: Part): Model[] =>
  models.filter((_, i) => i % of === index - 1);

/** A device, as the notes of scores name it. */
type Device = { adapter: string; variants: Partial<Variants> };

/** Hashes what the scores of a model depend on: its weights, the sequences and the device. */
function scoresKey(
  { adapter, variants }: Device,
  model: Model,
  inputs: Record<string, string>,
): string {
  return stageKey("evaluate model", 1, { adapter, variants, ...revisionOf(variants) }, {
    tokens: inputs.tokens,
    weights: inputs[model.name],
  });
}

const fileOf = ({ name }: Model): string => `${name}.f32`;

/** Reads the note of a model's scores; null where there are none of these inputs on this device. */
const scoresOf = (run: string, device: Device, model: Model, inputs: Record<string, string>) =>
  noteOf({ ...PLACE, run, file: fileOf(model), key: scoresKey(device, model, inputs) });

/**
 * Scores the held-out sequences with the models of a part that are trained, unless that is done. Returns the models of the part, and
 * how many of all that are trained are `evaluated`, of how many.
 */
export async function evaluatePart(
  work: Work,
  own: readonly Model[],
  all: readonly Model[],
  inputs: Record<string, string>,
): Promise<Record<string, unknown>> {
  const { run, configuration, emit, signal, lock } = work;
  const tokenize = await work.manifest("tokenize");
  const { tokenizer, vocabulary, testSequences } = tokenizeResult(tokenize, run);
  const shards = outputsUnder(tokenize, "tokens/test-").map((path) => `${run}/${path}`);
  const trained = own.filter(({ name }) => name in inputs);
  for (const model of trained) {
    await checkModel(
      work,
      model,
      { shape: {}, whose: "the run" },
      tokenize,
      await shardsOf(work, model, tokenize),
    );
    const file = fileOf(model);
    const release = await lock(`${PLACE.stage}-${model.name}`, { patience: Infinity });
    try {
      if (await isScored(run, await work.gpu(), model, inputs)) continue;
      const mixture = await openMixture({
        run,
        partitioner: await partitionerFolder(run, configuration.routers),
        models: 1,
        vouched: work.files,
        gpu: await work.gpu(),
      });
      let done = 0;
      const { nll } = await scoreModel(modelName(model), {
        mixture,
        open: () => readShards(shards, work.files),
        onRows: (rows) =>
          emit({
            type: "progress",
            stage: "evaluate",
            done: done += rows,
            total: testSequences,
            unit: "sequences",
          }),
        signal,
      }, { tokenizer, vocabulary, sequenceLength: configuration.sequenceLength }).finally(() =>
        mixture.close()
      );
      const written = await writeAtomic(`${run}/${PLACE.folder}/${file}`, new Uint8Array(nll.buffer));
      await writeNote(run, PLACE.stage, file, {
        key: scoresKey(await work.gpu(), model, inputs),
        ...written,
        rows: nll.length,
        read: { ...work.files.read },
      });
    } finally {
      await release();
    }
  }
  let evaluated = 0;
  const there = all.filter(({ name }) => name in inputs);
  for (const model of there) if (await isScored(run, await work.gpu(), model, inputs)) evaluated++;
  return { own: trained.map(({ name }) => name), evaluated, models: there.length };
}

/** Says whether a part has scored the held-out sequences with a model, on such a device. */
export async function isScored(
  run: string,
  device: Device,
  model: Model,
  inputs: Record<string, string>,
): Promise<boolean> {
  return model.name in inputs && await scoresOf(run, device, model, inputs) !== null;
}

/** Reads what a part found of a model; undefined where none did. */
export async function knownScores(
  work: Work,
  models: readonly Model[],
  name: ModelName,
  inputs: Record<string, string>,
): Promise<ModelScores | undefined> {
  const { run, files } = work;
  if (!await exists(`${run}/${PLACE.folder}`)) return undefined;
  const model = models.find((model) => modelName(model) === name)!;
  const note = await scoresOf(run, await work.gpu(), model, inputs);
  if (!note) return undefined;
  const bytes = await Deno.readFile(`${run}/${PLACE.folder}/${fileOf(model)}`);
  if (sha256(bytes) !== note.sha256) return undefined; // scored again
  files.note(note.read ?? {});
  const { config, notes } = await loadCheckpointConfig(`${run}/${model.folder}`, files);
  return { config, notes, nll: new Float32Array(bytes.buffer) };
}

/** Removes what parts left. */
export async function removeParts(run: string): Promise<void> {
  for (const folder of [PLACE.folder, `manifests/${PLACE.stage}`]) {
    await removeFiles(run, folder, (path) => MADE_PARTS.test(wholeName(path) ?? path));
  }
}
