/**
 * Study "short": how well a few tokens of a prompt route, for routers trained with long, short and mixed
 * prefixes.
 *
 * @module
 */

import { prefix } from "./prefix.ts";
import { prefixesPlot } from "./plots.ts";
import { percentText, scoreAt, type Study } from "./study.ts";

const MOST_TOKENS = 32;

/** What short prompts are worth. */
export const short: Study = {
  name: "short",
  title: "Prompts of a few tokens",
  question:
    "To which expert does a short prompt go, how often is it the one of a longer prompt, and what does it cost?",
  paper: "Asked by reviewers: the paper shows prefixes of 32 tokens and more.",
  setups: prefix.setups,
  findings(outcomes) {
    const lengths = outcomes[0].evaluation.prefixes.map(({ prefix }) => prefix).filter((length) =>
      length <= MOST_TOKENS
    );
    const [long, , mixed] = outcomes;
    const first = lengths[0];
    return {
      claims: [{
        claim:
          `Routers trained with mixed lengths are better with ${first} tokens than those trained with ${long.evaluation.prefix}`,
        paper: "not reported",
        here: [mixed, long].map((one) => scoreAt(one, first)!.perplexity.toFixed(2)).join(" and "),
        holds: scoreAt(mixed, first)!.perplexity < scoreAt(long, first)!.perplexity,
      }],
      table: {
        head: [
          "routers",
          ...lengths.flatMap((tokens) => [`${tokens} tokens: perplexity`, "as a long prefix routes"]),
        ],
        rows: outcomes.map((outcome) => [
          outcome.setup.label,
          ...lengths.flatMap((tokens) => {
            const row = scoreAt(outcome, tokens)!;
            return [row.perplexity.toFixed(2), percentText(row.agreement)];
          }),
        ]),
      },
      plots: [
        prefixesPlot(
          "study-short",
          "Perplexity of short prompts",
          "Routers trained with other lengths.",
          outcomes,
          MOST_TOKENS,
        ),
      ],
    };
  },
};
