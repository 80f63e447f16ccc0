/**
 * Words the results of a reproduction and of its studies, and refuses flags of the one that are given to the other.
 *
 * @module
 */

import { InputError, say, setting } from "../kernels/errors.ts";
import type { PublishedPage, StudyResult } from "../pipeline/reproduction/mod.ts";
import type { Claim } from "../pipeline/report/mod.ts";
import { table } from "./layout.ts";

/** Throws an `InputError` for a flag of studies where none is named, and for one that no study goes by. */
export function checkStudyFlags(given: ReadonlySet<string>, isStudy: boolean): void {
  const name = ["from", "seeds", "only", "dryRun"].find((name) => given.has(name));
  if (!isStudy && name !== undefined) {
    throw new InputError(say`Cannot use ${setting(name)} as it must go with a study: none is named`, {
      remedy: say`name one with ${setting("study")}`,
    });
  }
  if (isStudy && given.has("seed")) {
    throw new InputError(
      say`Cannot use ${
        setting("seed")
      } with a study as its runs must have seeds of their own, from 0 on: one is given`,
      { remedy: say`say how many with ${setting("seeds")}` },
    );
  }
  if (!isStudy || !given.has("force")) return;
  throw new InputError(
    say`Cannot use ${setting("force")} with a study as its runs must stay as they are: studies share them`,
    { remedy: say`remove the folder of a run to make it anew, or choose another ${setting("run")}` },
  );
}

/** Words claims, and where they were written. */
export function claimsText(run: string, claims: readonly Claim[]): string {
  return [...claims.flatMap(claimLines), "", ...outputLines(run)].join("\n");
}

/** Words the findings of studies; `only` are the runs that were made alone. */
export function studiesText(
  root: string,
  results: readonly StudyResult[],
  only: readonly string[] = [],
): string {
  const parts = results.flatMap((
    { study, findings },
  ) => [study.title, ...findings.claims.flatMap(claimLines), ""]);
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

/** Words what the project's pages tell now. */
export function publishedText({ page, written, published }: PublishedPage): string {
  const rows = published.map(({ title, claims }) => [
    title,
    ...[false, true, null].map((wanted) => String(claims.filter(({ holds }) => holds === wanted).length)),
  ]);
  const done = written ? `wrote   ${page}` : `${page} said this before: it stays as it is`;
  return [table("from | no | yes | neither", rows, ["from"]), "", done].join("\n");
}
