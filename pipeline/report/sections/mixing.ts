// What margins tell, mixtures in which several experts answer, and a fallback.

import { percent } from "../../graph/numbers.ts";
import type { Evaluation } from "../../evaluation/evaluation.ts";
import { type Axis, colour, curves, dots, type Plot, SHARES, wayName } from "../charts.ts";
import { plural } from "../html.ts";

/** Writes a margin in a few digits, and at least those before the point. */
const short = (margin: number, digits = 2): string =>
  String(Number(margin.toPrecision(Math.max(digits, Math.trunc(margin).toString().length))));

function reliabilityPlots({ right, bins }: NonNullable<Evaluation["reliability"]>): Plot[] {
  const labels = (digits: number) =>
    bins.map(({ from, to }) => `${short(from, digits)}–${short(to, digits)}`);
  let digits = 2; // as few as tell the bins apart
  while (digits < 17 && new Set(labels(digits)).size < bins.length) digits++;
  const names = labels(digits);
  const plot = (field: "right" | "loss", axis: Axis, said: Omit<Plot, "spec" | "table">): Plot => ({
    ...said,
    half: true,
    ...dots({
      title: "margin",
      axis: { ...axis, zero: true },
      values: bins.map((bin, i) => ({ x: names[i], y: bin[field] })),
      bars: "across",
      columns: [["sequences", bins.map(({ sequences }) => sequences)]],
    }),
  });
  const share = percent(right);
  const rights = plot("right", { ...SHARES, domain: [0, 1] }, {
    id: "margin-right",
    title: "Right choices by margin",
    about: "Share of the sequences whose chosen expert is the best in hindsight, by how " +
      "much less their prefix costs it than the second best; as many sequences in " +
      `each bar. Of all sequences it is ${share}.`,
  });
  const losses = plot("loss", { title: "nats per sequence" }, {
    id: "margin-loss",
    title: "Loss of wrong choices by margin",
    about: "How much higher the NLL of a whole sequence is under the chosen expert than " +
      "under the best in hindsight, on average where they differ.",
  });
  return [
    ...bins.length > 0 ? [rights] : [],
    ...bins.some(({ loss }) => loss !== null) ? [losses] : [],
  ];
}

function mixPlot({ temperature, mixes }: NonNullable<Evaluation["mixing"]>): Plot {
  const weighed = (reroute: number | null) =>
    reroute === null ? "weighed once" : `anew every ${reroute} tokens`;
  const times = [...new Set(mixes.map(({ reroute }) => weighed(reroute)))];
  const head = [
    ...["experts together", "weighed", "perplexity", "95% from", "to", "experts run per token"],
    ...["routings per sequence", "lower than the mixture by, %", "95% from", "to"],
  ];
  const rows = mixes.map(({ experts, reroute, gain, ...mix }) => [
    ...[experts, weighed(reroute), mix.perplexity, mix.low, mix.high, mix.expertsPerToken],
    ...[mix.routings, gain.percent, gain.low, gain.high],
  ]);
  return {
    id: "experts-together",
    title: "Experts that answer together",
    about: "Perplexity with its 95% interval where so many experts answer together, their " +
      "probabilities weighted by what the text before costs each (routing " +
      `temperature ${temperature}). Lower is better; so many experts cost so many ` +
      "times the inference.",
    ...dots({
      title: "experts together",
      values: mixes.map(({ experts, reroute, perplexity: y, low, high }) => ({
        x: plural(experts, "expert"),
        y,
        low,
        high,
        line: weighed(reroute),
      })),
      lines: times.map((name, i) => ({ name, colour: colour("mixture"), hollow: i > 0 })),
      apart: true,
    }),
    table: { head, rows },
  };
}

function fallbackPlot(
  { model, chosen, curve }: NonNullable<Evaluation["fallback"]>,
  experts: number,
): Plot {
  const points = chosen ? [chosen] : [];
  const name = wayName(model, experts);
  const point = chosen ? ` The point: a margin of ${short(chosen.margin!)}, as asked for.` : "";
  const values = (rows: typeof curve) =>
    rows.map(({ share: x, perplexity: y, low, high }) => ({ x, y, low, high }));
  const rows = [...curve, ...points].map(({ margin, share, perplexity, low, high }) => [
    ...[margin ?? "any", percent(share), perplexity, low, high],
  ]);
  return {
    id: "fallback",
    title: "Unsure sequences to a dense model",
    about: "Perplexity, with its 95% interval, where sequences below a margin go to " +
      `${name} instead of an expert: from none sent to all.${point}`,
    ...curves({
      x: { title: "share of sequences sent, the least sure first", format: ".0%", domain: [0, 1] },
      values: values(curve),
      points: values(points),
    }),
    table: { head: ["margin below", "sent", "perplexity", "95% from", "to"], rows },
  };
}

/**
 * Plots what margins tell, mixtures of several experts and a fallback, as far as they are there.
 */
export const mixingPlots = ({ reliability, mixing, fallback, experts }: Evaluation): Plot[] => [
  ...reliability ? reliabilityPlots(reliability) : [],
  ...mixing ? [mixPlot(mixing)] : [],
  ...fallback ? [fallbackPlot(fallback, experts)] : [],
];
