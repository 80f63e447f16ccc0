// Costs, next to those that the paper prints.

import type { Cost } from "../../cost/cost.ts";
import { paperTable, PRINTED_COMMUNICATION as PAPER } from "../../cost/paper.ts";
import { dots, type Plot } from "../charts.ts";
import { bytes, htmlTable, markup, percent, scientific } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";
import { colour } from "../theme.ts";

type Costed = RunRecord & { cost: Cost };

/** What a mixture costs: the experts, and the routers on top. */
interface Mixture {
  model: string;
  experts: number;
  training: readonly [whole: number, routers: number];
  inference: readonly [whole: number, routers: number];
  perplexity?: { mixture: number; dense: number };
}

function mixtures({ evaluation, cost: { flops, mixture } }: Costed): Mixture[] {
  const { mixture: ours, dense } = evaluation?.scores ?? {};
  return [
    {
      model: "this run",
      experts: mixture.experts,
      training: [flops.experts, flops.overhead],
      inference: [flops.inference, flops.inferenceOverhead],
      perplexity: ours && dense && { mixture: ours.perplexity, dense: dense.perplexity },
    },
    ...paperTable().map(({ model, experts, counted, perplexity }): Mixture => ({
      ...{ model, experts, perplexity },
      training: [counted.training * 1e19, counted.trainingOverhead * 1e19],
      inference: [counted.inference * 1e12, counted.inferenceOverhead * 1e12],
    })),
  ];
}

/** Plots what a mixture costs beyond its experts, where it costs anything. */
export function overheadPlot(mixtures: readonly Mixture[]): Plot {
  const parts = ["training", "inference"] as const;
  return {
    id: "overhead",
    title: "Overhead of the routers",
    about:
      "FLOPs of the routers in percent of those of the experts, in training and in inference; the paper's mixtures below this run.",
    ...dots({
      title: "mixture",
      x: { title: "% of the experts' FLOPs (logarithmic)", log: 10, format: "~g" },
      values: mixtures.flatMap(({ model, experts, ...flops }) =>
        parts.map((line) => ({
          x: `${model}, E = ${experts}`,
          y: 100 * flops[line][1] / flops[line][0],
          line,
        }))
      ).filter(({ y }) => y > 0),
      lines: parts.map((name, i) => ({ name, colour: colour("mixture"), hollow: i === 1 })),
    }),
  };
}

function mixturesTable(all: readonly Mixture[]) {
  const cells = ([whole, part]: Mixture["training"]) => [
    ...[scientific(whole), scientific(part), whole === 0 ? "–" : percent(part / whole, 2)],
  ];
  const head = [
    ...["model", "E", "training, FLOPs", "overhead", "share", "inference, FLOPs", "overhead", "share"],
    "perplexity, dense → mixture",
  ];
  const rows = all.map(({ model, experts, training, inference, perplexity }) => [
    ...[model.replace(" ", "\u00a0"), experts, ...cells(training), ...cells(inference)],
    perplexity ? `${perplexity.dense.toFixed(2)}\u00a0→\u00a0${perplexity.mixture.toFixed(2)}` : null,
  ]);
  return htmlTable({ head, rows }, "Costs next to those of the paper");
}

function communicationTable(
  { exchanges, bytesPerExchange, corpusBytes, denseBytesPerStep }: Cost["communication"],
) {
  const rows = [
    ["exchanges of scores in router training", String(exchanges), String(PAPER.exchanges)],
    ["sent and received per router and exchange", bytes(bytesPerExchange), bytes(PAPER.bytesPerExchange)],
    ["the same for the scores of the corpus, once", bytes(corpusBytes), null],
    ["exchanged while experts train", bytes(0), bytes(0)],
    [
      "data-parallel dense training, per node and step",
      bytes(denseBytesPerStep),
      bytes(PAPER.denseBytesPerStep),
    ],
  ];
  return htmlTable({ head: ["communication", "this run", "paper, 1.3B, E = 32"], rows }, "Communication");
}

function memoryTable({ expert, routers, inference, routing }: Cost["memory"]) {
  const rows = [
    ["training of one expert", bytes(expert.total)],
    ["training of all routers side by side", bytes(routers.total)],
    ["generation with one expert", bytes(inference.total)],
    ["generation, with the routers that choose it", bytes(inference.total + routing.total)],
  ];
  return htmlTable({ head: ["memory on a device", "this run"], rows }, "Memory");
}

/** FLOPs, bytes exchanged and memory, next to the seven mixtures of the paper. */
export const costs: Section<Costed> = {
  id: "costs",
  title: "Costs next to the paper's",
  text: ({ cost }) =>
    markup`<p>Counted from the configuration by the paper's formulas. ${
      cost.mixture.routers > 0
        ? "What the mixture costs beyond its experts is the routers: their training, and the scoring of text by all of them. Small models pay a larger share, as their routers are not so much smaller than they are."
        : "This run splits text without models: what that costs is not counted. What routers cost is shown for the mixtures of the paper."
    }</p>`,
  plots: (run) => overheadPlot(mixtures(run)),
  tables: (run) => [
    markup`<p>Below this run stand the seven mixtures of the paper's Table 3, counted by the same formulas.</p>\n`,
    ...[
      mixturesTable(mixtures(run)),
      communicationTable(run.cost.communication),
      memoryTable(run.cost.memory),
    ],
  ],
};
