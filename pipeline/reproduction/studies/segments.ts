/**
 * Study "segments": whether every expert beats the dense models on its own text, and how much text each gets (SmallTalk LM,
 * figure 5).
 *
 * @module
 */

import { BASELINES } from "../../evaluation/baselines.ts";
import { segmentPlot } from "../../report/sections/evaluation.ts";
import { allAhead, ownTextOf } from "../own_text.ts";
import { MODELS, percentText, seedsTo, setupOf, type Study } from "../study.ts";

/** How experts do on their own text. */
export const segments: Study = {
  name: "segments",
  title: "Every expert on its own text",
  question:
    "Does every expert beat the dense models on the text that is routed to it, and does each get a share?",
  paper:
    "Figure 5: all experts do, and all get a substantial share, though nothing balances them at inference.",
  setups: ({ experts }, seeds) =>
    seedsTo(seeds).map((seed) =>
      setupOf(`em-${experts}-experts`, `${experts} experts`, { experts }, MODELS, { seed })
    ),
  findings(outcomes) {
    const experts = outcomes.flatMap(ownTextOf);
    const shares = outcomes.flatMap(({ evaluation }) =>
      evaluation.segments.map(({ share }) => share * evaluation.experts)
    );
    const [{ setup, evaluation }] = outcomes;
    const baselines = BASELINES.filter((name) => setup.models.includes(name));
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
          here: `${Math.min(...shares).toFixed(2)} to ${Math.max(...shares).toFixed(2)} equal shares`,
          holds: Math.min(...shares) >= 0.25,
        },
      ],
      table: {
        head: [
          ...["run", "expert", "most of its training text", "share"],
          ...["perplexity", "below dense, × batch", "below dense, × steps"],
        ],
        rows: experts.map(({ setup, expert, sources, share, perplexity, below }) => [
          ...[setup.label, String(expert), sources, percentText(share), perplexity?.toFixed(2) ?? null],
          ...[below.dense, below["dense-steps"]].map((below) => below === null ? null : percentText(below)),
        ]),
      },
      plots: [{ ...segmentPlot(evaluation, ["mixture", ...baselines]), id: "study-segments" }],
    };
  },
};
