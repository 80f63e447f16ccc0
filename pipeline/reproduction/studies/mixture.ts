/**
 * Studies of the mixture next to models that could replace it (SmallTalk LM, figures 2 and 5, table
 * 3). They ask how its gain grows, how experts do on their own text, and what routing finds and
 * costs.
 *
 * @module
 */

import { percent } from "../../graph/numbers.ts";
import { BASELINES } from "../../evaluation/baselines.ts";
import { COMPARED, curves, type Plot, wayLine, wayName } from "../../report/charts.ts";
import { type Claim, NOT_REPORTED } from "../../report/reproduction.ts";
import { segmentPlot } from "../../report/sections/evaluation.ts";
import { heatPlot } from "../../report/sections/partition.ts";
import {
  allAhead,
  compareOwnText,
  crossingText,
  gainClaim,
  labelled,
  type OwnText,
  ownTextClaim,
  PAPER_GROWTH,
  PAPER_LEVEL,
  routingClaims,
  trainingAdded,
} from "../claims.ts";
import {
  agreements,
  baselinesOf,
  type Column,
  digitsText,
  firstSeed,
  gainOver,
  gains,
  labels,
  makeTable,
  type Outcome,
  perplexities,
  perplexitiesPlot,
  REPEATED,
  scores,
  type Setup,
  sharedSetup,
  type Study,
} from "../study.ts";

/** Lists runs of these numbers of experts, one of them with all seeds. */
const setupsByExperts = (counts: readonly number[], changes: Partial<Setup> = {}): Setup[] =>
  counts.map((experts) => sharedSetup(experts, { repeated: experts === REPEATED, ...changes }));

const EXPERTS = [2, 4, 8];
/** The dense models, and what columns and plot call them. */
const DENSE = [["dense", "batch"], ["dense-steps", "steps"]] as const;
type Dense = typeof DENSE[number][0];

/** How the gain depends on E. */
export const experts: Study = {
  name: "experts",
  title: "How the gain grows with the number of experts",
  question: "With the same tokens per expert, how much lower is the mixture's perplexity " +
    "than a dense model's, for 2, 4 and 8 experts?",
  paper: "Figure 2 and table 3: 8.5% lower with 4 experts, 13.6% with 32 (335M), and ever more.",
  setups: () => setupsByExperts(EXPERTS),
  findings: (outcomes) => ({
    claims: [
      growth(firstSeed(outcomes), "dense", "batch", PAPER_GROWTH),
      growth(firstSeed(outcomes), "dense-steps", "steps", NOT_REPORTED),
      ...outcomes.flatMap((outcome) => gainClaims(outcome, baselinesOf(outcome))),
      // Study "segments" judges those of so many experts.
      ...outcomes.filter(({ evaluation }) => evaluation.experts !== REPEATED)
        .flatMap((outcome) => labelled(outcome.setup.label, [ownTextClaim(outcome)])),
    ],
    table: makeTable(outcomes, [
      labels("run"),
      perplexities("mixture", "mixture"),
      ...DENSE.map(([model, short]) => perplexities(`dense, × ${short}`, model)),
      ...DENSE.map(([model, short]) => gains(`against × ${short}`, () => model)),
      ["ahead of × steps from, tokens per expert", crossingText],
      ...DENSE.map(([model, short]): Column => [
        `experts ahead of × ${short} on their text`,
        (outcome) => aheadText(outcome, model),
      ]),
      ["passes", passesText],
    ]),
    note: behindText(outcomes),
    plots: [gainsPlot(firstSeed(outcomes))],
  }),
};

/** Claims of a run that its mixture beats these models. */
const gainClaims = (
  { setup, evaluation }: Outcome,
  models: readonly string[] = BASELINES,
): Claim[] =>
  labelled(
    setup.label,
    evaluation.gains.filter(({ baseline }) => models.includes(baseline))
      .map((gain) => gainClaim(gain, evaluation.experts)),
  );

/**
 * Reports how many experts beat a dense model on the text that is routed to them; null without that
 * model.
 */
function aheadText(outcome: Outcome, model: Dense): string | null {
  const shares = compareOwnText(outcome).map(({ below }) => below[model]);
  if (shares.every((below) => below === null)) return null;
  return `${shares.filter((below) => below !== null && below > 0).length} of ${shares.length}`;
}

/**
 * Names the experts that are behind a dense model on the text that is routed to them; undefined
 * where none is.
 */
function behindText(outcomes: readonly Outcome[]): string | undefined {
  const texts = DENSE.flatMap(([model, short]) => {
    const named = outcomes.flatMap(compareOwnText).flatMap(({ setup, expert, sources, below }) => {
      const gain = below[model];
      if (gain === null || gain >= 0) return [];
      return `${setup.label}, expert ${expert}${sources && ` (${sources})`} by ${percent(-gain)}`;
    });
    const where = "on the text that is routed to them, with most of their training text";
    return named.length === 0 ? [] : `Behind dense, × ${short}, ${where}: ${named.join("; ")}.`;
  });
  return texts.join(" ") || undefined;
}

/** Reports how often an expert saw its text, on average. */
function passesText({ partition, evaluation, trained: { experts = [] } }: Outcome): string | null {
  if (experts.length === 0) return null;
  const sum = (parts: readonly { tokens: number }[]) =>
    parts.reduce((sum, { tokens }) => sum + tokens, 0);
  return (sum(experts) / experts.length / (sum(partition.experts) / evaluation.experts)).toFixed(1);
}

/**
 * Whether more experts gain more: each more than fewer, the most more than the fewest and than
 * none, beyond the intervals. They do not where more gain less, beyond both intervals; all else is
 * undecided.
 */
function growth(first: readonly Outcome[], baseline: Dense, short: string, paper: string): Claim {
  const gains = first.map((outcome) => gainOver(outcome, baseline)!);
  const grows = gains.every(({ percent }, i) => i === 0 || percent > gains[i - 1].percent);
  const falls = gains.some(({ high }, i) => gains.slice(0, i).some(({ low }) => high < low));
  const isApart = gains.at(-1)!.low > Math.max(0, gains[0].high);
  const texts = gains.map(({ percent, low, high }, i) =>
    `${first[i].evaluation.experts}: ${percent.toFixed(1)}% [${low.toFixed(1)}, ${high.toFixed(1)}]`
  );
  return {
    claim: `The gain over the dense model of E times the ${short} grows with E`,
    paper,
    here: texts.join(", "),
    holds: falls ? false : grows && isApart || null,
  };
}

function gainsPlot(first: readonly Outcome[]): Plot {
  const lines = DENSE.map(([way, short]) => ({
    ...wayLine(way, 0),
    name: `dense, E× ${short}`,
    way,
  }));
  const values = first.flatMap((outcome) =>
    lines.flatMap(({ way, name: line }) => {
      const { percent: y, low, high } = gainOver(outcome, way) ?? {};
      return y === undefined ? [] : [{ x: outcome.evaluation.experts, y, line, low, high }];
    })
  );
  return {
    id: "study-experts",
    title: "Gain of the mixture by number of experts",
    about: "How much lower the mixture's perplexity is than a dense model's, with its 95% " +
      "interval. Every expert sees as many tokens, so that more experts see more in " +
      "all, and so do the dense models. Above zero the mixture is better.",
    ...curves({
      x: { title: "experts", log: 2, ticks: EXPERTS },
      y: { title: "lower by, %", zero: true },
      lines,
      values,
    }),
    table: {
      head: ["experts", "over", "lower by, %", "95% from", "to"],
      rows: values.map(({ x, line, y, low, high }) => [x, line, y, low!, high!]),
    },
  };
}

/** A run, and a model next to its mixture. */
interface Compared extends Outcome {
  way: typeof COMPARED[number];
}

/** Lists the models of some runs, in the order of runs. */
const listCompared = (outcomes: readonly Outcome[]): Compared[] =>
  outcomes.flatMap((outcome) => COMPARED.map((way) => ({ ...outcome, way })))
    .filter(({ evaluation, way }) => evaluation.scores[way]);

/**
 * Counts what a model costs. FLOPs are those of its training, of a generated token and of routing a
 * prompt. Bytes are those on the device that answers, and those that training exchanges per node.
 */
function modelCosts({ cost, trained, evaluation, way }: Compared) {
  const { flops, memory, communication, parameters } = cost;
  const length = evaluation.models.config.context;
  if (way === "mixture") {
    return {
      training: flops.total,
      token: flops.inference / length,
      routing: flops.inferenceOverhead,
      memory: memory.inference.total + memory.routing.total,
      exchanged: communication.bytesPerNode,
    };
  }
  const [{ steps, cost: modelCost }] = trained[way]!;
  const weights = modelCost?.parameters ?? parameters.expert;
  return {
    training: modelCost?.training ?? flops.dense,
    token: (modelCost?.inference ?? flops.inference) / length,
    routing: null,
    memory: modelCost?.memory.inference ?? memory.inference.total,
    exchanged: communication.denseBytesPerStep * weights / parameters.expert * steps,
  };
}

/** Makes a column of FLOPs, or of bytes in MB. */
const costing = (
  head: string,
  cost: keyof ReturnType<typeof modelCosts>,
  inBytes = false,
): Column<Compared> => [head, (row) => {
  const value = modelCosts(row)[cost];
  return value === null ? null : inBytes ? digitsText(value / 1e6, 3) : value.toExponential(2);
}];

/** How the mixture compares with what could replace it. */
export const dense: Study = {
  name: "dense",
  title: "The mixture next to every model that could replace it",
  question: "Does the mixture win because the dense model is handicapped: what if that takes " +
    "more steps, is larger, or has experts in its layers?",
  paper: `Table 3: ${PAPER_LEVEL}. The mixture takes 116.8% of the dense model's training ` +
    "FLOPs, and 31.0% of its FLOPs of a sequence.",
  setups: () => setupsByExperts([4, 8], { models: ["experts", ...BASELINES], repeated: true }),
  findings: (outcomes) => ({
    claims: outcomes.flatMap((outcome) => gainClaims(outcome)),
    table: makeTable<Compared>(listCompared(outcomes), [
      labels("run"),
      [
        "model",
        ({ evaluation, way }) => wayName(way, evaluation.experts),
        ([{ way }]) => wayName(way, REPEATED),
      ],
      scores("perplexity", ({ evaluation, way }) => evaluation.scores[way]),
      gains("the mixture next to it", ({ way }) => way),
      costing("training FLOPs", "training"),
      costing("FLOPs of a generated token", "token"),
      costing("FLOPs of routing a prompt", "routing"),
      costing("memory to answer, MB", "memory", true),
      costing("exchanged per node, MB", "exchanged", true),
    ], { part: ({ way }) => way }),
    note: "FLOPs of a generated token are those of one sequence of full length, divided " +
      "by its tokens. Exchanged per node: the mixture's routers exchange costs of " +
      "sequences; of a dense model and of a Switch Transformer it is what " +
      "data-parallel training on as many nodes as there are experts exchanges, the " +
      "gradients of all weights in every step.",
    plots: firstSeed(outcomes).map((outcome) => {
      const { experts, scores } = outcome.evaluation;
      return perplexitiesPlot(
        {
          id: `dense-${experts}`,
          title: `Perplexity of the mixture of ${experts} and of what could replace it`,
          about: "All but the larger dense model see as many tokens.",
        },
        listCompared([outcome]).map(({ way }) => ({
          label: wayName(way, experts),
          ...scores[way]!,
        })),
      );
    }),
  }),
};

/** Makes a column of how far experts are below a dense model on their own text. */
const below = (head: string, model: Dense): Column<OwnText> => [
  head,
  ({ below }) => below[model] === null ? null : `${(100 * below[model]).toFixed(1)}%`,
];

/** How experts do on their own text. */
export const segments: Study = {
  name: "segments",
  title: "Every expert on its own text",
  question: "Does every expert beat the dense models on the text that is routed to it, and " +
    "does each get a share?",
  paper: "Figure 5: all experts do, and all get a substantial share, though nothing " +
    "balances them at inference.",
  setups: ({ experts }) => [sharedSetup(experts, { repeated: true })],
  findings(outcomes) {
    const experts = outcomes.flatMap(compareOwnText);
    const shares = experts.map(({ share, evaluation }) => share * evaluation.experts);
    const least = Math.min(...shares);
    return {
      claims: [
        {
          claim: "Every expert beats the dense model of E times the batch on the text routed to it",
          paper: "all do",
          ...allAhead(experts),
        },
        {
          claim: "Every expert gets at least a quarter of an equal share",
          paper: "all get a substantial share",
          here: `${least.toFixed(2)} to ${Math.max(...shares).toFixed(2)} equal shares`,
          holds: least >= 0.25,
        },
      ],
      table: makeTable<OwnText>(experts, [
        labels("run"),
        ["expert", ({ expert }) => String(expert)],
        ["most of its training text", ({ sources }) => sources],
        ["share", ({ share }) => percent(share)],
        ["perplexity", ({ perplexity }) => perplexity?.toFixed(2)],
        below("below dense, × batch", "dense"),
        below("below dense, × steps", "dense-steps"),
      ], { part: ({ expert, setup }) => `${setup.name} ${expert}` }),
      plots: [{
        ...segmentPlot(outcomes[0].evaluation, ["mixture", ...baselinesOf(outcomes[0])]),
        id: "study-segments",
      }],
    };
  },
};

/** What routing finds, and what it adds. */
export const routing: Study = {
  name: "routing",
  title: "What routing finds, and what it costs",
  question: "Are parts equal, and of kinds that nobody named? Does text find its expert, and " +
    "what does that add in compute and in exchange?",
  paper: "Figure 5: all experts get a substantial share. Table 3: routing adds 0.7% to 4% " +
    "to training, 1% to 10% to inference.",
  setups: () => setupsByExperts([4, 8], { repeated: false }),
  findings: (outcomes) => ({
    claims: outcomes.flatMap((outcome) => labelled(outcome.setup.label, routingClaims(outcome))),
    table: makeTable(outcomes, [
      labels("run"),
      ["shares of held-out text", ({ evaluation: { segments } }) => {
        const shares = segments.map(({ share }) => share);
        return `${percent(Math.min(...shares))} to ${percent(Math.max(...shares))}`;
      }],
      agreements("NMI with source"),
      perplexities("routed", "mixture"),
      perplexities("at random", "random"),
      perplexities("best in hindsight", "oracle"),
      [
        "the balanced parts cost, nats per token more",
        ({ partition: { regret } }) => regret?.toFixed(3),
      ],
      ["routing adds to training", ({ cost }) => percent(trainingAdded(cost))],
      ["to inference", ({ cost: { flops } }) => percent(flops.inferenceOverhead / flops.inference)],
      [
        "exchanged per node, MB",
        ({ cost: { communication } }) => digitsText(communication.bytesPerNode / 1e6, 2),
      ],
    ]),
    plots: outcomes.map(({ partition, evaluation }) => ({
      ...heatPlot(partition.experts.map(({ sources }) => sources), true),
      id: `study-routing-${evaluation.experts}`,
      title: `Which of ${evaluation.experts} experts gets which kind of text`,
    })),
  }),
};
