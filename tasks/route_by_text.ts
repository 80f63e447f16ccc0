/**
 * Lays out what another partitioner's choices cost beside those of a run's own.
 *
 * @module
 */

import { type Evaluation, sideOf } from "../pipeline/evaluation/mod.ts";
import { count, percent, table } from "./layout.ts";

/** Lays out a row per prefix; nothing where no other partitioner was asked for. */
export function routedByText({ routedBy, prefixes, prefix: own }: Evaluation): string[] {
  if (routedBy === undefined) return [];
  const rows = routedBy.prefixes.map(({ prefix, perplexity, low, high, gain, agreement }, i) => {
    const { side, by, from, to } = sideOf(gain);
    return [
      count(prefix) + (prefix === own ? " (M)" : ""),
      perplexity.toFixed(2),
      `${low.toFixed(2)} to ${high.toFixed(2)}`,
      prefixes[i].perplexity.toFixed(2),
      `${by.toFixed(2)}% ${side} (${from.toFixed(2)}% to ${to.toFixed(2)}%)`,
      percent(agreement),
    ];
  });
  const head =
    `prefix | routed by ${routedBy.kind} | 95% interval | by the run's own | which is | same expert`;
  return [table(head, rows), ""];
}
