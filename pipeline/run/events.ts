/**
 * What a run tells while it works: the same events for a terminal, a log and a script.
 *
 * @module
 */

import type { Text } from "../../kernels/errors.ts";

/** What a round of EM looked like: the routers after their steps, on N sequences they have not seen. */
export interface RoundMetrics {
  /** Number of the round, the first is 1. */
  round: number;
  /** Mean prefix NLL per predicted token under the router that balanced assignment chose, nats. */
  nllPerToken: number;
  /** Part of the sequences that each router would get without balancing `[E]`. */
  shares: number[];
  /** Cost of balancing, nats per predicted prefix token. */
  regret: number;
  /** Normalised mutual information between assigned router and source; null where the round has not two sources. */
  nmi: number | null;
  /** Mean training loss of each router over the round, nats per predicted token `[E]`. */
  trainingLoss: number[];
  /** Learning rate of the round's last step. */
  rate: number;
  /** Steps of each router so far. */
  steps: number;
  /** Sequences drawn so far, those of this round's scoring among them. */
  sequences: number;
}

/** Tells what a run is doing. */
export type RunEvent =
  | {
    /** A stage begins, ends or need not run. */
    type: "stage";
    /** The stage: one of a partition, or the training of a model. */
    stage: string;
    /** What is the matter with it. */
    state: "started" | "done" | "up to date";
    /** How long it took. */
    seconds?: number;
    /** Its counts. */
    result?: Record<string, unknown>;
  }
  | {
    /** A stage has come further. */
    type: "progress";
    /** The stage: one of a partition, or the training of a model. */
    stage: string;
    /** How much is done, in `unit`. */
    done: number;
    /** How much there is, where known. */
    total?: number;
    /** What is counted. */
    unit: string;
    /** What else there is to say. */
    note?: string;
  }
  | ({
    /** An EM round is over. */
    type: "round";
    /** Rounds in all. */
    rounds: number;
  } & RoundMetrics)
  | {
    /** The GPU was opened. */
    type: "adapter";
    /** Description of the adapter. */
    adapter: string;
    /** Kind of the adapter. */
    kind: string;
  }
  | {
    /** Something is worth knowing but no error. */
    type: "warning";
    /** What. */
    message: Text;
  };
