/**
 * The seam between a partition and what makes it: a partitioner says what a sequence costs every
 * expert. Scoring, splitting, evaluation, serving and the report know only this interface.
 *
 * `partitioner.json` says in the folder of a partitioner of which kind it is. The other files there
 * belong to its kind.
 */

import * as v from "valibot";
import type { Gpu } from "../../kernels/device/gpu.ts";
import type { ModelConfig } from "../model/shape.ts";
import type { Rows } from "../rows/random_access.ts";
import { type FileRecord, hashFile, jsonText, writeAtomic } from "../graph/files.ts";
import { count, readJsonIfThere } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { countExperts } from "../settings/partitioner.ts";

/** Sequences whose costs are asked for. */
export interface TokenRows {
  /** Token ids `[rows, sequenceLength]`. */
  tokens: Uint16Array | Uint32Array;
  /** Tokens of a row, S. */
  sequenceLength: number;
  /** Real tokens `[rows]`. */
  length: Uint32Array;
  /** Labels `[rows]`, for partitioners that use them. */
  source?: readonly string[];
}

/**
 * What experts cost of branches of a tree that are not followed: more than all others, and still a
 * number in f32.
 */
export const NOT_FOLLOWED = 2 ** 126;

/** A partitioner that was learned, opened from its folder. */
export interface Partitioner {
  /** Its kind, a key of {@linkcode PARTITIONERS}. */
  readonly kind: string;
  /** Experts, E. */
  readonly experts: number;
  /** Identity: a hash of all that its costs depend on. */
  readonly sha256: string;
  /** How many tokens of a sequence decide where training text goes, M. */
  readonly prefix: number;
  /** Number of ids that it knows, V. */
  readonly vocabulary: number;
  /** SHA-256 of the tokenizer whose ids it reads, where it is known. */
  readonly tokenizer?: string;
  /** Id of the token that closes a document, where it is known. */
  readonly eos?: number;
  /**
   * Whether a cost is one of the whole sequence, not a sum over the predicted tokens of the prefix.
   */
  readonly perSequence?: boolean;
  /** Shape of each of its models, where it has some. */
  readonly shape?: ModelConfig;
  /**
   * Computes costs f32 `[prefixes, rows, E]`, each by the first min(prefix, length) tokens; the
   * lowest is the best. Prefixes ascend. The costs of a row do not depend on other rows. `signal`
   * may end it early. A tree follows its beam, or all branches where `all` says so.
   */
  costs(
    rows: TokenRows,
    prefixes: readonly number[],
    signal?: AbortSignal,
    all?: boolean,
  ): Promise<Float32Array>;
  /** Counts the sequences of which it knows nothing, so that they cost every expert the same. */
  unknown?(rows: TokenRows): number;
  /** Frees what it holds. It may be used again, and then holds it again. */
  close(): void;
}

/** What a partitioner learns from, and where it puts what it learned. */
export interface LearnOptions {
  /** Resolved settings. */
  configuration: Configuration;
  /** The empty folder that it fills, and that {@linkcode PartitionerKind.open} reads. */
  folder: string;
  /** The training sequences, by number. */
  rows: Rows;
  /** What is known of the tokens. */
  tokens: { vocabulary: number; eos: number; tokenizer: string };
  /** Training tokens of every source. */
  sources: ReadonlyMap<string, number>;
  /** Tells how far it has come. */
  progress(done: number, total: number, unit: string): void;
  /** Ends the work. */
  signal?: AbortSignal;
}

/** What learning a partitioner gave. */
export interface Learned extends Pick<Partitioner, "sha256"> {
  /** Counts and metrics for the manifest. */
  result: Record<string, unknown>;
}

/** How a partitioner is opened. */
export interface OpenOptions {
  /** Sequences that run at once. This changes speed and memory, never a cost. */
  batch?: number;
  /**
   * Branches of each level of a tree that a sequence follows; 1 unless given, all with Infinity.
   */
  beam?: number;
}

/** What a kind of partitioner does. */
export interface PartitionerWork {
  /**
   * Learns it from sequences that are read by number. Absent where it learns round by round, or not
   * at all.
   */
  learn?(options: LearnOptions): Promise<Learned>;
  /** Opens one from its folder; `device` opens the GPU where it needs one. */
  open(folder: string, device: () => Promise<Gpu>, options?: OpenOptions): Promise<Partitioner>;
  /**
   * Reads the identity and the number of experts from the files in its folder, without opening it.
   */
  identify(folder: string): Promise<Pick<Partitioner, "sha256" | "experts">>;
}

/**
 * A kind of partitioner: what implements it, and what a run needs to know of it before it has
 * learned.
 */
export interface PartitionerKind extends PartitionerWork {
  /** Name: a value of the setting `partitioner`. */
  kind: string;
  /** What it does, in one sentence. */
  about: string;
  /** Whether it can choose the expert of a prompt. */
  routes: boolean;
  /** Whether training text can be split by it. */
  splits: boolean;
  /** Whether whole sequences decide where training text goes, not prefixes of M tokens. */
  whole?: boolean;
  /** Whether it has a model per expert, with the shape that the settings of routers give. */
  models?: boolean;
  /** The way of assigning where no method is set. Default: `balanced`. */
  method?: string;
  /** What a cost of the whole sequence is called, such as `distance`. Default: `cost`. */
  cost?: string;
  /**
   * The temperature τ: costs are divided by it before they become weights of experts. Default: 1.
   */
  routingTemperature?: number;
  /** Names of the settings that its result depends on. */
  settings: readonly (keyof Configuration)[];
  /** Version of its results: to be raised when the bits of what it learns change. */
  revision: number;
}

/** Version of the layout that this code writes, and the newest that it reads. */
const FORMAT = 1;

const POSITIVE = v.pipe(count, v.minValue(1));

const SCHEMA = v.pipe(
  v.looseObject({
    format: v.pipe(POSITIVE, v.maxValue(FORMAT, "it must be of this version or an older one")),
    /** A key of the table of kinds. */
    kind: v.string(),
    /** E, as the setting bounds it. */
    experts: v.pipe(POSITIVE, v.maxValue(65_535, "there may be 65,535 experts at most")),
    /** M, in tokens. */
    prefix: POSITIVE,
    /** SHA-256 of the tokenizer. */
    tokenizer: v.string(),
    /** V. */
    vocabulary: POSITIVE,
    /** Id of the token that closes a document. */
    eos: count,
    /** Widths of the levels of a tree. */
    levels: v.optional(v.array(v.pipe(POSITIVE, v.minValue(2)))),
  }),
  v.check(
    ({ kind, levels = [], experts }) =>
      kind !== "tree" || levels.length > 1 && countExperts(levels) === experts,
    "the levels of a tree must be widths whose product is the number of experts",
  ),
);

/**
 * The fields of `partitioner.json`. A kind may add more.
 *
 * @ignore
 */
export type Description = v.InferOutput<typeof SCHEMA>;

/** Writes a folder's `partitioner.json`: the last of its files. */
export async function writeDescription(
  folder: string,
  description: Omit<Description, "format">,
): Promise<FileRecord> {
  return await writeAtomic(
    `${folder}/partitioner.json`,
    jsonText({ format: FORMAT, ...description }),
  );
}

/**
 * Reads a folder's `partitioner.json`; null where there is none. Throws an `InputError` where it is
 * damaged.
 */
export async function readDescription(folder: string): Promise<Description | null> {
  const subject = "the description of a partitioner";
  return await readJsonIfThere(`${folder}/partitioner.json`, SCHEMA, subject);
}

/**
 * Makes the hash that identifies a partitioner whose costs all depend on one file:
 * `partitioner.json` or one next to it.
 */
export function identifiedBy(file: string): PartitionerKind["identify"] {
  return async (folder) => {
    const { sha256 } = await hashFile(`${folder}/${file}`);
    return { sha256, experts: (await readDescription(folder))!.experts };
  };
}
