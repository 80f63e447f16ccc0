/**
 * Reproduces the paper's comparison of the mixture with dense models at a small size, from text to a table of its claims.
 *
 *   deno task reproduce --preset small --study experts --seeds 3 --run runs/studies
 */
import { ensure, say, setting } from "../kernels/errors.ts";
import type { Claim } from "../pipeline/report/mod.ts";
import { planStudies, reproduce, runStudies, type StudyResult } from "../pipeline/reproduction/mod.ts";
import { defineTask } from "./command.ts";
import { CHECKPOINTS, DEVICE, IN_A_RUN, take } from "./options.ts";
import { planAlone, planDevice, studiesPlanText, STUDY } from "./study_plan.ts";
import { words } from "./wording.ts";

/** Throws an `InputError` for a flag of studies where none is named, and for one that no study goes by. */
function checkStudyFlags(given: ReadonlySet<string>, isStudy: boolean): void {
  const name = ["from", "seeds", "only", "dryRun"].find((name) => given.has(name));
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
    ensure(!isStudy || !given.has(name), say`Cannot use ${setting(name)} with a study ${why}`, { remedy });
  }
}

/** Words claims, and where they were written. */
function claimsText(run: string, claims: readonly Claim[]): string {
  return [...claims.flatMap(claimLines), "", ...outputLines(run)].join("\n");
}

/** Words the findings of studies; `only` are the runs that were made alone. */
function studiesText(root: string, results: readonly StudyResult[], only: readonly string[] = []): string {
  const parts = results.flatMap(({ study, findings }) => [
    ...[study.title, ...findings.claims.flatMap(claimLines), ""],
  ]);
  const notes = only.length > 0 ? [`runs    ${root}/outcomes`] : [];
  return [...parts, ...outputLines(root), ...notes].join("\n");
}

function claimLines({ claim, paper, here, holds }: Claim): string[] {
  const verdict = holds === null ? "    " : holds ? "yes " : "no  ";
  return [`${verdict}${claim}`, `      paper: ${paper}`, `      here:  ${here}`];
}

function outputLines(folder: string): string[] {
  return [`table   ${folder}/reproduction.md`, `report  ${folder}/report.html`];
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
  run: async ({ sources, options, given, denied, signal, onEvent, print }) => {
    const { run, study: studies, dryRun } = options;
    checkStudyFlags(given.union(new Set(Object.keys(sources.flags ?? {}))), studies.length > 0);
    const note = planAlone(sources, given.union(denied));
    if (studies.length > 0 && (dryRun || note)) {
      const device = await planDevice(options, sources);
      const plan = await planStudies({ ...options, studies, sources, device, words });
      return print({ ...plan, ...note && { note } }, studiesPlanText(plan, note));
    }
    if (studies.length > 0) {
      const results = await runStudies({ ...options, studies, sources, words }, { signal, onEvent });
      return print(results, studiesText(run, results, options.only));
    }
    const reproduction = await reproduce({ ...options, sources, words }, { signal, onEvent });
    print({ run, ...reproduction }, claimsText(run, reproduction.claims));
  },
}, import.meta);
