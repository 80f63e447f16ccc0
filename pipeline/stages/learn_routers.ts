/**
 * Learns routers in the folder of a partitioner, round by round. It keeps a state after every round, metrics,
 * and the models at the end.
 */

import { basename } from "node:path";
import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { revisionOf } from "../../kernels/device/variants.ts";
import { routerFolder, routersHash } from "../checkpoints/routers.ts";
import { saveModelFolder } from "../checkpoints/model_folder.ts";
import { saveTrainerState, usableTrainerState } from "../checkpoints/trainer_state.ts";
import type { ModelConfig } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import type { Columns } from "../rows/arrow.ts";
import { epochs } from "../rows/shuffle.ts";
import type { RoundMetrics } from "../run/events.ts";
import { type FileRecord, hashFile, writeAtomic } from "../run/files.ts";
import { assignBalanced } from "../partition/assignment/balanced.ts";
import { FILE } from "../partition/ctbm/learn.ts";
import { ctbm, openClusters } from "../partition/ctbm/partitioner.ts";
import { writeDescription } from "../partition/folder.ts";
import { learnClusters } from "./learn_clusters.ts";
import type { LearnContext, Learned } from "./learn_context.ts";
import { type RouterState, trainRouters, type TrainRoutersOptions } from "../partition/em/train_routers.ts";

/** What training goes on by. */
interface Learning {
  /** Hash of what its bytes depend on, the adapter among it. */
  key: string;
}

/** Where training stands, and what its rounds came to. */
interface SavedRounds extends RouterState {
  rounds: RoundMetrics[];
  start?: string;
}

const STATE = "state.safetensors";
const CLUSTER_FILES = [FILE, "partitioner.json"];
const EXPERTS = setting("experts");

/** Learns routers by EM, and goes on where an earlier call was ended, or ended with fewer rounds. */
export async function learn(context: LearnContext): Promise<Learned> {
  const { configuration, folder, tokens, tokenizerFile } = context;
  const { vocabulary, eos, tokenizer } = tokens;
  const { model, gpu, learning, onDamaged } = await prepare(context);
  const path = `${folder}/${STATE}`;
  const state = context.anew
    ? undefined
    : await savedRounds(path, learning.key, model, configuration.rounds, onDamaged);
  const rounds = state?.rounds ?? [];
  const save = async ({ trainer, ...progress }: RouterState, start?: string) =>
    await saveTrainerState(path, model, trainer, { key: learning.key, ...progress, rounds, start });
  const start = configuration.start === "random"
    ? undefined
    : await learnStart(context, `${folder}/start`, state?.start);
  const weights = await trainRouters({
    ...optionsOf(context, gpu, model),
    state,
    begin: start?.begin,
    onRound: onRoundOf(context, rounds, (current) => save(current, start?.sha256)),
  });
  const files: Record<string, FileRecord> = { [STATE]: await hashFile(path), ...start?.files };
  const hashes: string[] = [];
  for (const [router, tensors] of weights.entries()) {
    const name = routerFolder(router);
    const written = await saveModelFolder(`${folder}/${name}`, model, tensors, {
      notes: { tokenizer, prefix: configuration.prefix, eos },
      tokenizer: tokenizerFile,
      vouched: context.vouched,
    });
    hashes.push(written["model.safetensors"].sha256);
    for (const [file, record] of Object.entries(written)) files[`${name}/${file}`] = record;
  }
  const { experts, prefix } = configuration;
  const description = { kind: "em", experts, prefix, tokenizer, vocabulary, eos };
  files["partitioner.json"] = await writeDescription(folder, description);
  const outputs = Object.fromEntries(
    Object.entries(files).map(([name, file]) => [`${basename(folder)}/${name}`, file]),
  );
  const lines = rounds.map((metrics) => JSON.stringify(metrics) + "\n").join("");
  outputs["metrics/rounds.jsonl"] = await writeAtomic(`${context.metrics}/rounds.jsonl`, lines);
  return { outputs, sha256: routersHash(hashes), result: { rounds } };
}

/** Checks what learning takes, and opens the device. */
async function prepare(context: LearnContext) {
  const { configuration, tokens: { vocabulary, trainSequences }, emit } = context;
  if (trainSequences < configuration.experts) {
    throw new InputError(
      say`Cannot train routers as there must be at least as many training sequences as ${EXPERTS}: there are ${trainSequences}, ${EXPERTS} is ${configuration.experts}`,
      { remedy: say`give more text or fewer ${EXPERTS}` },
    );
  }
  const wanted = (configuration.rounds + 1) * configuration.experts * configuration.roundSequences;
  if (wanted > trainSequences) {
    emit({
      type: "warning",
      message:
        `${configuration.rounds} rounds take ${wanted} sequences and there are ${trainSequences}: the corpus starts again in a new order`,
    });
  }
  const { router: model } = modelShapes({ ...configuration, vocabularySize: vocabulary });
  const gpu = await context.gpu();
  // Training does not depend on the number of rounds to come, so more rounds go on where fewer ended.
  // Another adapter rounds differently: a state is continued on its own alone.
  const { adapter, variants } = gpu;
  const learning: Learning = {
    key: context.stateKey({ rounds: 0, adapter, variants, ...revisionOf(variants) }),
  };
  const onDamaged = ({ what }: InputError) =>
    emit({ type: "warning", message: say`${what}; routers are trained from the beginning` });
  return { model, gpu, learning, onDamaged };
}

/** What training takes of a context, whoever trains how many routers. */
function optionsOf(context: LearnContext, gpu: Gpu, model: ModelConfig) {
  const { configuration, emit } = context;
  return {
    ...configuration,
    gpu,
    model,
    open: (consumed: number) => epochs(context.shards, configuration.seed, consumed, context.vouched),
    onStep: ({ round, step, steps }: { round: number; step: number; steps: number }) => {
      const [done, total] = [(round - 1) * steps + step, configuration.rounds * steps];
      emit({ type: "progress", stage: context.stage, done, total, unit: "steps" });
    },
    signal: context.signal,
  };
}

/** Makes what is called after a round: it notes the metrics in `rounds`, saves a state, and tells; `times` stands beside its time. */
function onRoundOf(
  context: LearnContext,
  rounds: RoundMetrics[],
  save: (state: RouterState) => Promise<void>,
  times: Record<string, unknown> = {},
): NonNullable<TrainRoutersOptions["onRound"]> {
  let last = performance.now();
  return async (metrics, current) => {
    rounds.push(metrics);
    await save(await current());
    context.emit({ type: "round", rounds: context.configuration.rounds, ...metrics });
    const now = performance.now();
    await context.recordTime({ round: metrics.round, seconds: (now - last) / 1000, ...times });
    last = now;
  };
}

/**
 * Learns the clusters whose parts routers begin with, in `folder`, unless those that a state stands on are there. Parts
 * of a round's sequences are equal: they go to clusters by the paper's greedy rule.
 */
async function learnStart(context: LearnContext, folder: string, learned: string | undefined) {
  const there = learned && await ctbm.identify(folder).catch(() => null); // what is damaged is learned again
  if (!there || there.sha256 !== learned) await learnClusters({ ...context, folder });
  const clusters = await openClusters(folder);
  const files: Record<string, FileRecord> = {};
  for (const name of CLUSTER_FILES) files[`start/${name}`] = await hashFile(`${folder}/${name}`);
  async function begin({ rows, tokens, length }: Columns): Promise<Uint16Array> {
    const sequenceLength = tokens!.length / rows;
    const costs = await clusters.costs({ tokens: tokens!, sequenceLength, length }, [sequenceLength]);
    return assignBalanced(costs, clusters.experts);
  }
  return { files, begin, sha256: clusters.sha256 };
}

/**
 * Loads the state from which training under `key` goes on, after at most `rounds` rounds; none where the
 * state belongs to another training.
 */
async function savedRounds(
  path: string,
  key: string,
  model: ModelConfig,
  rounds: number,
  onDamaged: (error: InputError) => void,
): Promise<SavedRounds | undefined> {
  const saved = await usableTrainerState(path, model, onDamaged);
  if (saved === undefined || saved.notes.key !== key) return undefined;
  const notes = saved.notes as Omit<SavedRounds, "trainer">;
  return notes.round > rounds ? undefined : { ...notes, trainer: saved.state };
}
