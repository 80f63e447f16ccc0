/**
 * Learns routers in the folder of a partitioner, round by round. It keeps a state after every round, metrics,
 * and the models at the end.
 */

import { basename } from "node:path";
import { InputError, say, setting } from "../../../kernels/errors.ts";
import { routerFolder, routersHash } from "../../checkpoints/routers.ts";
import { saveModelFolder } from "../../checkpoints/model_folder.ts";
import { saveTrainerState, usableTrainerState } from "../../checkpoints/trainer_state.ts";
import type { ModelConfig } from "../../model/shape.ts";
import { modelShapes } from "../../model/shapes.ts";
import type { Columns } from "../../rows/arrow.ts";
import { epochs } from "../../rows/shuffle.ts";
import type { RoundMetrics } from "../../run/events.ts";
import { type FileRecord, hashFile, writeAtomic } from "../../run/files.ts";
import { assignBalanced } from "../assignment/balanced.ts";
import { FILE, learnClusters } from "../ctbm/learn.ts";
import { ctbm, openClusters } from "../ctbm/partitioner.ts";
import { writeDescription } from "../folder.ts";
import type { LearnContext, Learned } from "../partitioner.ts";
import { type RouterState, trainRouters } from "./train_routers.ts";

const STATE = "state.safetensors";
const CLUSTER_FILES = [FILE, "partitioner.json"];
const EXPERTS = setting("experts");

/** Learns routers by EM. It goes on where an earlier call was interrupted, or ended with fewer rounds. */
export async function learn(context: LearnContext): Promise<Learned> {
  const { configuration, folder, tokens, tokenizerFile, emit } = context;
  const { vocabulary, eos, tokenizer, trainSequences } = tokens;
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
  // Training does not depend on the number of rounds to come, so a later call may add rounds.
  // Another adapter rounds differently, so a state is continued only on the adapter that made it.
  const { adapter, variants } = gpu;
  const key = context.stateKey({ rounds: 0, adapter, variants });
  const path = `${folder}/${STATE}`;
  const onDamaged = ({ what }: InputError) =>
    emit({ type: "warning", message: say`${what}; routers are trained from the beginning` });
  const state = context.anew
    ? undefined
    : await savedRounds(path, key, model, configuration.rounds, onDamaged);
  const rounds = state?.rounds ?? [];
  const start = configuration.start === "random" ? undefined : await learnStart(context, state?.start);
  let last = performance.now();
  const weights = await trainRouters({
    ...configuration,
    gpu,
    model,
    open: (consumed) => epochs(context.shards, configuration.seed, consumed, context.vouched),
    state,
    begin: start?.begin,
    onRound: async (metrics, current) => {
      rounds.push(metrics);
      const { trainer, ...progress } = await current();
      await saveTrainerState(path, model, trainer, { key, ...progress, rounds, start: start?.sha256 });
      emit({ type: "round", rounds: configuration.rounds, ...metrics });
      const now = performance.now();
      await context.recordTime({ round: metrics.round, seconds: (now - last) / 1000 });
      last = now;
    },
    onStep: ({ round, step, steps }) => {
      const [done, total] = [(round - 1) * steps + step, configuration.rounds * steps];
      emit({ type: "progress", stage: context.stage, done, total, unit: "steps" });
    },
    signal: context.signal,
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

/**
 * Learns the clusters whose parts routers begin with, in a folder beside theirs, unless those that the saved
 * state needs are there. The sequences of a round are divided into equal parts: the paper's greedy rule gives
 * them to the clusters.
 */
async function learnStart(context: LearnContext, learned: string | undefined) {
  const folder = `${context.folder}/start`;
  const there = learned && await ctbm.identify(folder).catch(() => null); // damaged clusters are learned again
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
): Promise<RouterState & { rounds: RoundMetrics[]; start?: string } | undefined> {
  const saved = await usableTrainerState(path, model, onDamaged);
  if (saved === undefined || saved.notes.key !== key) return undefined;
  const notes = saved.notes as { round: number; consumed: number; rounds: RoundMetrics[]; start?: string };
  return notes.round > rounds ? undefined : { ...notes, trainer: saved.state };
}
