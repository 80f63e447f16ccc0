/** What the stage `train-routers` learns from, and what it gives. */

import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Learned as LearnedAtOnce } from "../partition/partitioner.ts";
import type { RunEvent } from "../run/events.ts";
import type { FileRecord } from "../run/files.ts";
import type { Vouched } from "../run/vouched.ts";
import type { Configuration } from "../settings/configuration.ts";

/** What a partitioner learns from and where it puts what it learned. */
export interface LearnContext {
  /** Name of the stage, for the events that it emits. */
  stage: string;
  /** Resolved settings. */
  configuration: Configuration;
  /** Folder that it fills, and that `PartitionerKind.open` reads. */
  folder: string;
  /** Folder of metrics. */
  metrics: string;
  /** Path of the `tokenizer.json`. */
  tokenizerFile: string;
  /** What is known of the tokens. */
  tokens: { vocabulary: number; eos: number; tokenizer: string; trainSequences: number };
  /** Paths of the training shards, in their order. */
  shards: string[];
  /** Hashes what a state to resume from depends on: settings and inputs of the stage, and these values instead or besides. */
  stateKey(values: Record<string, unknown>): string;
  /** Whether a saved state is ignored. */
  anew: boolean;
  /** Opens the device on the first call. */
  gpu(): Promise<Gpu>;
  /** Tells what happens. */
  emit(event: RunEvent): void;
  /** Notes how long something took. */
  recordTime(entry: Record<string, unknown>): Promise<void>;
  /** Ends the work. */
  signal?: AbortSignal;
  /** Records of the files that it reads, against which they are checked. */
  vouched?: Vouched;
}

/** What learning gave. */
export interface Learned extends LearnedAtOnce {
  /** Files by path in the run folder, such as `partitioner/…` and `metrics/…`. */
  outputs: Record<string, FileRecord>;
}
