/**
 * A run is a graph of folders, its nodes. A node is made once, as a whole, and never changed. Its
 * manifest notes what it was made of. The key of a node is a hash of its name, revision and
 * settings and of the files that it needs. A node is made again only if its key changes: if an
 * input is made again and has the same bytes, the nodes after it stay. Because of keys, work can be
 * skipped, resumed, and divided among processes and machines. Names of nodes that many files use
 * are defined here.
 *
 * @module
 */

import * as v from "valibot";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { InputError, type TaskReference } from "../../kernels/errors.ts";
import type { RunEvent } from "./events.ts";
import {
  filesUnder,
  hashFile,
  ifMissing,
  jsonText,
  listEntries,
  sha256,
  writeAtomic,
} from "./files.ts";
import { canonical, count, MANIFEST, readJsonIfThere, seal, sealed, VERSION } from "./schema.ts";

export { MANIFEST };

/** A folder of a run: what it is made of, and by whom. */
export interface Node {
  /** Its path in the run. No node lies in another one. */
  name: string;
  /**
   * The nodes whose folders it reads, each before those that need it. `NAME:START` reads only the
   * files whose names begin with `START`, so the others may change.
   */
  needs: readonly string[];
  /** Everything else that decides its bytes. */
  settings: Readonly<Record<string, unknown>>;
  /** Raised when the same settings and inputs give other bytes. */
  revision: number;
  /** What makes it. Nodes of one stage share their maker. */
  maker: Maker;
  /**
   * Places in the run that users know, such as `report.html`, and the files of the node that links
   * there lead to.
   */
  links?: Readonly<Record<string, string>>;
  /** Whether its files go once everything that needs it is made. Its manifest stays. */
  temporary?: boolean;
  /**
   * Whether it must be there as it is: its own manifest says what it is, and nobody makes it here.
   */
  given?: boolean;
  /** How a task asks for it. Absent where a partition makes it. */
  asked?: Asked;
}

/** What status and plans tell of something that a task is asked for. */
export interface Asked {
  /** Its name among the stages: `train-expert-02`. Nodes of one name are listed as one. */
  name: string;
  /** The task that makes it. */
  command: TaskReference;
  /** Whether a run is complete without it. */
  optional: boolean;
  /** Where it is in a tree, such as `2.5`, of an expert of one. */
  path?: string;
}

/** Makes the nodes of a stage. */
export interface Maker {
  /** Name of the stage. */
  stage: string;
  /** The most nodes that are made in one call; 1 unless given. They must not need each other. */
  together?: number;
  /**
   * Fills the folders of these nodes, and returns a result for each: counts and metrics, which
   * their manifests keep; or the error of a node that failed alone, which is thrown once the others
   * have come to be. A maker may keep a device or a model open between calls.
   */
  make(nodes: readonly Making[], work: Work): Promise<(Record<string, unknown> | Error)[]>;
  /**
   * Closes what was kept open, before another maker begins, when the process has waited for others
   * for long, and when the work ends. Later calls open it again.
   */
  close?(): void;
}

/** Gives the maker of nodes that are made one by one. */
export function oneByOne(
  stage: string,
  make: (making: Making, work: Work) => Promise<Record<string, unknown>>,
  close?: () => void,
): Maker {
  return { stage, make: async ([making], work) => [await make(making, work)], close };
}

/** A node that is being made. */
export interface Making {
  /** The node. */
  node: Node;
  /** Its key. */
  key: string;
  /** The folder to fill. It is empty, and gets its name once everything is written. */
  folder: string;
  /**
   * A folder for checkpoints, made by the first who writes there. It belongs to the key and
   * outlives a killed process. Other processes may write there at the same time, so files in it are
   * written aside and renamed.
   */
  scratch: string;
  /** Gives the folder of a node that it needs. */
  path(need: string): string;
  /** Gives the manifest of a node that it needs. */
  manifest(need: string): Manifest;
  /** Writes a file into the folder, whole or not at all. */
  write(file: string, data: Parameters<typeof writeAtomic>[1]): Promise<void>;
  /** Links a file of another node into the folder, or copies it where the disk does not link. */
  link(from: string, file: string, note: FileNote): Promise<void>;
  /**
   * Tells what is known of files that were just written by other means, in `inside` the folder:
   * nobody has to read them again.
   */
  wrote(notes: Readonly<Record<string, FileNote>>, inside?: string): void;
}

/** What every maker gets to work with. */
export interface Work {
  /** Path of the run. */
  run: string;
  /** Opens the device on the first call, and gives the same one afterwards. */
  gpu(): Promise<Gpu>;
  /** Tells what happens. */
  emit(event: RunEvent): void;
  /** Threads that may be used. They never change a byte. */
  workers: number;
  /** Ends the work. Makers look at it between steps. */
  signal?: AbortSignal;
}

/**
 * Splits a need into the name of its node and the beginning of the names of the files that it
 * reads.
 */
export function splitNeed(need: string): { name: string; start: string } {
  const colon = need.indexOf(":");
  return colon < 0
    ? { name: need, start: "" }
    : { name: need.slice(0, colon), start: need.slice(colon + 1) };
}

/** Hashes what a node is made of. `inputs` are the hashes of the files that it needs, by need. */
export function nodeKey(
  { name, revision, settings }: Node,
  inputs: Readonly<Record<string, string>>,
): string {
  return sha256(canonical({ name, revision, settings, inputs }));
}

/** Lists the nodes that these need, and these themselves, in the order of the graph. */
export function withNeeds(graph: readonly Node[], wanted: (node: Node) => boolean): Node[] {
  const taken = new Set<string>();
  for (const node of graph.toReversed()) {
    if (!taken.has(node.name) && !wanted(node)) continue;
    taken.add(node.name);
    if (!node.given) { for (const need of node.needs) taken.add(splitNeed(need).name); }
  }
  return graph.filter(({ name }) => taken.has(name));
}

/** The maker of nodes that are given. */
export const GIVEN: Maker = {
  stage: "given",
  make: () => Promise.reject(new Error("a node that is given is never made")),
};

/**
 * A node that nobody has asked for yet: it is missing. Only a task knows how it is to be made.
 */
export const unaskedNode = (name: string, revision: number, asked: Asked): Node => ({
  name,
  needs: [],
  settings: {},
  revision,
  asked,
  maker: {
    stage: asked.name,
    make: () => Promise.reject(new Error("a node that nobody asked for is never made")),
  },
});

/**
 * Lists the nodes that a node was made of, by its manifest, and then the node itself. It is up to
 * date as long as these and the revision stay the same.
 */
export function nodesAsMade(
  { name, settings, inputs }: Manifest,
  revision: number,
  asked: Asked,
): Node[] {
  const needs = Object.keys(inputs);
  const maker = { ...GIVEN, stage: asked.name };
  return [
    ...needs.map((need) => givenNode(splitNeed(need).name)),
    { name, settings, needs, revision, maker, asked },
  ];
}

/** A node that must be there as it is, whatever it was made of. */
export function givenNode(name: string): Node {
  return { name, needs: [], settings: {}, revision: 0, maker: GIVEN, given: true };
}

/**
 * Waits for the nodes of a stage. If settings name a file that is not here, an `InputError` is
 * thrown; but with `isRecorded` the nodes with these `names` then count as they lie in the run.
 */
export async function orGiven(
  stage: string,
  names: readonly string[],
  nodes: Promise<Node[]>,
  isRecorded = true,
): Promise<Node[]> {
  return await nodes.catch((error) => {
    if (!isRecorded || !(error instanceof InputError)) throw error;
    return names.map((name) => ({ ...givenNode(name), maker: { ...GIVEN, stage } }));
  });
}

/** The stage that fixes the text. */
export const CORPUS = "corpus";
/** The stage that turns text into sequences. */
export const TOKENIZE = "tokenize";
/** The stage that learns how to split text. */
export const LEARN = "train-routers";
/** The stage that scores sequences for every expert. */
export const SCORE = "score";
/** The stage that assigns sequences to experts. */
export const ASSIGN = "assign";
/** The stage that writes the parts of experts. */
export const SPLIT = "split";
/** Name of the node of the tokenizer, and of its stage. */
export const TOKENIZER = "tokenizer";
/** Name of its file. */
export const TOKENIZER_FILE = "tokenizer.json";
/**
 * Name of the node that lists the sequences of all blocks. Who reads all of them needs it alone,
 * not a node for each block.
 */
export const SEQUENCES = "text/sequences";
/** What is needed of it by those who read training sequences. */
export const ALL_TRAIN = `${SEQUENCES}:train`;
/** What is needed of it by those who read held-out sequences. */
export const ALL_TEST = `${SEQUENCES}:test`;
/** Name of the node that leaves out duplicates and leaks. */
export const PRUNED = "text/pruned";
/** Name of the node that tells which run a run derives from. */
export const DERIVED = "derived";
/** Name of the node of what was learned to split text by. */
export const PARTITIONER = "partitioner";
/** Name of the node that names experts. */
export const NAMES = "partition/names";
/** Name of the node of an evaluation's result. */
export const EVALUATION = "evaluation/result";
/** Name of the folder of zero-shot tasks' nodes, and of their stage. */
export const ZERO_SHOT = "zero-shot";

/**
 * Gives the name of the folder of one of so many experts, for instance `expert-03`; of 100 or more
 * `expert-003`.
 */
export function expertFolder(expert: number, experts: number): string {
  return `expert-${String(expert).padStart(Math.max(2, String(experts).length), "0")}`;
}

/** Names the node of an expert's part. */
export const partNode = (expert: number, experts: number): string =>
  `partition/${expertFolder(expert, experts)}`;

const NOTE = v.object({ bytes: count, sha256: v.string(), batches: v.optional(v.array(count)) });

const SCHEMA = v.object({
  key: v.string(),
  name: v.string(),
  revision: count,
  settings: v.record(v.string(), v.unknown()),
  inputs: v.record(v.string(), v.string()),
  files: v.record(v.string(), NOTE),
  result: v.record(v.string(), v.unknown()),
  made: v.object({
    version: v.string(),
    adapter: v.optional(v.string()),
    driver: v.optional(v.string()),
    from: v.optional(v.string()),
  }),
});

/**
 * Describes a file of a node: its size, its SHA-256 and, of an Arrow file, the CRC-32 of each
 * record batch, by which rows that are read by number are checked.
 *
 * @ignore Its type is inferred.
 */
export type FileNote = v.InferOutput<typeof NOTE>;

/**
 * What stands in a node's folder: its `key`, its `files` by path and its `result` (counts and
 * metrics). The key is a hash of `name`, `revision`, `settings` and `inputs` (hashes of files by
 * need). `made` notes the version that made the node; the adapter and driver that computed it, or
 * its inputs where it opens no device; and the run that it was linked from.
 *
 * @ignore Its type is inferred.
 */
export type Manifest = v.InferOutput<typeof SCHEMA>;

const SEALED = sealed(SCHEMA);

/**
 * Reads the manifest of a node; null where there is none. Only what is not found is absent: throws
 * an `InputError` where it is damaged, and the disk's own error where it cannot be read.
 */
export const readManifest = (folder: string): Promise<Manifest | null> =>
  readJsonIfThere(`${folder}/${MANIFEST}`, SEALED, "the manifest of a folder of a run");

/**
 * Writes the manifest of a node, which this version made on this adapter, or which was linked from
 * another run.
 */
export async function writeManifest(
  folder: string,
  manifest: Omit<Manifest, "made">,
  { adapter, driver, from }: Partial<Manifest["made"]> = {},
): Promise<Manifest> {
  const whole: Manifest = JSON.parse(
    JSON.stringify({ ...manifest, made: { version: VERSION, adapter, driver, from } }),
  );
  await writeAtomic(`${folder}/${MANIFEST}`, jsonText(seal(whole)));
  return whole;
}

/** Names of the files of a manifest in order, and what was hashed of them. */
const hashed = new WeakMap<Manifest["files"], { names: string[]; hashes: Map<string, string> }>();

/**
 * Hashes the files of a node whose names begin with `start`, by their hashes. Many nodes need the
 * same, so it is done once.
 */
export function hashFiles({ files }: Pick<Manifest, "files">, start = ""): string {
  const indexed = () => ({ names: Object.keys(files).sort(), hashes: new Map<string, string>() });
  const { names, hashes } = hashed.getOrInsertComputed(files, indexed);
  return hashes.getOrInsertComputed(start, () => {
    const named: Record<string, string> = {};
    for (let i = firstFrom(names, start); names[i]?.startsWith(start); i++) {
      named[names[i]] = files[names[i]].sha256;
    }
    return sha256(canonical(named));
  });
}

/** Finds the place of the first name that is not before `start`. */
function firstFrom(names: readonly string[], start: string): number {
  let [low, high] = [0, names.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (names[middle] < start) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Describes all files in a folder, by their paths there in order. Those that `known` describes are
 * not read.
 */
export async function noteFiles(
  folder: string,
  hashedBefore: ReadonlyMap<string, FileNote> = new Map(),
): Promise<Record<string, FileNote>> {
  const notes: Record<string, FileNote> = {};
  for (const path of (await Array.fromAsync(filesUnder(folder))).sort()) {
    const note: FileNote = hashedBefore.get(path) ?? await hashFile(`${folder}/${path}`);
    const { batches, bytes, sha256 } = note;
    notes[path] = { batches, bytes, sha256 }; // one order, whoever described it
  }
  return notes;
}

/**
 * Finds a file of a manifest that is missing or has another size, or with `check` other content;
 * undefined where all are whole.
 */
export async function findDamage(
  folder: string,
  { files }: Manifest,
  check: boolean,
): Promise<string | undefined> {
  for (const [name, { bytes, sha256 }] of Object.entries(files)) {
    const path = `${folder}/${name}`;
    const entry = await Deno.lstat(path).catch(ifMissing(null));
    if (!entry?.isFile || entry.size !== bytes) return name;
    if (check && (await hashFile(path)).sha256 !== sha256) return name;
  }
}

/**
 * Lists the names of the nodes that lie in a folder of a run, in order: the folders that have a
 * manifest.
 */
export async function* nodesIn(run: string, folder: string): AsyncGenerator<string> {
  const entries = await listEntries(`${run}/${folder}`);
  if (entries.some(({ name }) => name === MANIFEST)) return yield folder;
  for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (isDirectory) yield* nodesIn(run, `${folder}/${name}`);
  }
}
