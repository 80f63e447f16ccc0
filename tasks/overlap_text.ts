/**
 * Lays out what documents of a run have in common.
 *
 * @module
 */

import type { FoundOverlap, Overlap } from "../pipeline/stages/mod.ts";
import { count, counted, lines, percent, sourceName, table } from "./layout.ts";

const MOST_ROWS = 24;
const SHOWN = 96; // characters of an example
const HEAD =
  "documents | equal to an earlier one | nearly | of these with another expert | held out | twins in training | with a passage of it | words in passages";

function rows(tallies: Overlap["sources"], name: (key: string) => string): (string | number)[][] {
  return Object.entries(tallies).slice(0, MOST_ROWS).map(([key, { words, covered, ...tally }]) => [
    ...[name(key), tally.documents, tally.copies, tally.near, tally.apart],
    ...[tally.heldOut, tally.twins, tally.leaking, words === 0 ? "-" : percent(covered / words)],
  ]);
}

/** Says in one line what was found. */
export function overlapLine(
  { all: { documents, copies, near, heldOut, twins, leaking, words, covered } }: Overlap,
): string {
  const share = percent(covered / Math.max(1, words));
  return `of ${counted(documents, "training documents")} ${count(copies)} equal an earlier one, ${
    count(near)
  } nearly; of ` +
    `${count(heldOut)} held-out ones ${count(twins)} equal a training document or nearly, ${
      count(leaking)
    } share 13 words in a row ` +
    `(${share} of their words)`;
}

/** Lays out tables by source and by expert, examples, and what named texts share. */
export function overlapText(run: string, found: FoundOverlap): string {
  const { all, sources, experts, examples, against = [] } = found;
  const place = ({ path, place }: typeof examples[0]["one"]) => `${path}${place > 0 ? `:${place}` : ""}`;
  const shown = (text: string) => text.replace(/\s+/g, " ").slice(0, SHOWN);
  return "\n" + lines(
    table(`source | ${HEAD}`, [...rows(sources, sourceName), ...rows({ all }, (key) => key)]) + "\n",
    table(`expert | ${HEAD}`, rows(experts, (key) => key)) + "\n",
    examples.flatMap(({ kind, share, one, other }) => [
      `${kind} ${percent(share)}`,
      `  ${place(one)}: ${shown(one.text)}`,
      `  ${place(other)}: ${shown(other.text)}`,
    ]),
    against.length > 0 && "\n" + table(
          "texts of | words in a row | texts | in training text | share of their words",
          against.map((
            { file, length, texts, found, words, covered },
          ) => [file, String(length), texts, found, percent(covered / Math.max(1, words))]),
        ),
    `\noverlap     ${overlapLine(found)}`,
    `all pairs   ${run}/overlap.arrow`,
  );
}
