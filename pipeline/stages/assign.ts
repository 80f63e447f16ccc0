/**
 * The stage `assign` hands training sequences to experts by their costs.
 *
 * @module
 */

import { assign as assignRows } from "../partition/assignment/assign.ts";
import { gapPerRow, gapShare, type Proof } from "../partition/assignment/assignment.ts";
import { assignmentOf } from "../partition/assignment/assignments.ts";
import { writePrices } from "../partition/assignment/prices.ts";
import { readShards } from "../rows/arrow.ts";
import { writeShards } from "../rows/shards.ts";
import type { FileRecord } from "../run/files.ts";
import { outputsHash, outputsUnder } from "../run/manifest.ts";
import { splitPrefix } from "./learn.ts";
import { scoreBytes } from "./score.ts";
import { oneStage, type Stage, type StageKind } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { verifyProof } from "./verify_assign.ts";
import { checkRows, watchRows } from "./watch.ts";

const CHUNK = 65_536; // sequences

/**
 * Gives how many sequences are assigned together: what the configuration says, or about 65,536, a multiple of
 * the experts.
 */
export function chunkOf({ chunk, experts }: { chunk: number; experts: number }): number {
  return chunk || Math.max(experts, CHUNK - CHUNK % experts);
}

/** Sequences that two cores assign or split per second. */
export const SEQUENCES_PER_SECOND = 50_000;

/** The file of an optimal assignment's prices, by its path in the run folder. */
export const PRICES = "assignments/prices.json";

/** What an assignment proves, and the figures that follow from it. */
export interface ProofSummary extends Omit<Proof, "prices"> {
  /** By how much the cost exceeds the bound, per sequence: with routers in nats. */
  gapPerSequence: number;
  /** The same as a share of what balancing costs. */
  gapShare: number;
  /** By which such share the cost of the greedy rule exceeds the bound. */
  greedyGapShare?: number;
}

/** Computes the figures that follow from a proof. */
export function summaryOf(proof: Omit<Proof, "prices">): ProofSummary {
  const { greedy } = proof;
  const greedyGap = greedy === undefined ? {} : { greedyGapShare: gapShare(proof, greedy) };
  return { ...proof, gapPerSequence: gapPerRow(proof), gapShare: gapShare(proof), ...greedyGap };
}

const stage: Stage = {
  name: "assign",
  about: "Hands training sequences to experts, in equal parts unless another method is chosen.",
  needs: ["score"],
  settings: ["method", "chunk", "shardSequences"],
  revision: 1,
  outputs: ["assignments/"],
  makes: /^assignments\/(train-\d{5,}\.arrow|prices\.json)$/,
  async inputs(_, manifest): Promise<Record<string, string>> {
    const scores = await manifest("score");
    return scores ? { scores: outputsHash(scores, "scores/train-") } : {};
  },
  prepare: (work, { key }) => async () => {
    const { run, configuration, emit } = work;
    const paths = outputsUnder(await work.manifest("score"), "scores/train-").map((path) => `${run}/${path}`);
    const prefix = await splitPrefix(configuration);
    let done = 0;
    let proof: Proof | undefined;
    const assigned = assignRows(() => readShards(paths, work.files), {
      method: configuration.method,
      chunk: chunkOf(configuration),
      experts: configuration.experts,
      prefix,
      config: key,
      onProof: (proved) => proof = proved,
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
    if (tokenize) checkRows(`${run}/scores`, done, tokenizeResult(tokenize, run).trainSequences);
    const result = { sequences: done, experts: configuration.experts };
    if (proof === undefined) return { outputs, result };
    const { prices, ...proved } = proof;
    if (prices) {
      const { method, experts } = configuration;
      const partitioner = (await work.manifest("score")).inputs.routers;
      const kept = { method, experts, rows: done, prefix, partitioner, prices };
      outputs[PRICES] = await writePrices(`${run}/${PRICES}`, kept);
    }
    return { outputs, result: { ...result, proof: summaryOf(proved) } };
  },
  verify: (verification) => verifyProof(verification, PRICES),
  estimate: ({ experts, method }, { sequences }) => ({
    seconds: sequences / SEQUENCES_PER_SECOND,
    diskBytes: scoreBytes(experts, sequences),
    memoryBytes: 12 * experts * (method === "optimal" ? Math.max(CHUNK, sequences) : CHUNK),
  }),
};

/** Assigns the sequences of a run, by a method that there is. */
export const assign: StageKind = {
  ...oneStage(stage, [...stage.settings, "prefix"]), // of scores of other tools
  of({ method }) {
    return [{ ...stage, revision: assignmentOf(method).revision ?? stage.revision }];
  },
};
