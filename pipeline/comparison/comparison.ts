/**
 * The options and the result of a comparison of runs.
 *
 * @module
 */

import type { Words } from "../../kernels/errors.ts";
import type { Evaluation, Lower } from "../evaluation/evaluation.ts";
import type { PartitionCounts } from "../partition/manifests.ts";
import type { DrawOptions } from "../report/drawn.ts";
import type { RoundMetrics } from "../run/events.ts";
import type { Lack } from "../stages/status.ts";
import type { HeldOut } from "./held_out.ts";

/** Says what to compare, and where to. */
export interface CompareOptions extends Omit<DrawOptions, "plots"> {
  /** Run folders, two at least. */
  runs: readonly string[];
  /** Page to write. Default: none. */
  output?: string;
  /** Words settings and tasks on the page. Default: as a library names them. */
  words?: Words;
}

/** A setting that runs differ in. */
export interface SettingDifference {
  /** Its name. */
  setting: string;
  /** Its value in every run, in their order; undefined in a run from before the setting existed. */
  values: unknown[];
}

/** One of the runs. */
export interface ComparedRun {
  /** Its name: the end of its path that no other run shares. */
  name: string;
  /** Path of its folder. */
  run: string;
  /** Kind of its partitioner; null where it was taken from elsewhere. */
  partitioner: string | null;
  /**
   * Whether its partitioner routes by a prefix. Otherwise the true labels of held-out text choose the experts,
   * whatever the length of a prefix.
   */
  routes: boolean;
  /** E. */
  experts: number;
  /** Device that it ran on; null where none was opened. */
  adapter: string | null;
  /**
   * Measures of its training text, and what a cost is if it is not the NLL of a prefix; null where it is not
   * partitioned.
   */
  partition: (PartitionCounts & { costs?: string }) | null;
  /** Its EM rounds. */
  rounds: Pick<RoundMetrics, "round" | "nmi" | "regret" | "nllPerToken">[];
  /** Tokens that its experts have trained on, all together; null where none has trained. */
  expertTokens: number | null;
  /** Its evaluation; null where it is not evaluated on this text, or not on all of it. */
  evaluation: Pick<Evaluation, "prefix" | "scores" | "gains" | "prefixes" | "resamples"> | null;
  /**
   * Experts that it is evaluated with, where others are not trained: text that goes to those is left out, so
   * this is not compared. Null where it is evaluated on all this text, or not at all.
   */
  trained: number[] | null;
  /**
   * Number of compared sources on which its mixture is the best of all runs, ties included; null where it is
   * not evaluated, or no source is compared.
   */
  wins: number | null;
  /**
   * Held-out documents of which its evaluation says what each came to; null where an older version evaluated it, and where it is not
   * evaluated on all this text.
   */
  documents: number | null;
  /**
   * How much lower the perplexity of its mixture is than that of the reference ({@linkcode Comparison}), with the interval on the same
   * draws of documents; null for the reference, where the documents of one of both are not known, and where they differ.
   */
  beside: Lower | null;
  /** Stages that are not up to date. */
  lacks: Lack[];
}

/** A source of the held-out text. */
export interface ComparedSource {
  /** Its label, "" where it has none. */
  source: string;
  /** Its predicted tokens. */
  tokens: number;
  /**
   * Perplexity of every run's mixture, in their order; null where a run is not evaluated, or the source has no
   * predicted tokens.
   */
  perplexity: (number | null)[];
  /** Numbers of the runs whose perplexity is the lowest. */
  best: number[];
}

/** Runs side by side. */
export interface Comparison {
  /** The runs, in the order in which they were named. */
  runs: ComparedRun[];
  /** The held-out text that those share which tell of some; null where no run tells what it holds out. */
  heldOut: HeldOut | null;
  /** Name of the run beside which the others are put: the first one whose documents another one shares; null where there is none. */
  reference: string | null;
  /** Settings in which they differ. */
  settings: SettingDifference[];
  /**
   * Sources that all evaluated runs have with as many tokens, by their labels; none where fewer than two runs
   * are evaluated.
   */
  sources: ComparedSource[];
  /** Labels of the other sources of these runs: they are not compared. */
  sourcesApart: string[];
  /** Names of the evaluated runs whose text has no labels, where others' has some. */
  unlabelled: string[];
  /** The page that was written. */
  output?: string;
}
