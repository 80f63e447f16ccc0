/**
 * Plots of held-out text, and of costs.
 *
 * @module
 */

import { percent } from "./html.ts";
import {
  across,
  AXIS_WIDTH,
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
  OUTLINED,
  type Plot,
  scaleOf,
  type Spec,
  wayLine,
  wayName,
  WAYS,
  widestOf,
} from "./plots.ts";
import type { Measured, Way } from "./read.ts";
import { labelsWithin } from "./text.ts";
import { colour } from "./theme.ts";

/** Lists the ways that text was scored; one expert leaves no other choice of experts. */
const waysOf = (scores: Measured["scores"], experts: number): Way[] =>
  (experts > 1 ? WAYS : COMPARED).filter((way) => scores[way] !== undefined);

/** Plots the perplexity of every way to score the held-out text. */
export function perplexityPlot({ scores, experts }: Measured): Plot {
  const ways = waysOf(scores, experts);
  const names = ways.map((way) => wayName(way, experts));
  const values = ways.map((way, i) => ({
    way: names[i],
    ...scores[way]!,
    text: scores[way]!.perplexity.toFixed(2),
  }));
  const y = {
    field: "way",
    type: "nominal",
    sort: names,
    axis: { title: null, labelColor: colour("ink"), ticks: false },
  };
  const most = Math.max(...values.map(({ high }) => high));
  const scaled = (width: number) => ({ domain: [0, (width < NARROW ? 1.3 : 1.12) * most], nice: false });
  return {
    id: "perplexity",
    title: "Perplexity of held-out text",
    about: `Perplexity with its 95% bootstrap interval over documents. Lower is better.${
      experts > 1
        ? " Best in hindsight picks each sequence's best expert after the fact; a random expert is the mean over experts."
        : ""
    }`,
    size: "full",
    spec: (width) => ({
      height: 40 * ways.length + 48,
      data: { values },
      layer: [
        {
          mark: { type: "bar", height: { band: 0.62 } },
          encoding: {
            y,
            x: {
              field: "perplexity",
              type: "quantitative",
              scale: scaled(width),
              axis: { title: "perplexity", tickCount: 6 },
            },
            color: { field: "way", type: "nominal", ...scaleOf(names, ways.map(colour)), legend: null },
          },
        },
        ...[{ color: colour("paper"), strokeWidth: 4.5 }, { color: colour("ink"), strokeWidth: 1.5 }].map((
          look,
        ) => ({
          mark: { type: "rule", ...look },
          encoding: {
            y,
            x: { field: "low", type: "quantitative", scale: scaled(width) },
            x2: { field: "high" },
          },
        })),
        {
          mark: { type: "text", align: "left", dx: 7, color: colour("ink") },
          encoding: {
            y,
            x: { field: "high", type: "quantitative", scale: scaled(width) },
            text: { field: "text", type: "nominal" },
          },
        },
      ],
    }),
    table: {
      head: ["way", "perplexity", "95% from", "to"],
      rows: values.map(({ way, perplexity, low, high }) => [way, perplexity, low, high]),
    },
  };
}

/** Plots how much lower the mixture's perplexity is. */
export function gainPlot({ gains, experts }: Measured): Plot {
  const names = gains.map(({ baseline }) => wayName(baseline, experts));
  const values = gains.map(({ percent, low, high }, i) => ({
    baseline: names[i],
    percent,
    low,
    high,
    zero: 0,
  }));
  const flat = gains.every(({ low, high }) => low === 0 && high === 0);
  const y = {
    field: "baseline",
    type: "nominal",
    sort: names,
    axis: { title: null, labelColor: colour("ink"), ticks: false, domain: false },
  };
  const color = {
    field: "baseline",
    type: "nominal",
    ...scaleOf(names, gains.map(({ baseline }) => colour(baseline))),
    legend: null,
  };
  return {
    id: "gain",
    title: "Gain of the mixture",
    about:
      "How much lower the mixture's perplexity is than a dense model's, in percent, with the 95% interval of a paired bootstrap over documents. To the right of zero the mixture is better.",
    size: "full",
    spec: () => ({
      height: 36 * gains.length + 48,
      data: { values },
      layer: [
        {
          mark: { type: "rule", color: colour("line") },
          encoding: {
            x: {
              field: "zero",
              type: "quantitative",
              ...(flat ? { scale: { domain: [-1, 1] } } : {}),
              axis: { title: "lower perplexity, %", tickCount: 6 },
            },
          },
        },
        {
          mark: { type: "rule", strokeWidth: 2 },
          encoding: { y, x: { field: "low", type: "quantitative" }, x2: { field: "high" }, color },
        },
        {
          mark: { type: "point", filled: true, size: 90, opacity: 1 },
          encoding: { y, x: { field: "percent", type: "quantitative" }, color },
        },
      ],
    }),
    table: {
      head: ["against", "the mixture is", "by, %", "95% from", "to"],
      rows: values.map(({ baseline, percent, low, high }) =>
        percent < 0 ? [baseline, "higher", -percent, -high, -low] : [baseline, "lower", percent, low, high]
      ),
    },
  };
}

/** Plots the mixture against dense on the text that is routed to each expert. */
export function segmentPlot({ segments, scores, experts }: Measured): Plot {
  const ways = COMPARED.filter((way) => scores[way] !== undefined);
  const names = ways.map((way) => wayName(way, experts));
  const labels = segments.map(({ expert, share }) => `${expert}|${percent(share, 0)}`);
  return {
    id: "segments",
    title: "Perplexity by routed segment",
    about:
      "Held-out text by the expert that it is routed to: that expert against the dense model on the same sequences. Below each expert stands its share of the sequences, which nothing balances.",
    size: "full",
    spec: (width) => ({
      height: 290,
      data: {
        values: segments.flatMap(({ perplexity }, i) =>
          ways.flatMap((way, w) => {
            const value = perplexity[way];
            return typeof value === "number" ? [{ expert: labels[i], way: names[w], perplexity: value }] : [];
          })
        ),
      },
      mark: { type: "bar" },
      encoding: {
        x: {
          field: "expert",
          type: "ordinal",
          sort: labels,
          scale: { domain: labels, paddingInner: 0.25 },
          axis: noGrid("expert, and its share of the sequences", {
            labelAngle: 0,
            values: labelledExperts(segments.length, width - AXIS_WIDTH).map((i) => labels[i]),
            labelExpr: (width - 60) / segments.length < 34
              ? "split(datum.value, '|')[0]"
              : "split(datum.value, '|')",
            labelLineHeight: 15,
          }),
        },
        xOffset: { field: "way", type: "nominal", sort: names },
        y: { field: "perplexity", type: "quantitative", axis: across("perplexity", { tickCount: 6 }) },
        color: {
          field: "way",
          type: "nominal",
          ...scaleOf(names, ways.map(colour)),
          ...legendOf(names, width, { symbol: "square" }),
        },
      },
    }),
    table: {
      head: ["expert", "sequences", "share", "tokens", ...names],
      rows: segments.map(({ expert, sequences, share, tokens, perplexity }) => [
        expert,
        sequences,
        percent(share),
        tokens,
        ...ways.map((way) => perplexity[way] ?? null),
      ]),
    },
  };
}

/** Plots the perplexity of every source. */
export function sourcePlot({ sources, scores, experts }: Measured): Plot {
  const ways = COMPARED.filter((way) => scores[way] !== undefined);
  const names = ways.map((way) => wayName(way, experts));
  const ordered = [...sources].sort((a, b) => b.tokens - a.tokens || (a.source < b.source ? -1 : 1));
  const shown = ordered.slice(0, MOST_SOURCES);
  const all = waysOf(scores, experts);
  return {
    id: "perplexity-by-source",
    title: "Perplexity by source",
    about: `Perplexity of held-out text of each source, the largest first${
      ordered.length > shown.length
        ? `; ${ordered.length - shown.length} smaller ones are in the table only`
        : ""
    }. Lower is better.`,
    size: "full",
    spec: (width) => {
      const labels = labelsWithin(shown.map(({ source }) => labelled(source)), labelRoom(width));
      return {
        height: 26 * shown.length + 84,
        data: {
          values: shown.flatMap(({ perplexity }, i) =>
            ways.flatMap((way, w) => {
              const value = perplexity[way];
              return typeof value === "number"
                ? [{ source: labels[i], way: names[w], perplexity: value }]
                : [];
            })
          ),
        },
        mark: { type: "point", filled: true, size: 75, opacity: 1 },
        encoding: {
          y: {
            field: "source",
            type: "nominal",
            sort: labels,
            axis: {
              title: null,
              grid: true,
              domain: false,
              ticks: false,
              labelColor: colour("ink"),
            },
          },
          x: {
            field: "perplexity",
            type: "quantitative",
            scale: { zero: false, padding: 14 },
            axis: { title: "perplexity", tickCount: 6 },
          },
          color: {
            field: "way",
            type: "nominal",
            ...scaleOf(names, ways.map(colour)),
            ...legendOf(names, width, { left: widestOf(labels) }),
          },
          shape: {
            field: "way",
            type: "nominal",
            scale: { domain: names, range: ["circle", "square", "diamond"].slice(0, names.length) },
          },
        },
      };
    },
    table: {
      head: ["source", "documents", "tokens", ...all.map((way) => wayName(way, experts))],
      rows: ordered.map(({ source, documents, tokens, perplexity }) => [
        labelled(source),
        documents,
        tokens,
        ...all.map((way) => perplexity[way] ?? null),
      ]),
    },
  };
}

/** Plots perplexity, and agreement with routing by M tokens, by the length of the routing prefix. */
export function prefixPlots({ prefixes, prefix, scores, experts }: Measured): Plot[] {
  const lengths = prefixes.map(({ prefix }) => prefix);
  const dense = (["dense", "dense-steps"] as const).flatMap((way) => {
    const score = scores[way];
    return score === undefined ? [] : [{ perplexity: score.perplexity, line: wayLine(way, experts) }];
  });
  const routed = wayLine("mixture", experts);
  const lines = [routed, ...dense.map(({ line }) => line)];
  const named = (width: number): Spec => ({
    y: { field: "perplexity", type: "quantitative" },
    ...lineEncoding("model", lines, width),
  });
  const x = (width: number, more: Spec = {}): Spec => ({
    field: "prefix",
    type: "quantitative",
    scale: { type: "log", base: 2, domain: [lengths[0], lengths.at(-1)!], nice: false },
    axis: noGrid("tokens of the routing prefix", {
      values: lengths.length > 9 && width < NARROW ? lengths.filter((_, i) => i % 2 === 0) : lengths,
      format: "d",
    }),
    ...more,
  });
  const trained = (at: number): Spec => ({
    data: { values: [{ prefix: at, text: `M = ${at}` }] },
    layer: [
      {
        mark: { type: "rule", color: colour("line"), strokeDash: [2, 3] },
        encoding: { x: { field: "prefix", type: "quantitative" } },
      },
    ],
  });
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
          trained(prefix),
          {
            data,
            mark: { type: "area", color: mixture, opacity: 0.16 },
            encoding: {
              x: x(width),
              y: {
                field: "low",
                type: "quantitative",
                scale: { zero: false },
                axis: across("perplexity", { tickCount: 6 }),
              },
              y2: { field: "high" },
            },
          },
          {
            data: { values: prefixes.map((one) => ({ ...one, model: routed.name })) },
            mark: { type: "line" },
            encoding: { x: x(width), ...named(width) },
          },
          {
            data: { values: dense.map(({ perplexity, line }) => ({ perplexity, model: line.name })) },
            mark: { type: "rule" },
            encoding: named(width),
          },
          {
            data,
            mark: { type: "point", filled: true, color: mixture, size: 45, opacity: 1 },
            encoding: { x: x(width), y: { field: "perplexity", type: "quantitative" } },
          },
        ],
      }),
      table: {
        head: ["prefix", "perplexity", "95% from", "to", "routed as by M tokens"],
        rows: prefixes.map(({ prefix, perplexity, low, high, agreement }) => [
          prefix,
          perplexity,
          low,
          high,
          percent(agreement),
        ]),
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
          trained(prefix),
          {
            data,
            mark: { type: "line", color: mixture, strokeWidth: 2, point: { color: mixture, size: 45 } },
            encoding: {
              x: x(width),
              y: {
                field: "agreement",
                type: "quantitative",
                scale: { domain: [0, 1] },
                axis: across("share of sequences", { format: ".0%", tickCount: 5 }),
              },
            },
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
  const shares = rows.flatMap((row) => parts.map((part) => 100 * row[part])).filter((share) => share > 0);
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
      data: {
        values: rows.flatMap((row) =>
          parts.map((part) => ({ name: row.name, part, share: 100 * row[part] }))
        ),
      },
      mark: { type: "point", filled: true, size: 75, opacity: 1, ...OUTLINED },
      encoding: {
        y: {
          field: "name",
          type: "nominal",
          sort: names,
          axis: { title: null, grid: true, domain: false, ticks: false, labelColor: colour("ink") },
        },
        x: {
          field: "share",
          type: "quantitative",
          scale: { type: "log", domain: [ticks[0], ticks.at(-1)!], nice: false },
          axis: { title: "% of the experts' FLOPs (logarithmic)", values: ticks, format: "~g" },
        },
        fill: {
          field: "part",
          type: "nominal",
          ...fullAndHollow([...parts], width, { left: widestOf(names) }),
        },
        shape: { field: "part", type: "nominal", scale: { domain: parts, range: ["circle", "square"] } },
      },
    }),
    table: {
      head: ["mixture", "training", "inference"],
      rows: rows.map(({ name, training, inference }) => [name, percent(training, 2), percent(inference, 2)]),
    },
  };
}
