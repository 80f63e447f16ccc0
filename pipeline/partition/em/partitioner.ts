/**
 * The partitioner of the paper: E routers, learned by expectation maximisation. What a sequence
 * costs an expert is the negative log-likelihood of its prefix under that expert's router, in nats.
 *
 *     partitioner.json
 *     router-00/ …         Hugging Face folders
 */

import { InputError } from "../../../kernels/errors.ts";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import {
  loadRouters,
  routerFolder,
  type Routers,
  routersHash,
} from "../../model/checkpoints/checkpoint.ts";
import { keepRecent, rowsPerPass } from "../../model/passes.ts";
import { createScorer } from "../../model/scorer.ts";
import { exists, hashFile } from "../../graph/files.ts";
import {
  type OpenOptions,
  type Partitioner,
  type PartitionerWork,
  readDescription,
} from "../partitioner.ts";

/** Opens and identifies routers of EM. */
export const em: PartitionerWork = {
  async open(folder, device, options) {
    const routers = await loadRouters(folder);
    checkNumber(folder, (await readDescription(folder))?.experts, routers.models.length);
    return createPartitioner(routers, device, options);
  },
  async identify(folder) {
    const hashes = await modelHashes(folder, routerFolder);
    checkNumber(folder, (await readDescription(folder))?.experts, hashes.length);
    return { sha256: routersHash(hashes), experts: hashes.length };
  },
};

/** Hashes the models of a folder, each in a folder of its own, as far as their numbers go on. */
export async function modelHashes(
  folder: string,
  nameOf: (model: number) => string,
): Promise<string[]> {
  const hashes: string[] = [];
  for (;;) {
    const path = `${folder}/${nameOf(hashes.length)}/model.safetensors`;
    if (!await exists(path)) return hashes;
    hashes.push((await hashFile(path)).sha256);
  }
}

function checkNumber(where: string, said: number | undefined, actual: number): void {
  if (actual > 0 && (said ?? actual) === actual) return;
  const wanted = said === undefined
    ? "routers"
    : `the ${said} routers that its partitioner.json speaks of`;
  throw new InputError(`Cannot route by "${where}" as it must hold ${wanted}: it holds ${actual}`, {
    where,
  });
}

// That stay on the device: one per set of prefixes and number of sequences at once, those used
// last.
const MOST_SCORERS = 4;

/**
 * Makes a partitioner of routers. They go to the device when costs are first asked for, and stay
 * there.
 */
export function createPartitioner(
  { config, models, notes, sha256 }: Routers,
  device: () => Promise<Gpu>,
  { batch }: OpenOptions = {},
): Partitioner {
  const experts = models.length;
  let turn: Promise<unknown> = Promise.resolve();
  let gpu: Gpu;
  /** Scorers by sequences at once and prefixes. A single prefix is summed on the device. */
  const scorers = keepRecent(
    (batch, ...prefixes) => {
      const length = prefixes.at(-1)!;
      const several = prefixes.length > 1 ? prefixes : undefined;
      return createScorer(gpu, { config, models, batch, length, prefixes: several });
    },
    MOST_SCORERS,
    (scorer) => scorer.close(),
  );

  const costs: Partitioner["costs"] = async (
    { tokens, sequenceLength, length },
    prefixes,
    signal,
  ) => {
    const rows = length.length;
    if (rows === 0 || prefixes.length === 0) return new Float32Array();
    gpu = await device();
    const most = rowsPerPass(gpu.maxBindingBytes, config, prefixes.at(-1)!, batch);
    const scorer = scorers.of(Math.min(most, 2 ** Math.ceil(Math.log2(rows))), ...prefixes);
    const nll = await scorer.score(tokens, sequenceLength, length, signal); // [rows, prefixes, E]
    if (prefixes.length === 1) return nll;
    const byPrefix = new Float32Array(nll.length);
    for (let i = 0; i < rows * prefixes.length; i++) {
      const row = Math.floor(i / prefixes.length);
      const prefix = i % prefixes.length;
      byPrefix.set(nll.subarray(i * experts, (i + 1) * experts), (prefix * rows + row) * experts);
    }
    return byPrefix;
  };

  return {
    kind: "em",
    experts,
    sha256,
    prefix: notes.prefix ?? config.context,
    vocabulary: config.vocabulary,
    tokenizer: notes.tokenizer,
    eos: notes.eos,
    shape: config,
    costs(rows, prefixes, signal) {
      // One call at a time, so that none closes the scorer of another.
      const result = turn.then(() => costs(rows, prefixes, signal));
      turn = result.catch(() => {});
      return result;
    },
    close: scorers.clear,
  };
}
