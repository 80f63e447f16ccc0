// Plots of what margins tell, of mixtures of several experts and of a fallback.

import type { Evaluation } from "../../evaluation/evaluation.ts";
import { type Axis, curves, dots, PERPLEXITY, type Plot, SHARES } from "../charts.ts";
import { percent } from "../html.ts";
import { colour, wayLine } from "../theme.ts";

/** Writes a margin in a few digits, and at least those before the point. */
const short = (margin: number, digits = 2): string =>
  String(Number(margin.toPrecision(Math.max(digits, Math.trunc(margin).toString().length))));

/** Plots how often the choice is right, and what a wrong one loses, by margin. */
export function reliabilityPlots({ reliability }: Evaluation): Plot[] {
  const bins = reliability?.bins ?? [];
  // As few digits as tell the bins apart.
  const labels = (digits: number) =>
    bins.map(({ from, to }) => `${short(from, digits)}–${short(to, digits)}`);
  const digits = Array.from({ length: 16 }, (_, i) => 2 + i);
  const names = labels(digits.find((count) => new Set(labels(count)).size === bins.length) ?? 17);
  const plot = (field: "right" | "loss", x: Axis, said: Pick<Plot, "id" | "title" | "about">): Plot[] => [{
    ...said,
    half: true,
    ...dots({
      title: "margin",
      x: { ...x, zero: true },
      values: bins.map((bin, i) => ({ x: names[i], y: bin[field] })),
      bars: true,
      columns: [["sequences", bins.map(({ sequences }) => sequences)]],
    }),
  }];
  return [
    ...bins.length === 0 ? [] : plot("right", { ...SHARES, domain: [0, 1] }, {
      id: "margin-right",
      title: "Right choices by margin",
      about:
        `Share of the sequences whose chosen expert is the best in hindsight, by how much less their prefix costs it than the second best; as many sequences in each bar. Of all sequences it is ${
          percent(reliability!.right)
        }.`,
    }),
    ...bins.every(({ loss }) => loss === null) ? [] : plot("loss", { title: "nats per sequence" }, {
      id: "margin-loss",
      title: "Loss of wrong choices by margin",
      about:
        "How much higher the NLL of a whole sequence is under the chosen expert than under the best in hindsight, on average where they differ.",
    }),
  ];
}

/** The plots of mixtures of several experts and of a fallback, as far as they are there. */
export const mixingPlots = ({ mixing, fallback, experts }: Evaluation): Plot[] => [
  ...mixing ? [mixPlot(mixing)] : [],
  ...fallback ? [fallbackPlot(fallback, experts)] : [],
];

/** Plots the perplexity of mixtures in which several experts answer together. */
function mixPlot({ temperature, mixes }: NonNullable<Evaluation["mixing"]>): Plot {
  const together = (size: number) => size === 1 ? "1 expert" : `${size} experts`;
  const weighed = (reroute: number | null) =>
    reroute === null ? "weighed once" : `anew every ${reroute} tokens`;
  const times = [...new Set(mixes.map(({ reroute }) => weighed(reroute)))];
  return {
    id: "experts-together",
    title: "Experts that answer together",
    about:
      `Perplexity with its 95% interval where so many experts answer together, their probabilities weighted by what the text before costs each (routing temperature ${temperature}). Lower is better; so many experts cost so many times the inference.`,
    ...dots({
      title: "experts together",
      x: PERPLEXITY,
      values: mixes.map(({ experts, reroute, perplexity: y, low, high }) => ({
        ...{ x: together(experts), y, low, high, line: weighed(reroute) },
      })),
      lines: times.map((name, i) => ({ name, colour: colour("mixture"), hollow: i > 0 })),
      apart: true,
    }),
    table: {
      head: [
        ...["experts together", "weighed", "perplexity", "95% from", "to", "experts run per token"],
        ...["routings per sequence", "lower than the mixture by, %", "95% from", "to"],
      ],
      rows: mixes.map(({ experts, reroute, gain, ...mix }) => [
        ...[experts, weighed(reroute), mix.perplexity, mix.low, mix.high, mix.expertsPerToken],
        ...[mix.routings, gain.percent, gain.low, gain.high],
      ]),
    },
  };
}

/** Plots the perplexity where the least sure part of the sequences goes to a dense model. */
function fallbackPlot({ model, chosen, curve }: NonNullable<Evaluation["fallback"]>, experts: number): Plot {
  const { name } = wayLine(model, experts);
  const values = (rows: typeof curve) =>
    rows.map(({ share: x, perplexity: y, low, high }) => ({ x, y, low, high }));
  return {
    id: "fallback",
    title: "Unsure sequences to a dense model",
    about:
      `Perplexity, with its 95% interval, where sequences below a margin go to ${name} instead of an expert: from none sent to all.${
        chosen ? ` The point: a margin of ${short(chosen.margin!)}, as asked for.` : ""
      }`,
    ...curves({
      x: { title: "share of sequences sent, the least sure first", format: ".0%", domain: [0, 1] },
      y: PERPLEXITY,
      values: values(curve),
      points: chosen ? values([chosen]) : [],
    }),
    table: {
      head: ["margin below", "sent", "perplexity", "95% from", "to"],
      rows: [...curve, ...chosen ? [chosen] : []].map(({ margin, share, perplexity, low, high }) => [
        ...[margin ?? "any", percent(share), perplexity, low, high],
      ]),
    },
  };
}
