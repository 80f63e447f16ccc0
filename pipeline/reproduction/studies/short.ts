/**
 * Study "short": how well a few tokens of a prompt route, for routers trained with long, short and mixed
 * prefixes.
 *
 * @module
 */

import { NOT_REPORTED } from "../../report/reproduction.ts";
import { prefix } from "./prefix.ts";
import { prefixesPlot } from "./plots.ts";
import { isLower, lengthsOf, type Outcome, percentText, scoreAt, scoreText, type Study } from "./study.ts";

const MOST_TOKENS = 32;

/** Lengths that evaluations do not measure unless asked. One token is no evidence: it goes to expert 0. */
const SHORTEST = [1, 2];

/** From how many tokens on routers of other lengths are compared. */
const COMPARED = 4;

/** What short prompts are worth. */
export const short: Study = {
  name: "short",
  title: "Prompts of a few tokens",
  question:
    "To which expert does a short prompt go, how often is it the one of a longer prompt, and what does it cost?",
  paper: "Asked by reviewers: the paper shows prefixes of 32 tokens and more.",
  check: prefix.check,
  setups: (preset, seeds) =>
    prefix.setups(preset, seeds).map((setup) => ({
      ...setup,
      choices: { routeLengths: [...SHORTEST, ...setup.choices?.routeLengths ?? []] },
    })),
  findings(outcomes) {
    const lengths = lengthsOf(outcomes).filter((length) => length <= MOST_TOKENS);
    const [long, , mixed] = outcomes;
    const first = lengths.find((length) => length >= COMPARED)!;
    const [ofMixed, ofLong] = [mixed, long].map((one) => scoreAt(one, first)!);
    return {
      claims: [{
        claim:
          `Routers trained with mixed lengths are better with ${first} tokens than those trained with ${long.evaluation.prefix}`,
        paper: NOT_REPORTED,
        here: `mixed lengths ${scoreText(ofMixed)}, ${long.evaluation.prefix} tokens ${scoreText(ofLong)}`,
        holds: isLower(ofMixed, ofLong),
      }],
      table: {
        head: [
          "routers",
          ...lengths.flatMap((tokens) => [
            `${tokens === 1 ? "1 token" : `${tokens} tokens`}: perplexity`,
            "same expert as at the length of training",
          ]),
          "best choice, at the length of training",
          "surest tenth",
          "least sure tenth",
        ],
        rows: outcomes.map((outcome) => [
          outcome.setup.label,
          ...lengths.flatMap((tokens) => {
            const row = scoreAt(outcome, tokens)!;
            const isShorter = tokens < outcome.evaluation.prefix;
            return [row.perplexity.toFixed(2), isShorter ? percentText(row.agreement) : null];
          }),
          ...rightTexts(outcome),
        ]),
      },
      plots: [
        prefixesPlot(
          "study-short",
          "Perplexity of short prompts",
          "Routers trained with other lengths.",
          outcomes,
          { longest: MOST_TOKENS },
        ),
      ],
    };
  },
};

/**
 * Says how often the expert that is chosen is the best one in hindsight: over all sequences, and where the
 * margin is largest and smallest.
 */
function rightTexts({ evaluation: { reliability } }: Outcome): (string | null)[] {
  if (!reliability) return [null, null, null];
  const { right, bins } = reliability;
  return [right, bins.at(-1)!.right, bins[0].right].map(percentText);
}
