/**
 * Runs the main job in a run folder: text in, balanced shards per expert out. Every stage runs only when
 * something that it depends on has changed (SmallTalk LM, Algorithm 1, up to the training data of the
 * experts).
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { RunEvent } from "../run/events.ts";
import type { Document } from "../text/readers.ts";
import type { Part } from "./notes.ts";
import { LEARN } from "./learn.ts";
import { inRun, type RunOptions, type RunWatch, type Session } from "./session.ts";
import { needStage } from "./state.ts";
import type { Stage } from "./stage.ts";
import { type PartitionSummary, type StageRun, summarize } from "./summary.ts";

/** What {@link partition} takes. */
export interface PartitionOptions extends RunOptions {
  /** Text to split, instead of what the settings name: read once, as standard input is, and kept in the run. */
  documents?: ReadableStream<Document>;
}

/**
 * Partitions text into balanced shards, one set per expert. What a run folder already holds and is up to date is not made
 * again, so a run that was stopped at any moment goes on, to the same bytes.
 *
 * Throws an `InputError` for impossible settings and bad input, a `RunError` where another process holds the run, there is no GPU,
 * the disk is full or a loss is not finite, and the signal's reason where it ends the run.
 */
export async function partition(
  { documents, ...options }: PartitionOptions,
  watch: RunWatch = {},
): Promise<PartitionSummary> {
  const stages: StageRun[] = [];
  const onEvent = (event: RunEvent) => {
    if (event.type === "stage" && event.state !== "started") {
      const state = event.state === "done" ? "run" : "skipped";
      stages.push({ stage: event.stage, state, seconds: event.seconds ?? 0 });
    }
    watch.onEvent?.(event);
  };
  const kind = { task: "partition", documents };
  return await inRun(
    options,
    { ...watch, onEvent },
    kind,
    async ({ states, run, work: { configuration } }) => {
      for (const stage of states.graph.partition) await run(stage);
      return await summarize(options.run, states.graph.get(LEARN) !== undefined, stages);
    },
  );
}

/**
 * Runs one stage in a run folder, from what the stages before it left there, and returns its counts; `part` makes a
 * share of it. Throws an `InputError` where an earlier stage has not run, and what {@linkcode partition} throws.
 */
export async function runOneStage(
  options: RunOptions & { stage: string; part?: Part },
  watch: RunWatch = {},
): Promise<Record<string, unknown>> {
  const { stage: name, part } = options;
  return await inRun(options, watch, { task: name, beside: part && "parts" }, async (session) => {
    const stage = session.states.graph.get(name);
    if (stage === undefined) throw notInGraph(options.run, name);
    await needStages(session, stage);
    if (part) return await session.part(stage, part);
    return (await session.run(stage)).result;
  });
}

/** Checks that the stages which a stage needs have run, on what is there now. */
export async function needStages({ states, work }: Session, stage: Stage): Promise<void> {
  for (const needed of states.graph.before(stage)) {
    if (stage.needs.includes(needed.name)) await needStage(work, states, needed, stage.name);
  }
}

function notInGraph(run: string, name: string): InputError {
  return new InputError(
    say`Cannot run "${name}" in "${run}" as its settings must need it: with ${
      setting("routers")
    } set, nothing is learned there`,
  );
}
