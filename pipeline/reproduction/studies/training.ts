/**
 * Studies "tokens", "schedule", "weights" and "switch": what reviewers asked of the training of
 * experts and of the models next to them. How the gain depends on tokens per weight, whether the
 * learning rate must fall, and what a dense model of as many weights, or a Switch Transformer
 * whose learning rate was searched for, comes to.
 *
 * @module
 */

import { gainText } from "../../evaluation/evaluation.ts";
import { largerDenseShape } from "../../model/shape.ts";
import { curves, wayLine } from "../../report/charts.ts";
import { type Claim, NOT_REPORTED } from "../../report/reproduction.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { gainClaim, isBetter, labelled, perSeed } from "../claims.ts";
import {
  firstSeed,
  gainOver,
  gains,
  labels,
  makeTable,
  MODELS,
  type Outcome,
  perplexities,
  perplexitiesPlot,
  REPEATED,
  type Setup,
  sharedSetup,
  type Study,
} from "../study.ts";

/** How many times the steps of the preset experts take. */
const TIMES = [1 / 4, 1, 4];

/** Gives the tokens that an expert reads, for each of its weights. */
const tokensPerWeight = ({ trained: { experts = [] }, cost: { parameters } }: Outcome): number =>
  experts.reduce((sum, { tokens }) => sum + tokens, 0) / experts.length / parameters.expert;

/** The dense models, and what columns and claims call them. */
const DENSE = [["dense", "batch"], ["dense-steps", "steps"]] as const;

/** How the gain depends on how long models are trained. */
export const tokens: Study = {
  name: "tokens",
  title: "The gain by tokens per weight",
  question: "Does the gain of four experts grow or shrink, the longer all models are trained?",
  paper: "Asked by reviewers: the paper trains each size for one number of tokens.",
  setups: ({ expertSteps, expertWarmup }) =>
    TIMES.map((times): Setup =>
      times === 1 ? sharedSetup(REPEATED, { label: "1× steps" }) : {
        name: `em-${REPEATED}-experts-steps-${Math.round(expertSteps * times)}`,
        label: `${times}× steps`,
        settings: {
          experts: REPEATED,
          expertSteps: Math.round(expertSteps * times),
          expertWarmup: Math.round(expertWarmup * times),
        },
        models: MODELS,
      }
    ),
  findings: (outcomes) => ({
    claims: DENSE.map(([way, short]) => longerClaim(outcomes, way, short)),
    table: makeTable(outcomes, [
      labels("run"),
      ["tokens per weight", (outcome) => tokensPerWeight(outcome).toFixed(1)],
      perplexities("mixture", "mixture"),
      ...DENSE.map(([way, short]) => perplexities(`dense, × ${short}`, way)),
      ...DENSE.map(([way, short]) => gains(`against × ${short}`, () => way)),
    ]),
    plots: [{
      id: "study-tokens",
      title: "Gain of four experts by tokens per weight",
      about: "How much lower the mixture's perplexity is than a dense model's, with its 95% " +
        "interval. Above zero the mixture is better.",
      ...curves({
        x: { title: "tokens per weight", log: 2 },
        y: { title: "lower by, %", zero: true },
        lines: DENSE.map(([way, short]) => ({ ...wayLine(way, 0), name: `dense, E× ${short}` })),
        values: outcomes.flatMap((outcome) =>
          DENSE.map(([way, short]) => {
            const { percent: y, low, high } = gainOver(outcome, way)!;
            return { x: tokensPerWeight(outcome), y, low, high, line: `dense, E× ${short}` };
          })
        ),
      }),
    }],
  }),
};

/** Claims that the gain over a model is larger, the longer all are trained. */
function longerClaim(outcomes: readonly Outcome[], way: "dense" | "dense-steps", short: string) {
  const gains = outcomes.map((outcome) => gainOver(outcome, way)!);
  const texts = gains.map((gain, i) =>
    `${tokensPerWeight(outcomes[i]).toFixed(1)} tokens per weight: ${gainText(gain)}`
  );
  const grows = gains.every(({ percent }, i) => i === 0 || percent > gains[i - 1].percent);
  return {
    claim: `The gain over the dense model of E times the ${short} grows with tokens per weight`,
    paper: NOT_REPORTED,
    here: texts.join("; "),
    holds: grows,
  };
}

/** Whether the learning rate of experts must fall. */
export const schedule: Study = {
  name: "schedule",
  title: "A learning rate that falls, and one that stays",
  question: "Do experts and dense models need a learning rate that falls along a cosine, when " +
    "routers do with one that stays?",
  paper: "Asked by reviewers: routers have a constant rate there, experts a cosine.",
  setups: () => [
    sharedSetup(REPEATED, { label: "cosine", models: ["experts", "dense"], repeated: true }),
    {
      name: `em-${REPEATED}-experts-constant-rate`,
      label: "constant",
      settings: { experts: REPEATED, expertFinalRate: 1 },
      models: ["experts", "dense"],
      repeated: true,
    },
  ],
  findings(outcomes) {
    const isConstant = ({ setup }: Outcome) => setup.settings.expertFinalRate === 1;
    const kinds: [string, Outcome[]][] = [
      ["cosine", outcomes.filter((outcome) => !isConstant(outcome))],
      ["constant", outcomes.filter(isConstant)],
    ];
    const isAhead = (subject: string, way: "mixture" | "dense"): Claim => ({
      claim: `${subject} is better with a learning rate that falls, with every seed`,
      paper: NOT_REPORTED,
      ...perSeed(kinds, { way }),
    });
    return {
      claims: [isAhead("The mixture", "mixture"), isAhead("The dense model", "dense")],
      table: makeTable(outcomes, [
        labels("learning rate"),
        ["peak of experts", ({ trained: { experts } }) => experts?.[0].rate],
        ["peak of dense", ({ trained: { dense } }) => dense?.[0].rate],
        perplexities("mixture", "mixture"),
        perplexities("dense, × batch", "dense"),
        gains("against × batch", () => "dense"),
      ]),
      plots: [perplexitiesPlot(
        {
          id: "schedule",
          title: "Perplexity with a learning rate that falls and one that stays",
          about: "Each with the rate that a search of its own chose.",
        },
        firstSeed(outcomes).flatMap(({ setup, evaluation: { scores } }) => [
          { label: `${setup.label}, mixture`, ...scores.mixture! },
          { label: `${setup.label}, dense`, ...scores.dense! },
        ]),
      )],
    };
  },
};

/** Gives an expert the shape of the larger dense model, and the batch of all experts together. */
function asLarge(preset: Configuration): Partial<Configuration> {
  const { hidden, layers, heads } = largerDenseShape({ ...preset, experts: REPEATED });
  return {
    experts: 1,
    partitioner: "random",
    expertHidden: hidden,
    expertLayers: layers,
    expertHeads: heads,
    expertBatch: REPEATED * preset.expertBatch,
    microBatch: preset.microBatch || preset.expertBatch,
  };
}

/** What a dense model comes to that has as many weights as all experts. */
export const weights: Study = {
  name: "weights",
  title: "A dense model with as many weights as all experts",
  question: "Is one model with about as many weights as four experts better, with as many " +
    "tokens, or with as much training compute?",
  paper: "Asked by reviewers.",
  setups: (preset) => [
    sharedSetup(REPEATED, { models: ["experts", "dense", "dense-compute"], repeated: true }),
    {
      name: "one-large-model",
      label: "one large model, as many tokens",
      settings: asLarge(preset),
      models: ["experts"],
      repeated: true,
    },
  ],
  findings(outcomes) {
    const isLarge = ({ setup }: Outcome) => setup.settings.experts === 1;
    const large = outcomes.filter(isLarge);
    const mixed = outcomes.filter((outcome) => !isLarge(outcome));
    return {
      claims: [
        ...mixed.flatMap((outcome) =>
          labelled(
            outcome.setup.label,
            outcome.evaluation.gains.filter(({ baseline }) => baseline === "dense-compute")
              .map((gain) => gainClaim(gain, REPEATED)),
          )
        ),
        isBetter("Four experts are better than one model of their weights that reads as much", {
          "four experts": mixed[0].evaluation.scores.mixture!,
          "one model": large[0].evaluation.scores.mixture!,
        }),
        {
          claim: "Four experts are better than one model of their weights that reads as much, " +
            "with every seed",
          paper: NOT_REPORTED,
          ...perSeed([["four experts", mixed], ["one model", large]]),
        },
      ],
      table: makeTable(outcomes, [
        labels("run"),
        ["weights of an expert", ({ cost }) => cost.parameters.expert.toLocaleString("en")],
        perplexities("mixture, or the one model", "mixture"),
        perplexities("dense, × batch", "dense"),
        perplexities("dense, larger, equal compute", "dense-compute"),
        gains("against equal compute", () => "dense-compute"),
        ["training FLOPs", ({ cost: { flops } }) => flops.total.toExponential(2)],
      ]),
      plots: [perplexitiesPlot(
        {
          id: "weights",
          title: "Perplexity of four experts and of one model with their weights",
          about: "The dense models have about four times the weights of an expert.",
        },
        firstSeed(outcomes).flatMap((outcome) => {
          const { mixture, "dense-compute": compute } = outcome.evaluation.scores;
          return [
            { label: outcome.setup.label, ...mixture! },
            ...compute ? [{ label: "one large model, as much compute", ...compute }] : [],
          ];
        }),
      )],
    };
  },
};

/** Next to a Switch Transformer of either capacity. */
export const switches: Study = {
  name: "switch",
  title: "Next to a Switch Transformer whose learning rate was searched for",
  question: "What does it cost that experts do not communicate: is a Switch Transformer of as " +
    "many steps better, with room for 1.25 or 1.0 of an equal share?",
  paper: "Asked by reviewers.",
  setups: () =>
    [1.25, 1].map((switchCapacity) => ({
      name: `em-${REPEATED}-experts-capacity-${switchCapacity}`,
      label: `capacity ${switchCapacity.toFixed(2)}`,
      settings: { experts: REPEATED, switchCapacity },
      models: ["experts", "dense", "switch"],
      repeated: true,
    })),
  findings: (outcomes) => ({
    claims: outcomes.flatMap((outcome) => {
      const { seed, switchCapacity } = outcome.setup.settings;
      return labelled(`${REPEATED} experts${seed ? `, seed ${seed}` : ""}`, [{
        ...gainClaim(gainOver(outcome, "switch")!, REPEATED),
        claim: `The mixture beats a Switch Transformer of capacity ${switchCapacity!.toFixed(2)}`,
      }]);
    }),
    table: makeTable(outcomes, [
      labels("run"),
      ["peak rate of Switch", ({ trained }) => trained.switch?.[0].rate],
      perplexities("mixture", "mixture"),
      perplexities("Switch", "switch"),
      perplexities("dense, × batch", "dense"),
      gains("the mixture next to Switch", () => "switch"),
      ["training FLOPs of the mixture", ({ cost: { flops } }) => flops.total.toExponential(2)],
      ["of Switch", ({ trained }) => trained.switch?.[0].cost?.training.toExponential(2)],
    ]),
    plots: [perplexitiesPlot(
      {
        id: "switch",
        title: "Perplexity next to a Switch Transformer",
        about: "All see as many tokens.",
      },
      firstSeed(outcomes).flatMap(({ setup, evaluation: { scores } }) => [
        { label: `${setup.label}: mixture`, ...scores.mixture! },
        { label: `${setup.label}: Switch`, ...scores.switch! },
      ]),
    )],
  }),
};
