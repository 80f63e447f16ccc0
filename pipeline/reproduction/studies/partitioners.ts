/**
 * Study "partitioners": routers next to clusters, random parts and parts by source, with everything else equal
 * (SmallTalk LM, figure 4c).
 *
 * @module
 */

import { BASELINES } from "../../evaluation/baselines.ts";
import { wayName } from "../../report/charts.ts";
import { NOT_REPORTED } from "../../report/reproduction.ts";
import { PARTITIONERS } from "../../partition/partitioners.ts";
import { OFF } from "../../text/inputs.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { prefixesPlot } from "../plots.ts";
import { makeSetup, type Outcome, type Setup, type Study } from "../study.ts";
import {
  agreements,
  type Column,
  isLower,
  labels,
  makeTable,
  percentText,
  perplexities,
  scoreAt,
  scoreText,
  sharedLengths,
} from "../tables.ts";

/** A way to split text: its name, as runs have it that no other study has, and in tables; settings that tell it from the others. */
interface Way extends Pick<Setup, "name" | "label" | "settings"> {
  /** Whether it has runs of several seeds. */
  repeated?: boolean;
  /** Whether it has a run with twice the experts. */
  doubled?: boolean;
}

const way = (name: string, label: string, settings: Way["settings"], more: Partial<Way> = {}): Way => ({
  ...{ name, label, settings, ...more },
});
const em = (start: "random" | "ctbm", fixed = false) => ({ partitioner: "em", start, fixed });
const BOTH = { repeated: true, doubled: true };

const EM = way("em-from-random-parts", "routers from random parts", em("random"), BOTH);
const STARTED = way("em-from-clusters", "routers from clusters", em("ctbm"), BOTH);
const FIXED = way("fixed-clusters", "clusters, routed by likelihood", em("ctbm", true));
const CLUSTERS = way("ctbm", "clusters of TF-IDF (c-BTM)", { partitioner: "ctbm" }, { repeated: true });
const RANDOM = way("random", "random parts", { partitioner: "random" });
const SOURCE = way("source", "parts by source, whose true label routes", { partitioner: "source" });
const WAYS = [EM, STARTED, FIXED, CLUSTERS, RANDOM, SOURCE];

/** Tokens of the shortest prefix that is compared. */
const SHORTEST = 8;

/** Whether settings split text in this way. */
const splitsSo = ({ settings }: Way, given: Partial<Configuration>): boolean =>
  (Object.keys(settings) as (keyof Configuration)[]).every((name) => given[name] === settings[name]);

/**
 * Describes the runs of a way. Those that split as the preset does are the runs that other studies have, too.
 * Dense models are trained next to the runs of the way `withDense`. Where there are twice as many experts,
 * routers have the rate and the rounds that were found for the preset's number.
 */
function setupFor(way: Way, withDense: Way, preset: Configuration, times = 1): Setup {
  const { name, label, settings, repeated } = way;
  const experts = times * preset.experts;
  const baselines = times > 1 ? ["dense"] as const : ["dense", "dense-steps"] as const;
  return makeSetup(
    `${splitsSo(way, preset) ? "em" : name}-${experts}-experts`,
    times > 1 ? `${label}, ${experts} experts` : label,
    { experts, ...settings },
    {
      models: way === withDense ? ["experts", ...baselines] : ["experts"],
      repeated: repeated && times === 1,
      ...way === CLUSTERS && { choices: { mix: [1, 2] } },
      ...settings.partitioner === "em" && { searchesRouters: preset.experts },
    },
  );
}

/** Whether text has labels of sources, as far as settings tell. */
const hasLabels = ({ input, sourceField, sourceFromPath }: Configuration): boolean =>
  input.length === 0 || sourceField !== "" || sourceFromPath !== OFF;

/** Reports with which rate and for how many rounds the routers of a run were trained, where it was searched for. */
function routersText({ setup }: Outcome): string | null {
  const { searchesRouters, settings: { routerRate, rounds } } = setup;
  if (!searchesRouters) return null;
  return routerRate === undefined ? "as given" : `${routerRate} × ${rounds}`;
}

/** Lists rows of mixtures in which several experts answer together, and of the dense models next to a mixture. */
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
  labels("parts"),
  ...lengths.map((length): Column => ({
    head: `${length} tokens`,
    cell: (outcome) => routes(outcome) ? scoreText(scoreAt(outcome, length)!) : null,
    figure: (outcome) => scoreAt(outcome, length)!.perplexity,
  })),
  perplexities("as trained", () => "mixture"),
  perplexities("best in hindsight", () => "oracle"),
  agreements("NMI"),
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
  title: "Routers next to clusters, random parts and sources",
  question: "Which way to split text makes the best mixture, and which routes a short prompt?",
  paper: "Figure 4c: clusters of TF-IDF route clearly worse with short prefixes.",
  setups(preset) {
    const ways = WAYS.filter((way) => way !== SOURCE || hasLabels(preset));
    const withDense = ways.find((way) => splitsSo(way, preset)) ?? ways[0]; // the preset's way may not be compared
    return [
      ...ways.map((way) => setupFor(way, withDense, preset)),
      ...ways.filter(({ doubled }) => doubled).map((way) => setupFor(way, withDense, preset, 2)),
    ];
  },
  findings(outcomes) {
    const experts = Number(outcomes[0].setup.settings.experts);
    const lengths = sharedLengths(outcomes.filter(routes)).filter((length) => length >= SHORTEST);
    return {
      claims: compareClusters(outcomes, experts, [lengths[0], lengths.at(-1)!]),
      table: makeTable(outcomes, columns(lengths), { after: (outcome) => moreRows(outcome, lengths) }),
      plots: [1, 2].map((times) =>
        prefixesPlot(
          `partitioners-${times * experts}`,
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

function compareClusters(outcomes: readonly Outcome[], experts: number, [short, whole]: readonly number[]) {
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
