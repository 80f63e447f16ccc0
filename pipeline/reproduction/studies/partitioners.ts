/**
 * Study "partitioners": routers beside clusters, random parts and parts by source, with everything else equal
 * (SmallTalk LM, figure 4c).
 *
 * @module
 */

import type { Configuration } from "../../settings/configuration.ts";
import { prefixesPlot } from "./plots.ts";
import {
  type Outcome,
  percentText,
  scoreAt,
  scoreText,
  seedRows,
  seedsTo,
  setupOf,
  type Study,
} from "./study.ts";

/** The ways to split, whether seeds are repeated, and whether a prompt can be routed. */
const WAYS: {
  name: string;
  label: string;
  settings: Partial<Configuration>;
  repeated: boolean;
  routes: boolean;
}[] = [
  { name: "em", label: "routers from random parts", settings: {}, repeated: true, routes: true },
  {
    name: "em-from-clusters",
    label: "routers from clusters",
    settings: { start: "ctbm" },
    repeated: true,
    routes: true,
  },
  {
    name: "fixed-clusters",
    label: "clusters, routed by likelihood",
    settings: { start: "ctbm", fixed: true },
    repeated: false,
    routes: true,
  },
  {
    name: "ctbm",
    label: "clusters of TF-IDF (c-BTM)",
    settings: { partitioner: "ctbm" },
    repeated: true,
    routes: true,
  },
  {
    name: "random",
    label: "random parts",
    settings: { partitioner: "random" },
    repeated: false,
    routes: true,
  },
  {
    name: "source",
    label: "parts by source",
    settings: { partitioner: "source" },
    repeated: false,
    routes: false,
  },
];

const MOST_TOKENS = 1024;

/**
 * Says with which rate and for how many rounds the routers of a run were trained, where it was searched
 * for.
 */
function routersText(
  { setup: { searchesRouters, settings: { routerRate, rounds } } }: Outcome,
): string | null {
  if (!searchesRouters) return null;
  return routerRate === undefined ? "those of the preset" : `${routerRate} × ${rounds}`;
}

/** Lists the rows of mixtures in which several experts answer together. */
function togetherRows({ setup, evaluation: { mixing } }: Outcome, lengths: readonly number[]) {
  return (mixing?.mixes ?? []).filter(({ experts }) => experts > 1).map((mix) => [
    `${setup.label}, ${mix.experts} experts together`,
    ...lengths.map((length) => scoreText(mix.prefixes.find(({ prefix }) => prefix === length))),
    scoreText(mix),
    ...[null, null, null, null],
  ]);
}

/** How ways to split compare. */
export const partitioners: Study = {
  name: "partitioners",
  title: "Routers beside clusters, random parts and sources",
  question: "Which way to split text makes the best mixture, and which routes a short prompt?",
  paper: "Figure 4c: clusters of TF-IDF route clearly worse with short prefixes.",
  setups: ({ experts }, seeds) =>
    WAYS.flatMap(({ name, label, settings, repeated }) =>
      seedsTo(repeated ? seeds : 1).map((seed) => {
        const models = name === "em" ? ["experts", "dense", "dense-steps"] as const : ["experts"] as const;
        const choices = name === "ctbm" ? { mix: [1, 2] } : undefined;
        const setup = setupOf(
          `${name}-${experts}-experts`,
          label,
          { experts, ...settings },
          models,
          seed,
          choices,
        );
        return { ...setup, searchesRouters: settings.partitioner === undefined };
      })
    ),
  findings(outcomes) {
    const lengths = outcomes[0].evaluation.prefixes.map(({ prefix }) => prefix).filter((length) =>
      length >= 8
    );
    const of = (way: string) => outcomes.filter(({ setup }) => setup.name.startsWith(`${way}-`));
    const routed = outcomes.filter(({ evaluation }) => evaluation.prefixes.length > 1);
    const [em, started, clusters] = ["em", "em-from-clusters", "ctbm"].map((way) =>
      of(way).filter(({ setup }) => way !== "em" || !setup.name.startsWith("em-from-"))
    );
    const short = lengths[0], whole = lengths.at(-1)!;
    const versus = (a: readonly Outcome[], b: readonly Outcome[], tokens?: number) =>
      a.map((outcome, i) =>
        [outcome, b[i]].map((one) =>
          (tokens === undefined ? one.evaluation.scores.mixture! : scoreAt(one, tokens)!).perplexity
        )
      );
    const text = (pairs: number[][]) =>
      pairs.map((pair) => pair.map((value) => value.toFixed(2)).join(" and ")).join("; ");
    const ahead = (pairs: number[][]) => pairs.every(([a, b]) => a < b);
    const [shortPairs, startPairs, wholePairs] = [
      versus(em, clusters, short),
      versus(started, em),
      versus(em, clusters, whole),
    ];
    return {
      claims: [
        {
          claim: `Routers are ahead of clusters where ${short} tokens route, with every seed`,
          paper: "they are",
          here: text(shortPairs),
          holds: ahead(shortPairs),
        },
        {
          claim: "Routers are ahead of clusters where whole sequences route, with every seed",
          paper: "not reported",
          here: text(wholePairs),
          holds: ahead(wholePairs),
        },
        {
          claim:
            "Routers that start from clusters are ahead of those that start from random parts, with every seed",
          paper: "not reported",
          here: text(startPairs),
          holds: ahead(startPairs),
        },
      ],
      table: {
        head: [
          "parts",
          ...lengths.map((length) => `${length} tokens`),
          "as trained",
          "best in hindsight",
          "NMI",
          "largest share",
          "routers: rate × rounds",
        ],
        rows: [
          ...outcomes.flatMap((outcome) => [
            [
              outcome.setup.label,
              ...lengths.map((length) => length > MOST_TOKENS ? null : scoreText(scoreAt(outcome, length)!)),
              scoreText(outcome.evaluation.scores.mixture),
              scoreText(outcome.evaluation.scores.oracle),
              outcome.partition.nmi?.toFixed(3) ?? null,
              percentText(Math.max(...outcome.evaluation.segments.map(({ share }) => share))),
              routersText(outcome),
            ],
            ...togetherRows(outcome, lengths),
          ]),
          ...seedRows(outcomes, (outcome) => [
            ...lengths.map((length) =>
              length > MOST_TOKENS ? undefined : scoreAt(outcome, length)!.perplexity
            ),
            outcome.evaluation.scores.mixture?.perplexity,
            outcome.evaluation.scores.oracle?.perplexity,
            undefined,
            undefined,
            undefined,
          ]),
        ],
      },
      plots: [
        prefixesPlot(
          "study-partitioners",
          "Perplexity by routing prefix, for each way to split",
          "Every mixture sees the same tokens for as many steps.",
          routed.filter(({ setup }) => setup.settings.seed === 0),
        ),
      ],
    };
  },
};
