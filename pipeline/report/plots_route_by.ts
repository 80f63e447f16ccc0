/**
 * Plots what another partitioner's choices cost beside those of a run's own.
 *
 * @module
 */

import type { Evaluation } from "../evaluation/evaluation.ts";
import { percent } from "./html.ts";
import {
  across,
  type Line,
  lineEncoding,
  NARROW,
  noGrid,
  type Plot,
  POINT,
  quantity,
  type Spec,
  wayLine,
} from "./plots.ts";
import { colour } from "./theme.ts";

/** Names of kinds of partitioners in a legend. */
const NAMES: Record<string, string> = { self: "the experts themselves" };

/** Plots perplexity by routing prefix, by both partitioners; none where no other one was asked for. */
export function routeByPlots({ routedBy, prefixes, experts }: Evaluation): Plot[] {
  if (routedBy === undefined) return [];
  const own: Line = { ...wayLine("mixture", experts), name: "the run's partitioner" };
  const other: Line = {
    ...own,
    name: NAMES[routedBy.kind] ?? routedBy.kind,
    colour: colour("random"),
    dash: [6, 3],
  };
  const values = [
    ...prefixes.map((one) => ({ ...one, by: own.name })),
    ...routedBy.prefixes.map((one) => ({ ...one, by: other.name })),
  ];
  const lengths = prefixes.map(({ prefix }) => prefix);
  return [{
    id: "routed-by",
    title: `Perplexity by routing prefix, where ${other.name} choose`,
    about:
      `Who chooses the expert of a sequence by so many tokens: ${own.name}, or ${other.name}, of which the one that finds the prefix likeliest answers; with 95% intervals. The numbers tell how much lower the former's perplexity is, on the same draws of documents: where that interval holds 0, neither chooses better.`,
    size: "full",
    spec: (width) => {
      const { color: { legend, ...colours }, ...dashes } = lineEncoding("by", [own, other], width) as Record<
        string,
        Spec
      >;
      const color = { ...colours, legend: { ...legend as Spec, symbolOpacity: 1 } };
      const x = quantity("prefix", {
        scale: { type: "log", base: 2, domain: [lengths[0], lengths.at(-1)!], nice: false },
        axis: noGrid("tokens of the routing prefix", {
          values: lengths.length > 9 && width < NARROW ? lengths.filter((_, i) => i % 2 === 0) : lengths,
          format: "d",
        }),
      });
      return {
        height: width < NARROW ? 330 : 310,
        data: { values },
        layer: [
          {
            mark: { type: "area", opacity: 0.14 },
            encoding: {
              x,
              y: quantity("low", { scale: { zero: false }, axis: across("perplexity", { tickCount: 6 }) }),
              y2: { field: "high" },
              color,
            },
          },
          { mark: { type: "line" }, encoding: { x, y: quantity("perplexity"), color, ...dashes } },
          { mark: { ...POINT, size: 36 }, encoding: { x, y: quantity("perplexity"), color } },
        ],
      };
    },
    table: {
      head: [
        "prefix",
        other.name,
        "95% from",
        "to",
        own.name,
        "lower by, %",
        "95% from",
        "to",
        "same expert",
      ],
      rows: routedBy.prefixes.map(({ prefix, perplexity, low, high, gain, agreement }, i) => [
        ...[prefix, perplexity, low, high, prefixes[i].perplexity],
        ...[gain.percent, gain.low, gain.high, percent(agreement)],
      ]),
    },
  }];
}
