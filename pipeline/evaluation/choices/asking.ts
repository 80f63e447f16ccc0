/**
 * Which zero-shot tasks there are, how they are asked, and where in a run what they came to lies.
 *
 * @module
 */

import { ZERO_SHOT } from "../../graph/node.ts";
import type { Routing } from "./results.ts";
import { MADE_TASKS } from "./suite.ts";
import { TASKS } from "./tasks.ts";

/** How questions are asked. */
export interface ZeroShotOptions {
  /** Folder with the data of tasks as they are published; those of our own need none. */
  data?: string;
  /** Examples before each question; 0 unless given. */
  fewShot?: number;
  /** Questions of a task that are asked, of each set of it where it has sets: the first ones; all unless given. */
  limit?: number;
  /** What routes; the context unless given. */
  routing?: Routing;
  /** Draws of the bootstrap; 1000 unless given. */
  resamples?: number;
  /** How many experts answer together, one mixture for each of these numbers: 1 to E. */
  mix?: readonly number[];
  /** τ, above 0: weights are computed from costs / τ. Without it the one that suits the partitioner. */
  routingTemperature?: number;
}

/** Names the tasks of our own, made of held-out text, which need no data. */
export const MADE_ZERO_SHOT: readonly string[] = [...MADE_TASKS.keys()];

/** Names every task, those of our own first. */
export const zeroShotTasks = (): string[] => [...MADE_ZERO_SHOT, ...TASKS.keys()];

/** Path of what a task came to, in the run folder. */
export const zeroShotPath = (task: string): string => `${ZERO_SHOT}/${task}.json`;
