/**
 * Plots of held-out text, and of costs.
 *
 * @module
 */

import { BASELINES } from "../evaluation/baselines.ts";
import { type Evaluation, isEqual, sideOf, TOLD_WAYS, type Way } from "../evaluation/evaluation.ts";
import { FULL_WIDTH } from "./drawn.ts";
import { percent } from "./html.ts";
import {
  across,
  AXIS_WIDTH,
  beside,
  coloured,
  COMPARED,
  fullAndHollow,
  labelled,
  labelledExperts,
  labelRoom,
  legendOf,
  lineEncoding,
  MOST_SOURCES,
  NARROW,
  noGrid,
  nominal,
  ordinal,
  OUTLINED,
  type Plot,
  POINT,
  quantity,
  shapes,
  SHARES,
  type Spec,
  wayLine,
  wayName,
  widestOf,
} from "./plots.ts";
import { labelsWithin } from "./text.ts";
import { colour } from "./theme.ts";

/** A perplexity that is more than so many times the others' does not fit their scale. */
const FAR = 2;
const PERPLEXITY_AXIS = { title: "perplexity", tickCount: 6 };

/** Lists the ways of answering to show. With one expert there is no other choice of experts. */
const waysOf = ({ scores, experts }: Evaluation): Way[] =>
  (experts > 1 ? TOLD_WAYS : [...COMPARED]).filter((way) => scores[way] !== undefined);

/** Lists the perplexities of labelled parts of the text by way, where a part has one. */
function perplexities<Compared extends Way>(
  parts: { perplexity: Partial<Record<Compared, number | null>> }[],
  labels: string[],
  ways: Compared[],
  names: string[],
): Spec[] {
  return parts.flatMap(({ perplexity }, i) =>
    ways.map((way, w) => ({ label: labels[i], way: names[w], perplexity: perplexity[way] }))
  ).filter(({ perplexity }) => typeof perplexity === "number");
}

/** Plots the perplexity of every way to score the held-out text. */
export function perplexityPlot(evaluation: Evaluation): Plot {
  const { scores, experts } = evaluation;
  const all = waysOf(evaluation);
  const rowOf = (way: Way) => {
    const score = scores[way]!;
    return { way: wayName(way, experts), ...score, text: score.perplexity.toFixed(2) };
  };
  const highest = (ways: readonly Way[]) => Math.max(...ways.map((way) => scores[way]!.high));
  const near = all.filter((way) => way !== "random");
  const isFar = near.length < all.length && highest(all) > FAR * highest(near); // a value far above the others would squeeze them into a corner
  const ways = isFar ? near : all;
  const names = ways.map((way) => wayName(way, experts));
  const values = ways.map(rowOf);
  const most = highest(ways);
  const y = beside("way", names);
  return {
    id: "perplexity",
    title: "Perplexity of held-out text",
    about: `Perplexity with its 95% bootstrap interval over documents. Lower is better.${
      experts > 1
        ? ` Best in hindsight picks each sequence's best expert after the fact; a random expert is the mean over experts${
          isFar ? `, far beyond this scale: ${rowOf("random").text}` : ""
        }.`
        : ""
    }`,
    size: "full",
    spec: (width) => {
      const scale = { domain: [0, (width < NARROW ? 1.3 : 1.12) * most], nice: false };
      const interval = (look: Spec) => ({
        mark: { type: "rule", ...look },
        encoding: { y, x: quantity("low", { scale }), x2: { field: "high" } },
      });
      return {
        height: 40 * ways.length + 48,
        data: { values },
        layer: [
          {
            mark: { type: "bar", height: { band: 0.62 } },
            encoding: {
              y,
              x: quantity("perplexity", { scale, axis: PERPLEXITY_AXIS }),
              color: coloured("way", names, ways.map(colour), { legend: null }),
            },
          },
          interval({ color: colour("paper"), strokeWidth: 4.5 }),
          interval({ color: colour("ink"), strokeWidth: 1.5 }),
          {
            mark: { type: "text", align: "left", dx: 7, color: colour("ink") },
            encoding: { y, x: quantity("high", { scale }), text: nominal("text") },
          },
        ],
      };
    },
    table: {
      head: ["way", "perplexity", "95% from", "to"],
      rows: all.map(rowOf).map(({ way, perplexity, low, high }) => [way, perplexity, low, high]),
    },
  };
}

/** Plots how much lower the mixture's perplexity is. */
export function gainPlot({ gains, experts }: Evaluation): Plot {
  const ways = gains.map(({ baseline }) => baseline);
  const names = ways.map((way) => wayName(way, experts));
  const values = gains.map((gain, i) => ({ ...gain, baseline: names[i], zero: 0 }));
  const flat = gains.every(isEqual);
  const y = beside("baseline", names, { domain: false });
  const color = coloured("baseline", names, ways.map(colour), { legend: null });
  return {
    id: "gain",
    title: "Gain of the mixture",
    about:
      "How much lower the mixture's perplexity is than another model's, in percent, with the 95% interval of a paired bootstrap over documents. To the right of zero the mixture is better.",
    size: "full",
    spec: () => ({
      height: 36 * gains.length + 48,
      data: { values },
      layer: [
        {
          mark: { type: "rule", color: colour("line") },
          encoding: {
            x: quantity("zero", {
              scale: flat ? { domain: [-1, 1] } : { padding: 10 },
              axis: { title: "lower perplexity, %", tickCount: 6 },
            }),
          },
        },
        {
          mark: { type: "rule", strokeWidth: 2 },
          encoding: { y, x: quantity("low"), x2: { field: "high" }, color },
        },
        { mark: { ...POINT, size: 90 }, encoding: { y, x: quantity("percent"), color } },
      ],
    }),
    table: {
      head: ["against", "the mixture is", "by, %", "95% from", "to"],
      rows: gains.map((gain, i) => [names[i], ...Object.values(sideOf(gain))]),
    },
  };
}

/** Plots the mixture against dense on the text that is routed to each expert. */
export function segmentPlot(
  { segments, scores, experts }: Evaluation,
  compared: readonly (typeof COMPARED)[number][] = COMPARED,
): Plot {
  const ways = compared.filter((way) => scores[way] !== undefined);
  const names = ways.map((way) => wayName(way, experts));
  const labels = segments.map(({ expert, share }) => `${expert}|${percent(share, 0)}`);
  const hasRoom = (width: number) => (width - 60) / segments.length >= 34; // for shares below the experts
  return {
    id: "segments",
    title: "Perplexity by routed segment",
    about:
      `Held-out text by the expert that it is routed to: that expert against the dense model on the same sequences. ${
        hasRoom(FULL_WIDTH)
          ? "Below each expert stands its share of the sequences, which nothing balances."
          : "Nothing balances the shares of the experts, which are in the table."
      }`,
    size: "full",
    spec: (width) => ({
      height: 290,
      data: { values: perplexities(segments, labels, ways, names) },
      mark: { type: "bar" },
      encoding: {
        x: ordinal("label", {
          sort: labels,
          scale: { domain: labels, paddingInner: 0.25 },
          axis: noGrid(hasRoom(width) ? "expert, and its share of the sequences" : "expert", {
            labelAngle: 0,
            values: labelledExperts(segments.length, width - AXIS_WIDTH).map((i) => labels[i]),
            labelExpr: hasRoom(width) ? "split(datum.value, '|')" : "split(datum.value, '|')[0]",
            labelLineHeight: 15,
          }),
        }),
        xOffset: nominal("way", { sort: names }),
        y: quantity("perplexity", { axis: across("perplexity", { tickCount: 6 }) }),
        color: coloured("way", names, ways.map(colour), legendOf(names, width, { symbol: "square" })),
      },
    }),
    table: {
      head: ["expert", "sequences", "share", "tokens", ...names],
      rows: segments.map(({ expert, sequences, share, tokens, perplexity }) => [
        ...[expert, sequences, percent(share), tokens],
        ...ways.map((way) => perplexity[way] ?? null),
      ]),
    },
  };
}

/** Plots the perplexity of every source. */
export function sourcePlot(evaluation: Evaluation): Plot {
  const { sources, scores, experts } = evaluation;
  const ways = COMPARED.filter((way) => scores[way] !== undefined);
  const names = ways.map((way) => wayName(way, experts));
  const ordered = [...sources].sort((a, b) => b.tokens - a.tokens || (a.source < b.source ? -1 : 1));
  const shown = ordered.slice(0, MOST_SOURCES);
  const left = ordered.length - shown.length;
  const all = waysOf(evaluation);
  return {
    id: "perplexity-by-source",
    title: "Perplexity by source",
    about: `Perplexity of held-out text of each source, the largest first${
      left > 0 ? `; ${left} smaller ones are in the table only` : ""
    }. Lower is better.`,
    size: "full",
    spec: (width) => {
      const labels = labelsWithin(shown.map(({ source }) => labelled(source)), labelRoom(width));
      return {
        height: 26 * shown.length + 84,
        data: { values: perplexities(shown, labels, ways, names) },
        mark: { ...POINT, size: 75 },
        encoding: {
          y: beside("label", labels, { grid: true, domain: false }),
          x: quantity("perplexity", { scale: { zero: false, padding: 14 }, axis: PERPLEXITY_AXIS }),
          color: coloured("way", names, ways.map(colour), legendOf(names, width, { left: widestOf(labels) })),
          shape: shapes("way", names),
        },
      };
    },
    table: {
      head: ["source", "documents", "tokens", ...all.map((way) => wayName(way, experts))],
      rows: ordered.map(({ source, documents, tokens, perplexity }) => [
        ...[labelled(source), documents, tokens],
        ...all.map((way) => perplexity[way] ?? null),
      ]),
    },
  };
}

/** Plots perplexity, and agreement with routing by M tokens, by the length of the routing prefix. */
export function prefixPlots({ prefixes, prefix, scores, experts }: Evaluation): Plot[] {
  const lengths = prefixes.map(({ prefix }) => prefix);
  const dense = BASELINES.filter((way) => scores[way] !== undefined)
    .map((way) => ({ perplexity: scores[way]!.perplexity, line: wayLine(way, experts) }));
  const routed = wayLine("mixture", experts);
  const lines = [routed, ...dense.map(({ line }) => line)];
  const named = (width: number): Spec => ({
    y: quantity("perplexity"),
    ...lineEncoding("model", lines, width),
  });
  const x = (width: number): Spec =>
    quantity("prefix", {
      scale: { type: "log", base: 2, domain: [lengths[0], lengths.at(-1)!], nice: false },
      axis: noGrid("tokens of the routing prefix", {
        values: lengths.length > 9 && width < NARROW ? lengths.filter((_, i) => i % 2 === 0) : lengths,
        format: "d",
      }),
    });
  const trained = {
    data: { values: [{ prefix }] },
    mark: { type: "rule", color: colour("line"), strokeDash: [2, 3] },
    encoding: { x: quantity("prefix") },
  };
  const mixture = colour("mixture");
  const data = { values: prefixes };
  return [
    {
      id: "prefix-perplexity",
      title: "Perplexity by routing prefix",
      about:
        `Perplexity of the mixture when it routes by that many tokens, with its 95% interval; the routers trained with M = ${prefix} (dotted).${
          dense.length === 0 ? "" : " Level lines: the dense baselines, which do not route."
        }`,
      size: "full",
      spec: (width) => ({
        height: width < NARROW ? 320 : 300,
        layer: [
          trained,
          {
            data,
            mark: { type: "area", color: mixture, opacity: 0.16 },
            encoding: {
              x: x(width),
              y: quantity("low", { scale: { zero: false }, axis: across("perplexity", { tickCount: 6 }) }),
              y2: { field: "high" },
            },
          },
          {
            data: { values: prefixes.map((one) => ({ ...one, model: routed.name })) },
            mark: { type: "line" },
            encoding: { x: x(width), ...named(width) },
          },
          ...dense.length === 0 ? [] : [{
            data: { values: dense.map(({ perplexity, line }) => ({ perplexity, model: line.name })) },
            mark: { type: "rule" },
            encoding: named(width),
          }],
          {
            data,
            mark: { ...POINT, size: 45, color: mixture },
            encoding: { x: x(width), y: quantity("perplexity") },
          },
        ],
      }),
      table: {
        head: ["prefix", "perplexity", "95% from", "to", "routed as by M tokens"],
        rows: prefixes.map((at) => [at.prefix, at.perplexity, at.low, at.high, percent(at.agreement)]),
      },
    },
    {
      id: "prefix-agreement",
      title: "Agreement of short prefixes",
      about:
        `Share of the held-out sequences that go to the expert to which M = ${prefix} tokens send them (dotted).`,
      size: "full",
      spec: (width) => ({
        height: 210,
        layer: [
          trained,
          {
            data,
            mark: { type: "line", color: mixture, strokeWidth: 2, point: { color: mixture, size: 45 } },
            encoding: { x: x(width), y: quantity("agreement", { scale: { domain: [0, 1] }, axis: SHARES }) },
          },
        ],
      }),
      table: {
        head: ["prefix", "routed as by M tokens"],
        rows: prefixes.map(({ prefix, agreement }) => [prefix, percent(agreement)]),
      },
    },
  ];
}

/** Plots what a mixture costs beyond its experts, beside the paper's mixtures. */
export function overheadPlot(rows: { name: string; training: number; inference: number }[]): Plot {
  const names = rows.map(({ name }) => name);
  const parts = ["training", "inference"] as const;
  const values = rows.flatMap((row) =>
    parts.map((part) => ({ name: row.name, part, share: 100 * row[part] }))
  );
  const shares = values.map(({ share }) => share).filter((share) => share > 0);
  const powers = [Math.floor(Math.log10(Math.min(...shares))), Math.ceil(Math.log10(Math.max(...shares)))];
  const ticks = Array.from({ length: powers[1] - powers[0] + 1 }, (_, i) => Number(`1e${powers[0] + i}`));
  return {
    id: "overhead",
    title: "Overhead of the routers",
    about:
      "FLOPs of the routers in percent of those of the experts, in training and in inference; the paper's mixtures below this run.",
    size: "full",
    spec: (width) => ({
      height: 26 * rows.length + 84,
      data: { values },
      mark: { ...POINT, ...OUTLINED, size: 75 },
      encoding: {
        y: beside("name", names, { grid: true, domain: false }),
        x: quantity("share", {
          scale: { type: "log", domain: [ticks[0], ticks.at(-1)!], nice: false },
          axis: { title: "% of the experts' FLOPs (logarithmic)", values: ticks, format: "~g" },
        }),
        fill: fullAndHollow("part", [...parts], width, { left: widestOf(names) }),
        shape: shapes("part", parts),
      },
    }),
    table: {
      head: ["mixture", "training", "inference"],
      rows: rows.map(({ name, training, inference }) => [name, percent(training, 2), percent(inference, 2)]),
    },
  };
}
