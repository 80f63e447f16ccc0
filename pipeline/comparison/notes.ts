/**
 * Says beside the tables of a comparison what their numbers do not: which runs stand apart, and why.
 *
 * @module
 */

import { say, task, type Text } from "../../kernels/errors.ts";
import { fewDocuments } from "../evaluation/bootstrap.ts";
import type { Comparison } from "./comparison.ts";
import type { HeldOut } from "./held_out.ts";

/** Says which runs do not tell what they hold out, as "; b and c tell of none"; empty where all tell. */
export function untoldText({ untold }: HeldOut): string {
  return untold.length === 0 ? "" : `; ${listed(untold)} ${untold.length === 1 ? "tells" : "tell"} of none`;
}

/**
 * Says whether there are too few documents for intervals, which evaluations do not go by a prefix, which are of a
 * part of the held-out text, and of which the documents are not known, with what to do.
 */
export function evaluationNotes({ runs, reference }: Comparison): Text[] {
  const evaluated = runs.filter(({ evaluation }) => evaluation !== null);
  const told = evaluated.filter(({ documents }) => documents !== null);
  const older = evaluated.length < 2 ? [] : evaluated.filter(({ documents }) => documents === null);
  const unlike = told.length < 2
    ? []
    : told.filter(({ name, beside }) => beside === null && name !== reference);
  const byLabel = evaluated.filter(({ routes }) => !routes);
  const names = byLabel.map(({ name }) => name);
  const few = told.length === 0
    ? undefined
    : fewDocuments(Math.min(...told.map(({ documents }) => documents!)));
  return [
    ...few === undefined ? [] : [few],
    ...names.length === 0 ? [] : [
      `${listed(names)} ${
        names.length === 1 ? "routes" : "route"
      } held-out text by its true labels, which no prompt has, and not by M tokens`,
    ],
    ...runs.flatMap(({ name, run, trained, experts }) =>
      trained === null ? [] : [
        say`${name} is evaluated only on the text that goes to ${trained.length} of ${experts} experts, so it is not compared: run ${
          task("evaluate", { run })
        } once the others are trained`,
      ]
    ),
    ...older.map(({ name, run }) =>
      say`${name} is not put beside others, as an older version evaluated it and kept nothing of single documents: run ${
        task("evaluate", { run, force: true })
      }, with the options that it had`
    ),
    ...unlike.map(({ name }) =>
      `${name} is not put beside ${reference ?? "others"}, as it cuts the text into other documents`
    ),
  ];
}

/** Says which sources are not compared, and why; null where all are. */
export function sourceNote({ sources, sourcesApart, unlabelled }: Comparison): string | null {
  const apart = sourcesApart.length;
  if (apart === 0) return null;
  if (unlabelled.length > 0) {
    const have = unlabelled.length === 1 ? "has" : "have";
    return `${listed(unlabelled)} ${have} no labels, so sources are not compared`;
  }
  const [are, them] = apart === 1 ? ["is", "it"] : ["are", "them"];
  return `${apart} of ${
    apart + sources.length
  } sources ${are} not compared, as not all runs have ${them} with as many tokens`;
}

/** Lists names in a sentence. */
function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
