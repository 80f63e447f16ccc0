/**
 * Wires each stage to a run folder: which files it reads and writes, and what its outputs depend on.
 *
 * @module
 */

import { type Stage, stageConfiguration } from "../settings/configuration.ts";
import { readArrow, readShards, type RecordBatch, writeArrowFile } from "../rows/arrow.ts";
import { writeShards } from "../rows/shards.ts";
import { epochs } from "../rows/shuffle.ts";
import {
  loadRouters,
  routerFolder,
  type Routers,
  routersHash,
  saveModelFolder,
} from "../checkpoints/checkpoint.ts";
import type { ModelConfig } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import { exists, type FileRecord, hashFile, jsonText, removeIfThere, writeAtomic } from "../run/files.ts";
import { VERSION } from "../run/version.ts";
import {
  type Manifest,
  manifestPath,
  outputsHash,
  outputsUnder,
  stageKey,
  upToDate,
} from "../run/manifest.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { type Made, recordTime, runStage, type Work } from "./work.ts";
import { loadTrainerState, saveTrainerState } from "../checkpoints/trainer_state.ts";
import { assign, type AssignMethod } from "../partition/assignment/assign.ts";
import { score } from "../partition/score.ts";
import {
  notePath,
  readNote,
  scoredBy,
  type ScoredShards,
  scoreKey,
  type ScoreNote,
  shardsToScore,
} from "./score_notes.ts";
import { joinScores, split } from "../partition/split.ts";
import { runCorpus, runTokenize, runTokenizer, type TokenizeResult } from "./text_stages.ts";
import type { RoundMetrics } from "../run/events.ts";
import { type RouterState, trainRouters } from "../partition/em/train_routers.ts";

/** Selects a share of the shards, so that several processes score a run together. */
export interface Part {
  /** Number of this part, from 1. */
  index: number;
  /** Number of parts. */
  of: number;
}

/** Holds what a stage is run with. */
export interface StageInputs {
  /** Manifests of the stages before. */
  manifests: Map<Stage, Manifest>;
  /** Routers that exist, where none are trained. */
  routers: Routers | null;
  /** The share of the shards to score. */
  part?: Part;
}

/** Runs a stage unless it is up to date, and returns its manifest. */
export async function runNamedStage(work: Work, stage: Stage, inputs: StageInputs): Promise<Manifest> {
  const of = (name: Stage) => inputs.manifests.get(name)!;
  switch (stage) {
    case "corpus":
      return await runCorpus(work);
    case "tokenizer":
      return await runTokenizer(work, of("corpus"));
    case "tokenize":
      return await runTokenize(work, of("corpus"), of("tokenizer"));
    case "train-routers":
      return await runTrainRouters(work, of("tokenize"));
    case "score":
      return await runScore(work, of("tokenize"), inputs.manifests.get("train-routers"), inputs);
    case "assign":
      return await runAssign(work, of("score"));
    case "split":
      return await runSplit(work, of("tokenize"), of("score"), of("assign"));
  }
}

/** Names a stage's files of one kind, `train-00000.arrow` and so on, without their folder. */
function shardNames(manifest: Manifest, folder: string, kind: "train" | "test"): string[] {
  return outputsUnder(manifest, `${folder}/${kind}-`).map((path) => path.slice(folder.length + 1));
}

const CHUNK = 65_536; // sequences

/** Gives the sequences assigned together: those of the configuration, or about 65,536, a multiple of the experts. */
export function chunkOf({ chunk, experts }: { chunk: number; experts: number }): number {
  return chunk || Math.max(experts, CHUNK - CHUNK % experts);
}

function runTrainRouters(work: Work, tokenize: Manifest): Promise<Manifest> {
  const { run, configuration: c, emit, signal } = work;
  const inputs = { tokens: outputsHash(tokenize, "tokens/train-") };
  const paths = shardNames(tokenize, "tokens", "train").map((name) => `${run}/tokens/${name}`);
  const { vocabulary, eos, tokenizer, trainSequences } = tokenize.result as unknown as TokenizeResult;
  const settings = stageConfiguration(c, "train-routers");
  // Training does not depend on the number of rounds to come, so more rounds go on where fewer ended.
  // Another adapter rounds differently: a state is continued on its own alone.
  const stateKeyOn = ({ adapter, variants }: Gpu) =>
    stageKey("router state", { ...settings, rounds: 0, adapter, variants }, inputs);

  const make = async (): Promise<Made> => {
    if (trainSequences < c.experts) {
      throw new RangeError(
        `Cannot train routers as there must be at least as many training sequences as experts: there are ` +
          `${trainSequences}, experts is ${c.experts}; give more text or fewer --experts`,
      );
    }
    const wanted = (c.rounds + 1) * c.experts * c.roundSequences;
    if (wanted > trainSequences) {
      emit({
        type: "warning",
        message:
          `${c.rounds} rounds take ${wanted} sequences and there are ${trainSequences}: the corpus starts again in a new order`,
      });
    }
    const model = modelShapes({ ...c, vocabularySize: vocabulary }).router;
    const gpu = await work.gpu();
    const stateKey = stateKeyOn(gpu);
    const state = work.force ? undefined : await savedRounds(`${run}/${STATE}`, stateKey, model, c.rounds);
    const rounds = state?.rounds ?? [];
    let last = performance.now();
    const weights = await trainRouters({
      ...c,
      gpu,
      model,
      batch: c.routerBatch,
      rate: c.routerRate,
      warmup: c.routerWarmup,
      open: (consumed) => epochs(paths, c.seed, consumed),
      state,
      onRound: async (metrics, current) => {
        rounds.push(metrics);
        const { trainer, ...progress } = await current();
        await saveTrainerState(`${run}/${STATE}`, model, trainer, { key: stateKey, ...progress, rounds });
        emit({ type: "round", rounds: c.rounds, ...metrics });
        const now = performance.now();
        await recordTime(run, { stage: "train-routers", round: metrics.round, seconds: (now - last) / 1000 });
        last = now;
      },
      onStep: ({ round, step, steps }) => {
        const [done, total] = [(round - 1) * steps + step, c.rounds * steps];
        emit({ type: "progress", stage: "train-routers", done, total, unit: "steps" });
      },
      signal,
    });
    const outputs: Record<string, FileRecord> = { [STATE]: await hashFile(`${run}/${STATE}`) };
    const hashes: string[] = [];
    for (const [router, tensors] of weights.entries()) {
      const folder = `routers/${routerFolder(router)}`;
      const files = await saveModelFolder(`${run}/${folder}`, model, tensors, {
        notes: { tokenizer, prefix: c.prefix, eos },
        tokenizer: `${run}/tokenizer.json`,
      });
      hashes.push(files["model.safetensors"].sha256);
      for (const [name, file] of Object.entries(files)) outputs[`${folder}/${name}`] = file;
    }
    const lines = rounds.map((metrics) => JSON.stringify(metrics) + "\n").join("");
    outputs["metrics/rounds.jsonl"] = await writeAtomic(`${run}/metrics/rounds.jsonl`, lines);
    return { outputs, result: { routers: routersHash(hashes), rounds } };
  };
  return runStage(work, { stage: "train-routers", inputs, folders: ["routers"], make });
}

const STATE = "routers/state.safetensors";

/** Loads what training under `key` resumes from after at most `rounds` rounds; a state of anything else is none. */
async function savedRounds(
  path: string,
  key: string,
  model: ModelConfig,
  rounds: number,
): Promise<RouterState & { rounds: RoundMetrics[] } | undefined> {
  const saved = await loadTrainerState(path, model).catch((error) => {
    if (error instanceof SyntaxError) return undefined; // of another shape
    throw error;
  });
  if (saved === undefined || saved.notes.key !== key) return undefined;
  const notes = saved.notes as { round: number; consumed: number; rounds: RoundMetrics[] };
  if (notes.round > rounds) return undefined;
  return { round: notes.round, consumed: notes.consumed, trainer: saved.state, rounds: notes.rounds };
}

async function runScore(
  work: Work,
  tokenize: Manifest,
  trained: Manifest | undefined,
  { routers, part }: StageInputs,
): Promise<Manifest> {
  const { run, configuration, emit } = work;
  const names = shardsToScore(tokenize);
  const set = routers?.sha256 ?? String(trained!.result.routers);
  const total = Number(tokenize.result.trainSequences) + Number(tokenize.result.testSequences);
  let loaded = routers;
  let done = 0;

  const scoreShard = async (name: string): Promise<ScoreNote> => {
    const note = notePath(run, name);
    const key = scoreKey(configuration, tokenize, set, name);
    const known = work.force ? null : await readNote(run, name, key);
    if (known) {
      done += known.rows;
      return known;
    }
    await removeIfThere(note);
    loaded ??= await loadRouters(`${run}/routers`);
    const scores = score(readArrow(`${run}/tokens/${name}`), {
      gpu: await work.gpu(),
      routers: loaded,
      prefix: configuration.prefix,
      batch: configuration.scoreBatch || undefined,
      dropTokens: true,
      config: key,
      onWarning: (message) => emit({ type: "warning", message }),
    });
    const watched = watch(
      work,
      scores,
      (rows) => emit({ type: "progress", stage: "score", done: done += rows, total, unit: "sequences" }),
    );
    const written = await writeArrowFile(`${run}/scores/${name}`, watched);
    await writeAtomic(note, jsonText({ key, ...written }));
    return { key, ...written };
  };

  const make = async (): Promise<Made> => {
    if (!part) await removeOtherNotes(run, names);
    const outputs: Record<string, FileRecord> = {};
    let sequences = 0;
    for (const [i, name] of names.entries()) {
      if (part && i % part.of !== part.index - 1) continue;
      const { bytes, sha256, rows } = await scoreShard(name);
      outputs[`scores/${name}`] = { bytes, sha256 };
      sequences += rows;
    }
    return { outputs, result: { sequences, experts: loaded?.models.length ?? configuration.experts } };
  };
  const inputs = { tokens: outputsHash(tokenize, "tokens/"), routers: set };
  if (part) return await runPart(work, make, inputs, () => scoredBy(set, run, configuration, tokenize));
  return await runStage(work, { stage: "score", inputs, folders: ["scores"], make });
}

/** Scores a share of the shards; the stage is complete when a run without `part` finds them all. */
async function runPart(
  work: Work,
  make: () => Promise<Made>,
  inputs: Record<string, string>,
  allScored: () => Promise<ScoredShards>,
): Promise<Manifest> {
  const key = stageKey("score", stageConfiguration(work.configuration, "score"), inputs);
  const closed = !work.force && await upToDate(work.run, "score", key) !== null;
  if (!closed) await removeIfThere(manifestPath(work.run, "score")); // it must not vouch for shards that change
  work.emit({ type: "stage", stage: "score", state: "started" });
  const { outputs, result } = await make();
  work.emit({ type: "stage", stage: "score", state: "done", result });
  const { scored, shards } = await allScored();
  const counts = { ...result, scored: scored.size, shards, closed };
  return { stage: "score", key: "", code: VERSION, configuration: {}, inputs, outputs, result: counts };
}

/** Removes the notes of shards that are no more. */
async function removeOtherNotes(run: string, names: string[]): Promise<void> {
  const folder = `${run}/manifests/score`;
  if (!await exists(folder)) return;
  for await (const { name } of Deno.readDir(folder)) {
    if (!names.includes(name.replace(/\.json$/, ""))) await removeIfThere(`${folder}/${name}`);
  }
}

/** Passes batches on, counts their rows, and stops where the work is ended. */
function watch(
  work: Work,
  batches: ReadableStream<RecordBatch>,
  count: (rows: number) => void,
): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    for await (const batch of batches) {
      work.signal?.throwIfAborted();
      count(batch.numRows);
      yield batch;
    }
  }());
}

function runAssign(work: Work, scores: Manifest): Promise<Manifest> {
  const { run, configuration, emit } = work;
  const names = shardNames(scores, "scores", "train");
  const make = async (key: string): Promise<Made> => {
    let done = 0;
    const assigned = assign(readShards(names.map((name) => `${run}/scores/${name}`)), {
      method: configuration.method as AssignMethod,
      chunk: chunkOf(configuration),
      experts: configuration.experts,
      prefix: configuration.prefix,
      config: key,
      onWarning: (message) => emit({ type: "warning", message }),
    });
    const watched = watch(
      work,
      assigned,
      (rows) => emit({ type: "progress", stage: "assign", done: done += rows, unit: "sequences" }),
    );
    const outputs: Record<string, FileRecord> = {};
    for await (
      const { name, bytes, sha256 } of writeShards(
        `${run}/assignments`,
        "train",
        watched,
        configuration.shardSequences,
      )
    ) {
      outputs[`assignments/${name}`] = { bytes, sha256 };
    }
    return { outputs, result: { sequences: done, experts: configuration.experts } };
  };
  return runStage(work, {
    stage: "assign",
    inputs: { scores: outputsHash(scores, "scores/train-") },
    configuration: {
      ...stageConfiguration(configuration, "assign"),
      shardSequences: configuration.shardSequences,
    },
    folders: ["assignments"],
    make,
  });
}

function runSplit(
  work: Work,
  tokenize: Manifest,
  scores: Manifest,
  assignments: Manifest,
): Promise<Manifest> {
  const { run, configuration, emit } = work;
  const read = (manifest: Manifest, folder: string, kind: "train" | "test") =>
    readShards(shardNames(manifest, folder, kind).map((name) => `${run}/${folder}/${name}`));
  const total = Number(tokenize.result.trainSequences) + Number(tokenize.result.testSequences);
  const make = async (key: string): Promise<Made> => {
    const { manifest, outputs } = await split({
      train: watch(
        work,
        joinScores(read(tokenize, "tokens", "train"), read(assignments, "assignments", "train")),
        () => {},
      ),
      test: watch(
        work,
        joinScores(read(tokenize, "tokens", "test"), read(scores, "scores", "test")),
        () => {},
      ),
    }, {
      folder: `${run}/partition`,
      shardSequences: configuration.shardSequences,
      experts: configuration.experts,
      prefix: configuration.prefix,
      config: key,
      onProgress: (done) => emit({ type: "progress", stage: "split", done, total, unit: "sequences" }),
    });
    return {
      outputs: Object.fromEntries(
        Object.entries(outputs).map(([name, record]) => [`partition/${name}`, record]),
      ),
      result: { sequences: manifest.train.sequences, experts: manifest.experts },
    };
  };
  return runStage(work, {
    stage: "split",
    inputs: {
      tokens: outputsHash(tokenize, "tokens/"),
      scores: outputsHash(scores, "scores/test-"),
      assignments: outputsHash(assignments),
    },
    folders: ["partition"],
    make,
  });
}
