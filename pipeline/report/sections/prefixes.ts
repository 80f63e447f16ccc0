// Plots by the length of the routing prefix.

import { BASELINES } from "../../evaluation/baselines.ts";
import type { Evaluation, PrefixScore } from "../../evaluation/evaluation.ts";
import { type Axis, curves, PERPLEXITY, type Plot, SHARES } from "../charts.ts";
import { percent } from "../html.ts";
import { colour, type Line, wayLine } from "../theme.ts";

type Scores = readonly Pick<PrefixScore, "prefix" | "perplexity" | "low" | "high">[];

const prefixAxis = (scores: Scores): Axis => {
  const ticks = [...new Set(scores.map(({ prefix }) => prefix))].sort((a, b) => a - b);
  return {
    title: "tokens of the routing prefix",
    log: 2,
    domain: [ticks[0], ticks.at(-1)!],
    ticks,
    format: "d",
  };
};

/** Plots perplexity by routing prefix, and that of models that do not route, as level lines. */
export const byPrefix = (
  lines: readonly (Line & { scores: Scores })[],
  levels: readonly (Line & { perplexity: number })[] = [],
  at?: number,
) =>
  curves({
    x: prefixAxis(lines.flatMap(({ scores }) => scores)),
    y: PERPLEXITY,
    lines: [...lines, ...levels],
    values: lines.flatMap(({ name: line, scores }) =>
      scores.map(({ prefix: x, perplexity: y, low, high }) => ({ x, y, low, high, line }))
    ),
    levels: levels.map(({ name: line, perplexity: y }) => ({ y, line })),
    at,
  });

/** Plots perplexity, and agreement with routing by M tokens, by the length of the routing prefix. */
export function prefixPlots({ prefixes, prefix, scores, experts }: Evaluation): Plot[] {
  const dense = BASELINES.filter((way) => scores[way]).map((way) => ({
    ...wayLine(way, experts),
    ...scores[way]!,
  }));
  return [
    {
      id: "prefix-perplexity",
      title: "Perplexity by routing prefix",
      about:
        `Perplexity of the mixture when it routes by that many tokens, with its 95% interval; the routers trained with M = ${prefix} (dotted).${
          dense.length === 0 ? "" : " Level lines: the dense baselines, which do not route."
        }`,
      ...byPrefix([{ ...wayLine("mixture", experts), scores: prefixes }], dense, prefix),
    },
    {
      id: "prefix-agreement",
      title: "Agreement of short prefixes",
      about:
        `Share of the held-out sequences that go to the expert to which M = ${prefix} tokens send them (dotted).`,
      ...curves({
        x: prefixAxis(prefixes),
        y: { ...SHARES, domain: [0, 1] },
        values: prefixes.map(({ prefix, agreement }) => ({ x: prefix, y: agreement })),
        at: prefix,
        height: 170,
      }),
    },
  ];
}

/** Plots perplexity by routing prefix, by the run's own partitioner and by another one. */
export function routedByPlot(own: Evaluation, { kind, prefixes }: NonNullable<Evaluation["routedBy"]>): Plot {
  const run = { ...wayLine("mixture", own.experts), name: "the run's partitioner" };
  const name = kind === "self" ? "the experts themselves" : kind;
  const other = { ...run, name, colour: colour("random"), dash: [6, 3] };
  return {
    id: "routed-by",
    title: `Perplexity by routing prefix, where ${name} choose`,
    about:
      `Who chooses the expert of a sequence by so many tokens: ${run.name}, or ${name}, of which the one that finds the prefix likeliest answers; with 95% intervals. The numbers tell how much lower the former's perplexity is, on the same draws of documents: where that interval holds 0, neither chooses better.`,
    ...byPrefix([{ ...run, scores: own.prefixes }, { ...other, scores: prefixes }]),
    table: {
      head: [
        ...["prefix", name, "95% from", "to", run.name, "lower by, %", "95% from", "to"],
        "same expert",
      ],
      rows: prefixes.map(({ prefix, perplexity, low, high, gain, agreement }, i) => [
        ...[prefix, perplexity, low, high, own.prefixes[i].perplexity],
        ...[gain.percent, gain.low, gain.high, percent(agreement)],
      ]),
    },
  };
}
