/**
 * Bootstrap over documents: how much a perplexity would change with other held-out documents
 * (Efron, "Bootstrap Methods", Annals of Statistics 1979). Documents are drawn and not sequences,
 * because the sequences of a document resemble each other.
 *
 * @module
 */

import { ensure, say, setting } from "../../kernels/errors.ts";
import { checkSeed, randomKeys } from "../random.ts";

/** Default number of draws of the bootstrap. */
export const RESAMPLES = 1000;

/** Numbers by the name of their column: a model, or a way of answering. */
type BootstrapColumns = Record<string, Float64Array>;

/** What {@linkcode resample} draws from. */
export interface Documents {
  tokens: Float64Array; // predicted tokens of each document `[documents]`
  nll: BootstrapColumns; // NLL of each document, nats f64 `[documents]`, by column
}

/** How documents are drawn. */
export interface Drawing {
  resamples: number; // number of draws, at least 1
  seed: number; // seed of the draws
  signal?: AbortSignal; // ends the work
}

const COVERAGE = 0.95;
/**
 * Documents below which intervals come out too narrow: so few hardly differ from draw to draw; one
 * never does.
 */
const ENOUGH_DOCUMENTS = 10;
const DRAWS_PER_TURN = 2 ** 20; // some 30 ms of work between two looks at the signal

/**
 * Draws as many documents as there are, with replacement, `resamples` times. Returns the NLL per
 * token of every draw, f64 `[resamples]`, by column. All columns see the same draws, so they may be
 * compared draw by draw. Draw r depends only on the seed, r and the number of documents. Takes
 * about 40 ns per document, draw and dozen columns.
 */
export async function resample(
  { tokens, nll }: Documents,
  { resamples, seed, signal }: Drawing,
): Promise<BootstrapColumns> {
  checkSeed(seed);
  const rule = say`${setting("resamples")} must be an integer >= 1: resamples is ${resamples}`;
  ensure(
    Number.isSafeInteger(resamples) && resamples >= 1,
    say`Cannot draw documents again as ${rule}`,
  );
  const documents = tokens.length;
  const names = Object.keys(nll);
  const means = Object.fromEntries(names.map((name) => [name, new Float64Array(resamples)]));
  const drawn = new Float64Array(documents); // how often each document is drawn
  const indices = new BigUint64Array(Math.ceil(documents / 2)); // a 64-bit key gives two draws
  const words = new Uint32Array(indices.buffer);
  const sum = (values: Float64Array) => {
    let sum = 0;
    for (let document = 0; document < documents; document++) {
      sum += drawn[document] * values[document];
    }
    return sum;
  };
  let sinceTurn = 0;
  for (let draw = 0; draw < resamples; draw++) {
    for (let i = 0; i < indices.length; i++) [words[2 * i], words[2 * i + 1]] = [i, draw];
    const keys = new Uint32Array(randomKeys(seed, "bootstrap", indices).buffer);
    drawn.fill(0);
    // The bias of 32 bits is at most documents / 2^32.
    for (let i = 0; i < documents; i++) drawn[Math.floor(keys[i] / 2 ** 32 * documents)]++;
    const total = sum(tokens);
    for (const name of names) means[name][draw] = sum(nll[name]) / total;
    sinceTurn += documents;
    if (sinceTurn < DRAWS_PER_TURN) continue;
    sinceTurn = 0;
    await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
  }
  return means;
}

/**
 * Figures of columns: functions of their NLL per token, over all documents and over the same draws
 * of them.
 */
interface Estimates {
  /** Gives a figure over every draw of documents, f64 `[resamples]`. */
  drawn(figure: Figure): Float64Array;
  /** Gives a figure over all documents, and the ends of its 95% interval. */
  estimate(figure: Figure): { value: number; low: number; high: number };
}

/** Computes a figure from the NLL per token of columns, by their names. */
export type Figure = (mean: (column: string) => number) => number;

/** Computes figures of columns. Throws what {@linkcode resample} throws. */
export async function drawEstimates(
  { tokens, nll }: Documents,
  drawing: Drawing,
): Promise<Estimates> {
  const draws = await resample({ tokens, nll }, drawing);
  const total = tokens.reduce((a, b) => a + b);
  const means = new Map(
    Object.keys(nll).map((name) => [name, nll[name].reduce((a, b) => a + b) / total]),
  );
  const drawn = (figure: Figure) =>
    Float64Array.from(
      { length: drawing.resamples },
      (_, draw) => figure((column) => draws[column][draw]),
    );
  return {
    drawn,
    estimate: (figure) => ({
      value: figure((column) => means.get(column)!),
      ...percentileInterval(drawn(figure)),
    }),
  };
}

/** Warns that intervals over so few documents are too narrow; undefined where there are enough. */
export function fewDocuments(documents: number): string | undefined {
  if (documents >= ENOUGH_DOCUMENTS) return undefined;
  const are = documents === 1 ? "1 document is" : `${documents} documents are`;
  return `${are} too few for intervals of 95%: these are narrower than they should be`;
}

/**
 * Gives the interval that holds the middle 95% of values, its ends interpolated between the nearest
 * two.
 */
export function percentileInterval(values: Float64Array): { low: number; high: number } {
  const sorted = values.toSorted();
  const quantile = (share: number) => {
    const at = share * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
    return below + (at - Math.floor(at)) * (above - below);
  };
  return { low: quantile((1 - COVERAGE) / 2), high: quantile((1 + COVERAGE) / 2) };
}
