/**
 * Plans a partition without running it: what would run, and about how long and how large.
 *
 * @module
 */

import { type Configuration, type Stage, STAGES } from "../settings/configuration.ts";
import { forwardFlops, trainingFlops } from "../cost/cost.ts";
import { CORPORA, type CorpusName } from "../text/corpora/corpus.ts";
import { expandInputs } from "../text/readers.ts";
import { parameterCount } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import { resolveRun } from "./configuration.ts";
import { checkPlace } from "./parts_alone.ts";
import { readManifest, stageKey, upToDate } from "../run/manifest.ts";
import type { PartitionOptions } from "./partition.ts";

/** Estimates one stage. */
export interface StageEstimate {
  /** The stage. */
  stage: Stage;
  /** What would happen to it. */
  action: "up to date" | "would run";
  /** Time, in seconds. */
  seconds: number;
  /** Disk that its outputs take, in bytes. */
  diskBytes: number;
  /** Memory at its peak, in bytes. */
  memoryBytes: number;
}

/** Estimates a partition. */
export interface PartitionPlan {
  /** Run folder. */
  run: string;
  /** Every stage, in order. */
  stages: StageEstimate[];
  /** Time of what would run, in seconds. */
  seconds: number;
  /** Disk of what would run, in bytes. */
  diskBytes: number;
  /** Memory at the peak, in bytes. */
  memoryBytes: number;
  /** What the estimates rest on, a line each. */
  assumptions: string[];
}

// Rates of a machine with two cores and no GPU; a GPU makes the FLOPs 10 to 1,000 times cheaper.
const FLOPS_PER_SECOND = 25e9;
const TOKENIZED_CHARACTERS_PER_SECOND = 1.5e6;
const SEQUENCES_PER_SECOND = 50_000;
const RUNTIME_BYTES = 250e6;

/** Plans a partition. Reads the run folder and the sizes of the input, opens no GPU and writes nothing; throws as `partition` does. */
export async function planPartition(
  { run, sources = {}, force = false }: PartitionOptions,
): Promise<PartitionPlan> {
  await checkPlace(run, "partition");
  const { configuration: c, changed } = await resolveRun(run, sources, force);
  const characters = await inputCharacters(c);
  // BPE makes tokens of 2.5 to 4 characters; the larger the vocabulary, the longer.
  const charactersPerToken = 1 + 0.2 * Math.log2(c.vocabularySize);
  const tokens = Math.min(characters / charactersPerToken, c.maxTokens || Infinity);
  const sequences = Math.ceil(tokens / c.sequenceLength * 1.1);
  const model = modelShapes(c).router;
  const routerBytes = 4 * parameterCount(model) * c.experts;
  const steps = c.rounds * Math.floor(c.roundSequences / c.routerBatch);
  const scored = c.experts * forwardFlops(model, 1, c.prefix);
  const tokenBytes = sequences * (c.sequenceLength * (c.vocabularySize > 65_536 ? 4 : 2) + 32);
  const scoreBytes = sequences * (4 * c.experts + 32);
  const activations = (batch: number) =>
    c.experts * batch * c.prefix * c.routerHidden * 4 * (16 * c.routerLayers + 8);
  const estimates: Record<Stage, [seconds: number, disk: number, memory: number]> = {
    corpus: [characters / 50e6, c.input.length === 0 || c.input.includes("-") ? characters * 1.1 : 0, 0],
    tokenizer: [
      Math.min(characters, c.tokenizerSample) / TOKENIZED_CHARACTERS_PER_SECOND,
      60 * c.vocabularySize,
      20 * Math.min(characters, c.tokenizerSample),
    ],
    tokenize: [characters / TOKENIZED_CHARACTERS_PER_SECOND, tokenBytes, 100e6],
    "train-routers": [
      (c.experts * steps * trainingFlops(model, c.routerBatch, c.prefix) +
        c.rounds * c.experts * c.roundSequences * scored) / FLOPS_PER_SECOND,
      4 * routerBytes,
      4 * routerBytes + activations(c.routerBatch) + c.experts * c.roundSequences * c.sequenceLength * 4,
    ],
    score: [
      sequences * scored / FLOPS_PER_SECOND,
      scoreBytes,
      routerBytes + activations(c.scoreBatch || 128) / 4,
    ],
    assign: [sequences / SEQUENCES_PER_SECOND, scoreBytes, 12 * 65_536 * c.experts],
    split: [
      sequences / SEQUENCES_PER_SECOND,
      tokenBytes + scoreBytes,
      512 * c.experts * c.sequenceLength * 4,
    ],
  };

  const stages: StageEstimate[] = [];
  let fresh = force && changed.length === 0 ? false : true;
  for (const stage of STAGES) {
    if (stage === "train-routers" && c.routers !== "") continue;
    fresh &&= await isUpToDate(run, stage, c);
    const [seconds, diskBytes, memory] = estimates[stage];
    stages.push({
      stage,
      action: fresh ? "up to date" : "would run",
      seconds,
      diskBytes,
      memoryBytes: RUNTIME_BYTES + memory,
    });
  }
  const running = stages.filter(({ action }) => action === "would run");
  return {
    run,
    stages,
    seconds: running.reduce((sum, { seconds }) => sum + seconds, 0),
    diskBytes: running.reduce((sum, { diskBytes }) => sum + diskBytes, 0),
    memoryBytes: running.reduce((most, { memoryBytes }) => Math.max(most, memoryBytes), 0),
    assumptions: [
      `${Math.round(characters).toLocaleString("en")} characters of text, ${
        charactersPerToken.toFixed(1)
      } per token: ` +
      `${sequences.toLocaleString("en")} sequences`,
      `${FLOPS_PER_SECOND / 1e9} GFLOP/s, two cores without a GPU`,
    ],
  };
}

/** Says whether a stage's manifest fits the configuration; its inputs are taken to be as the stages before left them. */
async function isUpToDate(run: string, stage: Stage, configuration: Configuration): Promise<boolean> {
  const manifest = await readManifest(run, stage);
  if (!manifest) return false;
  const own = configuration as unknown as Record<string, unknown>;
  const values = Object.fromEntries(Object.keys(manifest.configuration).map((name) => [name, own[name]]));
  return await upToDate(run, stage, stageKey(stage, values, manifest.inputs)) !== null;
}

/** Estimates the characters of the input from the sizes of its files. */
async function inputCharacters(c: Configuration): Promise<number> {
  if (c.input.length === 0) return CORPORA[c.corpus as CorpusName].sources.length * c.corpusCharacters;
  let characters = 0;
  for (const path of await expandInputs(c.input)) {
    if (path === "-") continue; // not known before it is read
    const { size } = await Deno.stat(path);
    characters += /\.(gz|zst|parquet)$/.test(path) ? 3 * size : size;
  }
  return characters;
}
