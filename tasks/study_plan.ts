/**
 * Plans studies for the device that options name, and words what they would take.
 *
 * @module
 */

import { type CostDevice, usualDevice, usualGpu } from "../pipeline/cost/mod.ts";
import { areOfPaper, lackText, type StudiesPlan, STUDY_NAMES } from "../pipeline/reproduction/mod.ts";
import { duration } from "../pipeline/run/mod.ts";
import { field, type Sources } from "../pipeline/settings/mod.ts";
import { counted, leading, roughBytes, scientific, table } from "./layout.ts";
import { namedDevice } from "./cost.ts";

/** Which studies are made, and what of them. */
export const STUDY = field.section("Command", {
  study: field.texts(
    { default: [], value: "NAME" },
    `a study instead: ${STUDY_NAMES.join(", ")}, or all; repeatable`,
  ),
  seeds: field.integer({ default: 1, min: 1, max: 100 }, "seeds of a study, where it repeats them"),
  from: field.paths(
    { value: "FOLDER" },
    "studies elsewhere, or their results: what is noted there is not made again; repeatable",
  ),
  only: field.texts(
    { default: [], value: "RUN" },
    "a run of a study to make alone, by its name in --dry-run: so machines share a study; repeatable",
  ),
  dryRun: field.flag(
    "print what a study would run, and what that takes of one device and of many; a preset of the paper without --input does so by itself",
  ),
});

/** Reports why a plan is printed alone that was not asked for. */
const PLAN_ALONE =
  "a dry run, as the embedded text is too little for a preset of the paper: with --input, or --dry-run=false, the study runs";

/**
 * Reports why studies of these settings are only planned, although nobody asked for that; undefined where they are not. `said` are the
 * names of the options that were given or denied.
 */
export function planAlone(sources: Sources, said: ReadonlySet<string>): string | undefined {
  return lackText(sources) && !said.has("dryRun") ? PLAN_ALONE : undefined;
}

/** Gives the device of a plan: the one that options name, else the usual one, for sizes of the paper a GPU. */
export async function planDevice(
  options: Parameters<typeof namedDevice>[0],
  sources: Sources,
): Promise<CostDevice> {
  return namedDevice(options, await (areOfPaper(sources) ? usualGpu() : usualDevice()));
}

/** Words the plan of studies: every job on its device, every study by itself, and all of it; `note` comes first. */
export function studiesPlanText(plan: StudiesPlan, note?: string): string {
  const { pieces, flops, seconds, shortest, devices, studies, assumptions } = plan;
  const rows = pieces.map(({ run, piece, done, ...own }) => [
    ...[run, piece, ...done ? ["", ""] : [scientific(own.flops), roughBytes(own.memoryBytes)]],
    done ? "done" : duration(own.seconds),
  ]);
  return [
    ...note === undefined ? [] : [note, ""],
    table("run | job | FLOPs | memory | time", rows, ["job"]),
    "",
    table(
      "study | jobs | FLOPs | one device | a device per job | at once | longest job",
      studies.map(({ study, pieces, flops, seconds, shortest, devices, longest }) => [
        ...[study, pieces, scientific(flops), duration(seconds), duration(shortest), devices],
        duration(longest),
      ]),
    ),
    "",
    `in all         ${scientific(flops)} FLOPs, what studies share counted once`,
    `one device     ${duration(seconds)}`,
    `${leading(counted(devices, "devices"))} ${
      duration(shortest)
    }: one for every job, so many work at once at most`,
    ...memoryLines(plan),
    "",
    ...assumptions.map((line) => `assumed: ${line}`),
  ].join("\n");
}

/** Words the memory of one device that jobs take at most, and which jobs no micro-batch lets fit. */
function memoryLines({ largest, tooLarge, device: { memoryBytes } }: StudiesPlan): string[] {
  const nameJob = ({ run, piece }: { run: string; piece: string }) => `${piece} of ${run}`;
  const lines: string[] = [];
  if (largest) {
    const { memoryBytes: bytes, memoryBytesSet, microBatch, microBatchSet } = largest;
    const smaller = microBatch < microBatchSet
      ? `, with --micro-batch ${microBatch} (${
        roughBytes(memoryBytesSet)
      } with ${microBatchSet} sequences at once, as it is set)`
      : "";
    lines.push(`each device    at most ${roughBytes(bytes)} of memory, for ${nameJob(largest)}${smaller}`);
  }
  const most = tooLarge.toSorted((a, b) => b.memoryBytes - a.memoryBytes)[0];
  if (most === undefined) return lines;
  const others = tooLarge.length > 1 ? `, the most of ${tooLarge.length} such jobs` : "";
  return [
    ...lines,
    `too large      for ${roughBytes(memoryBytes!)}: ${nameJob(most)} takes ${
      roughBytes(most.memoryBytes)
    } with one sequence at a time${others}`,
  ];
}
