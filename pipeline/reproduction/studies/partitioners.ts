/**
 * Study "partitioners": routers beside clusters, random parts and parts by source, with everything else equal
 * (SmallTalk LM, figure 4c).
 *
 * @module
 */

import { BASELINES } from "../../evaluation/baselines.ts";
import { wayName } from "../../report/plots.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { prefixesPlot } from "./plots.ts";
import {
  type Outcome,
  percentText,
  scoreAt,
  scoreText,
  seedRows,
  seedsTo,
  type Setup,
  setupOf,
  type Study,
} from "./study.ts";

/** A way to split text. */
interface Way {
  /** Its name, as runs have it. */
  name: string;
  /** Its name in tables. */
  label: string;
  /** Settings in which its runs differ from the preset. */
  settings: Partial<Configuration>;
  /** Whether it has runs of several seeds. */
  repeated?: boolean;
  /** Whether it has a run with twice the experts. */
  doubled?: boolean;
}

const WAYS: Way[] = [
  { name: "em", label: "routers from random parts", settings: {}, repeated: true, doubled: true },
  {
    name: "em-from-clusters",
    label: "routers from clusters",
    settings: { start: "ctbm" },
    repeated: true,
    doubled: true,
  },
  {
    name: "fixed-clusters",
    label: "clusters, routed by likelihood",
    settings: { start: "ctbm", fixed: true },
  },
  { name: "ctbm", label: "clusters of TF-IDF (c-BTM)", settings: { partitioner: "ctbm" }, repeated: true },
  { name: "random", label: "random parts", settings: { partitioner: "random" } },
  { name: "source", label: "parts by source", settings: { partitioner: "source" } },
];

const MOST_TOKENS = 1024;

/**
 * Describes the run of a way. Where there are twice as many experts, routers have the rate and the rounds that were
 * found for the preset's number.
 */
function setupFor({ name, label, settings }: Way, experts: number, preset: number, seed = 0): Setup {
  const isDoubled = experts !== preset;
  const steps = isDoubled ? [] : ["dense-steps" as const];
  const setup = setupOf(
    `${name}-${experts}-experts`,
    isDoubled ? `${label}, ${experts} experts` : label,
    { experts, ...settings },
    name === "em" ? ["experts", "dense", ...steps] : ["experts"],
    seed,
    name === "ctbm" ? { mix: [1, 2] } : undefined,
  );
  return settings.partitioner === undefined ? { ...setup, searchesRouters: preset } : setup;
}

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

/** Lists the rows of the dense models beside a mixture. */
function baselineRows({ setup, evaluation: { scores, experts } }: Outcome, lengths: readonly number[]) {
  const { seed } = setup.settings;
  return BASELINES.filter((name) => setup.models.includes(name)).map((name) => [
    `${wayName(name, experts)}${seed ? `, seed ${seed}` : ""}`,
    ...lengths.map(() => null),
    scoreText(scores[name]),
    ...[null, null, null, null],
  ]);
}

/** How ways to split compare. */
export const partitioners: Study = {
  name: "partitioners",
  title: "Routers beside clusters, random parts and sources",
  question: "Which way to split text makes the best mixture, and which routes a short prompt?",
  paper: "Figure 4c: clusters of TF-IDF route clearly worse with short prefixes.",
  setups: ({ experts }, seeds) => [
    ...WAYS.flatMap((way) =>
      seedsTo(way.repeated ? seeds : 1).map((seed) => setupFor(way, experts, experts, seed))
    ),
    ...WAYS.filter(({ doubled }) => doubled).map((way) => setupFor(way, 2 * experts, experts)),
  ],
  findings(outcomes) {
    const lengths = outcomes[0].evaluation.prefixes.map(({ prefix }) => prefix).filter((length) =>
      length >= 8
    );
    const preset = Number(outcomes[0].setup.settings.experts);
    const of = (way: string, experts = preset) =>
      outcomes.filter(({ setup }) => setup.name.startsWith(`${way}-${experts}-experts-`));
    const [em, started, clusters, [random]] = ["em", "em-from-clusters", "ctbm", "random"].map((way) =>
      of(way)
    );
    const [emDoubled, startedDoubled] = ["em", "em-from-clusters"].map((way) => of(way, 2 * preset));
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
    const [shortPairs, startPairs, wholePairs, doubledPairs] = [
      versus(em, clusters, short),
      versus(started, em),
      versus(em, clusters, whole),
      versus(startedDoubled, emDoubled),
    ];
    const control = [random.evaluation.scores.mixture!, em[0].evaluation.scores.dense!].map((score) =>
      score.perplexity
    );
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
        {
          claim: `Routers that start from clusters are ahead of the others with ${2 * preset} experts, too`,
          paper: "not reported",
          here: text(doubledPairs),
          holds: ahead(doubledPairs),
        },
        {
          claim: "Random parts, which no expert specialises on, gain nothing over the dense model of " +
            `${preset} times the batch`,
          paper: "not reported",
          here: text([control]),
          holds: !ahead([control]),
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
            ...baselineRows(outcome, lengths),
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
      plots: [preset, 2 * preset].map((experts) =>
        prefixesPlot(
          `study-partitioners-${experts}`,
          `Perplexity by routing prefix, for each way to split among ${experts} experts`,
          "Every mixture sees the same tokens for as many steps, and so do the dense models.",
          outcomes.filter(({ setup: { settings }, evaluation }) =>
            settings.seed === 0 && settings.experts === experts && evaluation.prefixes.length > 1
          ),
          { baselines: ["dense", "dense-steps"] },
        )
      ),
    };
  },
};
