/**
 * Runs the main job in a run folder: text in, balanced shards per expert out (SmallTalk LM, Algorithm 1, up to the training data of the
 * experts).
 *
 * @module
 */

import type { Proof } from "../partition/assignment/assignment.ts";
import { Walk } from "../graph/walk.ts";
import type { RunEvent } from "../run/events.ts";
import { stageStates } from "./plan.ts";
import { makePartition, type RunOptions, type RunWatch } from "./run.ts";
import { type PartitionSummary, proofSummary, type StageRun, summarizeRun } from "./summary.ts";

/** What {@linkcode partition} takes. */
export type PartitionOptions = RunOptions;

/**
 * Partitions text into balanced shards, one set per expert. What a run folder already holds and is up to date is not made again. So a run
 * that was stopped at any moment goes on, to the same bytes.
 *
 * Throws an `InputError` for impossible settings and bad input. Throws a `RunError` where there is no GPU, the disk is full or a loss is
 * not finite. Throws the signal's reason where it ends the run.
 */
export async function partition(options: PartitionOptions, watch: RunWatch = {}): Promise<PartitionSummary> {
  const stages: StageRun[] = [];
  const onEvent = (event: RunEvent) => {
    if (event.type === "stage" && event.state !== "started") {
      const state = event.state === "done" ? "run" : "skipped";
      stages.push({ stage: event.stage, state, seconds: event.seconds ?? 0 });
    }
    watch.onEvent?.(event);
  };
  await makePartition(options, { ...watch, onEvent });
  return await summarizeRun(options.run, stages);
}

/**
 * Runs one stage in a run folder, after what it needs, and returns its counts; a part makes its share of it, and tells how many of the
 * stage's nodes are made. Throws what {@linkcode partition} throws.
 */
export async function runOneStage(
  { stage, ...options }: RunOptions & { stage: string },
  watch: RunWatch = {},
): Promise<Record<string, unknown>> {
  let result: Record<string, unknown> = {};
  const onEvent = (event: RunEvent) => {
    if (event.type === "stage" && event.stage === stage && event.result) result = event.result;
    watch.onEvent?.(event);
  };
  const { plan: { nodes, text } } = await makePartition(options, { ...watch, onEvent }, stage);
  if (options.part) {
    const state = (await stageStates(new Walk(options.run, nodes), nodes)).find((state) =>
      state.stage === stage
    );
    const made = state ? state.nodes - state.toMake : 0;
    return { nodes: state?.nodes ?? 0, made, closed: state?.toMake === 0, ...result };
  }
  if (result.proof) return { ...result, proof: proofSummary(result.proof as Proof) };
  if (nodes.some(({ maker }) => maker.stage === stage)) return result;
  const files = new Set(text.blocks?.flatMap(({ pieces }) => pieces.map(({ file: { path } }) => path)));
  return stage === "corpus" ? { files: files.size, blocks: text.blocks?.length ?? 0 } : result;
}
