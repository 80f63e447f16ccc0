// Compares mixtures document by document. Runs that hold out the same text find the same documents easy
// and hard, so the difference between two mixtures is known far better than either perplexity: both are
// drawn together (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 8).

import type { DocumentScores } from "../evaluation/documents.ts";
import type { Lower } from "../evaluation/evaluation.ts";
import { computeFigures } from "../evaluation/tables.ts";

/**
 * Reports how much lower the perplexity of every mixture is than that of the first one whose text another one cuts into the same documents:
 * null for that one, for those that cut it into other documents, and where documents are not known. Null where no two can be paired.
 */
export async function compareWithFirst(
  runs: readonly (DocumentScores | null)[],
  { resamples, signal }: { resamples: number; signal?: AbortSignal },
): Promise<{ first: number; gains: (Lower | null)[] } | null> {
  const cuts = runs.map((own) => own && `${own.tokens} ${own.sequences}`); // ids may differ: each run counts its own
  const first = cuts.findIndex((cut, i) => cut !== null && cuts.indexOf(cut, i + 1) !== -1);
  if (first === -1) return null;
  const paired = runs.flatMap((scores, i) => scores && cuts[i] === cuts[first] ? [{ i, scores }] : []);
  const nll = Object.fromEntries(paired.map(({ i, scores }) => [i, scores.nll.mixture]));
  const tokens = Float64Array.from(runs[first]!.tokens);
  const { gain } = await computeFigures({ tokens, nll }, { resamples, seed: 0, signal });
  const gains: (Lower | null)[] = runs.map(() => null);
  for (const { i } of paired) if (i !== first) gains[i] = gain(String(i), String(first));
  return { first, gains };
}
