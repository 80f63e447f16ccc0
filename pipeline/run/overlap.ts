/**
 * Looks for what flatters a result, in a run that is split, and reads what was found.
 *
 * @module
 */

import { say, setting } from "../../kernels/errors.ts";
import { TASKS } from "../evaluation/choices/tasks.ts";
import { readManifest, ZERO_SHOT } from "../graph/node.ts";
import { exists } from "../graph/files.ts";
import { printable } from "../graph/printable.ts";
import { readJson, readVerified } from "../graph/schema.ts";
import { Walk } from "../graph/walk.ts";
import { namedFiles } from "../stages/duplicates.ts";
import {
  type Count,
  COUNTS,
  JSON_FILE,
  LEAKS,
  OVERLAP,
  type Overlap,
  OVERLAP_SCHEMA,
  type OverlapRequest,
  overlapRequests,
  type OverlapTally,
  RESULT,
  sharePercent,
} from "../stages/overlap.ts";
import { needConfiguration } from "../stages/parts.ts";
import { PASSAGE } from "../text/hashes.ts";
import { type PartitionPlan, type PlanOptions, planRequests } from "./estimate.ts";
import { requestGraph, runGraph, type StageState, stageStates } from "./plan.ts";
import { openRun, type RunOptions, type RunWatch } from "./run.ts";

export type { Overlap };

/**
 * Looks for duplicates and passages in a run, unless that is done; `against` names files of texts,
 * unless given the published questions that the run was asked. Throws an `InputError` where the run
 * is not split, its text is not what it was, or a file cannot be read.
 */
export async function findOverlap(
  { against = [], ...options }: Omit<RunOptions, "sources"> & { against?: readonly string[] },
  watch: RunWatch = {},
): Promise<Overlap> {
  const { run } = options;
  await needConfiguration(run);
  // Or an error, before anything is written.
  const request = await nameTexts(run, against, watch);
  return await openRun(options, watch, OVERLAP, async ({ makeStage }) => {
    await makeStage(OVERLAP, request, { part: options.part });
    return await readOverlap(run);
  });
}

/** Plans what {@linkcode findOverlap} would make. */
export const planOverlap = async (
  { against = [], ...options }: PlanOptions & { against?: readonly string[] },
  watch: RunWatch = {},
): Promise<PartitionPlan> =>
  await planRequests({
    ...options,
    stage: OVERLAP,
    requests: [await nameTexts(options.run, against, watch)],
  });

/** Takes the files of texts that are counted as held out. */
async function nameTexts(
  run: string,
  against: readonly string[],
  watch: RunWatch,
): Promise<OverlapRequest> {
  const files = against.length > 0 ? against : await askedFiles(run, watch);
  return { against: files, named: await namedFiles(OVERLAP, files, PASSAGE, 8) };
}

/** Lists the files of published questions that a run was asked; warns of those that are gone. */
async function askedFiles(run: string, { onEvent }: RunWatch): Promise<string[]> {
  const asked = await Promise.all(
    TASKS.keys().map((name) => readManifest(`${run}/${ZERO_SHOT}/${name}`)),
  );
  const files = asked.flatMap((manifest) => manifest?.result.file as string ?? []);
  const present = await Promise.all(files.map(exists));
  for (const file of new Set(files.filter((_, i) => !present[i]))) {
    const message = say`"${file}" is gone: ${setting("against")} names other questions`;
    onEvent?.({ type: "warning", message });
  }
  return files.filter((_, i) => present[i]);
}

/** Reads what was found in a run. Throws an `InputError` where that is missing or damaged. */
export const readOverlap = (run: string): Promise<Overlap> =>
  readJson(`${run}/${RESULT}/${JSON_FILE}`, OVERLAP_SCHEMA, "what documents have in common");

/**
 * Reads the ids of the held-out documents of a run that are not clean: those with a twin or a
 * passage in training text.
 */
export const readLeaks = async (run: string): Promise<Set<bigint>> =>
  new Set(new BigUint64Array((await readVerified(`${run}/${RESULT}/${LEAKS}`)).buffer));

/** Tells how what was found in a run stands; it is missing where nobody has looked. */
export async function overlapState(run: string): Promise<StageState["state"]> {
  const graph = requestGraph(run, await needConfiguration(run), true);
  const requests = (await overlapRequests(graph)).map((request) => ({ stage: OVERLAP, request }));
  const [stage] = await stageStates(new Walk(run, await runGraph([], graph, requests)));
  return stage?.state ?? "missing";
}

const titled = (name: string) => name.replace("O", " o");

/** Reports in one line what was found. */
export const overlapLine = ({ all }: Pick<Overlap, "all">): string =>
  [
    ...COUNTS.map((name) => `${titled(name)} ${all[name].toLocaleString("en")}`),
    `shared ${sharePercent(all.shared, all.runs)} of their runs of 13 words`,
  ].join(", ");

/** Lays out what was found: by source, by expert, named texts where there are some, examples. */
export function overlapTables(
  { all, sources, experts, against, examples }: Overlap,
): { title: string; head: string[]; rows: (string | number)[][] }[] {
  const counted = (
    title: string,
    tallies: Record<string, OverlapTally>,
    names: readonly Count[] = COUNTS,
  ) => ({
    title,
    head: ["", ...names.map(titled), "shared runs"],
    rows: Object.entries(tallies).map(([label, tally]) => [
      ...[printable(label) || "(none)", ...names.map((name) => tally[name])],
      sharePercent(tally.shared, tally.runs),
    ]),
  });
  const rows = examples.map(({ pair, document, text }) => [pair, document, text]);
  return [
    counted("By source", { ...sources, "(all)": all }),
    counted("By expert", experts),
    counted("Named texts", against, ["heldOut", "leaking"]),
    { title: "Examples", head: ["pair", "document", "text"], rows },
  ].filter(({ rows }) => rows.length > 0);
}
