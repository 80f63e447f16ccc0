/**
 * What an evaluation says: the text of `evaluation.json`.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { ModelConfig } from "../model/shape.ts";

/** A dense model: trained on all tokens, with the expert's batch times E or with E times the steps. */
export type Baseline = typeof BASELINES[number];

/** The dense models that a run may have. */
export const BASELINES = ["dense", "dense-steps"] as const;

/**
 * What answers for a sequence: the expert that its prefix chooses, any expert (the mean of their NLLs), the expert with the
 * lowest NLL of the whole sequence, or a dense model.
 */
export type Way = "mixture" | "random" | "oracle" | Baseline;

/** Fit to the held-out tokens. */
export interface Score {
  /** Nats per predicted token. */
  nllPerToken: number;
  /** Its exponential. */
  perplexity: number;
  /** Lower end of the perplexity's 95% bootstrap interval over documents. */
  low: number;
  /** Upper end. */
  high: number;
}

/** How much lower the mixture's perplexity is than a baseline's. */
export interface Gain {
  /** The baseline. */
  baseline: Baseline;
  /** 100 · (1 − perplexity of the mixture / perplexity of the baseline). */
  percent: number;
  /** Lower end of its 95% interval, both models on the same draws of documents. */
  low: number;
  /** Upper end. */
  high: number;
}

/** Held-out sequences of one source. */
export interface SourceScore {
  /** Its label. */
  source: string;
  /** Documents; one counts where its first sequence does. */
  documents: number;
  /** Sequences. */
  sequences: number;
  /** Predicted tokens. */
  tokens: number;
  /** Perplexity by way. */
  perplexity: Partial<Record<Way, number>>;
  /** Share of its sequences that goes to each expert `[E]`. */
  shares: number[];
}

/** Held-out sequences that are routed to one expert. */
export interface Segment {
  /** The expert. */
  expert: number;
  /** Sequences. */
  sequences: number;
  /** Their share of all. */
  share: number;
  /** Predicted tokens. */
  tokens: number;
  /** Perplexity of the expert, as part of the mixture, and of the baselines; null where nothing is routed to it. */
  perplexity: { mixture: number | null; dense?: number | null; "dense-steps"?: number | null };
}

/** The mixture where a prefix of another length routes. */
export interface PrefixScore {
  /** Tokens of the prefix. */
  prefix: number;
  /** Perplexity of the whole sequences. */
  perplexity: number;
  /** Lower end of its 95% bootstrap interval over documents. */
  low: number;
  /** Upper end. */
  high: number;
  /** The mixture so routed against every baseline. */
  gains: Gain[];
  /** Share of the sequences that goes where M tokens send it. */
  agreement: number;
}

/** Result of {@linkcode evaluate}: what `evaluation.json` holds. */
export interface Evaluation {
  /** Version of this layout. */
  format: 2;
  /** Tokens of the routing prefix, M. */
  prefix: number;
  /** E. */
  experts: number;
  /** Held-out documents. */
  documents: number;
  /** Held-out sequences. */
  sequences: number;
  /** Predicted tokens: all but the first of every sequence. */
  tokens: number;
  /** Draws of the bootstrap. */
  resamples: number;
  /** Seed of the bootstrap. */
  seed: number;
  /** Every way; baselines where there are some. */
  scores: Partial<Record<Way, Score>>;
  /** The mixture against every baseline. */
  gains: Gain[];
  /** By source, in the order of their labels. */
  sources: SourceScore[];
  /** By expert. */
  segments: Segment[];
  /** By prefix: 4, 8, 16, … S tokens, and M. */
  prefixes: PrefixScore[];
  /** What was evaluated. */
  models: {
    /** Shape of the experts and of the baselines. */
    config: ModelConfig;
    /** Weights of one of them. */
    parameters: number;
    /** Shape of the routers, where a partitioner has some. */
    router?: ModelConfig;
    /** Weights of one router. */
    routerParameters?: number;
  };
}

/** Version of the layout of `evaluation.json`. */
export const EVALUATION_FORMAT: Evaluation["format"] = 2;

/** Reads an `evaluation.json`. Throws an `InputError` where it is missing or damaged. */
export async function readEvaluation(where: string): Promise<Evaluation> {
  try {
    return JSON.parse(await Deno.readTextFile(where));
  } catch (error) {
    throw new InputError(`Cannot read "${where}" as it must be JSON: ${(error as Error).message}`, { where });
  }
}
