/**
 * Runs one stage in a run folder: the tasks that are named after stages share this.
 *
 * @module
 */

import { ensure, task } from "../../kernels/errors.ts";
import type { Part, ProofSummary } from "../../pipeline/run/mod.ts";
import type { Fields, Values } from "../../pipeline/settings/mod.ts";
import { STAGES } from "../../pipeline/stages/stages.ts";
import { type Call, defineTask } from "./command.ts";
import { IN_A_RUN, type SharedOptions } from "./options.ts";
import { proofText } from "./text.ts";
import { words } from "./wording.ts";

/** Options of a stage; not every stage takes a part, or a device. */
type StageOptions = Values<typeof IN_A_RUN> & Partial<Values<SharedOptions>>;

/** Runs a stage and prints what it made. */
export async function runStageTask(
  stage: string,
  { sources, options, givenNames, signal, onEvent, print }: Omit<Call<Fields>, "options"> & {
    options: StageOptions;
  },
): Promise<void> {
  const { run, part } = options;
  ensure(
    !givenNames.has("output"),
    "Cannot use --output as files or - must be named as well: none is",
    {
      remedy: "leave it out to work in the run folder",
    },
  );
  const { runOneStage } = await import("../../pipeline/run/partition.ts");
  const result = await runOneStage({ ...options, sources, stage }, { signal, onEvent });
  const { proof, costs } = result as { proof?: ProofSummary; costs?: string };
  const complete = part ? partText(run, stage, part, result) : `${stage} is complete`;
  print(
    { run, stage, ...result },
    `${run}: ${complete}${proof ? `\n${proofText(proof, costs)}` : ""}`,
  );
}

/**
 * Returns whether a task works on files or a pipe and not in a run. Nothing of that is kept where
 * it is interrupted.
 */
export function isPipe(
  { paths, givenNames }: { paths: string[]; givenNames: ReadonlySet<string> },
): boolean {
  return paths.length > 0 || givenNames.has("output");
}

const ON_FILES =
  "Without FILE it works in a run folder; with FILE, or - for a pipe, on that alone.";

/**
 * Makes the task of a stage, with options of its own: it works in a run folder, or where it can
 * `onFiles` or a pipe that are named.
 */
export function stageTask<Own extends Fields>(
  name: string,
  meta: { main: boolean },
  options: Own,
  onFiles?: (call: Call<typeof IN_A_RUN & Own>) => Promise<void>,
) {
  const inRun = (call: unknown) => runStageTask(name, call as Parameters<typeof runStageTask>[1]);
  return defineTask<typeof IN_A_RUN & Own>({
    name,
    about: onFiles ? undefined : STAGES.get(name)!.about,
    ...onFiles && { startsAnew: isPipe, positional: "[FILE…|-]", note: ON_FILES },
    options: { ...IN_A_RUN, ...options },
    run: (call) => onFiles && call.paths.length > 0 ? onFiles(call) : inRun(call),
  }, meta);
}

/**
 * Reports which part of a stage is complete, how far all of them are, and what goes on from there.
 */
function partText(
  run: string,
  stage: string,
  { index, of: parts }: Part,
  { nodes, made: nodesMade, closed }: Record<string, unknown>,
): string {
  const completed = `part ${index}/${parts} of ${stage} is complete`;
  if (closed) return `${completed}, as are all others`;
  const [all, partition] = [stage, "partition"].map((name) => words(task(name, { run })));
  return `${completed}, with ${nodesMade} of ${nodes} of its folders made: ${all} makes the ` +
    `rest, ${partition} all that follows`;
}
