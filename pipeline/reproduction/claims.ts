/**
 * Compares what the paper claims (SmallTalk LM, section 3) with the figures of a run.
 *
 * @module
 */

import type { Cost } from "../cost/cost.ts";
import { paperPair, paperTable, type TableRow } from "../cost/paper.ts";
import type { Baseline } from "../evaluation/baselines.ts";
import { type Evaluation, type Gain, gainText, sideOf } from "../evaluation/evaluation.ts";
import { wayName } from "../report/theme.ts";
import { type Claim, NOT_REPORTED } from "../report/reproduction.ts";
import type { PartitionSummary } from "../stages/summary.ts";
import type { Crossing } from "./crossing.ts";
import { digitsText, percentText } from "./study.ts";

/** Shortest prefix that evaluations measure unless asked. */
export const SHORTEST = 4;

/**
 * Gives an eighth of M, as the paper's 32 is of 256: the largest power of two up to it, as evaluations
 * measure these.
 */
export const shortPrefix = (prefix: number): number =>
  Math.max(SHORTEST, 2 ** Math.floor(Math.log2(prefix / 8)));

/** Writes the claims of a run. */
export function claimsOf(
  evaluation: Evaluation,
  partition: PartitionSummary,
  cost: Cost,
  crossing: Crossing | null,
): Claim[] {
  const { scores, gains, experts } = evaluation;
  const against = (baseline: Baseline, claim: string): Claim[] =>
    gains.filter((gain) => gain.baseline === baseline).map((gain) => {
      const { side, by, from, to } = sideOf(gain);
      const [before, after] = [scores[baseline]!, scores.mixture!].map(({ perplexity }) =>
        perplexity.toFixed(2)
      );
      const here = `${before} → ${after}: ${signed(by)} ${side} [${signed(from)}, ${signed(to)}]`;
      return { claim, paper: paperOn(baseline, experts), here, holds: gain.low > 0 };
    });
  return [
    ...against(
      "dense",
      "The mixture beats a dense model of the same inference cost at equal tokens (equal steps, E times the batch)",
    ),
    ...against(
      "dense-steps",
      "The mixture beats a dense model with E times the steps, a harder baseline",
    ),
    ...crossing ? [crossingClaim(crossing)] : [],
    ...scores.dense ? [segmentsClaim(evaluation)] : [],
    ...routingClaims(evaluation, partition, cost),
  ];
}

/** What claims of routing need to know of a run's parts. */
export interface Parts extends Pick<PartitionSummary, "nmi" | "tokenImbalance"> {
  /** What every expert got. */
  experts: readonly { sequences: number }[];
}

/** What claims of routing need to know of a run's cost. */
export interface RoutingCost {
  /** Parameters of a router and of an expert. */
  parameters: Pick<Cost["parameters"], "router" | "expert">;
  /** FLOPs of training all experts and of what comes on top; of a sequence through an expert and of routing it. */
  flops: Pick<Cost["flops"], "experts" | "overhead" | "inference" | "inferenceOverhead">;
  /** Bytes that each node exchanges; the number of exchanges is missing where it is not kept. */
  communication:
    & Pick<Cost["communication"], "bytesPerNode" | "denseBytesPerStep" | "denseBytesPerNode">
    & Partial<Pick<Cost["communication"], "exchanges" | "bytesPerExchange">>;
}

/** Writes the claims of a run that tell of its parts, of how text finds its expert, and of what that costs. */
export function routingClaims(evaluation: Evaluation, partition: Parts, cost: RoutingCost): Claim[] {
  const { scores: { mixture, random, oracle, dense }, segments, prefixes, prefix, experts } = evaluation;
  const shares = segments.map(({ share }) => share);
  const [least, most] = [Math.min(...shares), Math.max(...shares)];
  // Where a label routes, all prefixes lead to the same.
  const byPrefix = new Set(prefixes.map(({ perplexity }) => perplexity)).size > 1;
  const beats = ({ baseline, low }: Gain) => baseline === "dense" && low > 0;
  const enough = prefixes.filter(({ gains }) => gains.some(beats)).map(({ prefix }) => prefix);
  const shortest = enough.length ? `${Math.min(...enough)} tokens` : "none";
  return [
    {
      claim: "Every expert gets a substantial share at inference, where nothing balances",
      paper: "all do (figure 5)",
      here: `${percentText(least)} to ${percentText(most)}; equal would be ${percentText(1 / experts)}`,
      holds: least >= 1 / (4 * experts),
    },
    ...dense && byPrefix
      ? [{
        claim: "A short prefix routes well enough to beat the dense model",
        paper: "32 tokens, for routers trained with 256",
        here: `${shortest}, for routers trained with ${prefix}: ` +
          prefixes.map((row) => `${row.prefix}: ${row.perplexity.toFixed(2)}`).join(", "),
        holds: enough.some((length) => length <= shortPrefix(prefix) && length < prefix),
      }]
      : [],
    ...random && oracle
      ? [{
        claim:
          "Routing beats a random choice, and is nearer to the best choice in hindsight than to a random one",
        paper: NOT_REPORTED,
        here: `random ${random.perplexity.toFixed(2)}, routed ${mixture!.perplexity.toFixed(2)}, ` +
          `best ${oracle.perplexity.toFixed(2)}`,
        holds: mixture!.high < random.low &&
          mixture!.nllPerToken < (random.nllPerToken + oracle.nllPerToken) / 2,
      }]
      : [],
    ...partition.nmi === null || hasNoModels(cost) ? [] : [{
      claim: "Routers split text by kind without being told",
      paper: NOT_REPORTED,
      here: `normalised mutual information of expert and source ${partition.nmi.toFixed(3)}`,
      holds: null,
    }],
    loadsClaim(partition),
    overheadClaim(experts, cost),
    exchangeClaim(evaluation, cost),
  ];
}

/** Says whether text is split and routed without models: nothing is computed for it. */
const hasNoModels = ({ flops }: Pick<RoutingCost, "flops">): boolean => flops.inferenceOverhead === 0;

function loadsClaim({ experts, tokenImbalance }: Parts): Claim {
  const sequences = experts.map(({ sequences }) => sequences);
  const [fewest, largest] = [Math.min(...sequences), Math.max(...sequences)];
  const loads = fewest === largest
    ? "equal in sequences"
    : `${thousands(fewest)} to ${thousands(largest)} sequences`;
  return {
    claim: "Loads are equal",
    paper: "equal in sequences",
    here: `${loads}; the largest expert has ${percentText(tokenImbalance)} more tokens than the mean`,
    holds: largest - fewest <= 1,
  };
}

/** Gives what the paper's routing adds to the training of experts, and to a sequence through one, as shares. */
const addedIn = ({ printed }: TableRow) => ({
  training: printed.trainingOverhead / printed.training,
  inference: printed.inferenceOverhead / printed.inference,
});

function overheadClaim(experts: number, { flops, parameters }: RoutingCost): Claim {
  const rows = reported();
  const row = rows.find((row) => row.experts === experts);
  const little = rows.map(addedIn);
  const added = {
    training: flops.overhead / flops.experts,
    inference: flops.inferenceOverhead / flops.inference,
  };
  const text = ({ training, inference }: typeof added) =>
    `${percentText(training)}, ${percentText(inference)}`;
  return {
    claim: "Routing adds little compute, in training and at inference",
    paper: row ? `${text(addedIn(row))} (335M experts)` : "0.7% to 4%, 1% to 10% (335M experts)",
    here: `${text(added)} ` +
      (hasNoModels({ flops })
        ? "(text is split without models)"
        : `(an expert is only ${(parameters.expert / parameters.router).toFixed(1)} routers large)`),
    holds: (["training", "inference"] as const).every((what) =>
      added[what] <= Math.max(...little.map((paper) => paper[what]))
    ),
  };
}

function exchangeClaim({ experts }: Evaluation, { communication }: RoutingCost): Claim {
  const { exchanges, bytesPerExchange, bytesPerNode, denseBytesPerStep, denseBytesPerNode } = communication;
  const inAll = `${megabytes(bytesPerNode)} in all`;
  const exchanged = bytesPerNode === 0
    ? "nothing is exchanged"
    : exchanges === undefined
    ? `each of ${experts} nodes exchanges ${megabytes(bytesPerNode)} in all`
    : exchanges === 0
    ? `costs of sequences alone, ${inAll}`
    : `${exchanges} exchanges of ${megabytes(bytesPerExchange!)} per router, ${inAll}`;
  return {
    claim: "Training hardly communicates",
    paper: "94 exchanges of 5.6 MB per router; data-parallel 10.4 GB per step (1.3B)",
    here: `${exchanged}; data-parallel ${megabytes(denseBytesPerStep)} per step`,
    holds: bytesPerNode < denseBytesPerNode,
  };
}

/** Counts verdicts, and those of them that say no: on claims of the paper, and on questions that it does not report on. */
export function verdictsOf(claims: readonly Claim[]): Record<"paper" | "own", { no: number; all: number }> {
  const count = (isOwn: boolean) => {
    const judged = claims.filter(({ paper, holds }) => (paper === NOT_REPORTED) === isOwn && holds !== null);
    return { no: judged.filter(({ holds }) => !holds).length, all: judged.length };
  };
  return { paper: count(false), own: count(true) };
}

/** Sorts to the front what does not hold, and to the end what cannot. */
export function failuresFirst<Item>(items: readonly Item[], claimOf: (item: Item) => Claim): Item[] {
  const rank = ({ holds }: Claim) => holds === false ? 0 : holds ? 1 : 2;
  return items.toSorted((a, b) => rank(claimOf(a)) - rank(claimOf(b)));
}

function crossingClaim({ tokensPerExpert, trained, difference }: Crossing): Claim {
  const crossed = tokensPerExpert === null
    ? `not within ${thousands(trained)}`
    : `${thousands(tokensPerExpert)} of ${thousands(trained)}`;
  const leader = difference > 0 ? "the dense model" : "the mixture";
  const ahead = `${Math.abs(difference).toFixed(3)} nats per token ahead on all held-out text at the end`;
  return {
    claim:
      "Tokens per expert from which the mixture's curve stays below that of E times the steps (on samples)",
    paper: NOT_REPORTED,
    here: `${crossed}; ${leader} is ${ahead}`,
    holds: null,
  };
}

function segmentsClaim({ segments, experts }: Evaluation): Claim {
  const without = segments.filter(({ sequences }) => sequences === 0)
    .map(({ expert }) => `; expert ${expert} gets no text`);
  const gains = segments.filter(({ sequences }) => sequences > 0).map(({ expert, perplexity }) => ({
    expert,
    percent: 100 * (1 - perplexity.mixture! / perplexity.dense!),
  }));
  const { expert, percent } = gains.reduce((a, b) => a.percent <= b.percent ? a : b);
  const better = gains.filter(({ percent }) => percent > 0).length;
  const worst = percent < 0
    ? `expert ${expert} is worse by ${signed(-percent)}`
    : `the least by ${signed(percent)} (expert ${expert})`;
  return {
    claim: "Every expert beats the dense model on the text routed to it",
    paper: "all do (figure 5)",
    here: `${better} of ${experts}; ${worst}${without.join("")}`,
    holds: better === experts,
  };
}

/** What the paper reports of 335M experts: one row for each number of them. */
const reported = () => paperTable().filter(({ model }) => model === "335M");

const percentLower = ({ perplexity: { dense, mixture } }: TableRow): string =>
  signed(100 * (1 - mixture / dense));

/** Says how much lower the paper's mixture of so many experts is than its dense model; null where it reports none. */
export function paperGain(experts: number): string | null {
  const row = reported().find((row) => row.experts === experts);
  if (!row) return null;
  const { dense, mixture } = row.perplexity;
  const steps = row.denseSteps / row.steps;
  const shape = steps === 1
    ? ""
    : `; its dense model takes ${steps}× steps, ${row.denseBatch / row.batch}× batch`;
  return `${dense.toFixed(2)} → ${mixture.toFixed(2)}: ${
    percentLower(row)
  } lower (335M, E = ${experts}${shape})`;
}

/** Says what the paper reports of a mixture of so many experts beside such a model. */
export function paperOn(baseline: Baseline, experts: number): string {
  if (baseline === "dense-compute") {
    const { mixture, dense } = paperPair();
    const [ofMixture, ofDense] = [mixture, dense].map(({ perplexity }) => perplexity.toFixed(2));
    return `about equal: ${ofMixture} (335M, E = 32) and ${ofDense} (1.3B)`;
  }
  return (baseline === "dense" ? paperGain(experts) : null) ?? NOT_REPORTED;
}

/**
 * Claims of a run that its mixture beats a model, beyond the interval; of the larger dense one, which the paper has about equal,
 * that the mixture is not behind.
 */
export function gainClaim(run: string, gain: Gain, experts: number): Claim {
  const model = wayName(gain.baseline, experts);
  const isLevel = gain.baseline === "dense-compute";
  return {
    claim: `${run}: the mixture ${isLevel ? `is as good as ${model}, or better` : `beats ${model}`}`,
    paper: paperOn(gain.baseline, experts),
    here: gainText(gain),
    holds: isLevel ? gain.high >= 0 : gain.low > 0,
  };
}

/** Says how the paper's gain grows with the number of experts. */
export function paperGrowth(): string {
  const rows = reported();
  const shapes = rows.map(({ denseSteps, steps }) => `${denseSteps / steps}×`).join(", ");
  return `${rows.map((row) => `${row.experts}: ${percentLower(row)}`).join(", ")} (335M; dense models of ${
    rows[0].denseBatch / rows[0].batch
  }× batch and ${shapes} steps)`;
}

const signed = (percent: number): string => `${percent.toFixed(1)}%`.replace("-", "−");
const thousands = (value: number): string => value.toLocaleString("en");
const megabytes = (bytes: number): string => `${digitsText(bytes / 1e6, 2)} MB`;

/** The rules for verdicts on {@linkcode routingClaims}. */
export const ROUTING_VERDICTS =
  "shares of at least a quarter of an equal one; for the short prefix, a gain over the first dense model, beyond the interval, with an " +
  "eighth of the routers' prefix or less, of which the largest power of two counts, or with 4 tokens where that is more; routing below " +
  "random beyond both intervals, and nearer to the best expert in nats; loads that differ by one sequence at most; routing that adds no " +
  "more than the paper's does at most, 4.1% in training and 10.1% at inference; less exchanged by a node than in all steps of data-parallel " +
  "training of the first dense model";

/** The rules for verdicts that the claims do not spell out. */
export const VERDICTS =
  'What "yes" takes: a gain whose 95% interval (bootstrap over documents, both models on the same draws) excludes zero; on every segment ' +
  `a lower perplexity, without an interval; ${ROUTING_VERDICTS}.`;

/** Writes the claims as a Markdown table. */
export function claimsMarkdown(claims: readonly Claim[]): string {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const verdict = (holds: boolean | null) => holds === null ? "" : holds ? "yes" : "no";
  const rows = claims.map(({ claim, paper, here, holds }) =>
    `| ${cell(claim)} | ${cell(paper)} | ${cell(here)} | ${verdict(holds)} |\n`
  );
  return "| claim | paper | here | holds |\n| --- | --- | --- | --- |\n" + rows.join("");
}
