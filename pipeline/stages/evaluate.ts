/**
 * Evaluates the mixture of a run on its held-out sequences: a node for the scores of every model,
 * and one that puts them together.
 *
 *     evaluation/expert-02/   nll.f32: the NLL of every held-out sequence, f32, little endian, nats
 *     evaluation/result/      evaluation.json, evaluation.arrow
 *
 * What scores is loaded once something is to be scored: others list these nodes.
 *
 * @module
 */

import { task, type Text } from "../../kernels/errors.ts";
import type { Baseline } from "../evaluation/baselines.ts";
import { RESAMPLES } from "../evaluation/bootstrap.ts";
import type { DocumentScores } from "../evaluation/tables.ts";
import type { EvaluationChoices } from "../evaluation/evaluate.ts";
import { EVALUATION_FORMAT } from "../evaluation/evaluation.ts";
import {
  ALL_TEST,
  type Asked,
  EVALUATION,
  GIVEN,
  givenNode,
  type Making,
  type Node,
  oneByOne,
  orGiven,
  PARTITIONER,
  readManifest,
  SEQUENCES,
  TOKENIZER,
  TOKENIZER_FILE,
  type Work,
} from "../graph/node.ts";
import { namedRouters, partitionerKind, PARTITIONERS } from "../partition/partitioners.ts";
import { readShards } from "../rows/arrow.ts";
import { jsonText } from "../graph/files.ts";
import { readVerified } from "../graph/schema.ts";
import type { ModelName } from "../serving/models.ts";
import type { Configuration } from "../settings/configuration.ts";
import { countTokenBytes } from "../text/token_bytes.ts";
import { partsAlone } from "./parts.ts";
import type { GraphOf } from "./stage.ts";
import { allTargets, type Target } from "./targets.ts";
import { listTokens, TEST } from "./token_rows.ts";
import { listTrained } from "./train.ts";

/** Name of the stage. */
export const EVALUATE = "evaluate";

export { EVALUATION };
/** Files of the result. */
export const [RESULT, DOCUMENTS] = ["evaluation.json", "evaluation.arrow"];
/** File of a model's scores. */
const NLL = "nll.f32";

/** The models of a run, and what they are asked of. */
export interface EvaluationOf {
  configuration: Configuration;
  /** Names of the nodes of all blocks' tokens, in order. */
  tokens: readonly string[];
  /** The models that are trained. */
  models: readonly Target[];
  /** What is reported of them where they are evaluated together. */
  doubts?: readonly Text[];
}

/** Names a model as the mixture does. */
const modelName = ({ expert, name }: Target): ModelName => expert ?? name;
/** Names the node of a model's scores. */
export const modelScoresNode = ({ name }: Pick<Target, "name">) => `evaluation/${name}`;
/** Names those of the models that the mixture is compared with. */
export const listBaselines = (models: readonly Target[]): Baseline[] =>
  models.flatMap(({ expert, name }) => expert === undefined ? name as Baseline : []);

/**
 * Gathers what an evaluation of these models needs: the nodes that must be there, with those of the
 * `text` if it is read; the partitioner or the routers of another run; and the weights.
 */
export async function gatherAsked({ configuration, tokens, models }: EvaluationOf, text = true) {
  const partitioner = configuration.routers === "" ? [PARTITIONER] : [];
  const read = [TOKENIZER, ...text ? [SEQUENCES, ...tokens] : [], ...partitioner];
  const givenNodes = [...read, ...models.map(({ node }) => node)].map(givenNode);
  const weights = models.map(({ node }) => `${node}:model.safetensors`);
  return { given: givenNodes, partitioner, weights, routers: await namedRouters(configuration) };
}

/** Makes the nodes of an evaluation, after the nodes that it is given. */
export async function evaluateNodes(
  subject: EvaluationOf,
  choices: EvaluationChoices = {},
): Promise<Node[]> {
  const { configuration: { prefix, seed }, models } = subject;
  const { given: givenNodes, partitioner, weights, routers } = await gatherAsked(subject);
  // Another adapter rounds differently; scores stay as the first one computed them.
  const scorer = oneByOne(EVALUATE, (making, work) => score(making, work, subject));
  const { resamples = RESAMPLES, ...several } = choices;
  // With a mix, experts are scored together, because it adds up probabilities token by token.
  const passes = choices.mix?.length ? models.filter(({ expert }) => expert === undefined) : models;
  return [
    ...givenNodes,
    ...passes.map((model): Node => ({
      name: modelScoresNode(model),
      needs: [ALL_TEST, `${model.node}:model.safetensors`, `${model.node}:config.json`, TOKENIZER],
      settings: {},
      revision: 1,
      maker: scorer,
    })),
    {
      name: EVALUATION,
      needs: [ALL_TEST, TOKENIZER, ...partitioner, ...passes.map(modelScoresNode), ...weights],
      settings: { format: EVALUATION_FORMAT, prefix, seed, resamples, ...routers, ...several },
      links: { [RESULT]: RESULT, [DOCUMENTS]: DOCUMENTS },
      revision: 4,
      maker: oneByOne(EVALUATE, (making, work) => putTogether(making, work, subject, choices)),
    },
  ];
}

/** The models that are evaluated, what is chosen, and what is reported of these models. */
export interface EvaluateRequest extends Pick<EvaluationOf, "models" | "doubts"> {
  /** What changes a result. */
  choices?: EvaluationChoices;
}

/** Lists the nodes of the evaluation of a run, after those that they need as these lie there. */
export async function evaluationNodes(
  { run, configuration, recorded }: GraphOf,
  { choices, ...request }: EvaluateRequest,
): Promise<Node[]> {
  const tokens = await listTokens(run) ?? [];
  const making = evaluateNodes({ ...request, configuration, tokens }, choices);
  const nodes = await orGiven(EVALUATE, [EVALUATION], making, recorded);
  const asked: Asked = { name: EVALUATE, command: task(EVALUATE, { run }), optional: false };
  return nodes.map((node) => node.maker === GIVEN ? node : { ...node, asked });
}

/**
 * Gives the evaluation that a run is to have: by the choices of the one that it has, of all experts
 * or of those that are trained if this was chosen, and of the other models that are trained.
 */
export async function evaluateRequests(
  { run, configuration }: GraphOf,
): Promise<EvaluateRequest[]> {
  if ((await partsAlone(run)).length > 0) return [];
  const choices = await askedChoices(run);
  return [{ choices, models: await askedModels(run, configuration, choices) }];
}

/** Lists the models that an evaluation by these choices is of. */
export async function askedModels(
  run: string,
  configuration: Configuration,
  choices: EvaluationChoices,
): Promise<Target[]> {
  const targets = allTargets(configuration);
  const trained = await listTrained(run, targets);
  const isOfSome = "trained" in choices;
  return targets.filter((target) =>
    !isOfSome && target.expert !== undefined || trained.includes(target)
  );
}

/** Settings of the evaluation's node that no task chooses. */
const NOT_CHOSEN = ["format", "prefix", "seed", "routers"];

/** Reads what was chosen for the evaluation of a run; nothing where there is none. */
export async function askedChoices(run: string): Promise<EvaluationChoices> {
  const manifest = await readManifest(`${run}/${EVALUATION}`).catch(() => null);
  const chosen = Object.entries(manifest?.settings ?? {}).filter(([name]) =>
    !NOT_CHOSEN.includes(name)
  );
  return Object.fromEntries(chosen) as EvaluationChoices;
}

async function open(
  { path }: Making,
  { run, gpu }: Work,
  { configuration: { routers }, tokens }: EvaluationOf,
  beam?: number,
) {
  const { openMixture } = await import("../serving/mixture.ts");
  const shards = tokens.map((name) => `${path(name)}/${TEST}`);
  const partitioner = routers || `${run}/${PARTITIONER}`;
  const mixture = await openMixture({ run, partitioner, beam, models: 1, gpu: await gpu() });
  return { mixture, open: () => readShards(shards) };
}

async function score(
  making: Making,
  work: Work,
  subject: EvaluationOf,
): Promise<Record<string, unknown>> {
  const { variantRevision } = await import("../../kernels/device/variants.ts");
  const { scoreModel } = await import("../evaluation/passes.ts");
  const { emit, signal } = work;
  const { adapter, variants } = await work.gpu();
  const model = subject.models.find((model) => modelScoresNode(model) === making.node.name)!;
  const { entries, tokenizer } = making.manifest(TOKENIZER).result;
  const { sequenceLength } = subject.configuration;
  const counts = subject.tokens.map((name) => Number(making.manifest(name).result.testSequences));
  const total = counts.reduce((a, b) => a + b, 0);
  let done = 0;
  const onRows = (rows: number) =>
    emit({ type: "progress", stage: EVALUATE, done: done += rows, total, unit: "sequences" });
  const text = await open(making, work, subject);
  const { nll } = await scoreModel(modelName(model), { ...text, onRows, signal }, {
    tokenizer: String(tokenizer),
    vocabulary: Number(entries),
    sequenceLength,
  }).finally(() => text.mixture.close());
  await making.write(NLL, new Uint8Array(nll.buffer));
  return {
    sequences: nll.length,
    adapter,
    variants: { ...variants, ...variantRevision(variants) },
  };
}

async function putTogether(
  making: Making,
  work: Work,
  subject: EvaluationOf,
  { routeBy, beam, ...choices }: EvaluationChoices,
): Promise<Record<string, unknown>> {
  const { loadCheckpointConfig } = await import("../model/checkpoints/hugging_face_config.ts");
  const { evaluate } = await import("../evaluation/evaluate.ts");
  const { writeDocumentScores } = await import("../evaluation/tables.ts");
  const { run, emit, signal } = work;
  const { prefix, sequenceLength, seed, routers, levels } = subject.configuration;
  const onWarning = (message: Text) => emit({ type: "warning", message });
  subject.doubts?.forEach(onWarning);
  const { kind, routes } = await partitionerKind(routers || making.path(PARTITIONER));
  if (!routes) {
    onWarning(
      `parts by ${kind} cannot route a prompt: held-out sequences go where their true labels say`,
    );
  }
  const text = await open(making, work, subject, beam);
  const tokenizer = new TextDecoder().decode(
    await readVerified(`${making.path(TOKENIZER)}/${TOKENIZER_FILE}`),
  );
  const vocabulary = Number(making.manifest(TOKENIZER).result.entries);
  const otherPartitioner = routeBy === undefined
    ? undefined
    : await PARTITIONERS.get(routeBy)!.open(`${run}/experts`, work.gpu);
  let scored: DocumentScores;
  const evaluation = await evaluate({
    ...choices,
    ...text,
    routeBy: otherPartitioner,
    tokenBytes: countTokenBytes(tokenizer, vocabulary),
    prefix,
    sequenceLength,
    seed,
    signal,
    baselines: listBaselines(subject.models),
    scores: async (name) => {
      const model = subject.models.find((model) => modelName(model) === name)!;
      const bytes = await readVerified(`${making.path(modelScoresNode(model))}/${NLL}`);
      const { config, notes } = await loadCheckpointConfig(making.path(model.node));
      return { config, notes, nll: new Float32Array(bytes.buffer) };
    },
    onProgress: (done) => emit({ type: "progress", stage: EVALUATE, done, unit: "sequences" }),
    onDocuments: (scores) => scored = scores,
    onWarning,
  }).finally(() => {
    otherPartitioner?.close();
    text.mixture.close();
  });
  const { documents, sequences, tokens } = evaluation;
  const file = `${making.folder}/${DOCUMENTS}`;
  making.wrote({ [DOCUMENTS]: await writeDocumentScores(file, scored!, evaluation) });
  await making.write(RESULT, jsonText({ ...evaluation, ...levels.length > 0 ? { levels } : {} }));
  return { documents, sequences, tokens };
}
