// Costs, next to those that the paper prints.

import type { Cost } from "../../cost/cost.ts";
import { paperTable, PRINTED_COMMUNICATION as PAPER } from "../../cost/paper.ts";
import { colour, dots, type Plot } from "../charts.ts";
import { bytes, type Html, htmlTable, markup, percent, scientific } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";

type Costed = RunRecord & { cost: Cost };

/** FLOPs of the experts, and of the routers on top. */
type Flops = readonly [experts: number, routers: number];

/** The costs of this run's mixture and of the paper's, and their perplexities next to a dense model's. */
const listMixtures = ({ evaluation, cost: { flops, mixture } }: Costed) => [
  {
    ...{ model: "this run", experts: mixture.experts },
    training: [flops.experts, flops.overhead] as Flops,
    inference: [flops.inference, flops.inferenceOverhead] as Flops,
    perplexity: [evaluation?.scores.dense?.perplexity, evaluation?.scores.mixture?.perplexity],
  },
  ...paperTable().map(({ model, experts, counted, perplexity }) => ({
    ...{ model, experts, perplexity: [perplexity.dense, perplexity.mixture] },
    training: [counted.training * 1e19, counted.trainingOverhead * 1e19] as Flops,
    inference: [counted.inference * 1e12, counted.inferenceOverhead * 1e12] as Flops,
  })),
];
type Mixtures = ReturnType<typeof listMixtures>;

/** Plots what a mixture costs beyond its experts, where it costs anything. */
function overheadPlot(mixtures: Mixtures): Plot {
  const parts = ["training", "inference"] as const;
  return {
    id: "overhead",
    title: "Overhead of the routers",
    about:
      "FLOPs of the routers in percent of those of the experts, in training and in inference; the paper's mixtures below this run.",
    ...dots({
      title: "mixture",
      axis: { title: "% of the experts' FLOPs (logarithmic)", log: 10, format: "~g" },
      values: mixtures.flatMap(({ model, experts, ...flops }) =>
        parts.map((line) => {
          const [whole, routers] = flops[line];
          return { x: `${model}, E = ${experts}`, y: 100 * routers / whole, line };
        })
      ).filter(({ y }) => y > 0),
      lines: parts.map((name, i) => ({ name, colour: colour("mixture"), hollow: i === 1 })),
    }),
  };
}

function mixturesTable(mixtures: Mixtures): Html {
  const cells = ([whole, routers]: Flops) => [
    ...[scientific(whole), scientific(routers), whole === 0 ? "–" : percent(routers / whole, 2)],
  ];
  const head = [
    ...["model", "E", "training, FLOPs", "overhead", "share", "inference, FLOPs", "overhead", "share"],
    "perplexity, dense → mixture",
  ];
  const rows = mixtures.map(({ model, experts, training, inference, perplexity: [dense, mixture] }) => [
    ...[model.replace(" ", "\u00a0"), experts, ...cells(training), ...cells(inference)],
    dense && mixture ? `${dense.toFixed(2)}\u00a0→\u00a0${mixture.toFixed(2)}` : null,
  ]);
  return htmlTable({ head, rows }, "Costs next to those of the paper");
}

function communicationTable({ communication }: Cost): Html {
  const { exchanges, bytesPerExchange, corpusBytes, denseBytesPerStep } = communication;
  const step = "data-parallel dense training, per node and step";
  const rows = [
    ["exchanges of scores in router training", String(exchanges), String(PAPER.exchanges)],
    ["sent and received per router and exchange", bytes(bytesPerExchange), bytes(PAPER.bytesPerExchange)],
    ["the same for the scores of the corpus, once", bytes(corpusBytes), null],
    ["exchanged while experts train", bytes(0), bytes(0)],
    [step, bytes(denseBytesPerStep), bytes(PAPER.denseBytesPerStep)],
  ];
  return htmlTable({ head: ["communication", "this run", "paper, 1.3B, E = 32"], rows }, "Communication");
}

function memoryTable({ memory: { expert, routers, inference, routing } }: Cost): Html {
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
  parts: (run) => {
    const mixtures = listMixtures(run);
    const about = run.cost.mixture.routers > 0
      ? "What the mixture costs beyond its experts is the routers: their training, and the scoring of text by all of them. Small models pay a larger share, as their routers are not so much smaller than they are."
      : "This run splits text without models: what that costs is not counted. What routers cost is shown for the mixtures of the paper.";
    return [
      markup`<p>Counted from the configuration by the paper's formulas. ${about}</p>`,
      overheadPlot(mixtures),
      markup`<p>Below this run stand the seven mixtures of the paper's Table 3, counted by the same formulas.</p>\n`,
      ...[mixturesTable(mixtures), communicationTable(run.cost), memoryTable(run.cost)],
    ];
  },
};
