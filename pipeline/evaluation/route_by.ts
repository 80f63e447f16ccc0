/**
 * The same experts, chosen by another partitioner: what its choices cost beside those of the run's own, on
 * the same draws.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { percentileInterval, resample } from "./bootstrap.ts";
import type { RoutedBy } from "./evaluation.ts";
import { type Kept, route, type Routed, type RouteOptions } from "./routes.ts";
import type { Tables } from "./tables.ts";

/** Sums over sequences that another partitioner routes. */
export interface OtherRouting {
  /** Takes the NLL of a sequence under an expert, nats. */
  add(block: Kept, row: number, expert: number, nll: number): void;
  /** Says what the sums mean, beside those of the run's own partitioner. */
  summarize(
    tables: Tables,
    draws: { resamples: number; seed: number; signal?: AbortSignal },
  ): Promise<RoutedBy>;
}

/**
 * Routes all sequences once more, by another partitioner and the same prefixes. `routed` holds the choices of
 * the run's own. Throws an `InputError` where the other partitioner knows other experts.
 */
export async function routeByOther(
  partitioner: Partitioner,
  options: RouteOptions,
  routed: Routed,
  { experts }: { experts: number },
  onRows: (rows: number) => void,
): Promise<OtherRouting> {
  if (partitioner.experts !== experts) {
    throw new InputError(
      `Cannot evaluate as ${partitioner.kind} must know each of the ${experts} experts: it knows ${partitioner.experts}`,
    );
  }
  const mixture = { ...options.mixture, costs: partitioner.costs };
  const other = await route({ ...options, mixture }, partitioner, onRows);
  const { prefixes, blocks, documents } = routed;
  const width = prefixes.length;
  if (String(other.blocks.map(({ rows }) => rows)) !== String(blocks.map(({ rows }) => rows))) {
    throw new InputError(
      "Cannot evaluate as every pass must read the same sequences: another partitioner gets others",
    );
  }
  const routes = new Map(blocks.map((block, i) => [block, other.blocks[i].routes]));
  const sums = new Float64Array(documents * width);
  const agreeing = new Float64Array(width);
  let sequences = 0;
  for (const block of blocks) {
    sequences += block.rows;
    const own = routes.get(block)!;
    for (let i = 0; i < own.length; i++) agreeing[i % width] += Number(own[i] === block.routes[i]);
  }
  return {
    add(block, row, expert, nll) {
      const own = routes.get(block)!;
      for (let k = 0; k < width; k++) {
        if (own[row * width + k] === expert) sums[block.document[row] * width + k] += nll;
      }
    },
    async summarize({ byDocument, width: columns }, drawing) {
      // Columns of the run's own choices by each prefix come first in its tables; the same documents are drawn as there.
      const nll = new Float64Array(documents * 2 * width);
      for (let document = 0; document < documents; document++) {
        for (let k = 0; k < width; k++) {
          nll[2 * (document * width + k)] = byDocument.nll[document * columns + k];
          nll[2 * (document * width + k) + 1] = sums[document * width + k];
        }
      }
      const draws = await resample({ nll, tokens: byDocument.tokens, columns: 2 * width }, drawing);
      const tokens = byDocument.tokens.reduce((sum, count) => sum + count, 0);
      const total = (column: number) => {
        let sum = 0;
        for (let at = column; at < nll.length; at += 2 * width) sum += nll[at];
        return sum / tokens;
      };
      const drawn = (column: number) =>
        Float64Array.from(
          { length: draws.length / (2 * width) },
          (_, draw) => draws[draw * 2 * width + column],
        );
      const lower = (own: number, other: number) => 100 * (1 - Math.exp(own - other));
      return {
        kind: partitioner.kind,
        prefixes: prefixes.map((prefix, k) => {
          const [own, others] = [drawn(2 * k), drawn(2 * k + 1)];
          return {
            prefix,
            perplexity: Math.exp(total(2 * k + 1)),
            ...percentileInterval(others.map(Math.exp)),
            gain: {
              percent: lower(total(2 * k), total(2 * k + 1)),
              ...percentileInterval(own.map((nll, draw) => lower(nll, others[draw]))),
            },
            agreement: agreeing[k] / sequences,
          };
        }),
      };
    },
  };
}
