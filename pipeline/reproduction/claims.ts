/**
 * Puts what the paper claims (SmallTalk LM, section 3) beside the figures of a run.
 *
 * @module
 */

import type { Cost } from "../cost/cost.ts";
import type { Baseline, Evaluation } from "../evaluation/evaluation.ts";
import { paperTable } from "../cost/paper.ts";
import type { PartitionSummary } from "../stages/summary.ts";

/** A claim of the paper, and what a run shows. */
export interface Claim {
  /** The claim. */
  claim: string;
  /** The paper's figures. */
  paper: string;
  /** The run's figures. */
  here: string;
  /** Whether the run bears it out; null where it is no matter of yes or no. */
  holds: boolean | null;
}

/** Where the mixture's curve goes below that of the dense model of E times the steps, for good. */
export interface Crossing {
  /** Tokens per expert, padding included, at the crossing; null where the curves do not cross. */
  tokensPerExpert: number | null;
  /** Tokens per expert at the end. */
  trained: number;
  /** Held-out loss of the mixture less that of the dense model at the end, nats per token. */
  difference: number;
}

/** Writes the claims of a run. */
export function claimsOf(
  evaluation: Evaluation,
  partition: PartitionSummary,
  cost: Cost,
  crossing: Crossing | null,
): Claim[] {
  const { scores, segments, prefixes, prefix, experts } = evaluation;
  const claims: Claim[] = [];
  const gain = (baseline: Baseline) => evaluation.gains.find((row) => row.baseline === baseline);
  const perplexity = (value: number | null | undefined) => value == null ? "none" : value.toFixed(2);
  const gainText = (baseline: Baseline) => {
    const { percent, low, high } = gain(baseline)!;
    const change = percent < 0
      ? `${signed(-percent)} higher [${signed(-high)}, ${signed(-low)}]`
      : `${signed(percent)} lower [${signed(low)}, ${signed(high)}]`;
    return `${perplexity(scores[baseline]!.perplexity)} → ${
      perplexity(scores.mixture!.perplexity)
    }: ${change}`;
  };
  if (gain("dense")) {
    claims.push({
      claim:
        "The mixture beats a dense model of the same inference cost at equal tokens (equal steps, E times the batch)",
      paper: paperGain(experts),
      here: gainText("dense"),
      holds: gain("dense")!.low > 0,
    });
  }
  if (gain("dense-steps")) {
    claims.push({
      claim: "… also a dense model with E times the steps, a harder baseline",
      paper: "not reported",
      here: gainText("dense-steps"),
      holds: gain("dense-steps")!.low > 0,
    });
  }
  if (crossing) {
    const { tokensPerExpert, trained, difference } = crossing;
    const ahead = `${Math.abs(difference).toFixed(3)} nats per token ahead on all held-out text at the end`;
    const crossed = tokensPerExpert === null
      ? `not within ${thousands(trained)}`
      : `${thousands(tokensPerExpert)} of ${thousands(trained)}`;
    claims.push({
      claim:
        "Tokens per expert from which the mixture's curve stays below that of E times the steps (on samples)",
      paper: "not reported",
      here: `${crossed}; ${difference > 0 ? "the dense model" : "the mixture"} is ${ahead}`,
      holds: null,
    });
  }
  if (scores.dense) {
    const gains = segments.filter(({ sequences }) => sequences > 0).map(({ expert, perplexity }) => ({
      expert,
      percent: 100 * (1 - perplexity.mixture! / perplexity.dense!),
    }));
    const least = gains.reduce((a, b) => a.percent <= b.percent ? a : b);
    const better = gains.filter(({ percent }) => percent > 0).length;
    claims.push({
      claim: "Every expert beats the dense model on the text routed to it",
      paper: "all do (figure 5)",
      here: `${better} of ${experts}; ${
        least.percent < 0
          ? `expert ${least.expert} is worse by ${signed(-least.percent)}`
          : `the least by ${signed(least.percent)} (expert ${least.expert})`
      }`,
      holds: better === experts,
    });
  }
  const shares = segments.map(({ share }) => share);
  claims.push({
    claim: "Every expert gets a substantial share at inference, where nothing balances",
    paper: "all do (figure 5)",
    here: `${percentOf(Math.min(...shares))} to ${percentOf(Math.max(...shares))}; equal would be ${
      percentOf(1 / experts)
    }`,
    holds: Math.min(...shares) >= 1 / (4 * experts),
  });
  if (scores.dense) {
    const beats = ({ gains }: typeof prefixes[0]) =>
      gains.some(({ baseline, low }) => baseline === "dense" && low > 0);
    const enough = prefixes.filter(beats).map(({ prefix }) => prefix);
    claims.push({
      claim: "A short prefix routes well enough to beat the dense model",
      paper: "32 tokens, for routers trained with 256",
      here:
        `${enough.length ? `${Math.min(...enough)} tokens` : "none"}, for routers trained with ${prefix}: ` +
        prefixes.map((row) => `${row.prefix}: ${perplexity(row.perplexity)}`).join(", "),
      holds: enough.some((length) => length <= prefix / 8),
    });
  }
  claims.push({
    claim: "Routing does better than chance, and comes nearer to the best expert in hindsight than to it",
    paper: "not reported",
    here:
      `random ${perplexity(scores.random!.perplexity)}, routed ${perplexity(scores.mixture!.perplexity)}, ` +
      `best ${perplexity(scores.oracle!.perplexity)}`,
    holds: scores.mixture!.high < scores.random!.low &&
      scores.mixture!.nllPerToken < (scores.random!.nllPerToken + scores.oracle!.nllPerToken) / 2,
  });
  if (partition.nmi !== null) {
    claims.push({
      claim: "Routers split text by kind without being told",
      paper: "not reported",
      here: `normalised mutual information of expert and source ${partition.nmi.toFixed(3)}`,
      holds: null,
    });
  }
  claims.push({
    claim: "Loads are equal",
    paper: "equal in sequences",
    here: `equal in sequences; the largest expert has ${
      percentOf(partition.tokenImbalance)
    } more tokens than the mean`,
    holds: partition.tokenImbalance < 0.05,
  });
  const [row] = paperTable().filter((row) => row.experts === experts);
  const { flops, communication } = cost;
  const share = (part: number, whole: number) => percentOf(part / whole);
  claims.push({
    claim: "Routing adds little compute, in training and at inference",
    paper: row
      ? `${share(row.printed.trainingOverhead, row.printed.training)}, ` +
        `${share(row.printed.inferenceOverhead, row.printed.inference)} (335M experts)`
      : "0.7% to 4%, 1% to 10% (335M experts)",
    here: `${share(flops.overhead, flops.experts)}, ${share(flops.inferenceOverhead, flops.inference)} ` +
      `(an expert is only ${(cost.parameters.expert / cost.parameters.router).toFixed(1)} routers large)`,
    holds: null,
  });
  claims.push({
    claim: "Training hardly communicates",
    paper: "94 exchanges of 5.6 MB per router; data-parallel 10.4 GB per step (1.3B)",
    here:
      `${communication.exchanges} exchanges of ${megabytes(communication.bytesPerExchange)} per router, ` +
      `${megabytes(communication.bytesPerNode)} in all; data-parallel ${
        megabytes(communication.denseBytesPerStep)
      } per step`,
    holds: communication.bytesPerNode < communication.denseBytesPerNode,
  });
  return claims;
}

/** A line of a held-out curve: the loss after so many tokens per expert, or per E-th of the dense model's tokens. */
export interface CurvePoint {
  /** Tokens per expert, padding included. */
  tokens: number;
  /** Held-out loss, nats per token. */
  loss: number;
}

/** Finds from where on `mixture` stays below `dense`; both curves hold the same `tokens`. */
export function crossingOf(mixture: CurvePoint[], dense: CurvePoint[]): Crossing | null {
  const at = new Map(dense.map(({ tokens, loss }) => [tokens, loss]));
  const both = mixture.filter(({ tokens }) => at.has(tokens))
    .map(({ tokens, loss }) => ({ tokens, difference: loss - at.get(tokens)! }));
  const last = both.at(-1);
  if (!last) return null;
  const above = both.findLastIndex(({ difference }) => difference >= 0);
  return {
    tokensPerExpert: above === both.length - 1 ? null : both[above + 1].tokens,
    trained: last.tokens,
    difference: last.difference,
  };
}

function paperGain(experts: number): string {
  const rows = paperTable().filter((row) => row.model === "335M");
  const [row] = rows.filter((row) => row.experts === experts);
  const percent = ({ perplexity }: typeof rows[0]) => 100 * (1 - perplexity.mixture / perplexity.dense);
  return row
    ? `${row.perplexity.dense.toFixed(2)} → ${row.perplexity.mixture.toFixed(2)}: ${
      signed(percent(row))
    } lower (335M, E = ${experts})`
    : `${signed(percent(rows[0]))} (E = 4) to ${signed(percent(rows.at(-1)!))} (E = 32) lower (335M)`;
}

const signed = (percent: number): string => `${percent.toFixed(1)}%`.replace("-", "−");
const percentOf = (share: number): string => `${(100 * share).toFixed(1)}%`;
const thousands = (value: number): string => value.toLocaleString("en");
const megabytes = (bytes: number): string => `${(bytes / 1e6).toPrecision(2)} MB`;

/** What a verdict takes, where the claim does not say it. */
export const VERDICTS =
  'What "yes" takes: a gain whose 95% interval (bootstrap over documents, both models on the same draws) excludes zero; for the ' +
  "short prefix, such a gain over the first dense model with an eighth of the routers' prefix or less; on every segment a lower " +
  "perplexity, without an interval; shares of at least a quarter of an equal one; no expert with 5% more tokens than the mean; " +
  "routing below random beyond both intervals, and nearer to the best expert in nats.";

/** Writes the claims as a Markdown table. */
export function claimsMarkdown(claims: readonly Claim[]): string {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const verdict = (holds: boolean | null) => holds === null ? "" : holds ? "yes" : "no";
  const rows = claims.map(({ claim, paper, here, holds }) =>
    `| ${cell(claim)} | ${cell(paper)} | ${cell(here)} | ${verdict(holds)} |\n`
  );
  return "| claim | paper | here | holds |\n| --- | --- | --- | --- |\n" + rows.join("");
}
