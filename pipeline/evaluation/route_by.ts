/**
 * The same experts, chosen by another partitioner: what its choices cost beside those of the run's own, on
 * the same draws.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import type { RoutedBy } from "./evaluation.ts";
import { type Kept, route, type Routed, type RouteOptions } from "./routes.ts";
import type { Figures, Tables } from "./tables.ts";

/** Sums over sequences that another partitioner routes. */
export interface OtherRouting {
  /** Columns that it fills, one per prefix. */
  columns: number;
  /** Adds the NLL of a sequence under an expert, nats, to those of its columns, from `first` on, whose prefix chooses that expert. */
  add(add: Tables["add"], first: number, block: Kept, row: number, expert: number, nll: number): void;
  /** Says what its columns mean, from `first` on, beside those of the run's own partitioner. */
  summarize(figures: Figures, first: number): RoutedBy;
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
  const mixture = { costs: partitioner.costs };
  const other = await route({ ...options, mixture }, partitioner, onRows);
  const { prefixes, blocks } = routed;
  const width = prefixes.length;
  if (String(other.blocks.map(({ rows }) => rows)) !== String(blocks.map(({ rows }) => rows))) {
    throw new InputError(
      "Cannot evaluate as every pass must read the same sequences: another partitioner gets others",
    );
  }
  const routes = new Map(blocks.map((block, i) => [block, other.blocks[i].routes]));
  const agreeing = new Float64Array(width);
  let sequences = 0;
  for (const block of blocks) {
    sequences += block.rows;
    const own = routes.get(block)!;
    for (let i = 0; i < own.length; i++) agreeing[i % width] += Number(own[i] === block.routes[i]);
  }
  return {
    columns: width,
    add(add, first, block, row, expert, nll) {
      const own = routes.get(block)!;
      for (let k = 0; k < width; k++) if (own[row * width + k] === expert) add(block, row, first + k, nll);
    },
    summarize: ({ scoreOf, gainOf }, first) => ({
      kind: partitioner.kind,
      prefixes: prefixes.map((prefix, k) => {
        const { nllPerToken: _, ...score } = scoreOf(first + k);
        // The run's own choice by each prefix comes first among the columns.
        return { prefix, ...score, gain: gainOf(k, first + k), agreement: agreeing[k] / sequences };
      }),
    }),
  };
}
