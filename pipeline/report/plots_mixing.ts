/**
 * Plots of what margins tell, of mixtures of several experts, and of a fallback.
 *
 * @module
 */

import type { Evaluation, Fallback, Reliability } from "../evaluation/evaluation.ts";
import { percent } from "./html.ts";
import {
  across,
  beside,
  fullAndHollow,
  lineEncoding,
  NARROW,
  noGrid,
  OUTLINED,
  type Plot,
  POINT,
  quantity,
  type Spec,
  wayLine,
  widestOf,
} from "./plots.ts";
import { colour } from "./theme.ts";

/** Lists the plots of what margins tell, of mixtures of several experts and of a fallback, as far as they are there. */
export function mixingPlots(evaluation: Evaluation): Plot[] {
  const { reliability, mixing, fallback } = evaluation;
  return [
    ...reliability ? reliabilityPlots(reliability) : [],
    ...mixing ? [mixPlot(mixing)] : [],
    ...fallback ? [fallbackPlot(fallback, evaluation)] : [],
  ];
}

/** Plots how often the choice is right, and what a wrong one loses, by margin. */
function reliabilityPlots({ bins }: Reliability): Plot[] {
  const labels = labelsOf(bins);
  const values = bins.map((bin, i) => ({ ...bin, label: labels[i] }));
  const bars = (x: Spec, shown: Spec[]): Plot["spec"] => () => ({
    height: 22 * bins.length + 48,
    data: { values: shown },
    mark: { type: "bar", color: colour("mixture"), height: { band: 0.72 } },
    encoding: {
      y: { ...beside("label", labels, { title: "margin" }), scale: { domain: labels } },
      x,
    },
  });
  const losing = values.filter(({ loss }) => loss !== null);
  const table = {
    head: ["margin from", "to", "sequences", "best in hindsight", "loss of the others, nats"],
    rows: bins.map((bin) => [bin.from, bin.to, bin.sequences, percent(bin.right), bin.loss]),
  };
  const right: Plot = {
    id: "margin-right",
    title: "Right choices by margin",
    about:
      "Share of the sequences whose chosen expert is the best in hindsight, by how much less their prefix costs it than the second best; as many sequences in each bar.",
    size: "half",
    spec: bars(
      quantity("right", {
        scale: { domain: [0, 1] },
        axis: { title: "share of sequences", format: ".0%", tickCount: 5 },
      }),
      values,
    ),
    table,
  };
  if (losing.length === 0) return [right];
  return [
    right,
    {
      id: "margin-loss",
      title: "Loss of wrong choices by margin",
      about:
        "How much higher the NLL of a whole sequence is under the chosen expert than under the best in hindsight, on average where they differ.",
      size: "half",
      spec: bars(quantity("loss", { axis: { title: "nats per sequence", tickCount: 5 } }), losing),
      table,
    },
  ];
}

/** Plots the perplexity of mixtures in which several experts answer together. */
function mixPlot({ temperature, mixes }: NonNullable<Evaluation["mixing"]>): Plot {
  const together = (size: number) => size === 1 ? "1 expert" : `${size} experts`;
  const names = [...new Set(mixes.map(({ experts }) => together(experts)))];
  const reroute = mixes.find(({ reroute }) => reroute !== null)?.reroute;
  const times = ["weighed once", ...reroute ? [`anew every ${reroute} tokens`] : []];
  const values = mixes.map(({ experts, reroute, perplexity, low, high }) => ({
    ...{ experts: together(experts), perplexity, low, high },
    weighed: times[reroute === null ? 0 : 1],
  }));
  const y = beside("experts", names, { grid: true, domain: false });
  const offset = { field: "weighed", type: "nominal", sort: times };
  const scale = { zero: false, nice: false, padding: 14 };
  return {
    id: "experts-together",
    title: "Experts that answer together",
    about:
      `Perplexity with its 95% interval where so many experts answer together, their probabilities weighted by what the text before costs each (routing temperature ${temperature}). Lower is better; so many experts cost so many times the inference.`,
    size: "full",
    spec: (width) => ({
      height: (reroute ? 52 : 36) * names.length + 84,
      data: { values },
      layer: [
        {
          mark: { type: "rule", color: colour("mixture"), strokeWidth: 2 },
          encoding: { y, yOffset: offset, x: quantity("low", { scale }), x2: { field: "high" } },
        },
        {
          mark: { ...POINT, ...OUTLINED, size: 75 },
          encoding: {
            y,
            yOffset: offset,
            x: quantity("perplexity", { scale, axis: { title: "perplexity", tickCount: 6 } }),
            fill: fullAndHollow("weighed", times, width, { left: widestOf(names) }),
          },
        },
      ],
    }),
    table: {
      head: [
        ...["experts together", "weighed", "perplexity", "95% from", "to", "experts run per token"],
        ...["routings per sequence", "lower than the mixture by, %", "95% from", "to"],
      ],
      rows: mixes.map(({ experts, reroute, gain, ...mix }) => [
        ...[experts, times[reroute === null ? 0 : 1], mix.perplexity, mix.low, mix.high, mix.expertsPerToken],
        ...[mix.routings, gain.percent, gain.low, gain.high],
      ]),
    },
  };
}

/** Plots the perplexity where the least sure part of the sequences goes to a dense model. */
function fallbackPlot({ model, chosen, curve }: Fallback, { experts }: Evaluation): Plot {
  const name = wayLine(model, experts).name;
  const line = { ...wayLine("mixture", experts), name: `mixture, the unsure to ${name}` };
  const x = quantity("share", {
    scale: { domain: [0, 1] },
    axis: noGrid("share of sequences sent, the least sure first", {
      format: ".0%",
      tickCount: 6,
    }),
  });
  const y = (field: string) =>
    quantity(field, { scale: { zero: false }, axis: across("perplexity", { tickCount: 6 }) });
  return {
    id: "fallback",
    title: "Unsure sequences to a dense model",
    about:
      `Perplexity, with its 95% interval, where sequences below a margin go to ${name} instead of an expert: from none sent to all.${
        chosen ? ` The point: a margin of ${short(chosen.margin!)}, as asked for.` : ""
      }`,
    size: "full",
    spec: (width) => ({
      height: width < NARROW ? 320 : 300,
      layer: [
        {
          data: { values: curve },
          mark: { type: "area", color: colour("mixture"), opacity: 0.16 },
          encoding: { x, y: y("low"), y2: { field: "high" } },
        },
        {
          data: { values: curve.map((point) => ({ ...point, model: line.name })) },
          mark: { type: "line" },
          encoding: { x, y: y("perplexity"), ...lineEncoding("model", [line], width) },
        },
        ...chosen
          ? [{
            data: { values: [chosen] },
            mark: { ...POINT, size: 90, color: colour("mixture") },
            encoding: { x, y: y("perplexity") },
          }]
          : [],
      ],
    }),
    table: {
      head: ["margin below", "sent", "perplexity", "95% from", "to"],
      rows: [...curve, ...chosen ? [chosen] : []].map(({ margin, share, ...score }) => [
        ...[margin ?? "any", percent(share), score.perplexity, score.low, score.high],
      ]),
    },
  };
}

/** Names bins by their margins, in as few digits as tell them apart. */
function labelsOf(bins: Reliability["bins"]): string[] {
  const labels = (digits: number) =>
    bins.map(({ from, to }) => `${short(from, digits)}–${short(to, digits)}`);
  let digits = 2;
  while (digits < 17 && new Set(labels(digits)).size < bins.length) digits++;
  return labels(digits);
}

/** Writes a margin in a few digits, and at least those before the point. */
const short = (margin: number, digits = 2): string =>
  String(Number(margin.toPrecision(Math.max(digits, Math.trunc(margin).toString().length))));
