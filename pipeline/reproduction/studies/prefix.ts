/**
 * Studies "prefix" and "short". The first asks how many tokens route well, for routers that were
 * trained with long, short and mixed prefixes (SmallTalk LM, figure 4b). The second asks how well a
 * few tokens of a prompt do.
 *
 * @module
 */

import { percent } from "../../graph/numbers.ts";
import { ensure, say, setting } from "../../../kernels/errors.ts";
import { gainText } from "../../evaluation/evaluation.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { isBetter, SHORTEST, shortPrefix } from "../claims.ts";
import {
  type Column,
  isLower,
  labels,
  makeTable,
  type Outcome,
  prefixesPlot,
  scoreAt,
  scores,
  scoreText,
  type Setup,
  sharedLengths,
  sharedSetup,
  type Study,
} from "../study.ts";

/** Throws an `InputError` where M leaves no shorter prefix to compare it with. */
function check({ prefix }: Configuration): void {
  const must = say`${setting("prefix")} must be more than ${SHORTEST}: it is ${prefix}`;
  ensure(prefix > SHORTEST, say`Cannot compare prefixes as ${must}`);
}

/** Lists runs of routers that were trained with M, M/8, and M/8, M/4, M/2 and M mixed. */
function setups({ experts, prefix }: Configuration): Setup[] {
  const eighth = shortPrefix(prefix);
  const models: Setup["models"] = ["experts"];
  // Evaluations measure powers of two: M is to be measured, too, to compare routers there.
  const choices = Number.isInteger(Math.log2(prefix)) ? undefined : { routeLengths: [prefix] };
  const prefixLengths = [8, 4, 2, 1].map((part) => Math.max(2, Math.floor(prefix / part)));
  const [short, mixed] = [`trained with ${eighth}`, "trained with mixed lengths"];
  return [
    sharedSetup(experts, { label: `trained with ${prefix}` }),
    { name: `em-prefix-${eighth}`, label: short, settings: { prefix: eighth }, models, choices },
    { name: "em-mixed-prefixes", label: mixed, settings: { prefixLengths }, models },
  ];
}

/** How the length of the routing prefix matters. */
export const prefix: Study = {
  name: "prefix",
  title: "How many tokens route well",
  question: "What does a shorter routing prefix cost, and do routers that were trained with " +
    "short prefixes bear it better?",
  paper: "Figure 4b: 32 tokens beat the dense model for routers trained with 256; routers " +
    "trained with 32 are better at 32 and worse at long prefixes.",
  check,
  setups,
  findings(outcomes) {
    const [long, short] = outcomes;
    const length = long.evaluation.prefix;
    const eighth = shortPrefix(length);
    const comparison = (tokens: number, better: Outcome, worse: Outcome, verb: string) => {
      const at = (outcome: Outcome) => scoreText(scoreAt(outcome, tokens));
      return {
        claim: `Routers trained with ${eighth} tokens are ${verb} at ${tokens} than those ` +
          `trained with ${length}`,
        paper: "they are",
        here: `trained with ${eighth}: ${at(short)}, with ${length}: ${at(long)}`,
        holds: isLower(scoreAt(better, tokens)!, scoreAt(worse, tokens)!),
      };
    };
    const gain = scoreAt(long, eighth)!.gains.find(({ baseline }) => baseline === "dense");
    const lengths = long.evaluation.prefixes.map(({ prefix }) => prefix)
      .filter((tokens) => tokens >= SHORTEST); // study "short" tells of fewer
    return {
      claims: [
        {
          claim: `${eighth} tokens beat the dense model, for routers trained with ${length}`,
          paper: "32 tokens do, for 256",
          here: gain ? gainText(gain) : "no dense model",
          holds: gain ? gain.low > 0 : null,
        },
        comparison(eighth, short, long, "better"),
        comparison(length, long, short, "worse"),
      ],
      table: makeTable(outcomes, [
        labels("routers"),
        ...lengths.map((tokens) =>
          scores(`${tokens} tokens`, (outcome: Outcome) => scoreAt(outcome, tokens))
        ),
      ]),
      plots: [prefixesPlot({
        id: "prefix",
        title: "Perplexity by routing prefix",
        shortest: SHORTEST,
        about: "Routers trained with other lengths.",
      }, outcomes)],
    };
  },
};

const MOST_TOKENS = 32;

/** From how many tokens on routers of other lengths are compared. */
const COMPARED = 4;

const reliability = (
  head: string,
  right: (reliability: NonNullable<Outcome["evaluation"]["reliability"]>) => number,
): Column => [
  head,
  ({ evaluation: { reliability } }) => reliability && percent(right(reliability)),
];

/** What short prompts are worth. */
export const shortPrompts: Study = {
  name: "short",
  title: "Prompts of a few tokens",
  question: "To which expert does a short prompt go, how often is it the one of a longer " +
    "prompt, and what does it cost?",
  paper: "Asked by reviewers: the paper shows prefixes of 32 tokens and more.",
  check,
  setups: (preset) =>
    setups(preset).map((setup) => ({
      ...setup,
      // Lengths that evaluations do not measure unless asked. One token is no evidence: it goes to
      // expert 0.
      choices: { routeLengths: [1, 2, ...setup.choices?.routeLengths ?? []] },
    })),
  findings(outcomes) {
    const lengths = sharedLengths(outcomes).filter((length) => length <= MOST_TOKENS);
    const [long, , mixed] = outcomes;
    const { prefix } = long.evaluation;
    const first = lengths.find((length) => length >= COMPARED)!;
    const better = `are better with ${first} tokens than those trained with ${prefix}`;
    return {
      claims: [isBetter(`Routers trained with mixed lengths ${better}`, {
        "mixed lengths": scoreAt(mixed, first)!,
        [`${prefix} tokens`]: scoreAt(long, first)!,
      })],
      table: makeTable(outcomes, [
        labels("routers"),
        ...lengths.flatMap((tokens): Column[] => [
          [
            `${tokens} ${tokens === 1 ? "token" : "tokens"}: perplexity`,
            (outcome) => scoreAt(outcome, tokens)!.perplexity.toFixed(2),
          ],
          [
            "same expert as at the length of training",
            (outcome) =>
              tokens < outcome.evaluation.prefix
                ? percent(scoreAt(outcome, tokens)!.agreement)
                : null,
          ],
        ]),
        // How often the expert that is chosen is the best one in hindsight, where the margin is
        // largest and smallest.
        reliability("best choice, at the length of training", ({ right }) => right),
        reliability("surest tenth", ({ bins }) => bins.at(-1)!.right),
        reliability("least sure tenth", ({ bins }) => bins[0].right),
      ]),
      plots: [prefixesPlot({
        id: "short",
        title: "Perplexity of short prompts",
        longest: MOST_TOKENS,
        about: "Routers trained with other lengths.",
      }, outcomes)],
    };
  },
};
