/**
 * Reproduces the paper's comparison of the mixture with dense models at a small size, from text to
 * a table of its claims.
 *
 *   deno task reproduce --preset small --study experts --seeds 3 --run runs/studies
 */
import { ensure, say, setting } from "../kernels/errors.ts";
import { namedDevice, usualDevice, usualGpu } from "../pipeline/cost/mod.ts";
import type { Claim } from "../pipeline/report/mod.ts";
import {
  areOfPaper,
  lackText,
  type PlannedJob,
  planStudies,
  reproduce,
  runStudies,
  type StudiesPlan,
  STUDY_NAMES,
} from "../pipeline/reproduction/mod.ts";
import { duration } from "../pipeline/graph/mod.ts";
import { binaryBytes, engineering } from "../pipeline/graph/numbers.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { table } from "./cli/layout.ts";
import { CHECKPOINTS, DEVICE, IN_A_RUN, take } from "./cli/options.ts";
import { words } from "./cli/wording.ts";

/** Which studies are made, and what of them. */
const STUDY = field.section("Command", {
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
    "a run of a study to make alone, by its name in --dry-run: so machines share a " +
      "study; repeatable",
  ),
  dryRun: field.flag(
    "print what a study would run, and what that takes of one device; a preset of the " +
      "paper without --input does so by itself",
  ),
});

/**
 * Throws an `InputError` for a flag of studies where none is named, and for one that no study goes
 * by.
 */
function checkStudyFlags(givenNames: ReadonlySet<string>, isStudy: boolean): void {
  const name = ["from", "seeds", "only", "dryRun"].find((name) => givenNames.has(name));
  ensure(
    isStudy || name === undefined,
    say`Cannot use ${setting(name ?? "")} as it must go with a study: none is named`,
    { remedy: say`name one with ${setting("study")}` },
  );
  const refused = {
    seed: [
      "as its runs must have seeds of their own, from 0 on: one is given",
      say`say how many with ${setting("seeds")}`,
    ],
    force: [
      "as its runs must stay as they are: studies share them",
      say`remove the folder of a run to make it anew, or choose another ${setting("run")}`,
    ],
  };
  for (const [name, [why, remedy]] of Object.entries(refused)) {
    ensure(
      !isStudy || !givenNames.has(name),
      say`Cannot use ${setting(name)} with a study ${why}`,
      {
        remedy,
      },
    );
  }
}

/** Words claims, under a title where there is one. */
const claimsText = (claims: readonly Claim[], ...title: string[]): string =>
  [...title, ...claims.flatMap(claimLines), ""].join("\n");

/** Reports where the claims were written. */
const writtenIn = (folder: string): string =>
  `table   ${folder}/reproduction.md\nreport  ${folder}/report.html`;

function claimLines({ claim, paper, here, holds }: Claim): string[] {
  const verdict = holds === null ? "    " : holds ? "yes " : "no  ";
  return [`${verdict}${claim}`, `      paper: ${paper}`, `      here:  ${here}`];
}

/** Why a plan is printed alone that was not asked for. */
const PLAN_ALONE =
  "a dry run, as the embedded text is too little for a preset of the paper: with " +
  "--input, or --dry-run=false, the study runs";

/** Writes the plan of studies: every job, every study by itself, and all of it after a `note`. */
function studiesPlanText(plan: StudiesPlan, note?: string): string {
  const { jobs, flops, seconds, studies, largest, device, assumptions } = plan;
  const rows = jobs.map(({ run, job, done, ...takes }) => [
    run,
    job,
    done ? "" : engineering(takes.flops),
    done ? "" : binaryBytes(takes.memoryBytes),
    done ? "done" : duration(takes.seconds),
  ]);
  return [
    ...note === undefined ? [] : [note, ""],
    table("run | job | FLOPs | memory | time", rows, ["job"]),
    "",
    table(
      "study | jobs | FLOPs | time",
      studies.map(({ study, jobs, flops, seconds }) => [
        study,
        jobs,
        engineering(flops),
        duration(seconds),
      ]),
    ),
    "",
    `in all  ${engineering(flops)} FLOPs and ${
      duration(seconds)
    } of one device; runs that studies share count once`,
    ...largest ? [`memory  ${memoryText(largest, device)}`] : [],
    "",
    ...assumptions.map((line) => `assumed: ${line}`),
  ].join("\n");
}

/** Reports how much memory the largest job takes, and whether the device has that much. */
function memoryText(
  { run, job, memoryBytes }: PlannedJob,
  { memoryBytes: most = Infinity }: StudiesPlan["device"],
): string {
  const taken = `at most ${binaryBytes(memoryBytes)}, for ${job} of ${run}`;
  if (memoryBytes <= most) return taken;
  return `${taken}; the device has ${binaryBytes(most)}: take a smaller --micro-batch`;
}

export const TASK = await defineTask({
  name: "reproduce",
  options: {
    ...IN_A_RUN,
    ...STUDY,
    ...take("trialShare", "flops", "utilisation"),
    ...CHECKPOINTS,
    ...take("recompute"),
    ...DEVICE,
    ...take("requireGpu"),
  },
  run: async ({ sources, options, givenNames, denied, signal, onEvent, print }) => {
    const { run, study: studies, dryRun } = options;
    checkStudyFlags(
      givenNames.union(new Set(Object.keys(sources.flags ?? {}))),
      studies.length > 0,
    );
    if (studies.length === 0) {
      const reproduction = await reproduce({ ...options, sources, words }, { signal, onEvent });
      return print(
        { run, ...reproduction },
        `${claimsText(reproduction.claims)}\n${writtenIn(run)}`,
      );
    }
    const note = lackText(sources) && !givenNames.union(denied).has("dryRun")
      ? PLAN_ALONE
      : undefined;
    if (dryRun || note) {
      const usual = await (areOfPaper(sources) ? usualGpu() : usualDevice());
      const device = namedDevice(options, usual);
      const plan = await planStudies({ ...options, studies, sources, device, words });
      return print({ ...plan, ...note && { note } }, studiesPlanText(plan, note));
    }
    const results = await runStudies({ ...options, studies, sources, words }, { signal, onEvent });
    const notes = options.only.length > 0 ? [`runs    ${run}/outcomes`] : [];
    const claims = results.map(({ study, findings }) => claimsText(findings.claims, study.title));
    print(results, [...claims, writtenIn(run), ...notes].join("\n"));
  },
}, import.meta);
