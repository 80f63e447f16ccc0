/**
 * Compares what the paper claims (SmallTalk LM, section 3) with the figures of a run.
 *
 * @module
 */

import { paperPair, paperTable, type TableRow } from "../cost/paper.ts";
import type { Baseline } from "../evaluation/baselines.ts";
import { asPositive, type Evaluation, type Gain, gainText } from "../evaluation/evaluation.ts";
import { wayName } from "../report/charts.ts";
import { type Claim, NOT_REPORTED } from "../report/reproduction.ts";
import type { Crossing } from "./crossing.ts";
import type { RunOutcome } from "./outcome.ts";
import { digitsText, percentText } from "./tables.ts";

/** Shortest prefix that evaluations measure unless asked. */
export const SHORTEST = 4;

/**
 * Gives an eighth of M, as the paper's 32 is of 256: the largest power of two up to it, as evaluations
 * measure these.
 */
export const shortPrefix = (prefix: number): number =>
  Math.max(SHORTEST, 2 ** Math.floor(Math.log2(prefix / 8)));

const signed = (percent: number): string => `${percent.toFixed(1)}%`.replace("-", "−");
const thousands = (value: number): string => value.toLocaleString("en");
const megabytes = (bytes: number): string => `${digitsText(bytes / 1e6, 2)} MB`;

/** How often routers exchange scores while they train, and how many bytes at a time. */
type Exchanges = { exchanges: number; bytesPerExchange: number };

/** Writes the claims of a run. */
export function judgeRun(outcome: RunOutcome, exchanges: Exchanges): Claim[] {
  const { evaluation, crossing } = outcome;
  const { scores, gains, experts } = evaluation;
  const against = (baseline: Baseline, claim: string): Claim[] =>
    gains.filter((gain) => gain.baseline === baseline).map((gain) => {
      const { side, by, from, to } = asPositive(gain);
      const [before, after] = [scores[baseline]!, scores.mixture!].map((one) => one.perplexity.toFixed(2));
      const here = `${before} → ${after}: ${signed(by)} ${side} [${signed(from)}, ${signed(to)}]`;
      return { claim, paper: paperOn(baseline, experts), here, holds: gain.low > 0 };
    });
  return [
    ...against(
      "dense",
      "The mixture beats a dense model of the same inference cost at equal tokens (equal steps, E times the batch)",
    ),
    ...against("dense-steps", "The mixture beats a dense model with E times the steps, a harder baseline"),
    ...crossing ? [crossingClaim(crossing)] : [],
    ...scores.dense ? [segmentsClaim(evaluation)] : [],
    ...routingClaims(outcome, exchanges),
  ];
}

/** Writes the claims of a run that tell of its parts, of how text finds its expert, and of what that costs. */
export function routingClaims(outcome: RunOutcome, exchanges?: Exchanges): Claim[] {
  const { evaluation, partition } = outcome;
  const { scores: { mixture, random, oracle, dense }, segments, prefixes, prefix, experts } = evaluation;
  const shares = segments.map(({ share }) => share);
  const [least, most] = [Math.min(...shares), Math.max(...shares)];
  // Where a label routes, all prefixes lead to the same.
  const byPrefix = new Set(prefixes.map(({ perplexity }) => perplexity)).size > 1;
  const beats = ({ baseline, low }: Gain) => baseline === "dense" && low > 0;
  const enough = prefixes.filter(({ gains }) => gains.some(beats)).map(({ prefix }) => prefix);
  const shortest = enough.length ? `${Math.min(...enough)} tokens` : "none";
  const claims: (Claim | false | undefined)[] = [
    {
      claim: "Every expert gets a substantial share at inference, where nothing balances",
      paper: "all do (figure 5)",
      here: `${percentText(least)} to ${percentText(most)}; equal would be ${percentText(1 / experts)}`,
      holds: least >= 1 / (4 * experts),
    },
    dense && byPrefix && {
      claim: "A short prefix routes well enough to beat the dense model",
      paper: "32 tokens, for routers trained with 256",
      here: `${shortest}, for routers trained with ${prefix}: ` +
        prefixes.map((row) => `${row.prefix}: ${row.perplexity.toFixed(2)}`).join(", "),
      holds: enough.some((length) => length <= shortPrefix(prefix) && length < prefix),
    },
    random && oracle && {
      claim:
        "Routing beats a random choice, and is nearer to the best choice in hindsight than to a random one",
      paper: NOT_REPORTED,
      here: `random ${random.perplexity.toFixed(2)}, routed ${mixture!.perplexity.toFixed(2)}, ` +
        `best ${oracle.perplexity.toFixed(2)}`,
      holds: mixture!.high < random.low &&
        mixture!.nllPerToken < (random.nllPerToken + oracle.nllPerToken) / 2,
    },
    partition.nmi !== null && hasModels(outcome) && {
      claim: "Routers split text by kind without being told",
      paper: NOT_REPORTED,
      here: `normalised mutual information of expert and source ${partition.nmi.toFixed(3)}`,
      holds: null,
    },
    loadsClaim(partition),
    overheadClaim(outcome),
    exchangeClaim(outcome, exchanges),
  ];
  return claims.filter((claim): claim is Claim => Boolean(claim));
}

/** Returns whether models split and route text: else nothing is computed for it. */
const hasModels = ({ cost: { flops } }: RunOutcome): boolean => flops.inferenceOverhead !== 0;

/** Reports what routing adds to the training of the experts of a run, as a share. */
export const trainingAdded = ({ flops: { total, overhead } }: RunOutcome["cost"]): number =>
  overhead / (total - overhead);

function loadsClaim({ experts, tokenImbalance }: RunOutcome["partition"]): Claim {
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
const addedIn = ({ printed }: TableRow) => [
  printed.trainingOverhead / printed.training,
  printed.inferenceOverhead / printed.inference,
];

function overheadClaim(outcome: RunOutcome): Claim {
  const { cost: { flops, parameters }, evaluation } = outcome;
  const rows = reported();
  const row = rows.find(({ experts }) => experts === evaluation.experts);
  const added = [trainingAdded(outcome.cost), flops.inferenceOverhead / flops.inference];
  const text = (shares: readonly number[]) => shares.map(percentText).join(", ");
  return {
    claim: "Routing adds little compute, in training and at inference",
    paper: row ? `${text(addedIn(row))} (335M experts)` : "0.7% to 4%, 1% to 10% (335M experts)",
    here: `${text(added)} ` +
      (hasModels(outcome)
        ? `(an expert is only ${(parameters.expert / parameters.router).toFixed(1)} routers large)`
        : "(text is split without models)"),
    holds: added.every((share, i) => share <= Math.max(...rows.map((row) => addedIn(row)[i]))),
  };
}

function exchangeClaim({ evaluation: { experts }, cost, trained }: RunOutcome, reported?: Exchanges): Claim {
  const { bytesPerNode, denseBytesPerStep } = cost.communication;
  const inAll = `${megabytes(bytesPerNode)} in all`;
  const exchanged = bytesPerNode === 0
    ? "nothing is exchanged"
    : reported === undefined
    ? `each of ${experts} nodes exchanges ${inAll}`
    : reported.exchanges === 0
    ? `costs of sequences alone, ${inAll}`
    : `${reported.exchanges} exchanges of ${megabytes(reported.bytesPerExchange)} per router, ${inAll}`;
  return {
    claim: "Training hardly communicates",
    paper: "94 exchanges of 5.6 MB per router; data-parallel 10.4 GB per step (1.3B)",
    here: `${exchanged}; data-parallel ${megabytes(denseBytesPerStep)} per step`,
    holds: bytesPerNode < (trained.dense?.[0].steps ?? 0) * denseBytesPerStep,
  };
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

/** Reports how much lower the paper's mixture of so many experts is than its dense model; null where it reports none. */
export function paperGain(experts: number): string | null {
  const row = reported().find((row) => row.experts === experts);
  if (!row) return null;
  const [dense, mixture] = [row.perplexity.dense, row.perplexity.mixture].map((value) => value.toFixed(2));
  const steps = row.denseSteps / row.steps;
  const shape = steps === 1
    ? ""
    : `; its dense model takes ${steps}× steps, ${row.denseBatch / row.batch}× batch`;
  return `${dense} → ${mixture}: ${percentLower(row)} lower (335M, E = ${experts}${shape})`;
}

/** Reports what the paper reports of a mixture of so many experts next to such a model. */
export function paperOn(baseline: Baseline, experts: number): string {
  if (baseline === "dense") return paperGain(experts) ?? NOT_REPORTED;
  if (baseline !== "dense-compute") return NOT_REPORTED;
  const { mixture, dense } = paperPair();
  return `about equal: ${mixture.perplexity.toFixed(2)} (335M, E = 32) and ${
    dense.perplexity.toFixed(2)
  } (1.3B)`;
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

/** Reports how the paper's gain grows with the number of experts. */
export function paperGrowth(): string {
  const rows = reported();
  const shapes = rows.map(({ denseSteps, steps }) => `${denseSteps / steps}×`).join(", ");
  return `${rows.map((row) => `${row.experts}: ${percentLower(row)}`).join(", ")} (335M; dense models of ${
    rows[0].denseBatch / rows[0].batch
  }× batch and ${shapes} steps)`;
}

/** Counts verdicts, and those of them that say no: on claims of the paper, and on questions that it does not report on. */
export function countVerdicts(
  claims: readonly Claim[],
): Record<"paper" | "own", { no: number; all: number }> {
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

/** The rules for verdicts on {@linkcode routingClaims}. */
export const ROUTING_VERDICTS =
  "shares of at least a quarter of an equal one; for the short prefix, a gain over the first dense model, beyond the interval, with an " +
  "eighth of the routers' prefix or less, of which the largest power of two counts, or with 4 tokens where that is more; routing below " +
  "random beyond both intervals, and nearer to the best expert in nats; loads that differ by one sequence at most; routing that adds no " +
  "more than the paper's does at most, 4.1% in training and 10.1% at inference; less exchanged by a node than in all steps of data-parallel " +
  "training of the first dense model";

/** Writes cells as lines of Markdown tables; {@linkcode head} with the line below it. */
export const row = (cells: readonly unknown[]): string =>
  `| ${cells.map((cell) => String(cell ?? "").replaceAll("|", "\\|")).join(" | ")} |`;
export const head = (cells: readonly string[]): string[] => [row(cells), row(cells.map(() => "---"))];

/** Writes the claims as a Markdown table. */
export function claimsMarkdown(claims: readonly Claim[]): string {
  const verdict = (holds: boolean | null) => holds === null ? "" : holds ? "yes" : "no";
  const rows = claims.map(({ claim, paper, here, holds }) => row([claim, paper, here, verdict(holds)]));
  return [...head(["claim", "paper", "here", "holds"]), ...rows].join("\n");
}
