/**
 * Lays out what documents of a run have in common.
 *
 * @module
 */

import { type FoundOverlap, overlapSentence, overlapTables } from "../pipeline/stages/mod.ts";
import { lines, percent, sourceName, table } from "./layout.ts";

const SHOWN = 96; // characters of an example

/** Lays out tables by source and by expert, examples, and what named texts share. */
export function overlapText(run: string, found: FoundOverlap): string {
  const { examples, against = [] } = found;
  const text = ({ path, place, text }: typeof examples[0]["one"]) =>
    `  ${path}${place > 0 ? `:${place}` : ""}: ${text.replace(/\s+/g, " ").slice(0, SHOWN)}`;
  const named = against.map(({ file, length, texts, found, words, covered }) => [
    ...[file, String(length), texts, found, percent(covered / Math.max(1, words))],
  ]);
  return "\n" + lines(
    overlapTables(found, sourceName).map(({ head, rows }) => table(head, rows) + "\n"),
    examples.flatMap(({ kind, share, one, other }) => [`${kind} ${percent(share)}`, text(one), text(other)]),
    named.length > 0 &&
      "\n" + table("texts of | words in a row | texts | leaking | words in passages", named),
    `\noverlap     ${overlapSentence(found)}`,
    `all pairs   ${run}/overlap.arrow`,
  );
}
