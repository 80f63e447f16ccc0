/**
 * Questions that studies and single runs share: what the mixture gains, how experts do on their own
 * text, what routing finds and costs. Each puts what the paper claims (SmallTalk LM, section 3)
 * next to the figures of a run.
 *
 * @module
 */

import { percent } from "../graph/numbers.ts";
import { type Gain, gainText } from "../evaluation/evaluation.ts";
import { type Claim, NOT_REPORTED } from "../report/reproduction.ts";
import { wayName } from "../report/charts.ts";
import type { RunOutcome } from "./outcome.ts";
import {
  digitsText,
  gainOver,
  isLower,
  type Outcome,
  scoreAt,
  type Scored,
  scoreText,
} from "./study.ts";

/**
 * What the paper reports of so many experts of 335M (table 3): what they gain, and what routing
 * adds to training and inference.
 */
const PAPER: Record<number, { gain: string; routing: string }> = {
  4: { gain: "11.78 → 10.78: 8.5% lower (335M, E = 4)", routing: "0.7%, 1.3% (335M experts)" },
  8: {
    gain: "11.25 → 10.20: 9.3% lower (335M, E = 8; its dense model takes 2× steps, 4× batch)",
    routing: "1.2%, 2.5% (335M experts)",
  },
  16: {
    gain: "10.80 → 9.64: 10.7% lower (335M, E = 16; its dense model takes 4× steps, 4× batch)",
    routing: "2.2%, 5.1% (335M experts)",
  },
  32: {
    gain: "10.50 → 9.07: 13.6% lower (335M, E = 32; its dense model takes 8× steps, 4× batch)",
    routing: "4.1%, 10.1% (335M experts)",
  },
};
/** The largest shares that routing adds there, to training and to inference. */
const MOST_ADDED = [10.28 / 248.12, 0.08 / 0.79];
/**
 * What it reports of its mixture next to a larger dense model, and how the gain grows with the
 * number of experts.
 */
export const PAPER_LEVEL = "about equal: 9.07 (335M, E = 32) and 9.10 (1.3B)";
export const PAPER_GROWTH =
  "4: 8.5%, 8: 9.3%, 16: 10.7%, 32: 13.6% (335M; dense models of 4× batch and " +
  "1×, 2×, 4×, 8× steps)";

/** Shortest prefix that evaluations measure unless asked. */
export const SHORTEST = 4;

/**
 * Gives an eighth of M, as the paper's 32 is of 256: the largest power of two up to it, as
 * evaluations measure these.
 */
export const shortPrefix = (prefix: number): number =>
  Math.max(SHORTEST, 2 ** Math.floor(Math.log2(prefix / 8)));

/** Puts the label of a run before claims of it. */
export const labelled = (label: string, claims: readonly Claim[]): Claim[] =>
  claims.map(({ claim, ...fields }) => ({
    claim: `${label}: ${claim[0].toLowerCase()}${claim.slice(1)}`,
    ...fields,
  }));

/**
 * Claims that a mixture beats a model, beyond the interval. Of the larger dense one, which the
 * paper has about equal, it claims that the mixture is not behind.
 */
export function gainClaim(gain: Gain, experts: number): Claim {
  const model = wayName(gain.baseline, experts);
  const isLevel = gain.baseline === "dense-compute";
  const paper = isLevel
    ? PAPER_LEVEL
    : gain.baseline === "dense"
    ? PAPER[experts]?.gain
    : undefined;
  return {
    claim: `The mixture ${isLevel ? `is as good as ${model}, or better` : `beats ${model}`}`,
    paper: paper ?? NOT_REPORTED,
    here: gainText(gain),
    holds: isLevel ? gain.high >= 0 : gain.low > 0,
  };
}

/**
 * Claims that the first of two mixtures is better than the second. Where their intervals have a
 * part in common, that is open, unless it must be better beyond both.
 */
export function isBetter(claim: string, mixtures: Record<string, Scored>, beyond = false): Claim {
  const [first, second] = Object.values(mixtures);
  const here = Object.entries(mixtures).map(([name, score]) => `${name} ${scoreText(score)}`).join(
    ", ",
  );
  const holds = isLower(first, second);
  return { claim, paper: NOT_REPORTED, here, holds: beyond ? holds === true : holds };
}

/**
 * Compares the models of two kinds of runs seed by seed: the mixtures unless `way` names others, by
 * all that they were trained with unless `tokens` route.
 */
export function perSeed(
  kinds: readonly [name: string, outcomes: readonly Outcome[]][],
  { way = "mixture", tokens }: { way?: "mixture" | "dense"; tokens?: number } = {},
): Pick<Claim, "here"> & { holds: boolean } {
  const [first, second] = kinds.map(([, outcomes]) =>
    outcomes.map((outcome) =>
      (tokens === undefined ? outcome.evaluation.scores[way]! : scoreAt(outcome, tokens)!)
        .perplexity
    )
  );
  const texts = [first, second].map((values, i) =>
    `${kinds[i][0]} ${values.map((value) => value.toFixed(2)).join(", ")}`
  );
  return { here: texts.join("; "), holds: first.every((value, seed) => value < second[seed]) };
}

/** Claims that the mixtures of some runs beat their dense models, beyond the intervals. */
export function gainsClaim(claim: string, outcomes: readonly Outcome[]): Claim {
  const gains = outcomes.map((outcome) => gainOver(outcome, "dense")!);
  return {
    claim,
    paper: NOT_REPORTED,
    here: gains.map((gain) => gainText(gain)).join("; "),
    holds: gains.every(({ low }) => low > 0),
  };
}

/** An expert of a run, on the text that is routed to it. */
export interface OwnText extends Outcome {
  /** The expert's number. */
  expert: number;
  /** Share of the held-out sequences that goes to it. */
  share: number;
  /** Its perplexity; null where it gets no text. */
  perplexity: number | null;
  /** By which share that is below the perplexity of the dense models; null without either. */
  below: Record<"dense" | "dense-steps", number | null>;
  /**
   * The largest kinds of its training text with their shares: two, or up to four of a tenth each;
   * "" without labels.
   */
  sources: string;
}

/**
 * How many kinds of text are named in any case, how many at most, and what share the others must
 * have.
 */
const [LEAST, MOST, SHARE] = [2, 4, 0.1];

/** Gives all experts of a run. */
export const compareOwnText = (outcome: Outcome): OwnText[] =>
  outcome.evaluation.segments.map(({ expert, share, perplexity: { mixture, ...dense } }) => {
    const below = (perplexity: number | null = null) =>
      perplexity && mixture ? 1 - mixture / perplexity : null;
    const { sources, sequences } = outcome.partition.experts[expert];
    const kinds = Object.entries(sources).filter(([source]) => source !== "").sort(([, a], [, b]) =>
      b - a
    )
      .slice(0, MOST).filter(([, count], i) => i < LEAST || count >= SHARE * sequences);
    return {
      ...outcome,
      expert,
      share,
      perplexity: mixture ?? null,
      below: { dense: below(dense.dense), "dense-steps": below(dense["dense-steps"]) },
      sources: kinds.map(([source, count]) => `${source} ${Math.round(100 * count / sequences)}%`)
        .join(", "),
    };
  });

/**
 * Returns whether experts are all ahead of the dense model of E times the batch on their text, and
 * which are not.
 */
export function allAhead(experts: readonly OwnText[]): { here: string; holds: boolean } {
  const behind = experts.filter(({ below: { dense } }) => dense === null || dense <= 0);
  if (behind.length === 0) {
    const least = Math.min(...experts.map(({ below }) => below.dense!));
    return { here: `all ${experts.length}, the least by ${percent(least)}`, holds: true };
  }
  const texts = behind.map(
    ({ setup: { label }, expert, sources, perplexity, below: { dense } }) => {
      const why = perplexity === null
        ? "gets no text"
        : dense === null
        ? "has no such model next to it"
        : `is ${percent(-dense)} behind`;
      return `${label && `${label}, `}expert ${expert}${
        sources && ` (trained on ${sources})`
      } ${why}`;
    },
  );
  return { here: texts.join("; "), holds: false };
}

/** Claims that every expert of a run is ahead on its own text. */
export const ownTextClaim = (outcome: Outcome): Claim => ({
  claim: `On the text routed to it, every expert beats ${
    wayName("dense", outcome.evaluation.experts)
  }`,
  paper: PAPER[outcome.evaluation.experts] ? "all do" : NOT_REPORTED,
  ...allAhead(compareOwnText(outcome)),
});

/**
 * Reports from where on the mixture stays ahead of the dense model with E times the steps. The
 * curves are of samples, and all held-out text may say otherwise of their end.
 */
export function crossingText(outcome: Outcome): string | null {
  const { crossing } = outcome;
  if (!crossing) return null;
  const { tokensPerExpert, trained, difference } = crossing;
  const isAhead = difference < 0;
  const from = tokensPerExpert === null
    ? `not within ${trained.toLocaleString("en")}`
    : `${tokensPerExpert.toLocaleString("en")} or before`;
  if ((tokensPerExpert !== null) === isAhead) return from;
  const gain = gainOver(outcome, "dense-steps");
  if (gain && gain.low <= 0 && gain.high >= 0) return "about equal at the end";
  return `${from} on samples, but ${isAhead ? "ahead" : "behind"} on all text at the end`;
}

/** Judges the claims of one run. */
export function judgeRun(outcome: Outcome): Claim[] {
  const { evaluation: { gains, scores, experts }, crossing } = outcome;
  const crossed = crossingText(outcome);
  const { difference = 0 } = crossing ?? {};
  const leader = difference > 0 ? "the dense model" : "the mixture";
  const ahead = `${leader} is ${Math.abs(difference).toFixed(3)} nats per token ahead at the end`;
  const perplexity = (way: keyof typeof scores) => scores[way]!.perplexity.toFixed(2);
  return [
    ...gains.map((gain) => {
      const claim = gainClaim(gain, experts);
      return {
        ...claim,
        here: `${perplexity(gain.baseline)} → ${perplexity("mixture")}: ${claim.here}`,
      };
    }),
    ...crossed === null ? [] : [{
      claim: "Tokens per expert from which the mixture's curve stays below that of E " +
        "times the steps (on samples)",
      paper: NOT_REPORTED,
      here: `${crossed}; ${ahead}`,
      holds: null,
    }],
    ...scores.dense ? [ownTextClaim(outcome)] : [],
    ...routingClaims(outcome),
  ];
}

/** Claims that experts get equally many sequences. */
function loadsClaim({ experts, tokenImbalance }: RunOutcome["partition"]): Claim {
  const loads = experts.map(({ sequences }) => sequences);
  const [fewest, most] = [Math.min(...loads), Math.max(...loads)];
  const text = fewest === most
    ? "equal in sequences"
    : `${fewest.toLocaleString("en")} to ${most.toLocaleString("en")} sequences`;
  return {
    claim: "Loads are equal",
    paper: "equal in sequences",
    here: `${text}; the largest expert has ${percent(tokenImbalance)} more tokens than the mean`,
    holds: most - fewest <= 1,
  };
}

/** Judges how text finds its expert, what the parts of a run are like, and what that costs. */
export function routingClaims(outcome: RunOutcome): Claim[] {
  const { evaluation, partition, cost, trained } = outcome;
  const { scores: { mixture, random, oracle, dense }, segments, prefixes, prefix, experts } =
    evaluation;
  const { inference, inferenceOverhead } = cost.flops;
  const shares = segments.map(({ share }) => share);
  // That split and route text: else nothing is computed for it.
  const hasModels = inferenceOverhead !== 0;
  // Where a label routes, all prefixes lead to the same.
  const byPrefix = new Set(prefixes.map(({ perplexity }) => perplexity)).size > 1;
  const enough = prefixes.filter(({ gains }) =>
    gains.some(({ baseline, low }) => baseline === "dense" && low > 0)
  )
    .map(({ prefix }) => prefix);
  const added = [trainingAdded(cost), inferenceOverhead / inference];
  const { bytesPerNode, denseBytesPerStep } = cost.communication;
  const claims: (Claim | false | undefined)[] = [
    {
      claim: "Every expert gets a substantial share at inference, where nothing balances",
      paper: "all do (figure 5)",
      here: `${percent(Math.min(...shares))} to ${percent(Math.max(...shares))}; equal would be ${
        percent(1 / experts)
      }`,
      holds: Math.min(...shares) >= 1 / (4 * experts),
    },
    dense && byPrefix && {
      claim: "A short prefix routes well enough to beat the dense model",
      paper: "32 tokens, for routers trained with 256",
      here:
        `${
          enough.length ? `${Math.min(...enough)} tokens` : "none"
        }, for routers trained with ${prefix}: ` +
        prefixes.map((row) => `${row.prefix}: ${row.perplexity.toFixed(2)}`).join(", "),
      holds: enough.some((length) => length <= shortPrefix(prefix) && length < prefix),
    },
    random && oracle && {
      claim: "Routing beats a random choice, and is nearer to the best choice in " +
        "hindsight than to a random one",
      paper: NOT_REPORTED,
      here: `random ${random.perplexity.toFixed(2)}, routed ${mixture!.perplexity.toFixed(2)}, ` +
        `best ${oracle.perplexity.toFixed(2)}`,
      holds: mixture!.high < random.low &&
        mixture!.nllPerToken < (random.nllPerToken + oracle.nllPerToken) / 2,
    },
    partition.nmi !== null && hasModels && {
      claim: "Routers split text by kind without being told",
      paper: NOT_REPORTED,
      here: `normalised mutual information of expert and source ${partition.nmi.toFixed(3)}`,
      holds: null,
    },
    loadsClaim(partition),
    {
      claim: "Routing adds little compute, in training and at inference",
      paper: PAPER[experts]?.routing ?? "0.7% to 4%, 1% to 10% (335M experts)",
      here: `${added.map((share) => percent(share)).join(", ")} ` +
        (hasModels
          ? `(an expert is only ${
            (cost.parameters.expert / cost.parameters.router).toFixed(1)
          } routers large)`
          : "(text is split without models)"),
      holds: added.every((share, i) => share <= MOST_ADDED[i]),
    },
    {
      claim: "Training hardly communicates",
      paper: "94 exchanges of 5.6 MB per router; data-parallel 10.4 GB per step (1.3B)",
      here: `${exchangeText(outcome)}; data-parallel ${megabytes(denseBytesPerStep)} per step`,
      holds: bytesPerNode < (trained.dense?.[0].steps ?? 0) * denseBytesPerStep,
    },
  ];
  return claims.filter((claim): claim is Claim => Boolean(claim));
}

/** Reports what routing adds to the training of the experts of a run, as a share. */
export const trainingAdded = ({ flops: { total, overhead } }: RunOutcome["cost"]): number =>
  overhead / (total - overhead);

const megabytes = (bytes: number): string => `${digitsText(bytes / 1e6, 2)} MB`;

function exchangeText({ evaluation: { experts }, cost: { communication } }: RunOutcome): string {
  const { bytesPerNode, exchanges, bytesPerExchange = 0 } = communication;
  const inAll = `${megabytes(bytesPerNode)} in all`;
  if (bytesPerNode === 0) return "nothing is exchanged";
  // Notes of older revisions do not count exchanges.
  if (exchanges === undefined) return `each of ${experts} nodes exchanges ${inAll}`;
  if (exchanges === 0) return `costs of sequences alone, ${inAll}`;
  return `${exchanges} exchanges of ${megabytes(bytesPerExchange)} per router, ${inAll}`;
}

/** The rules for verdicts on {@linkcode routingClaims}. */
export const ROUTING_VERDICTS =
  "shares of at least a quarter of an equal one; for the short prefix, a gain over " +
  "the first dense model, beyond the interval, with an " +
  "eighth of the routers' prefix or less, of which the largest power of two counts, " +
  "or with 4 tokens where that is more; routing below " +
  "random beyond both intervals, and nearer to the best expert in nats; loads that " +
  "differ by one sequence at most; routing that adds no " +
  "more than the paper's does at most, 4.1% in training and 10.1% at inference; less " +
  "exchanged by a node than in all steps of data-parallel " +
  "training of the first dense model";
