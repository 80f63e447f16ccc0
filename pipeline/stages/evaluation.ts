/**
 * Scores models on the held-out sequences of a run, and puts together what they came to.
 *
 * @module
 */

import { variantRevision } from "../../kernels/device/variants.ts";
import type { Text } from "../../kernels/errors.ts";
import { loadCheckpointConfig } from "../checkpoints/hugging_face_config.ts";
import { type DocumentScores, writeDocumentScores } from "../evaluation/documents.ts";
import { evaluate, type EvaluationChoices } from "../evaluation/evaluate.ts";
import { type ModelScores, scoreModel } from "../evaluation/passes.ts";
import { type Making, PARTITIONER, TOKENIZER, type Work } from "../graph/node.ts";
import { partitionerKind, PARTITIONERS } from "../partition/partitioners.ts";
import { readShards } from "../rows/arrow.ts";
import { jsonText, writeAtomic } from "../run/files.ts";
import { readVerified } from "../run/schema.ts";
import { openMixture } from "../serving/mixture.ts";
import type { ModelName } from "../serving/models.ts";
import {
  DOCUMENTS,
  EVALUATE,
  type EvaluationOf,
  listBaselines,
  modelName,
  RESULT,
  scoresNode,
} from "./evaluate.ts";
import { TEST } from "./token_rows.ts";

const NLL = "nll.f32";

/** Opens the mixture of a run, and its held-out sequences. */
async function open(
  { path }: Making,
  { run, gpu }: Work,
  { configuration: { routers }, tokens }: EvaluationOf,
  beam?: number,
) {
  const shards = tokens.map((name) => `${path(name)}/${TEST}`);
  const partitioner = routers || `${run}/${PARTITIONER}`;
  const mixture = await openMixture({ run, partitioner, beam, models: 1, gpu: await gpu() });
  return { mixture, open: () => readShards(shards) };
}

/** Scores the held-out sequences by a model. */
export async function scoreNode(
  making: Making,
  work: Work,
  of: EvaluationOf,
): Promise<Record<string, unknown>> {
  const { emit, signal } = work, { adapter, variants } = await work.gpu();
  const model = of.models.find((model) => scoresNode(model) === making.node.name)!;
  const { entries: vocabulary, tokenizer } = making.manifest(TOKENIZER).result as {
    entries: number;
    tokenizer: string;
  };
  const total = of.tokens.reduce(
    (sum, name) => sum + Number(making.manifest(name).result.testSequences),
    0,
  );
  let done = 0;
  const onRows = (rows: number) =>
    emit({ type: "progress", stage: EVALUATE, done: done += rows, total, unit: "sequences" });
  const text = await open(making, work, of);
  const { nll } = await scoreModel(modelName(model), { ...text, onRows, signal }, {
    ...{ tokenizer, vocabulary, sequenceLength: of.configuration.sequenceLength },
  }).finally(() => text.mixture.close());
  making.wrote(NLL, await writeAtomic(`${making.folder}/${NLL}`, new Uint8Array(nll.buffer)));
  return { sequences: nll.length, adapter, variants: { ...variants, ...variantRevision(variants) } };
}

/** Puts the scores of all models together. */
export async function evaluateNode(
  making: Making,
  work: Work,
  of: EvaluationOf,
  { routeBy, beam, ...choices }: EvaluationChoices,
): Promise<Record<string, unknown>> {
  const { run, emit, signal } = work, { prefix, sequenceLength, seed, routers, levels } = of.configuration;
  const onWarning = (message: Text) => emit({ type: "warning", message });
  of.doubts?.forEach(onWarning);
  const { kind, routes } = await partitionerKind(routers || making.path(PARTITIONER));
  if (!routes) {
    onWarning(`parts by ${kind} cannot route a prompt: held-out sequences go where their true labels say`);
  }
  const text = await open(making, work, of, beam);
  const other = routeBy === undefined
    ? undefined
    : await PARTITIONERS.get(routeBy)!.open(`${run}/experts`, work.gpu);
  let scores: DocumentScores;
  const evaluation = await evaluate({
    ...{ ...choices, ...text, routeBy: other, prefix, sequenceLength, seed, signal },
    baselines: listBaselines(of.models),
    scores: (name) => knownScores(making, of, name),
    onProgress: (done) => emit({ type: "progress", stage: EVALUATE, done, unit: "sequences" }),
    onDocuments: (found) => scores = found,
    onWarning,
  }).finally(() => {
    other?.close();
    text.mixture.close();
  });
  const { documents, sequences, tokens } = evaluation;
  making.wrote(DOCUMENTS, await writeDocumentScores(`${making.folder}/${DOCUMENTS}`, scores!, evaluation));
  const result = jsonText({ ...evaluation, ...levels.length > 0 ? { levels } : {} });
  making.wrote(RESULT, await writeAtomic(`${making.folder}/${RESULT}`, result));
  return { documents, sequences, tokens };
}

/** Reads what the node of a model found. */
async function knownScores(
  making: Making,
  { models }: EvaluationOf,
  name: ModelName,
): Promise<ModelScores> {
  const model = models.find((model) => modelName(model) === name)!;
  const bytes = await readVerified(`${making.path(scoresNode(model))}/${NLL}`);
  const { config, notes } = await loadCheckpointConfig(making.path(model.node));
  return { config, notes, nll: new Float32Array(bytes.buffer) };
}
