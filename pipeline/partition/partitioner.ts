/**
 * The seam between a partition and what makes it: whatever says what a sequence costs every expert. Scoring, splitting,
 * evaluation, serving and the report know this interface alone.
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import type { ModelConfig } from "../model/shape.ts";
import type { RunEvent } from "../run/events.ts";
import type { FileRecord } from "../run/files.ts";
import type { Vouched } from "../run/vouched.ts";
import type { Configuration } from "../settings/configuration.ts";

/** Sequences to be told their costs. */
export interface TokenRows {
  /** Token ids `[rows, sequenceLength]`. */
  tokens: Uint16Array | Uint32Array;
  /** Tokens of a row, S. */
  sequenceLength: number;
  /** Real tokens `[rows]`. */
  length: Uint32Array;
  /** Labels `[rows]`, for partitioners that go by them. */
  source?: readonly string[];
}

/** A partitioner that was learned, opened from its folder. */
export interface Partitioner {
  /** Its kind, a key of {@linkcode PARTITIONERS}. */
  readonly kind: string;
  /** Experts, E. */
  readonly experts: number;
  /** Identity: a hash of all that its costs depend on. */
  readonly sha256: string;
  /** Tokens of a sequence that training text is split by, M. */
  readonly prefix: number;
  /** Ids that it knows, V. */
  readonly vocabulary: number;
  /** SHA-256 of the tokenizer whose ids it reads, where it is known. */
  readonly tokenizer?: string;
  /** Id of the token that closes a document, where it is known. */
  readonly eos?: number;
  /** Whether a cost is one of the sequence as a whole; it is a sum over the predicted tokens of the prefix unless set. */
  readonly perSequence?: boolean;
  /** Shape of each of its models, where it has some. */
  readonly shape?: ModelConfig;
  /**
   * Costs f32 `[prefixes, rows, E]` of sequences for every expert, each of the first min(prefix, length) tokens; the least is the
   * best. Prefixes ascend, and all come from one pass. A row's costs do not depend on its company.
   */
  costs(rows: TokenRows, prefixes: readonly number[]): Promise<Float32Array>;
  /** Frees what it holds. */
  close(): void;
}

/** What a partitioner learns from and where it puts what it learned. */
export interface LearnContext {
  /** Name of the stage, as the events that it emits say it. */
  stage: string;
  /** Resolved settings. */
  configuration: Configuration;
  /** Folder that it fills, and that {@linkcode PartitionerKind.open} reads. */
  folder: string;
  /** Folder of metrics. */
  metrics: string;
  /** Path of the `tokenizer.json`. */
  tokenizerFile: string;
  /** What is known of the tokens. */
  tokens: { vocabulary: number; eos: number; tokenizer: string; trainSequences: number };
  /** Paths of the training shards, in their order. */
  shards: string[];
  /** Hashes what a state to resume from depends on: the stage's settings and inputs, with these values in place of or beside them. */
  stateKey(values: Record<string, unknown>): string;
  /** Whether a saved state is passed over. */
  anew: boolean;
  /** Opens the device on the first call. */
  gpu(): Promise<Gpu>;
  /** Tells what happens. */
  emit(event: RunEvent): void;
  /** Notes how long something took. */
  recordTime(entry: Record<string, unknown>): Promise<void>;
  /** Ends the work. */
  signal?: AbortSignal;
  /** What is known of the files that it reads, which they are checked by as they are read. */
  vouched?: Vouched;
}

/** What learning a partitioner made. */
export interface Learned extends Pick<Partitioner, "sha256"> {
  /** Files by path in the run folder, such as `partitioner/…` and `metrics/…`. */
  outputs: Record<string, FileRecord>;
  /** Counts and metrics for the stage's manifest. */
  result: Record<string, unknown>;
}

/** How a partitioner is opened. */
export interface OpenOptions {
  /** Sequences that it runs at once. Changes the speed and the memory, never a cost. */
  batch?: number;
  /** What is known of the files of its folder, which they are checked by as they are read. */
  vouched?: Vouched;
}

/** A way to split text: what implements it in a table, and what a run needs to know of it before it is learned. */
export interface PartitionerKind {
  /** Name, as the setting `partitioner` says it. */
  kind: string;
  /** What it does, in one sentence. */
  about: string;
  /** Whether it can tell the expert of a prompt. */
  routes: boolean;
  /** Whether training text can be split by it. */
  splits: boolean;
  /** Whether training text is split by whole sequences; by their prefix of M tokens unless set. */
  whole?: boolean;
  /** Whether it has a model per expert, of the shape that the settings of routers give. */
  models?: boolean;
  /** How text is assigned where no method is set; `balanced` unless given. */
  method?: string;
  /** What its costs are divided by where they become weights of experts, τ; 1 unless given. */
  routingTemperature?: number;
  /** Names of the settings that what it learns depends on. */
  settings: readonly (keyof Configuration)[];
  /** Gives their values as a manifest keeps them; undefined for those that do not matter beside the others. */
  values?(configuration: Configuration): Record<string, unknown>;
  /** Version of its results: it grows when the bits of what it learns change. */
  revision: number;
  /** Learns it. Killed at any moment and run again it ends in the same bytes. */
  learn(context: LearnContext): Promise<Learned>;
  /** Opens one from its folder; `device` opens the GPU where it needs one. */
  open(folder: string, device: () => Promise<Gpu>, options?: OpenOptions): Promise<Partitioner>;
  /** Reads the identity and the number of experts from the files in its folder, without opening it. */
  identify(folder: string): Promise<{ sha256: string; experts: number }>;
}
