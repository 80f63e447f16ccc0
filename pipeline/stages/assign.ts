/**
 * The stage `assign` hands training sequences to experts by their costs.
 *
 * @module
 */

import { assign as assignRows } from "../partition/assignment/assign.ts";
import { assignmentOf } from "../partition/assignment/assignments.ts";
import { readShards } from "../rows/arrow.ts";
import { writeShards } from "../rows/shards.ts";
import type { FileRecord } from "../run/files.ts";
import { outputsHash, outputsUnder } from "../run/manifest.ts";
import { scoreBytes } from "./score.ts";
import { oneStage, type Stage, type StageKind } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { checkRows, watchRows } from "./watch.ts";

const CHUNK = 65_536; // sequences

/** Gives the sequences assigned together: those of the configuration, or about 65,536, a multiple of the experts. */
export function chunkOf({ chunk, experts }: { chunk: number; experts: number }): number {
  return chunk || Math.max(experts, CHUNK - CHUNK % experts);
}

/** Sequences that are assigned, or split, a second on two cores. */
export const SEQUENCES_PER_SECOND = 50_000;

const stage: Stage = {
  name: "assign",
  about: "Hands training sequences to experts, in equal parts unless another method is chosen.",
  needs: ["score"],
  settings: ["method", "chunk", "shardSequences"],
  revision: 1,
  outputs: ["assignments/"],
  makes: /^assignments\/train-\d{5,}\.arrow$/,
  async inputs(_, manifest): Promise<Record<string, string>> {
    const scores = await manifest("score");
    return scores ? { scores: outputsHash(scores, "scores/train-") } : {};
  },
  prepare: (work, { key }) => async () => {
    const { run, configuration, emit } = work;
    const paths = outputsUnder(await work.manifest("score"), "scores/train-").map((path) => `${run}/${path}`);
    let done = 0;
    const assigned = assignRows(() => readShards(paths), {
      method: configuration.method,
      chunk: chunkOf(configuration),
      experts: configuration.experts,
      prefix: configuration.prefix,
      config: key,
      onWarning: (message) => emit({ type: "warning", message }),
    });
    const watched = watchRows(
      work,
      assigned,
      (rows) => emit({ type: "progress", stage: "assign", done: done += rows, unit: "sequences" }),
    );
    const outputs: Record<string, FileRecord> = {};
    const shards = writeShards(`${run}/assignments`, "train", watched, configuration.shardSequences);
    for await (const { name, bytes, sha256 } of shards) outputs[`assignments/${name}`] = { bytes, sha256 };
    const tokenize = await work.known("tokenize");
    if (tokenize) checkRows(`${run}/scores`, done, tokenizeResult(tokenize).trainSequences);
    return { outputs, result: { sequences: done, experts: configuration.experts } };
  },
  estimate: ({ experts }, { sequences }) => ({
    seconds: sequences / SEQUENCES_PER_SECOND,
    diskBytes: scoreBytes(experts, sequences),
    memoryBytes: 12 * CHUNK * experts,
  }),
};

/** Assigns the sequences of a run, by a method that there is. */
export const assign: StageKind = {
  ...oneStage(stage),
  of({ method }) {
    assignmentOf(method);
    return [stage];
  },
};
