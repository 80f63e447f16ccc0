/**
 * Studies "together", "reroute", "sensitivity" and "unsure": what reviewers asked of the choice of
 * experts. Whether several answer better than one, what short prompts lose and whether that grows
 * with E, and what a dense model is worth to which unsure texts go.
 *
 * @module
 */

import { ensure, say, setting } from "../../../kernels/errors.ts";
import { forwardFlops } from "../../cost/flops.ts";
import { gainText, type Lower } from "../../evaluation/evaluation.ts";
import { percent } from "../../graph/numbers.ts";
import { largerDenseShape, modelShapes } from "../../model/shape.ts";
import { type Claim, NOT_REPORTED } from "../../report/reproduction.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { labelled, shortPrefix } from "../claims.ts";
import {
  firstSeed,
  gainOver,
  labels,
  makeTable,
  type Outcome,
  perplexities,
  perplexitiesPlot,
  prefixesPlot,
  REPEATED,
  scoreAt,
  scores,
  scoreText,
  type Setup,
  sharedLengths,
  sharedSetup,
  type Study,
} from "../study.ts";

const PAPER = "Asked by reviewers: in the paper one expert answers.";
const MODELS: Setup["models"] = ["experts", "dense"];

/** A mixture in which several experts answer together. */
type Mix = NonNullable<Outcome["evaluation"]["mixing"]>["mixes"][number];

/** A run, and one of the mixtures that its experts make. */
interface Mixed extends Outcome {
  mix: Mix;
}

/** Lists the mixtures of some runs. */
const listMixed = (outcomes: readonly Outcome[]): Mixed[] =>
  outcomes.flatMap((outcome) =>
    (outcome.evaluation.mixing?.mixes ?? []).map((mix) => ({ ...outcome, mix }))
  );

/** Claims that one thing is better than another, beyond the interval of the gain, if there is one. */
const gainedClaim = (claim: string, gain: Lower | undefined): Claim[] =>
  gain ? [{ claim, paper: NOT_REPORTED, here: gainText(gain), holds: gain.low > 0 }] : [];

/** Writes how many experts answer, and whether they are chosen again. */
const mixText = ({ experts, reroute }: Mix): string =>
  `${experts === 1 ? "one expert" : `${experts} experts together`}` +
  (reroute === null ? "" : `, chosen anew every ${reroute} tokens`);

const ofMix = ({ mix }: Mixed) => mix;
const gainOfMix = ({ mix: { gains } }: Mixed, way: "dense" | "dense-compute") =>
  gains.find(({ baseline }) => baseline === way);

/** How many experts answer together. */
const SIZES = [1, 2, 4];

const COSTLIER = "a dense model that costs twice an expert for a token, and as much to train as " +
  "the mixture";

/** The largest number of experts that have dense models next to them. */
const MOST_COMPARED = 8;

/** Gives the width of a dense model that costs as much for a token as two experts. */
function twiceAsCostly(preset: Configuration): Partial<Configuration> {
  const { expert } = modelShapes(preset);
  const flops = (denseHidden: number) => {
    const shape = largerDenseShape({ ...preset, denseHidden, denseLayers: expert.layers });
    return forwardFlops(shape, 1, expert.context);
  };
  const step = 2 * expert.heads; // even parts for the heads
  let denseHidden = expert.hidden;
  while (flops(denseHidden + step) <= 2 * forwardFlops(expert, 1, expert.context)) {
    denseHidden += step;
  }
  return { denseHidden, denseLayers: expert.layers };
}

/** What several experts are worth that answer together. */
export const together: Study = {
  name: "together",
  title: "Several experts that answer together",
  question: "Do the likeliest two or four experts, weighted by the routers, do better than one, " +
    "and than a dense model that costs as much for a token as two experts?",
  paper: PAPER,
  setups: (preset) =>
    [4, 8, 16].map((experts) => ({
      name: `em-${experts}-experts-together`,
      label: `${experts} experts`,
      settings: { experts, ...twiceAsCostly(preset) },
      // Dense models next to more experts would take longer than all experts.
      models: experts > MOST_COMPARED ? ["experts"] : [...MODELS, "dense-compute"],
      repeated: experts === REPEATED,
      choices: { mix: SIZES, routeLengths: [2] },
    })),
  findings(outcomes) {
    const rows = listMixed(outcomes);
    const several = rows.filter(({ mix }) => mix.experts > 1);
    return {
      claims: [
        ...several.flatMap((row) =>
          labelled(row.setup.label, [
            ...gainedClaim(`${row.mix.experts} together beat one`, row.mix.gain),
            ...gainedClaim(
              `${row.mix.experts} together beat ${COSTLIER}`,
              gainOfMix(row, "dense-compute"),
            ),
          ])
        ),
        ...outcomes.flatMap((outcome) =>
          labelled(
            outcome.setup.label,
            gainedClaim(`One alone beats ${COSTLIER}`, gainOver(outcome, "dense-compute")),
          )
        ),
      ],
      table: makeTable<Mixed>(rows, [
        labels("run"),
        ["answered by", ({ mix }) => mixText(mix), ([{ mix }]) => mixText(mix)],
        scores("perplexity", ofMix),
        ["lower than one expert", ({ mix }) => mix.experts > 1 ? gainText(mix.gain) : null],
        ...(["dense", "dense-compute"] as const).map((way) =>
          [
            way === "dense" ? "than dense, × batch" : "than dense, twice an expert",
            (row: Mixed) => {
              const gain = gainOfMix(row, way);
              return gain && gainText(gain);
            },
          ] as const
        ),
        ...[2, 4, 8].map((tokens) =>
          scores<Mixed>(
            `${tokens} tokens route`,
            ({ mix }) => mix.prefixes.find(({ prefix }) => prefix === tokens),
          )
        ),
      ], { part: ({ mix }) => mixText(mix) }),
      plots: [perplexitiesPlot(
        {
          id: "together",
          title: "Perplexity by how many experts answer together",
          about: "The routers weight them.",
        },
        listMixed(firstSeed(outcomes)).map(({ setup, mix }) => ({
          ...mix,
          label: `${setup.label}: ${mixText(mix)}`,
        })),
      )],
    };
  },
};

/** Tokens that route, and after which experts are chosen anew. */
const PROMPTS = [4, 8, 16];

/** Whether choosing again, or several experts, make up for a short prompt. */
export const reroute: Study = {
  name: "reroute",
  title: "Short prompts, with experts that are chosen again",
  question: "Where few tokens route: how much do two experts together, or a new choice after " +
    "every so many tokens, give back of what the short prompt costs?",
  paper: PAPER,
  check({ prefix }) {
    const must = say`${setting("prefix")} must be more than ${PROMPTS[0]}: it is ${prefix}`;
    ensure(prefix > PROMPTS[0], say`Cannot compare prompts as ${must}`);
  },
  setups: ({ prefix }) =>
    PROMPTS.filter((tokens) => tokens < prefix).map((tokens) => ({
      name: `em-${REPEATED}-experts-prompt-${tokens}`,
      label: `${tokens} tokens route`,
      settings: { experts: REPEATED, prefix: tokens },
      models: MODELS,
      choices: { mix: [1, 2], reroute: tokens },
    })),
  findings(outcomes) {
    const rows = listMixed(outcomes);
    const changed = rows.filter(({ mix }) => mix.experts > 1 || mix.reroute !== null);
    return {
      claims: changed.flatMap(({ setup, mix }) =>
        gainedClaim(`Where ${setup.label}: ${mixText(mix)}, beats one that stays`, mix.gain)
      ),
      table: makeTable<Mixed>(rows, [
        labels("prompt"),
        ["answered by", ({ mix }) => mixText(mix)],
        scores("perplexity", ofMix),
        ["lower than one expert that stays", ({ mix }) => gainText(mix.gain)],
        ["than dense, × batch", (row) => {
          const gain = gainOfMix(row, "dense");
          return gain && gainText(gain);
        }],
        ["experts run per token", ({ mix }) => mix.expertsPerToken.toFixed(2)],
        ["routings of a sequence", ({ mix }) => mix.routings.toFixed(1)],
      ], { part: ({ mix }) => mixText(mix) }),
      plots: [perplexitiesPlot(
        {
          id: "reroute",
          title: "Perplexity of short prompts, by how experts are chosen",
          about: "Routers are trained with as many tokens as route.",
        },
        rows.map(({ setup, mix }) => ({ ...mix, label: `${setup.label}: ${mixText(mix)}` })),
      )],
    };
  },
};

/** Reports by which share a short prefix raises the perplexity of a run. */
const lost = (outcome: Outcome): number => {
  const { prefix } = outcome.evaluation;
  const [short, long] = [shortPrefix(prefix), prefix].map((tokens) => scoreAt(outcome, tokens)!);
  return short.perplexity / long.perplexity - 1;
};

/** Whether a short prefix costs more where there are more experts. */
export const sensitivity: Study = {
  name: "sensitivity",
  title: "What a short prefix costs, by number of experts",
  question: "Does a short prefix cost more where there are more experts?",
  paper: "Asked by reviewers: the paper shows prefixes of 32 experts.",
  setups: () =>
    [2, 4, 8].map((experts) =>
      sharedSetup(experts, { models: ["experts"], repeated: experts === REPEATED })
    ),
  findings(outcomes) {
    const { prefix } = outcomes[0].evaluation;
    const first = firstSeed(outcomes);
    const losses = first.map(lost);
    const lengths = sharedLengths(outcomes);
    return {
      claims: [{
        claim: `Routing by ${shortPrefix(prefix)} tokens instead of ${prefix} raises the ` +
          "perplexity by no larger share, the more experts there are",
        paper: NOT_REPORTED,
        here: first.map(({ evaluation: { experts } }, i) => `${experts}: ${percent(losses[i])}`)
          .join(", "),
        holds: losses.every((loss, i) => i === 0 || loss <= losses[i - 1]),
      }],
      table: makeTable(outcomes, [
        labels("run"),
        ...lengths.map((tokens) =>
          scores(`${tokens} tokens`, (outcome: Outcome) => scoreAt(outcome, tokens))
        ),
        [`${shortPrefix(prefix)} over ${prefix} tokens`, (outcome) => percent(lost(outcome))],
      ]),
      plots: [prefixesPlot({
        id: "sensitivity",
        title: "Perplexity by routing prefix and number of experts",
        about: "All experts see as many tokens.",
      }, outcomes)],
    };
  },
};

/** The share of texts that goes to the dense model. */
const UNSURE = 0.1;

/** What a dense model is worth to which unsure texts go. */
export const unsure: Study = {
  name: "unsure",
  title: "A dense model for texts whose expert is unsure",
  question: `Where the least sure ${percent(UNSURE)} of the texts go to the dense model, how ` +
    "much lower is the perplexity, and is the share kept on other text?",
  paper: PAPER,
  setups: () => [sharedSetup(REPEATED, {
    name: `em-${REPEATED}-experts-unsure`,
    models: MODELS,
    repeated: true,
    choices: { fallback: "dense", calibrate: UNSURE },
  })],
  findings(outcomes) {
    const calibrated = ({ evaluation: { fallback } }: Outcome) => fallback!.calibrated!;
    return {
      claims: outcomes.flatMap((outcome) => {
        const { unseen } = calibrated(outcome);
        return labelled(outcome.setup.label, [
          ...gainedClaim("A dense model for unsure texts lowers the perplexity", unseen.gain),
          {
            claim: "The share of unsure texts is kept on other text, within 2 points",
            paper: NOT_REPORTED,
            here: `${percent(unseen.share)} where ${percent(UNSURE)} were asked for`,
            holds: Math.abs(unseen.share - UNSURE) <= 0.02,
          },
        ]);
      }),
      table: makeTable(outcomes, [
        labels("run"),
        perplexities("one expert", "mixture"),
        perplexities("dense, × batch", "dense"),
        ["margin", (outcome) => calibrated(outcome).margin.toFixed(3)],
        ["sent, of other text", (outcome) => percent(calibrated(outcome).unseen.share)],
        scores("with the dense model", (outcome) => calibrated(outcome).unseen),
        ["lower than without", (outcome) => gainText(calibrated(outcome).unseen.gain, 2)],
        ["best share in hindsight", ({ evaluation: { fallback } }) => {
          const best = fallback!.curve.toSorted((a, b) => a.perplexity - b.perplexity)[0];
          return `${percent(best.share)}: ${scoreText(best)}`;
        }],
      ]),
      note: "Each half of the documents takes the margin that the other half gives.",
      plots: [perplexitiesPlot(
        {
          id: "unsure",
          title: "Perplexity with a dense model for unsure texts",
          about: `The least sure ${percent(UNSURE)} of the texts go to the dense model.`,
        },
        firstSeed(outcomes).flatMap((outcome) => [
          { label: "one expert", ...outcome.evaluation.scores.mixture! },
          { label: "with the dense model", ...calibrated(outcome).unseen },
          { label: "dense model", ...outcome.evaluation.scores.dense! },
        ]),
      )],
    };
  },
};
