/**
 * Study "partitioners": routers beside clusters, random parts and parts by source, with everything else equal
 * (SmallTalk LM, figure 4c).
 *
 * @module
 */

import { BASELINES } from "../../evaluation/baselines.ts";
import { wayName } from "../../report/theme.ts";
import { NOT_REPORTED } from "../../report/reproduction.ts";
import { PARTITIONERS } from "../../partition/partitioners.ts";
import { OFF } from "../../text/path_source.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { prefixesPlot } from "../plots.ts";
import {
  type Column,
  isLower,
  lengthsOf,
  type Outcome,
  percentText,
  scoreAt,
  scoreText,
  seedsTo,
  type Setup,
  setupOf,
  type Study,
  tableOf,
} from "../study.ts";

/** A way to split text. */
interface Way {
  /** Its name, as runs have it that no other study has. */
  name: string;
  /** Its name in tables. */
  label: string;
  /** Settings that tell it from the other ways. */
  settings: Partial<Configuration>;
  /** Whether it has runs of several seeds. */
  repeated?: boolean;
  /** Whether it has a run with twice the experts. */
  doubled?: boolean;
}

const EM: Way = {
  name: "em-from-random-parts",
  label: "routers from random parts",
  settings: { partitioner: "em", start: "random", fixed: false },
  ...{ repeated: true, doubled: true },
};
const STARTED: Way = {
  name: "em-from-clusters",
  label: "routers from clusters",
  settings: { partitioner: "em", start: "ctbm", fixed: false },
  ...{ repeated: true, doubled: true },
};
const FIXED: Way = {
  name: "fixed-clusters",
  label: "clusters, routed by likelihood",
  settings: { partitioner: "em", start: "ctbm", fixed: true },
};
const CLUSTERS: Way = {
  name: "ctbm",
  label: "clusters of TF-IDF (c-BTM)",
  settings: { partitioner: "ctbm" },
  repeated: true,
};
const RANDOM: Way = { name: "random", label: "random parts", settings: { partitioner: "random" } };
const SOURCE: Way = {
  name: "source",
  label: "parts by source, whose true label routes",
  settings: { partitioner: "source" },
};
const WAYS = [EM, STARTED, FIXED, CLUSTERS, RANDOM, SOURCE];

/** Tokens of the shortest prefix that is compared. */
const SHORTEST = 8;

/** Whether settings split text in this way. */
const splitsSo = ({ settings }: Way, given: Partial<Configuration>): boolean =>
  (Object.keys(settings) as (keyof Configuration)[]).every((name) => given[name] === settings[name]);

/**
 * Describes the run of a way. That which splits as the preset does is the run that other studies have, too.
 * Dense models are trained beside the runs of the way `withDense`. Where there are twice as many experts,
 * routers have the rate and the rounds that were found for the preset's number.
 */
function setupFor(way: Way, withDense: Way, experts: number, preset: Configuration, seed = 0): Setup {
  const { name, label, settings } = way;
  const isDoubled = experts !== preset.experts;
  const dense: Setup["models"] = isDoubled ? ["dense"] : ["dense", "dense-steps"];
  const setup = setupOf(
    `${splitsSo(way, preset) ? "em" : name}-${experts}-experts`,
    isDoubled ? `${label}, ${experts} experts` : label,
    { experts, ...settings },
    way === withDense ? ["experts", ...dense] : ["experts"],
    { seed, choices: way === CLUSTERS ? { mix: [1, 2] } : undefined },
  );
  return settings.partitioner === "em" ? { ...setup, searchesRouters: preset.experts } : setup;
}

/** Whether text has labels of sources, as far as settings tell. */
const hasLabels = ({ input, sourceField, sourceFromPath }: Configuration): boolean =>
  input.length === 0 || sourceField !== "" || sourceFromPath !== OFF;

/** Says with which rate and for how many rounds the routers of a run were trained, where it was searched for. */
function routersText({ setup }: Outcome): string | null {
  const { searchesRouters, settings: { routerRate, rounds } } = setup;
  if (!searchesRouters) return null;
  return routerRate === undefined ? "as given" : `${routerRate} × ${rounds}`;
}

/** Lists rows of mixtures in which several experts answer together, and of the dense models beside a mixture. */
function moreRows({ setup, evaluation: { mixing, scores, experts } }: Outcome, lengths: readonly number[]) {
  const none = [null, null, null, null];
  const together = (mixing?.mixes ?? []).filter(({ experts }) => experts > 1).map((mix) => [
    `${setup.label}, ${mix.experts} experts together`,
    ...lengths.map((length) => scoreText(mix.prefixes.find(({ prefix }) => prefix === length))),
    ...[scoreText(mix), ...none],
  ]);
  const { seed } = setup.settings;
  const dense = BASELINES.filter((name) => setup.models.includes(name)).map((name) => [
    `${wayName(name, experts)}${seed ? `, seed ${seed}` : ""}`,
    ...lengths.map(() => null),
    ...[scoreText(scores[name]), ...none],
  ]);
  return [...together, ...dense];
}

/** Whether the tokens of a prompt choose the expert. */
const routes = ({ setup: { settings } }: Outcome): boolean =>
  PARTITIONERS.get(String(settings.partitioner))!.routes;

const columns = (lengths: readonly number[]): Column[] => [
  { head: "parts", cell: ({ setup }) => setup.label },
  ...lengths.map((length): Column => ({
    head: `${length} tokens`,
    cell: (outcome) => routes(outcome) ? scoreText(scoreAt(outcome, length)!) : null,
    figure: (outcome) => scoreAt(outcome, length)!.perplexity,
  })),
  ...([["mixture", "as trained"], ["oracle", "best in hindsight"]] as const).map(([way, head]): Column => ({
    head,
    cell: ({ evaluation }) => scoreText(evaluation.scores[way]),
    figure: ({ evaluation }) => evaluation.scores[way]?.perplexity,
  })),
  { head: "NMI", cell: ({ partition }) => partition.nmi?.toFixed(3) ?? null },
  {
    head: "largest share",
    cell: ({ evaluation }) => percentText(Math.max(...evaluation.segments.map(({ share }) => share))),
  },
  { head: "routers: rate × rounds", cell: routersText },
];

/** Compares two ways seed by seed: where so many tokens route, or as they were trained. */
function perSeed(
  [[first, firsts], [second, seconds]]: readonly (readonly [name: string, outcomes: readonly Outcome[]])[],
  tokens?: number,
): { here: string; holds: boolean } {
  const [a, b] = [firsts, seconds].map((ways) =>
    ways.map((one) =>
      (tokens === undefined ? one.evaluation.scores.mixture! : scoreAt(one, tokens)!).perplexity
    )
  );
  const text = (name: string, values: readonly number[]) =>
    `${name} ${values.map((value) => value.toFixed(2)).join(", ")}`;
  return {
    here: `${text(first, a)}; ${text(second, b)}`,
    holds: a.every((value, seed) => value < b[seed]),
  };
}

/** How ways to split compare. */
export const partitioners: Study = {
  name: "partitioners",
  title: "Routers beside clusters, random parts and sources",
  question: "Which way to split text makes the best mixture, and which routes a short prompt?",
  paper: "Figure 4c: clusters of TF-IDF route clearly worse with short prefixes.",
  setups(preset, seeds) {
    const { experts } = preset;
    const ways = WAYS.filter((way) => way !== SOURCE || hasLabels(preset));
    const withDense = ways.find((way) => splitsSo(way, preset)) ?? ways[0]; // the preset's way may not be compared
    return [
      ...ways.flatMap((way) =>
        seedsTo(way.repeated ? seeds : 1).map((seed) => setupFor(way, withDense, experts, preset, seed))
      ),
      ...ways.filter(({ doubled }) => doubled).map((way) => setupFor(way, withDense, 2 * experts, preset)),
    ];
  },
  findings(outcomes) {
    const experts = Number(outcomes[0].setup.settings.experts);
    const lengths = lengthsOf(outcomes.filter(routes)).filter((length) => length >= SHORTEST);
    return {
      claims: claimsOf(outcomes, experts, [lengths[0], lengths.at(-1)!]),
      table: tableOf(outcomes, columns(lengths), {
        outcome: (outcome) => outcome,
        after: (outcome) => moreRows(outcome, lengths),
      }),
      plots: [1, 2].map((times) =>
        prefixesPlot(
          `study-partitioners-${times * experts}`,
          `Perplexity by routing prefix, for each way to split among ${times * experts} experts`,
          "Every mixture sees as many tokens, and so do the dense models.",
          outcomes.filter((outcome) => {
            const { seed, experts: own } = outcome.setup.settings;
            return seed === 0 && own === times * experts && routes(outcome);
          }),
          { shortest: SHORTEST },
        )
      ),
    };
  },
};

function claimsOf(outcomes: readonly Outcome[], experts: number, [short, whole]: readonly number[]) {
  const of = (way: Way, times = 1) =>
    outcomes.filter(({ setup: { settings } }) =>
      splitsSo(way, settings) && settings.experts === times * experts
    );
  const byClusters = [["routers", of(EM)], ["clusters", of(CLUSTERS)]] as const;
  const [fromClusters, fromRandom] = [STARTED, EM].map((way) => of(way, 2)[0].evaluation.scores.mixture!);
  const dense = outcomes.find(({ setup }) => setup.models.includes("dense"))!.evaluation.scores.dense!;
  const random = of(RANDOM)[0].evaluation.scores.mixture!;
  const later = "routers that start from clusters are ahead of those that start from random parts";
  return [
    {
      claim: `Routers from random parts are ahead of clusters where ${short} tokens route, with every seed`,
      paper: "they are",
      ...perSeed(byClusters, short),
    },
    {
      claim: "Routers from random parts are ahead of clusters where whole sequences route, with every seed",
      paper: NOT_REPORTED,
      ...perSeed(byClusters, whole),
    },
    {
      claim: `R${later.slice(1)}, with every seed`,
      paper: NOT_REPORTED,
      ...perSeed([["from clusters", of(STARTED)], ["from random parts", of(EM)]]),
    },
    {
      claim: `With ${2 * experts} experts, ${later}`,
      paper: NOT_REPORTED,
      here: `from clusters ${scoreText(fromClusters)}, from random parts ${scoreText(fromRandom)}`,
      holds: isLower(fromClusters, fromRandom),
    },
    {
      claim: `Random parts gain nothing over the dense model of ${experts} times the batch`,
      paper: NOT_REPORTED,
      here: `random parts ${scoreText(random)}, dense ${scoreText(dense)}`,
      holds: random.perplexity >= dense.perplexity || (isLower(random, dense) ? false : null),
    },
  ];
}
