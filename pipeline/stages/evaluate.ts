/**
 * Evaluates the experts of a run folder, and keeps the result as `evaluation.json`.
 *
 * @module
 */

import { type Gpu, openGpu } from "../../kernels/gpu.ts";
import type { Variants } from "../../kernels/variants.ts";
import type { Configuration, Stage } from "../settings/configuration.ts";
import { readShards } from "../rows/arrow.ts";
import {
  type CheckpointNotes,
  loadCheckpointConfig,
  loadRouters,
  type Routers,
} from "../checkpoints/checkpoint.ts";
import type { ModelConfig } from "../model/shape.ts";
import { expertFolder, partHash, type PartitionManifest, type PartManifest } from "../partition/split.ts";
import { readRunConfiguration, routersAgain } from "./configuration.ts";
import { exists, hashFile, jsonText, shortHash, writeAtomic } from "../run/files.ts";
import { lockRun } from "../run/lock.ts";
import {
  commandOf,
  type Manifest,
  outputsHash,
  outputsUnder,
  readManifest,
  stageKey,
} from "../run/manifest.ts";
import { partitionRemedy } from "./parts_alone.ts";
import type { RunEvent } from "../run/events.ts";
import { makeStage, needStage, reuseStage } from "./work.ts";
import { evaluate, RESAMPLES } from "../evaluation/evaluate.ts";
import { type Baseline, BASELINES, type Evaluation, EVALUATION_FORMAT } from "../evaluation/evaluation.ts";
import { openMixture } from "../serving/mixture.ts";
import { checkShape, checkTokenizer } from "../serving/models.ts";

/** Says what to evaluate and how. */
export interface EvaluateRunOptions {
  /** Run folder with a partition and trained experts. */
  run: string;
  /** Draws of the bootstrap; 1000 unless given. */
  resamples?: number;
  /** Evaluates again where `evaluation.json` is up to date. */
  force?: boolean;
  /** `high-performance`, `low-power` or part of the name that the GPU must have. */
  adapter?: string;
  /** Forms of kernels to run instead of the adapter's own. */
  variants?: Partial<Variants>;
  /** An open device to use instead of opening one; it stays open. */
  gpu?: Gpu;
}

const TOKENS_APART = 0.05; // tails are padded and dropped: the same steps see slightly different numbers of tokens
const STAGE = "evaluate";
const FILE = "evaluation.json";

/** A trained model of a run. */
interface Model {
  /** Name in messages, and of its hash among the manifest's inputs. */
  name: string;
  folder: string;
  /** SHA-256 of its weights. */
  sha256: string;
}

/**
 * Evaluates the mixture of a run on its held-out sequences, beside the dense models that are trained there, unless
 * `evaluation.json` is up to date: of the same models, sequences, options and device.
 *
 * @throws {RangeError} if the run isn't partitioned, an expert isn't trained or was trained on another part, models differ in
 * shape or tokenizer, or nothing is held out.
 * @throws {SyntaxError} if a checkpoint is truncated or corrupt.
 * @throws {Error} if another process holds the run or there is no GPU; the signal's reason where it ends the work.
 */
export async function evaluateRun(
  { run, resamples = RESAMPLES, force = false, adapter, variants, gpu: given }: EvaluateRunOptions,
  { onEvent: emit = () => {}, signal }: { onEvent?: (event: RunEvent) => void; signal?: AbortSignal } = {},
): Promise<Evaluation> {
  const configuration = await partitioned(run);
  const release = await lockRun(run, STAGE);
  let gpu = given;
  try {
    const { tokenize, score } = await stagesOf(run, configuration);
    const routers = await routersOf(run, configuration, score);
    const models = await modelsOf(run, routers.models.length, tokenize);
    if (!gpu) {
      gpu = await openGpu({ adapter: adapter || undefined, variants });
      emit({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
    }

    const device = gpu;
    const settings = {
      format: EVALUATION_FORMAT,
      prefix: configuration.prefix,
      resamples,
      seed: configuration.seed,
      adapter: device.adapter,
      variants: device.variants,
    };
    const inputs = {
      tokens: outputsHash(tokenize, "tokens/test-"),
      routers: routers.sha256,
      ...Object.fromEntries(
        [...models.experts, ...models.baselines].map(({ name, sha256 }) => [name, sha256]),
      ),
    };
    const key = stageKey(STAGE, settings, inputs);
    const place = { run, emit };
    if (await reuseStage(place, STAGE, key, force)) return await readJson(`${run}/${FILE}`);
    let evaluation: Evaluation | undefined;
    await makeStage(place, { stage: STAGE, key, configuration: settings, inputs }, async () => {
      for (const message of await unequal(run, models)) emit({ type: "warning", message });
      const folder = configuration.routers || `${run}/routers`;
      const mixture = await openMixture({ run, partitioner: folder, models: 1, gpu: device });
      const shards = outputsUnder(tokenize, "tokens/test-");
      const passes = 1 + models.experts.length + models.baselines.length;
      const total = passes * Number(tokenize.result.testSequences);
      evaluation = await evaluate({
        mixture,
        prefix: configuration.prefix,
        baselines: models.baselines.map(({ name }) => name as Baseline),
        open: () => readShards(shards.map((path) => `${run}/${path}`)),
        resamples,
        seed: configuration.seed,
        onProgress: (done) => emit({ type: "progress", stage: STAGE, done, total, unit: "sequences" }),
        signal,
      }).finally(() => mixture.close());
      const { documents, sequences, tokens } = evaluation;
      return {
        outputs: { [FILE]: await writeAtomic(`${run}/${FILE}`, jsonText(evaluation)) },
        result: { documents, sequences, tokens },
      };
    });
    return evaluation!;
  } finally {
    if (!given) gpu?.close();
    await release();
  }
}

/** Reads the configuration of a run that has a partition. */
async function partitioned(run: string): Promise<Configuration> {
  const configuration = (await readRunConfiguration(run))?.configuration;
  if (configuration && await readManifest(run, "split")) return configuration;
  throw new RangeError(
    `Cannot evaluate "${run}" as it must be partitioned: it is not; ${await partitionRemedy(run)}`,
  );
}

/** Reads the manifests of the stages that an evaluation stands on; all must have run with the values that hold now. */
async function stagesOf(
  run: string,
  configuration: Configuration,
): Promise<{ tokenize: Manifest; score: Manifest }> {
  const need = (stage: Stage) => needStage({ run, configuration }, stage, STAGE);
  const [tokenize, score] = [await need("tokenize"), await need("score")];
  await need("assign");
  await need("split");
  if (Number(tokenize.result.testSequences) === 0) {
    throw new RangeError(
      `Cannot evaluate "${run}" as there must be held-out sequences: there are none; partition again with a larger --holdout`,
    );
  }
  return { tokenize, score };
}

/** Loads the routers that scored a run and made its partition. */
async function routersOf(run: string, configuration: Configuration, score: Manifest): Promise<Routers> {
  const folder = configuration.routers || `${run}/routers`;
  const routers = await loadRouters(folder);
  const { experts }: PartitionManifest = await readJson(`${run}/partition/manifest.json`);
  if (experts !== routers.models.length) {
    throw new RangeError(
      `Cannot evaluate "${run}" as it must have a part for every router: it has ${experts} parts, ${routers.models.length} ` +
        `routers; ${routersAgain(run, configuration)}`,
    );
  }
  checkSame(`the routers of "${folder}"`, routers.sha256, score.inputs.routers, {
    must: "be those that scored the run",
    remedy: routersAgain(run, configuration),
  });
  return routers;
}

/** Finds the trained models of a run and checks, without their weights, that they fit one another and the partition. */
async function modelsOf(
  run: string,
  count: number,
  tokenize: Manifest,
): Promise<{ experts: Model[]; baselines: Model[] }> {
  const folders = Array.from({ length: count }, (_, expert) => `${run}/experts/${expertFolder(expert)}`);
  const missing = (await Promise.all(folders.map(isTrained))).flatMap((there, expert) =>
    there ? [] : [expert]
  );
  if (missing.length > 0) {
    throw new RangeError(
      `Cannot evaluate "${run}" as every expert must be trained: ${
        missing.length === 1 ? "expert" : "experts"
      } ${missing.join(", ")} ${
        missing.length === 1 ? "is" : "are"
      } not; run deno task train-expert --run ${run} --expert ${
        missing.length === 1 ? missing[0] : "all"
      } first`,
    );
  }
  let shape: ModelConfig | undefined;
  const check = async (folder: string, name: string): Promise<CheckpointNotes> => {
    const { config, notes } = await loadCheckpointConfig(folder);
    checkShape(config, shape ??= config, name);
    checkTokenizer(name, notes.tokenizer, String(tokenize.result.tokenizer));
    return notes;
  };
  const model = async (folder: string, name: string): Promise<Model> => {
    const { sha256 } = await hashFile(`${folder}/model.safetensors`);
    return { name, folder, sha256 };
  };
  const experts: Model[] = [];
  for (const [expert, folder] of folders.entries()) {
    const { partition } = await check(folder, `expert ${expert}`);
    const part: PartManifest = await readJson(`${run}/partition/${expertFolder(expert)}/manifest.json`);
    await checkShards(run, {
      name: `expert ${expert}`,
      stage: `train-${expertFolder(expert)}`,
      partition,
      shards: partHash(part),
    });
    experts.push(await model(folder, expertFolder(expert)));
  }
  const baselines: Model[] = [];
  for (const name of BASELINES) {
    if (!await isTrained(`${run}/${name}`)) continue;
    const { partition } = await check(`${run}/${name}`, name);
    await checkShards(run, {
      name,
      stage: `train-${name}`,
      partition,
      shards: outputsHash(tokenize, "tokens/train-"),
    });
    baselines.push(await model(`${run}/${name}`, name));
  }
  return { experts, baselines };
}

const isTrained = (folder: string) => exists(`${folder}/model.safetensors`);

/** Checks that a model learnt from the shards that are there now, where its checkpoint or its stage's manifest says. */
async function checkShards(
  run: string,
  { name, stage, partition, shards }: {
    name: string;
    stage: string;
    partition?: string;
    shards: string;
  },
): Promise<void> {
  const manifest = await readManifest(run, stage);
  for (const trained of [partition, manifest?.inputs.shards]) {
    if (trained === undefined) continue;
    checkSame(name, trained, shards, {
      must: "have been trained on the shards that are there now",
      remedy: `run ${commandOf(run, stage)} again`,
    });
  }
}

/** Says what makes the comparison uneven: experts trained differently, or a dense model on fewer or more tokens than all of them. */
async function unequal(
  run: string,
  { experts, baselines }: { experts: Model[]; baselines: Model[] },
): Promise<string[]> {
  const manifests = await Promise.all(experts.map(({ name }) => readManifest(run, `train-${name}`)));
  const known = manifests.filter((manifest) => manifest !== null);
  if (known.length < experts.length) return [];
  const messages: string[] = [];
  for (const field of ["steps", "batch", "rate"]) {
    const values = [...new Set(known.map(({ configuration }) => Number(configuration[field])))];
    if (values.length > 1) {
      messages.push(`experts were trained with different ${field}: ${values.join(", ")}`);
    }
  }
  const tokens = known.reduce((sum, { result }) => sum + Number(result.tokens), 0);
  for (const { name } of baselines) {
    const seen = Number((await readManifest(run, `train-${name}`))?.result.tokens ?? tokens);
    if (Math.abs(seen / tokens - 1) > TOKENS_APART) {
      messages.push(
        `${name} was trained on ${seen} tokens, the experts together on ${tokens}: their costs are not equal`,
      );
    }
  }
  return messages;
}

/** Throws a `RangeError` with both values where two hashes differ. */
function checkSame(
  what: string,
  actual: string,
  expected: string,
  { must, remedy }: { must: string; remedy: string },
): void {
  if (actual === expected) return;
  throw new RangeError(
    `Cannot evaluate as ${what} must ${must}: SHA-256 is ${shortHash(actual)}, not ${
      shortHash(expected)
    }; ${remedy}`,
  );
}

async function readJson<Value>(path: string): Promise<Value> {
  const text = await Deno.readTextFile(path);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`Cannot read "${path}" as it must be JSON: ${(error as Error).message}`);
  }
}
