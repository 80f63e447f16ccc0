/**
 * Study "prefix": how many tokens route well, for routers that were trained with long, short and mixed prefixes (SmallTalk LM,
 * figure 4b).
 *
 * @module
 */

import { gainText } from "../../evaluation/evaluation.ts";
import { checkLength, measuredAt, mixedLengths, shortPrefix } from "./lengths.ts";
import { prefixesPlot } from "./plots.ts";
import { isLower, type Outcome, scoreAt, scoreText, setupOf, type Study } from "./study.ts";

/** Tokens of the shortest prefix that is told: study "short" tells of fewer. */
const SHORTEST = 4;

/** How the length of the routing prefix matters. */
export const prefix: Study = {
  name: "prefix",
  title: "How many tokens route well",
  question:
    "What does a shorter routing prefix cost, and do routers that were trained with short prefixes bear it better?",
  paper:
    "Figure 4b: 32 tokens beat the dense model for routers trained with 256; routers trained with 32 are better at 32 and worse at long prefixes.",
  check: checkLength,
  setups: ({ experts, prefix: length }) => [
    setupOf(`em-${experts}-experts`, `trained with ${length}`, { experts }, [
      "experts",
      "dense",
      "dense-steps",
    ]),
    setupOf(
      `em-prefix-${shortPrefix(length)}`,
      `trained with ${shortPrefix(length)}`,
      { prefix: shortPrefix(length) },
      ["experts"],
      0,
      measuredAt(length),
    ),
    setupOf("em-mixed-prefixes", "trained with mixed lengths", { prefixLengths: mixedLengths(length) }, [
      "experts",
    ]),
  ],
  findings(outcomes) {
    const [long, short] = outcomes;
    const length = long.evaluation.prefix;
    const eighth = shortPrefix(length);
    const at = (outcome: Outcome, tokens: number) => scoreText(scoreAt(outcome, tokens));
    const pair = (tokens: number) =>
      `trained with ${eighth}: ${at(short, tokens)}, with ${length}: ${at(long, tokens)}`;
    const gain = scoreAt(long, eighth)!.gains.find(({ baseline }) => baseline === "dense");
    const lengths = long.evaluation.prefixes.map(({ prefix }) => prefix).filter((tokens) =>
      tokens >= SHORTEST
    );
    return {
      claims: [
        {
          claim: `${eighth} tokens beat the dense model, for routers trained with ${length}`,
          paper: "32 tokens do, for 256",
          here: gain ? gainText(gain) : "no dense model",
          holds: gain ? gain.low > 0 : null,
        },
        {
          claim:
            `Routers trained with ${eighth} tokens are better at ${eighth} than those trained with ${length}`,
          paper: "they are",
          here: pair(eighth),
          holds: isLower(scoreAt(short, eighth)!, scoreAt(long, eighth)!),
        },
        {
          claim:
            `Routers trained with ${eighth} tokens are worse at ${length} than those trained with ${length}`,
          paper: "they are",
          here: pair(length),
          holds: isLower(scoreAt(long, length)!, scoreAt(short, length)!),
        },
      ],
      table: {
        head: ["routers", ...lengths.map((tokens) => `${tokens} tokens`)],
        rows: outcomes.map((outcome) => [
          outcome.setup.label,
          ...lengths.map((tokens) => scoreText(scoreAt(outcome, tokens)!)),
        ]),
      },
      plots: [
        prefixesPlot(
          "study-prefix",
          "Perplexity by routing prefix",
          "Routers trained with other lengths.",
          outcomes,
          { shortest: SHORTEST },
        ),
      ],
    };
  },
};
