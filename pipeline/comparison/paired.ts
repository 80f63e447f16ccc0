/**
 * Compares mixtures document by document. Runs that hold out the same text find the same documents easy and hard, so the difference
 * between two mixtures is known far better than either perplexity: both are drawn together (Efron and Tibshirani, "An Introduction to
 * the Bootstrap", 1993, chapter 8).
 *
 * @module
 */

import type { DocumentScores } from "../evaluation/documents.ts";
import type { Lower } from "../evaluation/evaluation.ts";
import { figuresOf } from "../evaluation/tables.ts";

/**
 * Says how much lower the perplexity of every mixture is than that of the first one that can be paired with another: null for that one,
 * for those whose documents are not known, and for those that cut the text into other documents. Null as a whole where no two can be
 * paired.
 */
export async function besideFirst(
  runs: readonly (DocumentScores | null)[],
  { resamples, signal }: { resamples: number; signal?: AbortSignal },
): Promise<{ first: number; gains: (Lower | null)[] } | null> {
  const first = runs.findIndex((own, i) =>
    own && runs.some((other, j) => j !== i && other && isSameText(own, other))
  );
  if (first === -1) return null;
  const own = runs[first]!;
  const paired = runs.flatMap((scores, i) => scores && isSameText(scores, own) ? [{ i, scores }] : []);
  const nll = Object.fromEntries(paired.map(({ i, scores }) => [i, scores.nll.mixture]));
  const { gain } = await figuresOf({ tokens: Float64Array.from(own.tokens), nll }, {
    resamples,
    seed: 0,
    signal,
  });
  const gains: (Lower | null)[] = runs.map(() => null);
  for (const { i } of paired) if (i !== first) gains[i] = gain(String(i), String(first));
  return { first, gains };
}

/** Whether two runs cut the text that they hold out into the same documents. Ids may differ: each run counts its own. */
function isSameText(a: DocumentScores, b: DocumentScores): boolean {
  return a.tokens.length === b.tokens.length && a.tokens.every((tokens, i) => tokens === b.tokens[i]) &&
    a.sequences.every((sequences, i) => sequences === b.sequences[i]);
}
