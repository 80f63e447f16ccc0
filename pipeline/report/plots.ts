/**
 * Makes the plots of a report: specifications for Vega-Lite, with the numbers they show.
 *
 * @module
 */

import { percent, type Table } from "./html.ts";
import type { Curve, Measured, Part, Round, Way, Whole } from "./read.ts";
import { labelsWithin, textWidth } from "./text.ts";
import { colour, expertColour, HEAT_OPACITY } from "./theme.ts";

/** A specification in Vega-Lite, without width and looks. */
export type Spec = Record<string, unknown>;

/** A plot. */
export interface Plot {
  /** Name, of files too. */
  id: string;
  /** Title. */
  title: string;
  /** What it shows, in a sentence. */
  about: string;
  /** `half` is drawn once, for a column of 348 pixels; `full` for that and for 720. */
  size: "half" | "full";
  /** Gives the specification for a width. */
  spec: (width: number) => Spec;
  /** The numbers. */
  table: Table;
}

const MOST_POINTS = 150;
const MOST_SOURCES = 24;
const MOST_LEGEND = 10;
const MOST_TICKS = 12;
const MOST_DOTS = 30;
/** From so many experts on, they are crowded at the left end of a linear axis of tokens. */
const CROWDED = 8;
const NARROW = 500;
const AXIS_WIDTH = 44;
const SYMBOL_WIDTH = 31;
const ROUND_HEIGHT = 256;
const METRIC: Spec = { labelExpr: "format(datum.value, '~s')", tickCount: 5 };

/** Draws the title of a vertical axis across, above it. */
const across = (title: string, more: Spec = {}): Spec => ({
  title,
  titleAngle: 0,
  titleAlign: "left",
  titleAnchor: "end",
  titleBaseline: "bottom",
  titleX: -6,
  titleY: -8,
  ...more,
});

const noGrid = (title: string | null, more: Spec = {}): Spec => ({ title, grid: false, ...more });

/** Names the series of a legend and their colours. */
function scaleOf(names: string[], colours: string[]): Spec {
  return { scale: { domain: names, range: colours } };
}

/** Describes a legend below a plot: as many columns as have room beside what stands left of the plot. */
function legendOf(
  names: string[],
  width: number,
  { symbol, title = null, left = AXIS_WIDTH }: {
    symbol?: "stroke" | "square";
    title?: string | null;
    left?: number;
  } = {},
): Spec {
  if (names.length > MOST_LEGEND || names.length < 2) return { legend: null };
  const widest = Math.max(...names.map((name) => textWidth(name))) + SYMBOL_WIDTH;
  const room = width - left - (title === null ? 0 : textWidth(title) + 8);
  const columns = Math.max(1, Math.min(names.length, Math.floor(room / widest)));
  return { legend: { title, columns, ...(symbol ? { symbolType: symbol } : {}) } };
}

const expertName = (expert: number): string => `expert ${expert}`;
const expertNames = (experts: number): string[] => Array.from({ length: experts }, (_, e) => expertName(e));

/** Says in words how text is scored. */
export function wayName(way: Way, experts: number): string {
  const names: Record<Way, string> = {
    mixture: "mixture",
    dense: `dense, ${experts}× batch`,
    "dense-steps": `dense, ${experts}× steps`,
    oracle: "best in hindsight",
    random: "random expert",
  };
  return names[way];
}

const WAYS: Way[] = ["mixture", "dense", "dense-steps", "oracle", "random"];
const COMPARED: Way[] = ["mixture", "dense", "dense-steps"];

// EM rounds.

/** Plots what EM did, round by round. */
export function roundPlots(rounds: Round[]): Plot[] {
  const line = (
    id: string,
    title: string,
    about: string,
    unit: string,
    field: "nllPerToken" | "nmi" | "regret",
  ): Plot => ({
    id,
    title,
    about,
    size: "half",
    spec: () => ({
      height: ROUND_HEIGHT,
      data: { values: rounds.map((round) => ({ round: round.round, value: round[field] })) },
      mark: {
        type: "line",
        color: colour("mixture"),
        point: { color: colour("mixture"), size: rounds.length > 30 ? 8 : 28 },
      },
      encoding: {
        x: roundAxis(rounds, "quantitative"),
        y: {
          field: "value",
          type: "quantitative",
          scale: field === "nmi" ? { domain: [0, 1] } : { zero: field === "regret" },
          axis: across(unit, { tickCount: 5 }),
        },
      },
    }),
    table: { head: ["round", unit], rows: rounds.map((round) => [round.round, round[field]]) },
  });
  return [
    line(
      "em-nll",
      "Router NLL by round",
      "Mean negative log-likelihood of a prefix token under the router that the balanced assignment chose. Lower is better.",
      "nats per predicted prefix token",
      "nllPerToken",
    ),
    line(
      "em-nmi",
      "Agreement with the sources by round",
      "Normalised mutual information between assigned router and source: 0 where routers tell nothing of the source, 1 where they tell all. No router sees a source.",
      "NMI, 0 to 1",
      "nmi",
    ),
    line(
      "em-regret",
      "Cost of balance by round",
      "What equal loads cost, against giving every sequence to its best router.",
      "nats per predicted prefix token",
      "regret",
    ),
    roundShares(rounds),
  ];
}

/** Takes at most so many values, evenly. */
const someOf = <T>(values: T[], most = MOST_TICKS): T[] =>
  values.filter((_, i) => i % Math.ceil(values.length / Math.max(1, most)) === 0);

/** Takes as many experts as have room for their labels in a width. */
const labelledExperts = (experts: number, width: number): number[] =>
  someOf(Array.from({ length: experts }, (_, e) => e), Math.floor(width / 26));

function roundAxis(rounds: Round[], type: "quantitative" | "ordinal"): Spec {
  const last = rounds.at(-1)!.round;
  const title = "EM round";
  return type === "ordinal"
    ? {
      field: "round",
      type,
      axis: noGrid(title, { labelAngle: 0, values: someOf(rounds.map(({ round }) => round)) }),
    }
    : {
      field: "round",
      type,
      scale: { domain: [Math.min(1, last - 1), last], nice: false },
      axis: noGrid(title, { tickMinStep: 1, format: "d" }),
    };
}

function roundShares(rounds: Round[]): Plot {
  const experts = rounds[0].shares.length;
  if (experts > MOST_LEGEND) return rangeOfShares(rounds);
  const names = Array.from({ length: experts }, (_, e) => String(e));
  return {
    id: "em-shares",
    title: "Shares without balance by round",
    about:
      "Share of a round's sequences for which each router is the best, from router 0 at the bottom; balanced assignment then gives all the same number.",
    size: "half",
    spec: (width) => ({
      height: ROUND_HEIGHT,
      data: {
        values: rounds.flatMap(({ round, shares }) =>
          shares.map((share, e) => ({ round, share, router: names[e], order: e }))
        ),
      },
      mark: { type: "bar" },
      encoding: {
        x: { ...roundAxis(rounds, "ordinal"), scale: { paddingInner: 0.12 } },
        y: {
          field: "share",
          type: "quantitative",
          stack: "zero",
          scale: { domain: [0, 1] },
          axis: across("share of sequences", { format: ".0%", tickCount: 5 }),
        },
        color: {
          field: "router",
          type: "nominal",
          ...scaleOf(names, names.map((_, e) => expertColour(e))),
          ...legendOf(names, width, { symbol: "square", title: "router" }),
        },
        order: { field: "order", type: "quantitative" },
      },
    }),
    table: {
      head: ["round", ...names.map((name) => `router ${name}`)],
      rows: rounds.map(({ round, shares }) => [round, ...shares.map((share) => percent(share))]),
    },
  };
}

/** Plots the smallest and the largest share of every round, where there are too many routers to show each. */
function rangeOfShares(rounds: Round[]): Plot {
  const even = 1 / rounds[0].shares.length;
  const values = rounds.map(({ round, shares }) => ({
    round,
    low: Math.min(...shares),
    high: Math.max(...shares),
  }));
  const range = [0, 1.05 * Math.max(...values.map(({ high }) => high))];
  const y = {
    type: "quantitative",
    scale: { domain: range, nice: false },
    axis: across("share of sequences", { format: ".0%", tickCount: 5 }),
  };
  return {
    id: "em-shares",
    title: "Shares without balance by round",
    about:
      `From the smallest to the largest share of a round's sequences for which a router is the best, of ${
        rounds[0].shares.length
      } routers; balanced assignment then gives all the same number (the line).`,
    size: "half",
    spec: () => ({
      height: ROUND_HEIGHT,
      data: { values },
      layer: [
        {
          mark: { type: "area", color: colour("mixture"), opacity: 0.35, line: false },
          encoding: {
            x: roundAxis(rounds, "quantitative"),
            y: { ...y, field: "low" },
            y2: { field: "high" },
          },
        },
        {
          data: { values: [{ even }] },
          mark: { type: "rule", color: colour("ink"), strokeDash: [4, 3] },
          encoding: { y: { ...y, field: "even" } },
        },
      ],
    }),
    table: {
      head: ["round", "smallest", "largest"],
      rows: values.map(({ round, low, high }) => [round, percent(low), percent(high)]),
    },
  };
}

// Partition.

/** Plots what each expert would get without balance, in training and in held-out text. */
export function sharePlot(whole: Whole): Plot {
  const sets = [
    { name: "training", shares: whole.train.shares },
    ...(whole.test ? [{ name: "held out", shares: whole.test.shares }] : []),
  ];
  const names = sets.map(({ name }) => name);
  return {
    id: "shares",
    title: "Shares of the experts without balance",
    about:
      `Share of the sequences for which each expert's router is the best. Training text is then balanced to ${
        percent(1 / whole.experts)
      } each (the line); held-out text goes where it wants.`,
    size: "full",
    spec: (width) => ({
      height: 250,
      data: {
        values: sets.flatMap(({ name, shares }) =>
          shares.map((share, expert) => ({ set: name, share, expert }))
        ),
      },
      layer: [
        {
          mark: { type: "bar" },
          encoding: {
            x: {
              field: "expert",
              type: "ordinal",
              axis: noGrid("expert", {
                labelAngle: 0,
                values: labelledExperts(whole.experts, width - AXIS_WIDTH),
              }),
            },
            xOffset: { field: "set", type: "nominal", sort: names },
            y: {
              field: "share",
              type: "quantitative",
              axis: across("share of sequences", { format: ".0%", tickCount: 5 }),
            },
            color: {
              field: "set",
              type: "nominal",
              ...scaleOf(names, [colour("mixture"), colour("random")]),
              ...legendOf(names, width, { symbol: "square" }),
            },
          },
        },
        {
          data: { values: [{ even: 1 / whole.experts }] },
          mark: { type: "rule", color: colour("ink"), strokeDash: [4, 3] },
          encoding: { y: { field: "even", type: "quantitative" } },
        },
      ],
    }),
    table: {
      head: ["expert", ...names],
      rows: whole.train.shares.map((_, e) => [e, ...sets.map(({ shares }) => percent(shares[e]))]),
    },
  };
}

/** Counts a source's training sequences by expert. */
interface SourceRow {
  source: string;
  total: number;
  counts: number[];
}

function sourceRows(parts: Part[]): SourceRow[] {
  const rows = new Map<string, number[]>();
  parts.forEach(({ train }, e) => {
    for (const { source, sequences } of train.sources) {
      const counts = rows.get(source) ?? parts.map(() => 0);
      counts[e] += sequences;
      rows.set(source, counts);
    }
  });
  const sum = (counts: number[]) => counts.reduce((a, b) => a + b, 0);
  return [...rows].map(([source, counts]) => ({ source, counts, total: sum(counts) }))
    .sort((a, b) => b.total - a.total || (a.source < b.source ? -1 : 1));
}

/** Adds up all sources but the largest. */
function largest(rows: SourceRow[]): SourceRow[] {
  if (rows.length <= MOST_SOURCES) return rows;
  const rest = rows.slice(MOST_SOURCES - 1);
  return [
    ...rows.slice(0, MOST_SOURCES - 1),
    {
      source: `${rest.length} more sources`,
      counts: rest[0].counts.map((_, e) => rest.reduce((sum, row) => sum + row.counts[e], 0)),
      total: rest.reduce((sum, row) => sum + row.total, 0),
    },
  ];
}

const widestOf = (labels: string[]): number => Math.max(...labels.map((label) => textWidth(label))) + 12;
const labelRoom = (width: number): number => width < NARROW ? 100 : 200;

const labelled = (source: string): string => source === "" ? "(no source)" : source;

/** Plots which expert each source's training sequences went to. */
export function heatPlot(parts: Part[]): Plot {
  const all = sourceRows(parts);
  const shown = largest(all);
  const darkest = Math.max(
    1e-9,
    ...shown.flatMap(({ counts, total }) => counts.map((count) => count / Math.max(1, total))),
  );
  return {
    id: "sources-by-expert",
    title: "Sources by expert",
    about:
      "Percent of each source's training sequences that were assigned to each expert, after balancing; rows add up to 100, the largest source first.",
    size: "full",
    spec: (width) => {
      const labelWidth = labelRoom(width);
      const labels = labelsWithin(shown.map(({ source }) => labelled(source)), labelWidth);
      const cell = (width - labelWidth) / parts.length;
      const encoding = {
        x: {
          field: "expert",
          type: "ordinal",
          axis: noGrid("expert", {
            labelAngle: 0,
            domain: false,
            ticks: false,
            values: labelledExperts(parts.length, width - labelWidth),
          }),
        },
        y: {
          field: "source",
          type: "ordinal",
          sort: labels,
          axis: {
            title: null,
            domain: false,
            ticks: false,
            labelColor: colour("ink"),
          },
        },
      };
      return {
        height: 26 * shown.length + 44,
        data: {
          values: shown.flatMap(({ counts, total }, row) =>
            counts.map((sequences, expert) => ({
              source: labels[row],
              expert,
              share: total === 0 ? 0 : sequences / total,
              text: (100 * sequences / Math.max(1, total)).toFixed(0),
            }))
          ),
        },
        layer: [
          {
            mark: { type: "rect", color: colour("heat"), stroke: colour("paper"), strokeWidth: 1 },
            encoding: {
              ...encoding,
              fillOpacity: {
                field: "share",
                type: "quantitative",
                scale: { domain: [0, darkest], range: [0.04, HEAT_OPACITY] },
                legend: null,
              },
            },
          },
          ...(cell < 24 ? [] : [{
            mark: { type: "text", color: colour("ink") },
            encoding: { ...encoding, text: { field: "text", type: "nominal" } },
          }]),
        ],
      };
    },
    table: {
      head: ["source", "sequences", ...expertNames(parts.length)],
      rows: all.map(({ source, total, counts }) => [
        labelled(source),
        total,
        ...counts.map((sequences) => percent(sequences / Math.max(1, total))),
      ]),
    },
  };
}

// Training.

/** Says in words which model a curve is of. */
export function curveName({ model, expert }: Curve, experts: number): string {
  return expert === null ? wayName(model as Way, experts) : expertName(expert);
}

/** Plots training and validation loss, against tokens and against steps. */
export function trainingPlots(curves: Curve[], experts: number): Plot[] {
  const names = curves.map((curve) => curveName(curve, experts));
  const colours = curves.map(({ model, expert }) =>
    expert === null ? colour(model === "dense" ? "ink" : "muted") : expertColour(expert)
  );
  const plot = (loss: "loss" | "validationLoss", by: "tokens" | "steps"): Plot => {
    const validation = loss === "validationLoss";
    const kind = validation ? "Validation" : "Training";
    const values = curves.flatMap((curve, i) =>
      thinned(curve, loss).map((point) => ({
        x: by === "tokens" ? point.tokens : point.step,
        loss: point.loss,
        model: names[i],
        dash: curve.expert === null ? curve.model : "expert",
      }))
    ).filter(({ x }) => x > 0);
    const dotted = validation && values.length <= MOST_DOTS * curves.length;
    const key = names.length > MOST_LEGEND
      ? " Coloured: the experts; black or white: the dense models, that of more steps dashed."
      : "";
    const title = by === "tokens" ? "training tokens of the model" : "training steps of the model";
    const x = experts < CROWDED
      ? { axis: noGrid(title, METRIC) }
      : logarithmic(values.map(({ x }) => x), title);
    return {
      id: `${kind.toLowerCase()}-loss-by-${by}`,
      title: `${kind} loss against ${by}`,
      about: validation
        ? `Mean loss on held-out text: of an expert on the held-out sequences that are routed to it, of a dense model on all, against the ${by} it has trained on. Experts' and dense losses are of different texts.${key}`
        : `Mean loss of the training text of each model, against the ${by} it has trained on${
          by === "steps" ? " (with a larger batch, a step is of more tokens)" : ""
        }.${key}`,
      size: "half",
      spec: (width) => ({
        height: 250 + (names.length > MOST_LEGEND ? 0 : 20 * Math.ceil(names.length / 2)),
        data: { values },
        mark: {
          type: "line",
          strokeWidth: 1.5,
          clip: true,
          ...(dotted ? { point: { size: 14, filled: true } } : {}),
        },
        encoding: {
          x: { field: "x", type: "quantitative", ...x },
          y: {
            field: "loss",
            type: "quantitative",
            scale: { zero: false, domain: lossDomain(values.map((value) => value.loss)) },
            axis: across("nats per predicted token", { tickCount: 6 }),
          },
          color: {
            field: "model",
            type: "nominal",
            ...scaleOf(names, colours),
            ...legendOf(names, width, { symbol: "stroke" }),
          },
          strokeDash: {
            field: "dash",
            type: "nominal",
            scale: { domain: ["expert", "dense", "dense-steps"], range: [[1, 0], [1, 0], [5, 3]] },
            legend: null,
          },
        },
      }),
      table: {
        head: ["model", "steps", "tokens", "first", "last", "lowest"],
        rows: curves.map((curve, i) => {
          const points = curve.points.flatMap((point) => point[loss] ?? []);
          const last = curve.points.at(-1)!;
          const [first, end] = [points[0] ?? null, points.at(-1) ?? null];
          return [
            names[i],
            last.step,
            last.tokens,
            first,
            end,
            points.length === 0 ? null : Math.min(...points),
          ];
        }),
      },
    };
  };
  const validated = curves.some(({ points }) =>
    points.some((point) => typeof point.validationLoss === "number")
  );
  return [
    plot("loss", "tokens"),
    plot("loss", "steps"),
    ...(validated ? [plot("validationLoss", "tokens"), plot("validationLoss", "steps")] : []),
  ];
}

/** Describes a logarithmic axis over some numbers, with ticks at one and three of each power of ten. */
function logarithmic(numbers: number[], title: string): Spec {
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const powers = Array.from({ length: 20 }, (_, i) => [Number(`1e${i}`), Number(`3e${i}`)]).flat();
  return {
    scale: { type: "log", domain: [low, high], nice: false },
    axis: noGrid(`${title} (logarithmic)`, {
      ...METRIC,
      values: powers.filter((power) => power >= low && power <= high),
    }),
  };
}

/** Takes means of neighbouring points, so that a curve has at most 150 of them. */
function thinned({ points }: Curve, field: "loss" | "validationLoss") {
  const kept = points.flatMap((point) =>
    typeof point[field] === "number" ? [{ step: point.step, tokens: point.tokens, loss: point[field] }] : []
  );
  const size = Math.ceil(kept.length / MOST_POINTS);
  return Array.from({ length: Math.ceil(kept.length / Math.max(1, size)) }, (_, i) => {
    const bin = kept.slice(i * size, (i + 1) * size);
    return { ...bin.at(-1)!, loss: bin.reduce((sum, { loss }) => sum + loss, 0) / bin.length };
  });
}

/** Leaves out the steep beginning, which would flatten the rest: the upper limit is the 95th percentile. */
function lossDomain(losses: number[]): [number, number] {
  const sorted = [...losses].sort((a, b) => a - b);
  const low = sorted[0];
  const high = sorted[Math.min(sorted.length - 1, Math.floor(0.95 * sorted.length))];
  const room = 0.05 * (high - low) || 0.1;
  return [low - room, high + room];
}

// Evaluation.

/** Plots the perplexity of every way to score the held-out text. */
export function perplexityPlot({ scores, experts }: Measured): Plot {
  const ways = WAYS.filter((way) => scores[way] !== undefined);
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
    about:
      "Perplexity with its 95% bootstrap interval over documents. Lower is better. Best in hindsight picks each sequence's best expert after the fact; a random expert is the mean over experts.",
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
            x: { field: "zero", type: "quantitative", axis: { title: "lower perplexity, %", tickCount: 6 } },
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
      head: ["against", "lower by, %", "95% from", "to"],
      rows: values.map(({ baseline, percent, low, high }) => [baseline, percent, low, high]),
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
  const all = WAYS.filter((way) => scores[way] !== undefined);
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
  const lines = (["dense", "dense-steps"] as const).flatMap((way) => {
    const score = scores[way];
    return score === undefined ? [] : [{ y: score.perplexity, name: wayName(way, experts), colour: way }];
  });
  const highest = Math.max(...lines.map(({ y }) => y));
  const start = prefixes[0].perplexity;
  const end = prefixes.at(-1)!.perplexity;
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
        `Perplexity of the mixture when it routes by that many tokens, with its 95% interval; the routers trained with M = ${prefix} (dotted). Dashed: the dense baselines, which do not route.`,
      size: "full",
      spec: (width) => ({
        height: 290,
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
            data,
            mark: { type: "line", color: mixture, strokeWidth: 2, point: { color: mixture, size: 45 } },
            encoding: { x: x(width), y: { field: "perplexity", type: "quantitative" } },
          },
          ...lines.map((line) => ({
            data: { values: [line] },
            layer: [
              {
                mark: { type: "rule", color: colour(line.colour), strokeDash: [6, 4], strokeWidth: 1.5 },
                encoding: { y: { field: "y", type: "quantitative" } },
              },
              ...[{ stroke: colour("paper"), strokeWidth: 4 }, {}].map((halo) => ({
                mark: {
                  type: "text",
                  color: colour(line.colour),
                  // At the end where the curve is farther away; above the higher line, below the lower one.
                  ...(Math.abs(start - line.y) > Math.abs(end - line.y)
                    ? { x: 6, align: "left" }
                    : { x: "width", align: "right" }),
                  ...(line.y === highest ? { baseline: "bottom", dy: -4 } : { baseline: "top", dy: 5 }),
                  ...halo,
                },
                encoding: {
                  y: { field: "y", type: "quantitative" },
                  text: { field: "name", type: "nominal" },
                },
              })),
            ],
          })),
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

// Costs.

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
      mark: { type: "point", filled: true, size: 75, opacity: 1 },
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
        color: {
          field: "part",
          type: "nominal",
          ...scaleOf([...parts], [colour("mixture"), colour("dense")]),
          ...legendOf([...parts], width, { left: widestOf(names) }),
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
