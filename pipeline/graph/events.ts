/**
 * What a run tells while it works: the same events for a terminal, a log and a script.
 *
 * @module
 */

import * as v from "valibot";
import type { Text } from "../../kernels/errors.ts";
import { count, finite, readJsonLines, share } from "./schema.ts";

const ROUND_METRICS = v.object({
  round: count,
  nllPerToken: finite,
  shares: v.array(share),
  regret: finite,
  nmi: v.nullable(finite),
  trainingLoss: v.array(finite),
  rate: finite,
  steps: count,
  sequences: count,
});

/**
 * What a round of EM (the first is 1) looked like: the routers after their steps, on N sequences
 * they have not seen. The mean prefix NLL under the router that balanced assignment chose and what
 * balancing costs, both in nats per predicted prefix token; the share of the sequences that each
 * router would get without balancing `[E]`; normalised mutual information of assigned router and
 * source (null where the round has not two sources); the mean training loss of each router over the
 * round, nats per predicted token `[E]`; the learning rate of the round's last step; the steps of
 * each router and the sequences drawn so far, those of this round's scoring among them.
 *
 * @ignore
 */
export type RoundMetrics = v.InferOutput<typeof ROUND_METRICS>;

/** Reads the metrics of EM's rounds. Throws an `InputError` where they are missing or damaged. */
export function readRoundMetrics(path: string): Promise<RoundMetrics[]> {
  return readJsonLines(path, ROUND_METRICS, "the metrics of EM's rounds");
}

/** Tells what a run is doing. */
export type RunEvent =
  | {
    /** A stage begins, ends or need not run. */
    type: "stage";
    /** The stage: one of a partition, or the training of a model. */
    stage: string;
    /** What happened to it. */
    state: "started" | "done" | "up to date" | "copied";
    /** For a stage that is copied: from which runs. */
    from?: string[];
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
    /**
     * Nodes of the stage that are made; `done` and `total` are then of the one that is being made.
     */
    node?: number;
    /** Nodes of the stage. */
    nodes?: number;
    /** Loss of the last step of a training, nats per predicted token. */
    loss?: number;
    /** Learning rate of that step. */
    learningRate?: number;
    /** Tokens per second of the training, as last measured. */
    tokensPerSecond?: number;
    /**
     * Which share of the measured peak of the device that speed is (MFU), where there is a
     * measurement.
     */
    utilisation?: number;
  }
  | ({
    /** An EM round is over. */
    type: "round";
    /** The branch of a tree whose round it is, such as `2` or `2.5`; absent for the root. */
    branch?: string;
    /** Rounds in all. */
    rounds: number;
  } & RoundMetrics)
  | {
    /** A checkpoint of a training is being saved. */
    type: "checkpoint";
    /** The training's stage. */
    stage: string;
    /** Whether saving begins or has ended. */
    state: "started" | "done";
  }
  | {
    /** The GPU was opened. */
    type: "adapter";
    /** Description of the adapter. */
    adapter: string;
    /** Kind of the adapter. */
    kind: string;
  }
  | {
    /** A warning: worth knowing, but no error. */
    type: "warning";
    /** The warning. */
    message: Text;
  };
