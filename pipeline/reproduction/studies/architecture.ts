/**
 * Study "architecture": whether the gain over a dense model depends on the architecture of the
 * models, and which architecture is better at equal weights.
 *
 * @module
 */

import { ensure, say, setting } from "../../../kernels/errors.ts";
import { NOT_REPORTED } from "../../report/reproduction.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { gainsClaim, perSeed } from "../claims.ts";
import {
  firstSeed,
  gains,
  labels,
  makeTable,
  type Outcome,
  perplexities,
  perplexitiesPlot,
  type Setup,
  sharedSetup,
  type Study,
} from "../study.ts";

const MODELS: Setup["models"] = ["experts", "dense"];
const GPT_NEOX = "gpt-neox";
const LLAMA = "llama";

/** Throws an `InputError` where experts have another architecture than the paper's. */
function check({ expertArchitecture }: Configuration): void {
  const must = say`${
    setting("expertArchitecture")
  } must be ${GPT_NEOX}, as the study sets the other`;
  const fact = say`Cannot compare architectures as ${must}: it is ${expertArchitecture}`;
  ensure(expertArchitecture === GPT_NEOX, fact);
}

/**
 * Gives the shape of a Llama with as many weights in its matrices as a GPT-NeoX of that width has.
 * That has 12 H² in a layer: 4 H² in its attention and 8 H² in its MLP. Two query heads share keys
 * and values where heads come in pairs.
 */
function llamaShape({ expertHidden, expertHeads }: Configuration): Partial<Configuration> {
  const keyHeads = expertHeads % 2 === 0 ? expertHeads / 2 : expertHeads;
  const attention = 2 + 2 * keyHeads / expertHeads; // times H²
  const columns = (12 - attention) * expertHidden / 3;
  return {
    expertArchitecture: LLAMA,
    expertKvHeads: keyHeads,
    expertIntermediate: 4 * Math.round(columns / 4),
  };
}

/** How the architecture matters. */
export const architecture: Study = {
  name: "architecture",
  title: "Experts of GPT-NeoX's shape and of Llama's",
  question: "With equal weights and tokens, does the gain over a dense model hold for both " +
    "architectures, and which of them is better?",
  paper: "Not reported: the paper trains GPT-NeoX.",
  check,
  setups: (preset) => [
    sharedSetup(preset.experts, { label: "GPT-NeoX", models: MODELS, repeated: true }),
    {
      name: `em-${LLAMA}-${preset.experts}-experts`,
      label: "Llama",
      settings: { experts: preset.experts, ...llamaShape(preset) },
      models: MODELS,
      repeated: true,
    },
  ],
  findings(outcomes) {
    const isLlama = ({ setup }: Outcome) => setup.settings.expertArchitecture === LLAMA;
    const neox = outcomes.filter((outcome) => !isLlama(outcome));
    const llama = outcomes.filter(isLlama);
    const both: [string, Outcome[]][] = [["Llama", llama], ["GPT-NeoX", neox]];
    const isAhead = (subject: string, way: "mixture" | "dense") => ({
      claim: `${subject} of Llama's shape beats that of GPT-NeoX's, with every seed`,
      paper: NOT_REPORTED,
      ...perSeed(both, { way }),
    });
    return {
      claims: [
        gainsClaim("A mixture of GPT-NeoX's shape beats its dense model, with every seed", neox),
        gainsClaim("A mixture of Llama's shape beats its dense model, with every seed", llama),
        isAhead("The mixture", "mixture"),
        isAhead("The dense model", "dense"),
      ],
      table: makeTable(outcomes, [
        labels("architecture"),
        ["weights of an expert", ({ cost }) => cost.parameters.expert.toLocaleString("en")],
        perplexities("mixture", "mixture"),
        perplexities("dense, × batch", "dense"),
        gains("against × batch", () => "dense"),
      ]),
      plots: [perplexitiesPlot(
        {
          id: "architecture",
          title: "Perplexity by architecture",
          about: "Models of equal weights, trained on as many tokens.",
        },
        firstSeed(outcomes).flatMap(({ setup, evaluation: { scores } }) => [
          { label: `${setup.label}, mixture`, ...scores.mixture! },
          { label: `${setup.label}, dense`, ...scores.dense! },
        ]),
      )],
    };
  },
};
