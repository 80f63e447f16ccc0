/**
 * Plans a partition without running it: what would run, and about how long and how large.
 *
 * @module
 */

import type { Configuration } from "../settings/configuration.ts";
import { CORPORA } from "../text/corpora/corpus.ts";
import { expandInputs } from "../text/readers.ts";
import { resolveRun } from "./resolution.ts";
import { FLOPS_PER_SECOND } from "./learn.ts";
import { checkPlace } from "./parts_alone.ts";
import type { RunOptions } from "./session.ts";
import type { Estimate } from "./stage.ts";
import { statesOf } from "./state.ts";

/** Estimates one stage. */
export interface StageEstimate extends Estimate {
  /** The stage. */
  stage: string;
  /** What would happen to it; nothing before its manifest is mended where that is damaged. */
  action: "up to date" | "would run" | "damaged";
}

/** Estimates a partition. */
export interface PartitionPlan extends Estimate {
  /** Run folder. */
  run: string;
  /** Every stage, in order. */
  stages: StageEstimate[];
  /** What the estimates rest on, a line each. */
  assumptions: string[];
}

const RUNTIME_BYTES = 250e6;

/** Plans a partition. Reads the run folder and the sizes of the input, opens no GPU and writes nothing; throws as `partition` does. */
export async function planPartition(
  { run, sources = {}, force = false }: RunOptions,
): Promise<PartitionPlan> {
  await checkPlace(run, "partition");
  const { configuration: c, changed } = await resolveRun(run, sources, force);
  const characters = await inputCharacters(c);
  // BPE makes tokens of 2.5 to 4 characters; the larger the vocabulary, the longer.
  const charactersPerToken = 1 + 0.2 * Math.log2(c.vocabularySize);
  const tokens = Math.min(characters / charactersPerToken, c.maxTokens || Infinity);
  const sequences = Math.ceil(tokens / c.sequenceLength * 1.1);
  const states = statesOf({ run, configuration: c });
  const again = force && changed.length === 0;
  const stages: StageEstimate[] = [];
  for (const stage of states.graph.partition) {
    const { state, error } = await states.of(stage);
    const { seconds, diskBytes, memoryBytes } = stage.estimate?.(c, { characters, sequences }) ??
      { seconds: 0, diskBytes: 0, memoryBytes: 0 };
    stages.push({
      stage: stage.name,
      action: error ? "damaged" : state === "up to date" && !again ? "up to date" : "would run",
      seconds,
      diskBytes,
      memoryBytes: RUNTIME_BYTES + memoryBytes,
    });
  }
  const running = stages.filter(({ action }) => action !== "up to date");
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

/** Estimates the characters of the input from the sizes of its files. */
async function inputCharacters(c: Configuration): Promise<number> {
  if (c.input.length === 0) return CORPORA[c.corpus].sources.length * c.corpusCharacters;
  let characters = 0;
  for (const path of await expandInputs(c.input)) {
    if (path === "-") continue; // not known before it is read
    const { size } = await Deno.stat(path);
    characters += /\.(gz|zst|parquet)$/.test(path) ? 3 * size : size;
  }
  return characters;
}
