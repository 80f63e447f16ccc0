/**
 * What a comparison of runs is asked, and what it says.
 *
 * @module
 */

import type { TaskReference, Text, Words } from "../../kernels/errors.ts";
import type { Evaluation } from "../evaluation/evaluation.ts";
import type { PartitionCounts } from "../partition/manifests.ts";
import type { DrawOptions } from "../report/drawn.ts";
import type { RoundMetrics } from "../run/events.ts";
import type { StageStatus } from "../stages/status.ts";
import type { HeldOut } from "./held_out.ts";

/** Says what to compare, and where to. */
export interface CompareOptions extends Omit<DrawOptions, "plots"> {
  /** Run folders, two at least. */
  runs: readonly string[];
  /** Page to write; none unless named. */
  output?: string;
  /** Words settings and tasks on the page. Default: as a library names them. */
  words?: Words;
}

/** A setting that runs differ in. */
export interface SettingDifference {
  /** Its name. */
  setting: string;
  /** Its value in every run, in their order; undefined in one that is older than the setting. */
  values: unknown[];
}

/** Stages that a run lacks alike, such as the trainings of several experts. */
export interface Lack {
  /** Names of the stages. */
  stages: string[];
  /** How they stand. */
  state: StageStatus["state"];
  /** Why they are damaged or out of date, or how far they have come. */
  because?: Text;
  /** What makes them. */
  command: TaskReference;
}

/** One of the runs. */
export interface ComparedRun {
  /** Its name: the last of its path that no other run shares. */
  name: string;
  /** Path of its folder. */
  run: string;
  /** Kind of its partitioner; null where it was taken from elsewhere. */
  partitioner: string | null;
  /** E. */
  experts: number;
  /** Device that it ran on; null where none was opened. */
  adapter: string | null;
  /** Measures of its training text, and what a cost is where it is not the NLL of a prefix; null where it is not partitioned. */
  partition: (PartitionCounts & { costs?: string }) | null;
  /** Its EM rounds. */
  rounds: Pick<RoundMetrics, "round" | "nmi" | "regret" | "nllPerToken">[];
  /** Tokens that its experts have trained on, all together; null where none has trained. */
  expertTokens: number | null;
  /** What its evaluation says; null where it is not evaluated on this text. */
  evaluation: Pick<Evaluation, "prefix" | "scores" | "gains" | "prefixes" | "resamples"> | null;
  /** Sources on which its mixture is the best of all runs', ties included; null where it is not evaluated. */
  wins: number | null;
  /** Stages that are not up to date. */
  lacks: Lack[];
}

/** A source of the held-out text. */
export interface ComparedSource {
  /** Its label, "" where it has none. */
  source: string;
  /** Its predicted tokens. */
  tokens: number;
  /** Perplexity of every run's mixture, in their order; null where a run is not evaluated. */
  perplexity: (number | null)[];
  /** Numbers of the runs whose perplexity is the lowest. */
  best: number[];
}

/** Runs side by side. */
export interface Comparison {
  /** The runs, in the order in which they were named. */
  runs: ComparedRun[];
  /** The held-out text that they share; null where none tells of any. */
  heldOut: HeldOut | null;
  /** Settings that not all have alike. */
  settings: SettingDifference[];
  /** Sources, by their labels; none where fewer than two runs are evaluated. */
  sources: ComparedSource[];
  /** The page that was written. */
  output?: string;
}
