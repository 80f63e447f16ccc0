/**
 * Study "branch": experts that begin from one dense model (Branch-Train), next to that model
 * trained on, and to experts that begin from nothing.
 *
 * @module
 */

import { NOT_REPORTED } from "../../report/reproduction.ts";
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

/** Whether the models of a run begin from a dense model. */
const isBranch = ({ setup }: Outcome): boolean => setup.branchOf !== undefined;

/** What branching from a dense model is worth. */
export const branch: Study = {
  name: "branch",
  title: "Experts that begin from one dense model",
  question: "Do experts that go on from a dense model, each with its own text, beat that model " +
    "trained on with as many tokens, and experts that begin from nothing?",
  paper: "Not reported: the paper's experts begin from nothing.",
  setups({ experts }) {
    const begin = sharedSetup(experts, {
      label: "from nothing",
      models: MODELS,
      repeated: true,
    });
    return [begin, {
      name: `em-branch-${experts}-experts`,
      label: "from the dense model",
      settings: { experts },
      models: MODELS,
      repeated: true,
      branchOf: begin,
    }];
  },
  findings(outcomes) {
    const begun = outcomes.filter((outcome) => !isBranch(outcome));
    const branched = outcomes.filter(isBranch);
    return {
      claims: [
        gainsClaim(
          "Experts that begin from nothing beat their dense model, with every seed",
          begun,
        ),
        gainsClaim(
          "Experts that begin from a dense model beat that model trained on with as many " +
            "tokens, with every seed",
          branched,
        ),
        {
          claim: "Experts that begin from a dense model beat experts that begin from nothing and " +
            "see half as many tokens in all, with every seed",
          paper: NOT_REPORTED,
          ...perSeed([["from the dense model", branched], ["from nothing", begun]]),
        },
      ],
      table: makeTable(outcomes, [
        labels("models begin"),
        perplexities("mixture", "mixture"),
        perplexities("dense, × batch", "dense"),
        gains("against × batch", () => "dense"),
      ]),
      note: "The models that begin from a dense model begin from the one in the row of the same " +
        "seed. So they have seen twice as many tokens in the end.",
      plots: [perplexitiesPlot(
        {
          id: "branch",
          title: "Perplexity of experts that begin from a dense model",
          about: "What begins from the dense model is trained for as many tokens again.",
        },
        firstSeed(outcomes).flatMap(({ setup, evaluation: { scores } }) => [
          { label: `experts ${setup.label}`, ...scores.mixture! },
          {
            label: setup.branchOf ? "dense model, trained on" : "dense model",
            ...scores.dense!,
          },
        ]),
      )],
    };
  },
};
