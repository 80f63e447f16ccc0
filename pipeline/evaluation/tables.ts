/**
 * The sums of an evaluation, and the figures that follow from them.
 *
 * @module
 */

import { type Baseline, BASELINES } from "./baselines.ts";
import { percentileInterval } from "./bootstrap.ts";
import type { Evaluation, Gain, Lower, Score, Way } from "./evaluation.ts";
import type { Kept, Routed } from "./routes.ts";

/** Sums over the sequences of one kind: of a document, a source or a segment. */
export interface Sums {
  /** Sequences `[kinds]`. */
  sequences: Float64Array;
  /** Predicted tokens `[kinds]`. */
  tokens: Float64Array;
  /** NLL, nats, f64 `[kinds, width]`. */
  nll: Float64Array;
}

/** Sums by column: the mixture with each prefix comes first, then the other ways, then `more`. */
export interface Tables {
  /** Number of columns. */
  width: number;
  /** Column of every way. */
  columns: Partial<Record<Way, number>>;
  /** First column after those of the ways. */
  more: number;
  /** By document. */
  byDocument: Sums;
  /** By source. */
  bySource: Sums;
  /** By expert that M tokens choose. */
  bySegment: Sums;
  /** Adds the NLL of a sequence to a column of all three tables. */
  add: (block: Kept, row: number, column: number, nll: number) => void;
}

/**
 * Makes tables for routed sequences, with `more` columns besides those of the ways. Sequences and tokens are
 * counted; no NLL is added yet.
 */
export function createTables(
  { prefixes, blocks, documents, sources }: Routed,
  { prefix, experts, baselines, more: others = 0 }: {
    prefix: number;
    experts: number;
    baselines: readonly Baseline[];
    more?: number;
  },
): Tables {
  const routed = prefixes.length;
  const own = prefixes.indexOf(prefix);
  const columns: Partial<Record<Way, number>> = { mixture: own, random: routed, oracle: routed + 1 };
  baselines.forEach((name, i) => columns[name] = routed + 2 + i);
  const more = routed + 2 + baselines.length;
  const width = more + others;
  const sums = (kinds: number): Sums => ({
    sequences: new Float64Array(kinds),
    tokens: new Float64Array(kinds),
    nll: new Float64Array(kinds * width),
  });
  const [byDocument, bySource, bySegment] = [documents, sources.length, experts].map(sums);
  const each = (
    { document, source, routes }: Kept,
    row: number,
    visit: (sums: Sums, kind: number) => void,
  ) => {
    visit(byDocument, document[row]);
    visit(bySource, source[row]);
    visit(bySegment, routes[row * routed + own]);
  };
  for (const block of blocks) {
    for (let row = 0; row < block.rows; row++) {
      each(block, row, ({ sequences, tokens }, kind) => {
        sequences[kind]++;
        tokens[kind] += block.predicted[row];
      });
    }
  }
  const add: Tables["add"] = (block, row, column, nll) =>
    each(block, row, (sums, kind) => sums.nll[kind * width + column] += nll);
  return { width, columns, more, byDocument, bySource, bySegment, add };
}

/** The figures of the columns of full tables. */
export interface Figures {
  /** Gives the score of a column, with its interval. */
  scoreOf(column: number): Score;
  /** Says how much lower the perplexity of one column is than that of another, on the same draws. */
  gainOf(column: number, than: number): Lower;
  /** Says how much lower the perplexity of a column is than every baseline's. */
  gainsOf(column: number): Gain[];
}

/**
 * Computes the figures of columns of full tables. `draws` are the NLLs per token of resampled documents, f64
 * `[resamples, width]`.
 */
export function figuresOf(
  { width, columns, byDocument }: Pick<Tables, "width" | "columns"> & { byDocument: Omit<Sums, "sequences"> },
  draws: Float64Array,
): Figures {
  const baselines = BASELINES.filter((way) => way in columns);
  const tokens = byDocument.tokens.reduce((a, b) => a + b);
  const drawn = (column: number) =>
    Float64Array.from({ length: draws.length / width }, (_, draw) => draws[draw * width + column]);
  const nllOf = (column: number) => {
    let nll = 0;
    for (let at = column; at < byDocument.nll.length; at += width) nll += byDocument.nll[at];
    return nll / tokens;
  };
  const gain = (nll: number, than: number) => 100 * (1 - Math.exp(nll - than));
  const gainOf: Figures["gainOf"] = (column, than) => {
    const others = drawn(than);
    return {
      percent: gain(nllOf(column), nllOf(than)),
      ...percentileInterval(drawn(column).map((nll, draw) => gain(nll, others[draw]))),
    };
  };
  return {
    scoreOf(column) {
      const nllPerToken = nllOf(column);
      const interval = percentileInterval(drawn(column).map(Math.exp));
      return { nllPerToken, perplexity: Math.exp(nllPerToken), ...interval };
    },
    gainOf,
    gainsOf: (column) => baselines.map((baseline) => ({ baseline, ...gainOf(column, columns[baseline]!) })),
  };
}

/** Computes the figures of the ways and the prefixes from full tables. */
export function summarize(
  routed: Routed,
  { width, columns, bySource, bySegment }: Tables,
  { scoreOf, gainsOf }: Figures,
): Pick<Evaluation, "scores" | "gains" | "sources" | "segments" | "prefixes"> {
  const ways = Object.keys(columns) as Way[];
  const baselines = BASELINES.filter((way) => way in columns);
  const experts = bySegment.tokens.length;
  const { counts, agreement } = countRoutes(routed, experts, columns.mixture!);
  const scores = byWay(ways, (way) => scoreOf(columns[way]!));
  const perplexity = (sums: Sums, kind: number, way: Way) =>
    Math.exp(sums.nll[kind * width + columns[way]!] / sums.tokens[kind]);

  return {
    scores,
    gains: gainsOf(columns.mixture!),
    sources: [...routed.sources.entries()].sort(([, a], [, b]) => a < b ? -1 : 1).map(([kind, source]) => ({
      source,
      documents: routed.documentsOf[kind],
      sequences: bySource.sequences[kind],
      tokens: bySource.tokens[kind],
      perplexity: byWay(ways, (way) => perplexity(bySource, kind, way)),
      shares: Array.from(
        { length: experts },
        (_, expert) => counts[kind * experts + expert] / bySource.sequences[kind],
      ),
    })),
    segments: Array.from({ length: experts }, (_, expert) => {
      const sequences = bySegment.sequences[expert];
      const of = (way: Way) => sequences === 0 ? null : perplexity(bySegment, expert, way);
      return {
        expert,
        sequences,
        share: sequences / routed.blocks.reduce((sum, { rows }) => sum + rows, 0),
        tokens: bySegment.tokens[expert],
        perplexity: { mixture: of("mixture"), ...byWay(baselines, of) },
      };
    }),
    prefixes: routed.prefixes.map((prefix, column) => {
      const { nllPerToken: _, ...score } = scoreOf(column);
      return { prefix, ...score, gains: gainsOf(column), agreement: agreement[column] };
    }),
  };
}

function byWay<Value>(ways: readonly Way[], of: (way: Way) => Value): Partial<Record<Way, Value>> {
  return Object.fromEntries(ways.map((way) => [way, of(way)]));
}

/** Counts routed sequences `[sources, experts]`, and the share of all that each prefix sends where prefix `own` does. */
function countRoutes({ prefixes, blocks, sources }: Routed, experts: number, own: number) {
  const width = prefixes.length;
  const counts = new Float64Array(sources.length * experts);
  const agreeing = new Float64Array(width);
  let sequences = 0;
  for (const { rows, source, routes } of blocks) {
    sequences += rows;
    for (let row = 0; row < rows; row++) {
      const expert = routes[row * width + own];
      counts[source[row] * experts + expert]++;
      for (let k = 0; k < width; k++) agreeing[k] += Number(routes[row * width + k] === expert);
    }
  }
  return { counts, agreement: agreeing.map((count) => count / sequences) };
}
