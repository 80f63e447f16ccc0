/**
 * Studies of ways to split text: by which partitioner, by routers of which size, and by which rule
 * to assign (SmallTalk LM, figures 4a, 4c).
 *
 * @module
 */

import { percent } from "../../graph/numbers.ts";
import { forwardFlops } from "../../cost/flops.ts";
import { PARTITIONERS } from "../../partition/partitioners.ts";
import { type Claim, NOT_REPORTED } from "../../report/reproduction.ts";
import { wayName } from "../../report/charts.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { OFF } from "../../text/inputs.ts";
import { isBetter, perSeed } from "../claims.ts";
import {
  agreements,
  baselinesOf,
  type Column,
  isLower,
  labels,
  makeTable,
  mixtures,
  type Outcome,
  perplexities,
  perplexitiesPlot,
  prefixesPlot,
  scoreAt,
  scores,
  scoreText,
  type Setup,
  sharedLengths,
  sharedSetup,
  type Study,
} from "../study.ts";

/** A way to split text. */
interface Way extends Pick<Setup, "name" | "label" | "settings" | "repeated"> {
  /** Whether it has a run with twice the experts. */
  doubled?: boolean;
}

/**
 * Describes a way: its name, as runs have it that no other study has, and in tables; settings that
 * tell it from the others.
 */
const way = (
  name: string,
  label: string,
  settings: Way["settings"],
  changes: Partial<Way> = {},
): Way => ({
  name,
  label,
  settings,
  ...changes,
});
const em = (start: Configuration["start"], fixed = false) => ({ partitioner: "em", start, fixed });
const BOTH = { repeated: true, doubled: true };

const EM = way("em-from-random-parts", "routers from random parts", em("random"), BOTH);
const STARTED = way("em-from-clusters", "routers from clusters", em("ctbm"), BOTH);
const FIXED = way("fixed-clusters", "clusters, routed by likelihood", em("ctbm", true));
const CLUSTERS = way("ctbm", "clusters of TF-IDF (c-BTM)", { partitioner: "ctbm" }, {
  repeated: true,
});
const RANDOM = way("random", "random parts", { partitioner: "random" });
const SOURCE = way("source", "parts by source, whose true label routes", { partitioner: "source" });
const WAYS = [EM, STARTED, FIXED, CLUSTERS, RANDOM, SOURCE];

/** Tokens of the shortest prefix that is compared. */
const SHORTEST = 8;

/** Whether settings split text in this way. */
const splitsSo = ({ settings }: Way, configuration: Partial<Configuration>): boolean =>
  (Object.keys(settings) as (keyof Configuration)[]).every((name) =>
    configuration[name] === settings[name]
  );

/**
 * Describes the runs of a way. Those that split as the preset does are the runs that other studies
 * have, too. Dense models are trained next to the runs of one way (`withDense`). Where there are
 * twice as many experts, routers have the rate and the rounds that were found for the preset's
 * number.
 */
function setupFor(way: Way, withDense: boolean, preset: Configuration, times = 1): Setup {
  const { name, label, settings, repeated } = way;
  const experts = times * preset.experts;
  const dense: Setup["models"] = times > 1 ? ["dense"] : ["dense", "dense-steps"];
  return {
    name: `${splitsSo(way, preset) ? "em" : name}-${experts}-experts`,
    label: times > 1 ? `${label}, ${experts} experts` : label,
    settings: { experts, ...settings },
    models: ["experts", ...withDense ? dense : []],
    repeated: repeated && times === 1,
    ...way === CLUSTERS && { choices: { mix: [1, 2] } },
    ...settings.partitioner === "em" && { searchesRouters: preset.experts },
  };
}

/** Whether text has labels of sources, as far as settings tell. */
const hasLabels = ({ input, sourceField, sourceFromPath }: Configuration): boolean =>
  input.length === 0 || sourceField !== "" || sourceFromPath !== OFF;

/** Whether the tokens of a prompt choose the expert. */
const routes = ({ setup: { settings } }: Outcome): boolean =>
  PARTITIONERS.get(String(settings.partitioner))!.routes;

/**
 * Reports with which rate and for how many rounds the routers of a run were trained, where it was
 * searched for.
 */
function routersText({ setup: { searchesRouters, settings } }: Outcome): string | null {
  if (!searchesRouters) return null;
  return settings.routerRate === undefined
    ? "as given"
    : `${settings.routerRate} × ${settings.rounds}`;
}

/**
 * Lists rows of mixtures in which several experts answer together, and of the dense models next to
 * a mixture.
 */
function moreRows(outcome: Outcome, lengths: readonly number[]) {
  const { setup: { label, settings: { seed } }, evaluation: { mixing, scores, experts } } = outcome;
  const none = [null, null, null, null];
  const together = (mixing?.mixes ?? []).filter(({ experts }) => experts > 1).map((mix) => [
    `${label}, ${mix.experts} experts together`,
    ...lengths.map((length) => scoreText(mix.prefixes.find(({ prefix }) => prefix === length))),
    ...[scoreText(mix), ...none],
  ]);
  const dense = baselinesOf(outcome).map((name) => [
    `${wayName(name, experts)}${seed ? `, seed ${seed}` : ""}`,
    ...lengths.map(() => null),
    ...[scoreText(scores[name]), ...none],
  ]);
  return [...together, ...dense];
}

/** How ways to split compare. */
export const partitioners: Study = {
  name: "partitioners",
  title: "Routers next to clusters, random parts and sources",
  question: "Which way to split text makes the best mixture, and which routes a short prompt?",
  paper: "Figure 4c: clusters of TF-IDF route clearly worse with short prefixes.",
  setups(preset) {
    const ways = WAYS.filter((way) => way !== SOURCE || hasLabels(preset));
    // The preset's way may not be among those compared.
    const withDense = ways.find((way) => splitsSo(way, preset)) ?? ways[0];
    return [
      ...ways.map((way) => setupFor(way, way === withDense, preset)),
      ...ways.filter(({ doubled }) => doubled).map((way) =>
        setupFor(way, way === withDense, preset, 2)
      ),
    ];
  },
  findings(outcomes) {
    const experts = Number(outcomes[0].setup.settings.experts);
    const lengths = sharedLengths(outcomes.filter(routes)).filter((length) => length >= SHORTEST);
    const columns: Column[] = [
      labels("parts"),
      ...lengths.map((length) =>
        scores(`${length} tokens`, (outcome: Outcome) => scoreAt(outcome, length), routes)
      ),
      perplexities("as trained", "mixture"),
      perplexities("best in hindsight", "oracle"),
      agreements("NMI"),
      [
        "largest share",
        ({ evaluation }) => percent(Math.max(...evaluation.segments.map(({ share }) => share))),
      ],
      ["routers: rate × rounds", routersText],
    ];
    return {
      claims: compareClusters(outcomes, experts, lengths[0], lengths.at(-1)!),
      table: makeTable(outcomes, columns, { rowsAfter: (outcome) => moreRows(outcome, lengths) }),
      plots: [experts, 2 * experts].map((experts) =>
        prefixesPlot(
          {
            id: `partitioners-${experts}`,
            title: `Perplexity by routing prefix, for each way to split among ${experts} experts`,
            about: "Every mixture sees as many tokens, and so do the dense models.",
            shortest: SHORTEST,
          },
          outcomes.filter((outcome) => {
            const { seed, experts: count } = outcome.setup.settings;
            return seed === 0 && count === experts && routes(outcome);
          }),
        )
      ),
    };
  },
};

function compareClusters(
  outcomes: readonly Outcome[],
  experts: number,
  short: number,
  whole: number,
): Claim[] {
  const select = (way: Way, times = 1) =>
    outcomes.filter(({ setup: { settings } }) =>
      splitsSo(way, settings) && settings.experts === times * experts
    );
  const byClusters: [string, Outcome[]][] = [["routers", select(EM)], [
    "clusters",
    select(CLUSTERS),
  ]];
  const [fromClusters, fromRandom] = [STARTED, EM].map((way) =>
    select(way, 2)[0].evaluation.scores.mixture!
  );
  const dense = outcomes.find(({ setup }) => setup.models.includes("dense"))!.evaluation.scores
    .dense!;
  const random = select(RANDOM)[0].evaluation.scores.mixture!;
  const later = "outers that start from clusters are ahead of those that start from random parts";
  return [
    {
      claim: `Routers from random parts are ahead of clusters where ${short} tokens ` +
        "route, with every seed",
      paper: "they are",
      ...perSeed(byClusters, { tokens: short }),
    },
    {
      claim: "Routers from random parts are ahead of clusters where whole sequences " +
        "route, with every seed",
      paper: NOT_REPORTED,
      ...perSeed(byClusters, { tokens: whole }),
    },
    {
      claim: `R${later}, with every seed`,
      paper: NOT_REPORTED,
      ...perSeed([["from clusters", select(STARTED)], ["from random parts", select(EM)]]),
    },
    isBetter(`With ${2 * experts} experts, r${later}`, {
      "from clusters": fromClusters,
      "from random parts": fromRandom,
    }),
    {
      claim: `Random parts gain nothing over the dense model of ${experts} times the batch`,
      paper: NOT_REPORTED,
      here: `random parts ${scoreText(random)}, dense ${scoreText(dense)}`,
      holds: random.perplexity >= dense.perplexity || (isLower(random, dense) ? false : null),
    },
  ];
}

/**
 * Widths of routers next to that of the preset: of `small`, from an eighth of the width of its
 * experts to one and a half.
 */
const TIMES = [1 / 2, 1, 3, 9 / 2, 6];

/**
 * How far apart perplexities may be that count as the same. Their intervals cannot tell: documents
 * differ far more than sizes of routers do, and all runs hold out the same ones.
 */
const ALIKE = 0.05;

/** Gives a width that the heads divide into even parts. */
const evenWidth = ({ routerHidden, routerHeads }: Configuration, times: number): number =>
  Math.max(1, Math.round(routerHidden * times / (2 * routerHeads))) * 2 * routerHeads;

/**
 * Gives the mixtures of runs, with the sizes of their routers and the shares of these in training
 * and inference.
 */
const routedByRouters = (outcomes: readonly Outcome[]) =>
  mixtures(outcomes).map((mixture, i) => {
    const { partition: { nmi }, cost: { parameters, flops } } = outcomes[i];
    const { total, overhead, inference, inferenceOverhead } = flops;
    const shares = [overhead / total, inferenceOverhead / (inference + inferenceOverhead)];
    return { ...mixture, parameters: parameters.router, nmi, shares };
  });

/**
 * Gives what the experts of a run come to where they route by themselves; none where that was not
 * measured.
 */
function routedBySelf({ evaluation, partition, cost: { flops } }: Outcome) {
  const { routedBy, prefix, experts, models } = evaluation;
  const routed = routedBy?.prefixes.find((by) => by.prefix === prefix);
  if (!routed) return [];
  // Routers have split the text, and then every expert reads the prefix.
  const routing = experts * forwardFlops(models.config, 1, prefix);
  const shares = [flops.overhead / flops.total, routing / (flops.inference + routing)];
  return [{
    label: "the experts themselves",
    parameters: null,
    nmi: partition.nmi,
    shares,
    ...routed,
  }];
}

/** How the size of the routers matters. */
export const routers: Study = {
  name: "routers",
  title: "Whether the size of the routers matters",
  question: "Do larger routers split and route better?",
  paper: "Figure 4a: routers of 4.4M, 64M, 110M and 335M parameters lead to the same perplexity.",
  setups: (preset) =>
    [...new Set(TIMES.map((times) => evenWidth(preset, times)))].map((routerHidden) => {
      const label = `width ${routerHidden}`;
      return routerHidden === preset.routerHidden
        ? sharedSetup(preset.experts, { label, choices: { routeBy: "self" } })
        : {
          name: `em-router-width-${routerHidden}`,
          label,
          settings: { routerHidden },
          models: ["experts"],
        };
    }),
  findings(outcomes) {
    const all = [...routedByRouters(outcomes), ...outcomes.flatMap(routedBySelf)];
    const perplexities = all.map(({ perplexity }) => perplexity);
    const apart = Math.max(...perplexities) / Math.min(...perplexities) - 1;
    const most = percent(ALIKE);
    return {
      claims: [{
        claim: "Routers of all sizes, and experts that route by themselves, lead to " +
          `perplexities that are at most ${most} apart`,
        paper: "they do, from 4.4M to 335M, which is the experts' size",
        here: `${percent(apart)} apart: ` +
          all.map(({ label, perplexity }) => `${label} ${perplexity.toFixed(2)}`).join(", "),
        holds: apart <= ALIKE,
      }],
      table: {
        head: [
          ...["routers", "parameters", "perplexity", "NMI with source"],
          ...["share of training FLOPs", "of inference FLOPs"],
        ],
        rows: all.map(({ label, parameters, nmi, shares, ...score }) => [
          ...[label, parameters, scoreText(score), nmi?.toFixed(3) ?? null],
          ...shares.map((share) => percent(share)),
        ]),
      },
      plots: [perplexitiesPlot({
        id: "routers",
        title: "Perplexity by size of the routers",
        about: "Experts are the same, routers differ.",
      }, all)],
    };
  },
};

const METHODS = {
  balanced: "greedy, equal parts",
  optimal: "least cost, equal parts",
  argmax: "not balanced",
};

/** How the way to assign matters. */
export const assignment: Study = {
  name: "assignment",
  title: "Greedy, optimal and unbalanced parts",
  question: "Does an assignment at the least cost make a better mixture than the greedy one, " +
    "and what does balancing cost?",
  paper: "Not reported: the paper assigns greedily.",
  setups: ({ experts, method: usual }) =>
    Object.entries(METHODS).map(([method, label]) =>
      method === usual
        ? sharedSetup(experts, { label, settings: { experts, method } })
        : { name: `em-${method}`, label, settings: { method }, models: ["experts"] }
    ),
  findings(outcomes) {
    const all = mixtures(outcomes);
    const [greedy, optimal, unbalanced] = all;
    return {
      claims: [
        isBetter(
          "Parts at the least cost make a better mixture than greedy ones, beyond both intervals",
          {
            "least cost": optimal,
            greedy,
          },
          true,
        ),
        isBetter(
          "Balanced parts make a better mixture than parts that are not, beyond both intervals",
          {
            balanced: greedy,
            "not balanced": unbalanced,
          },
          true,
        ),
      ],
      table: makeTable(outcomes, [
        labels("parts"),
        perplexities("perplexity", "mixture"),
        ["balancing costs, nats per token", ({ partition: { regret } }) => regret?.toFixed(4)],
        ["token imbalance", ({ partition }) => percent(partition.tokenImbalance)],
        ["smallest part", ({ partition }) => {
          const sequences = partition.experts.map(({ sequences }) => sequences);
          return percent(Math.min(...sequences) / sequences.reduce((sum, count) => sum + count, 0));
        }],
      ]),
      plots: [perplexitiesPlot({
        id: "assignment",
        title: "Perplexity by way to assign",
        about: "The same routers and scores, other parts.",
      }, all)],
    };
  },
};
