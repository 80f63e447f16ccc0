// The run next to the paper: claims with the figures of both, and costs.

import { percent, scientific, unbrokenBytes } from "../../graph/numbers.ts";
import type { Cost } from "../../cost/cost.ts";
import { paperTable, PRINTED_COMMUNICATION as PAPER } from "../../cost/paper.ts";
import { colour, dots, type Plot } from "../charts.ts";
import { foldedTable, type Html, htmlTable, markup } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";
import type { Claim } from "../reproduction.ts";

const VERDICTS = {
  null: markup`<span class="open">–</span>`,
  true: markup`<span class="yes">✓ holds</span>`,
  false: markup`<span class="no">✗ does not</span>`,
};

/** Writes claims as a table, with what became of each. */
export function claimsTable(claims: readonly Claim[]): Html {
  const rows = claims.map((
    { claim, paper, here, holds },
  ) => [claim, paper, here, VERDICTS[`${holds}`]]);
  return htmlTable({ head: ["claim", "paper", "here", "holds"], rows, look: "claims" }, "Claims");
}

/** Every claim with what became of it, and the learning rates that were tried. */
export const claimsSection: Section<RunRecord> = {
  id: "claims",
  title: "The paper's claims, and this run",
  parts: ({ reproduction }) => {
    if (reproduction === null) return null;
    const { claims, search, trialShare } = reproduction;
    const rows = Object.entries(search).flatMap(([model, { trials, rate: best }]) =>
      trials.toSorted((a, b) => a.rate - b.rate).map(({ rate, validationLoss: loss }) => [
        ...[model, rate, loss === Infinity ? "diverged" : loss, rate === best ? "taken" : null],
      ])
    );
    const head = ["model", "learning rate", "held-out loss, nats per token", ""];
    const tried = "Learning rates that were tried";
    return [
      claimsTable(claims),
      foldedTable({ head, rows }, tried, `${tried} on ${percent(trialShare)} of the training`),
    ];
  },
};

type Costed = RunRecord & { cost: Cost };

/** FLOPs of the experts, and of the routers on top. */
type Flops = readonly [experts: number, routers: number];

/**
 * The costs of this run's mixture and of the paper's, and their perplexities next to a dense
 * model's.
 */
const listMixtures = ({ evaluation, cost: { flops, mixture } }: Costed) => [
  {
    model: "this run",
    experts: mixture.experts,
    training: [flops.experts, flops.overhead] as Flops,
    inference: [flops.inference, flops.inferenceOverhead] as Flops,
    perplexity: [evaluation?.scores.dense?.perplexity, evaluation?.scores.mixture?.perplexity],
  },
  ...paperTable().map(({ model, experts, counted, perplexity }) => ({
    model,
    experts,
    perplexity: [perplexity.dense, perplexity.mixture],
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
    about: "FLOPs of the routers in percent of those of the experts, in training and in " +
      "inference; the paper's mixtures below this run.",
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
    ...[
      "model",
      "E",
      "training, FLOPs",
      "overhead",
      "share",
      "inference, FLOPs",
      "overhead",
      "share",
    ],
    "perplexity, dense → mixture",
  ];
  const rows = mixtures.map((
    { model, experts, training, inference, perplexity: [dense, mixture] },
  ) => [
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
    [
      "sent and received per router and exchange",
      unbrokenBytes(bytesPerExchange),
      unbrokenBytes(PAPER.bytesPerExchange),
    ],
    ["the same for the scores of the corpus, once", unbrokenBytes(corpusBytes), null],
    ["exchanged while experts train", unbrokenBytes(0), unbrokenBytes(0)],
    [step, unbrokenBytes(denseBytesPerStep), unbrokenBytes(PAPER.denseBytesPerStep)],
  ];
  return htmlTable(
    { head: ["communication", "this run", "paper, 1.3B, E = 32"], rows },
    "Communication",
  );
}

function memoryTable({ memory: { expert, routers, inference, routing } }: Cost): Html {
  const rows = [
    ["training of one expert", unbrokenBytes(expert.total)],
    ["training of all routers side by side", unbrokenBytes(routers.total)],
    ["generation with one expert", unbrokenBytes(inference.total)],
    ["generation, with the routers that choose it", unbrokenBytes(inference.total + routing.total)],
  ];
  return htmlTable({ head: ["memory on a device", "this run"], rows }, "Memory");
}

/** FLOPs, bytes exchanged and memory, next to the seven mixtures of the paper. */
export const costsSection: Section<Costed> = {
  id: "costs",
  title: "Costs next to the paper's",
  parts: (run) => {
    const mixtures = listMixtures(run);
    const about = run.cost.mixture.routers > 0
      ? "What the mixture costs beyond its experts is the routers: their training, " +
        "and the scoring of text by all of them. Small models pay a larger share, as " +
        "their routers are not so much smaller than they are."
      : "This run splits text without models: what that costs is not counted. What " +
        "routers cost is shown for the mixtures of the paper.";
    return [
      markup`<p>Counted from the configuration by the paper's formulas. ${about}</p>`,
      overheadPlot(mixtures),
      markup`<p>Below this run stand the seven mixtures of the paper's Table 3, \
counted by the same formulas.</p>\n`,
      ...[mixturesTable(mixtures), communicationTable(run.cost), memoryTable(run.cost)],
    ];
  },
};
