/**
 * The stage `train-routers` learns the partitioner of a run: by default E routers, by expectation maximisation.
 *
 * @module
 */

import { forwardFlops, slowedFlops, trainingFlops } from "../cost/flops.ts";
import { MODEL_FILES } from "../checkpoints/model_folder.ts";
import { parameterCount } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import type { PartitionerKind } from "../partition/partitioner.ts";
import { kindOf, partitionerKind } from "../partition/partitioners.ts";
import { exists } from "../run/files.ts";
import { outputsHash, outputsUnder, type StageIdentity, stageKey } from "../run/manifest.ts";
import { recordTime } from "../run/timing.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { LearnContext } from "./learn_context.ts";
import { learnerOf } from "./learners.ts";
import { pickSettings, type Stage, type StageKind, type Work } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";

const DIMENSIONS = 100; // of an embedding

/** Name of the stage. */
export const LEARN = "train-routers";

/** Learns the partitioner of a run, unless one that exists is named. */
export const learn: StageKind = {
  about: "Learns how to split text: E routers, by expectation maximisation, or another partitioner.",
  of: (configuration) => configuration.routers === "" ? [learnStage(kindOf(configuration))] : [],
};

const KEPT = String
  .raw`(start\/)?((partitioner|sources)\.json|(state|ctbm)\.safetensors)|router-\d{2,}\/(${MODEL_FILES.source})`;
const OF_GROUP = String
  .raw`group\/(start-\d+-of-\d+\/(partitioner\.json|ctbm\.safetensors)|(state-\d+-of-\d+|scores-\d+-of-\d+-round-\d+)\.safetensors)`;
/**
 * Names of the files that the kinds of this project make. For other kinds the manifest of the stage lists the
 * files.
 */
const MADE = new RegExp(`^((partitioner|routers)/(${KEPT}|${OF_GROUP})|metrics/rounds\\.jsonl)$`);

function learnStage(kind: PartitionerKind): Stage {
  return {
    name: LEARN,
    about: learn.about,
    needs: ["tokenize"],
    settings: ["partitioner", ...kind.settings],
    revision: kind.revision,
    outputs: ["partitioner/", "routers/", "metrics/rounds.jsonl"],
    makes: MADE,
    values: ({ configuration }) => ({
      ...pickSettings(configuration, kind.settings),
      ...kind.kind === "em" && emValues(configuration),
      // Manifests from before there were other kinds name none: their kind is em.
      ...(kind.kind === "em" ? {} : { partitioner: kind.kind }),
    }),
    async inputs(_, manifest): Promise<Record<string, string>> {
      const tokenize = await manifest("tokenize");
      return tokenize ? { tokens: outputsHash(tokenize, "tokens/train-") } : {};
    },
    begun: (run) => exists(`${run}/partitioner`).then((there) => there || exists(`${run}/routers`)),
    prepare: (work, identity) => async () => {
      const { outputs, sha256, result } = await (await learnerOf(kind)).learn(
        await contextOf(work, kind, identity),
      );
      return { outputs, result: { routers: sha256, ...result } };
    },
    estimate(configuration, { sequences }, flops, adapter) {
      if (!kind.models) return sampleEstimate(configuration, sequences, flops);
      const { experts, rounds, roundSequences, routerBatch, sequenceLength } = configuration;
      const { router } = modelShapes(configuration);
      const routerBytes = 4 * parameterCount(router) * experts;
      return {
        seconds: rounds * slowedFlops(roundFlops(configuration), router, adapter) / flops,
        diskBytes: 4 * routerBytes,
        memoryBytes: 4 * routerBytes + routerActivations(configuration, routerBatch) +
          experts * roundSequences * sequenceLength * 4,
      };
    },
  };
}

/** Gives what a partitioner of this kind is learned with. */
async function contextOf(
  work: Work,
  kind: PartitionerKind,
  { configuration: values, inputs }: StageIdentity,
): Promise<LearnContext> {
  const { run, configuration, force, emit, signal } = work;
  const tokenize = await work.manifest("tokenize");
  const { vocabulary, eos, tokenizer, trainSequences } = tokenizeResult(tokenize, run);
  return {
    stage: LEARN,
    configuration,
    folder: `${run}/partitioner`,
    metrics: `${run}/metrics`,
    tokenizerFile: `${run}/tokenizer.json`,
    tokens: { vocabulary, eos, tokenizer, trainSequences },
    shards: outputsUnder(tokenize, "tokens/train-").map((path) => `${run}/${path}`),
    stateKey: (more) => stageKey("router state", kind.revision, { ...values, ...more }, inputs),
    vouched: work.files,
    anew: force,
    gpu: work.gpu,
    emit,
    recordTime: (entry) => recordTime(run, { stage: LEARN, ...entry }),
    signal,
  };
}

/** Counts the FLOPs of a round: the steps of all routers, and the scoring of all sequences by all routers. */
export function roundFlops(configuration: Configuration): number {
  const { experts, roundSequences, routerBatch, prefix } = configuration;
  const { router } = modelShapes(configuration);
  const steps = Math.floor(roundSequences / routerBatch);
  const scored = experts * roundSequences * experts * forwardFlops(router, 1, prefix);
  return scored + experts * steps * trainingFlops(router, routerBatch, prefix);
}

/**
 * Gives how many tokens of a sequence decide where training text goes: M, or all where the partitioner goes
 * by whole sequences. Throws an `InputError` where the settings name an unknown partitioner.
 */
export async function splitPrefix(configuration: Configuration): Promise<number> {
  const { routers, prefix, sequenceLength } = configuration;
  const kind = routers === "" ? kindOf(configuration) : await partitionerKind(routers);
  return kind.whole ? sequenceLength : prefix;
}

/** Estimates the cost of a partitioner that learns on a sample of sequences, without a model. */
function sampleEstimate(
  { partitionerSample, sequenceLength, experts, vocabularySize }: Configuration,
  sequences: number,
  flops: number,
) {
  const tokens = Math.min(sequences, partitionerSample) * sequenceLength;
  return {
    seconds: tokens * (16 * DIMENSIONS + 80 * experts) / flops * 10, // of sparse products
    diskBytes: 4 * DIMENSIONS * vocabularySize,
    memoryBytes: 12 * tokens + 40 * DIMENSIONS * vocabularySize,
  };
}

/** Estimates the bytes of all routers' activations. */
export function routerActivations(
  { experts, prefix, routerHidden, routerLayers }: Configuration,
  batch: number,
): number {
  return experts * batch * prefix * routerHidden * 4 * (16 * routerLayers + 8);
}

/** Leaves out what does not matter: a random start is not named, as in manifests from before there were other starts. */
function emValues({ start, fixed }: Configuration): Record<string, unknown> {
  return {
    ...start === "random" ? { start: undefined, partitionerSample: undefined } : {},
    fixed: fixed || undefined,
  };
}
