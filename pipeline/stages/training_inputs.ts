/**
 * What is read and checked before a training begins: its shards, what they say of their tokens, and its recipe.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { readRouters } from "../cost/mixture.ts";
import { validateModelConfig } from "../model/shape.ts";
import { randomKeys } from "../random.ts";
import { fromBatch, readShards } from "../rows/arrow.ts";
import { type Columns, concatColumns, takeColumns } from "../rows/columns.ts";
import { checkLineage, lineageOf } from "../rows/lineage.ts";
import { exists, type FileRecord, hashFile } from "../run/files.ts";
import type { Vouched } from "../run/vouched.ts";
import type { Configuration } from "../settings/configuration.ts";
import { type Recipe, recipeOf } from "../training/recipe.ts";
import type { RunContext, Work } from "./stage.ts";
import { modelOf, type Target, type TrainingData, type TrainingOptions } from "./training_target.ts";

/** What is known of a training before it begins. */
export interface Known {
  data: TrainingData;
  recipe: Recipe;
  eos: number;
  tokenizer: string;
}

/** Reads what a training depends on, from the shards' manifest and the first of the shards. */
export async function readKnown(
  context: RunContext,
  target: Target,
  trial: TrainingOptions["trial"],
): Promise<Known> {
  const { run, configuration } = context;
  const data = await target.data(context);
  if (target.tellsCost) data.routers = await readRouters(configuration, run);
  await checkFiles(data.files);
  const { vocabulary, eos, tokenizer } = await readLineage(data, run, configuration);
  const own = { ...configuration, vocabularySize: vocabulary };
  const batch = target.batch(configuration);
  const all = target.steps(own, data);
  const steps = trial ? Math.max(1, Math.round(trial.share * all)) : all;
  const { expertWarmup } = configuration;
  // A trial warms up as slowly as the training, as a faster rise does harm that the training does not see. It does so
  // for half of its steps at most, or for the share of them that the training takes, where that is more.
  const most = Math.max(Math.ceil(expertWarmup * steps / all), Math.ceil(steps / 2));
  const warmup = trial ? Math.min(expertWarmup, most) : expertWarmup;
  const rate = trial?.rate ?? target.rates.map((name) => configuration[name]).find((rate) => rate > 0) ??
    configuration.expertRate;
  const microBatch = configuration.microBatch || configuration.expertBatch;
  const model = modelOf(target, own);
  validateModelConfig(model, `the model "${target.name}"`);
  return {
    data,
    eos,
    tokenizer,
    recipe: recipeOf(configuration, model, { batch, microBatch, steps, rate, warmup }),
  };
}

/**
 * Hashes the shards before anything of the run is touched, and reads by `readStart` what the training starts from; then the settings hold.
 * Whatever reads the shards later is checked against the same records.
 */
export async function settleInputs<Start>(
  { run, files, settle }: Work,
  data: TrainingData,
  readStart: () => Promise<Start>,
): Promise<Start> {
  const nameOf = (path: string) => path.slice(run.length + 1);
  const hashes = Object.entries(data.files).map(([path, { sha256 }]) => [nameOf(path), sha256]);
  files.add(".", data.files, nameOf);
  const start = await settle(async () => {
    await checkFiles(data.files, true);
    return await readStart();
  });
  files.note(Object.fromEntries(hashes));
  return start;
}

/** Throws where a file is missing or has another size, or with `deeply` another content, than its record says. */
async function checkFiles(files: Record<string, FileRecord>, deeply = false): Promise<void> {
  for (const [where, { bytes, sha256 }] of Object.entries(files)) {
    const size = await Deno.stat(where).then(({ size }) => size, () => null);
    const what = size === null
      ? "it is missing"
      : size !== bytes
      ? `it has ${size} bytes, its manifest says ${bytes}`
      : deeply && (await hashFile(where)).sha256 !== sha256
      ? "its SHA-256 is not that of its manifest"
      : null;
    if (what === null) continue;
    throw new InputError(`Cannot train as "${where}" must be whole: ${what}`, { where });
  }
}

/** Reads a sample of at most `limit` held-out rows, the same for the same rows, limit and seed, in memory for `limit` alone. */
export async function sampleRows(
  paths: string[],
  limit: number,
  seed: number,
  vouched: Vouched,
): Promise<Columns | undefined> {
  let sample: Columns | undefined;
  if (limit === 0 || paths.length === 0) return;
  for await (const batch of readShards(paths, vouched)) {
    const { nll: _, ...rows } = fromBatch(batch);
    const all = sample ? concatColumns([sample, rows]) : rows;
    const keys = randomKeys(seed, "validation", all.sequence);
    const order = Uint32Array.from(keys, (_, row) => row);
    if (all.rows > limit) order.sort((a, b) => keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : 0);
    sample = takeColumns(all, order.subarray(0, limit));
  }
  return sample;
}

/** Reads what the shards say about their tokens, and checks it against the run's tokenizer and settings. */
async function readLineage(
  { train }: TrainingData,
  run: string,
  { sequenceLength }: Configuration,
): Promise<{ vocabulary: number; eos: number; tokenizer: string }> {
  const where = `${run}/tokenizer.json`;
  if (!await exists(where)) {
    throw new InputError(`Cannot train in "${run}" as its tokenizer must be there: there is no "${where}"`, {
      where,
      remedy: "copy it from the run that made the shards",
    });
  }
  const { sha256: tokenizer } = await hashFile(where);
  for await (const batch of readShards(train)) {
    checkLineage(batch, { tokenizer, sequenceLength }, `the run "${run}"`);
    const { vocabulary, eos } = lineageOf(batch) ?? {};
    if (vocabulary === undefined || eos === undefined) break;
    return { vocabulary, eos, tokenizer };
  }
  throw new InputError(
    `Cannot train on "${train[0] ?? run}" as it must hold rows and say their vocabulary and EOS: it does not`,
    { where: train[0] },
  );
}
