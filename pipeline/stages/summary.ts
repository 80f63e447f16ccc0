/**
 * Sums up a partition for people and for `--json`.
 *
 * @module
 */

import { readManifest, vouchedFiles } from "../run/manifest.ts";
import { readPart, readPartition } from "../partition/manifests.ts";
import type { RoundMetrics } from "../run/events.ts";
import { type Fingerprint, fingerprintOf } from "./fingerprint.ts";
import type { ProofSummary } from "./assign.ts";
import { LEARN } from "./learn.ts";
import { keptWords } from "./names.ts";

/** The training sequences of one expert in numbers. */
export interface ExpertSummary {
  /** Id of the expert. */
  expert: number;
  /** Sequences. */
  sequences: number;
  /** Real tokens, padding left out. */
  tokens: number;
  /** Mean prefix NLL under the expert's router, nats per predicted token. */
  nllPerToken: number | null;
  /** Sequences by source. */
  sources: Record<string, number>;
  /** Words, or pairs of tokens, that set it apart in a sample, the most telling first; none where nothing does. */
  words: string[];
  /** Held-out sequences that would be routed to it. */
  testSequences: number;
}

/** What a partition did about a stage. */
export interface StageRun {
  /** The stage. */
  stage: string;
  /** Whether it ran, or was up to date. */
  state: "run" | "skipped";
  /** How long it took, in seconds; 0 for one that was skipped. */
  seconds: number;
}

/**
 * A partition in numbers. Everything but the rounds and the held-out counts is of the whole training set, as
 * assigned. With its fingerprint it is what {@linkcode comparePartition} compares another run with.
 */
export interface PartitionSummary extends Fingerprint {
  /** Run folder. */
  run: string;
  /** What a cost is, where it is not the NLL of a prefix. */
  costs?: string;
  /** What the assignment proved, where it proved something. */
  proof?: ProofSummary;
  /** Normalised mutual information between expert and source, per sequence; null where there are not two sources. */
  nmi: number | null;
  /** Tokens of the largest expert over the mean, less one. */
  tokenImbalance: number;
  /** Cost of balancing, nats per predicted prefix token. */
  regret: number | null;
  /** Mean prefix NLL, nats per predicted token. */
  nllPerToken: number | null;
  /** Share of the sequences that each expert would get without balancing `[E]`. */
  shares: number[];
  /** Metrics of every EM round; none where the routers existed. */
  rounds: RoundMetrics[];
  /** A row per expert. */
  experts: ExpertSummary[];
  /** What was done about every stage, in order. */
  stages: StageRun[];
}

/** Reads the summary of a run whose partition is complete. */
export async function summarize(
  run: string,
  withRounds: boolean,
  stages: StageRun[],
): Promise<PartitionSummary> {
  const vouched = await vouchedFiles(run);
  const { train, parts, lineage } = await readPartition(`${run}/partition`, vouched);
  const words = await keptWords(run, vouched);
  const experts: ExpertSummary[] = [];
  for (const [expert, { folder }] of parts.entries()) {
    const part = await readPart(`${run}/partition/${folder}`, vouched);
    experts.push({
      expert,
      sequences: part.train.sequences,
      tokens: part.train.tokens,
      nllPerToken: part.train.nllPerToken,
      sources: Object.fromEntries(
        Object.entries(part.train.sources).map(([name, { sequences }]) => [name, sequences]),
      ),
      words: words[expert] ?? [],
      testSequences: part.test?.sequences ?? 0,
    });
  }
  const rounds = withRounds ? (await readManifest(run, LEARN))?.result.rounds : undefined;
  const proof = (await readManifest(run, "assign"))?.result.proof as ProofSummary | undefined;
  const { nmi, tokenImbalance, regret, nllPerToken, shares } = train;
  return {
    run,
    ...lineage.costs === undefined ? {} : { costs: lineage.costs },
    ...proof === undefined ? {} : { proof },
    nmi,
    tokenImbalance,
    regret,
    nllPerToken,
    shares,
    rounds: (rounds ?? []) as RoundMetrics[],
    experts,
    stages,
    ...await fingerprintOf(run),
  };
}
