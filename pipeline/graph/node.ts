/**
 * A run is a graph of folders. Each folder, a node, is made once and whole, and never changed; its manifest tells what it was made of. A
 * node's key is a hash of its settings and of the bytes that it needs. So a change that leaves bytes as they were stops there. Skipping,
 * resuming, parts and many machines need nothing else.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import { InputError } from "../../kernels/errors.ts";
import type { RunEvent } from "../run/events.ts";
import { sha256 } from "../run/files.ts";
import { canonical } from "../run/seal.ts";
import type { FileNote, Manifest } from "./manifest.ts";

/** A folder of a run: what it is made of, and by whom. */
export interface Node {
  /** Its path in the run. No node lies in another one. */
  name: string;
  /**
   * The nodes whose folders it reads, each before those that need it. `NAME:START` reads only the files whose names begin with
   * `START`, so the others may change.
   */
  needs: readonly string[];
  /** A name that nodes share which one process should make, such as those of a branch; its own unless given. Decides no byte. */
  unit?: string;
  /** Everything else that decides its bytes. */
  settings: Readonly<Record<string, unknown>>;
  /** Raised when the same settings and inputs give other bytes. */
  revision: number;
  /** What makes it. Nodes of one stage share their maker. */
  maker: Maker;
  /** Places in the run that users know, such as `report.html`, and the files of the node that links there lead to. */
  links?: Readonly<Record<string, string>>;
  /** Whether its files go once everything that needs it is made. Its manifest stays. */
  temporary?: boolean;
  /** Whether it must be there as it is: its own manifest says what it is, and nobody makes it here. */
  given?: boolean;
}

/** Makes the nodes of a stage. */
export interface Maker {
  /** Name of the stage. */
  stage: string;
  /** The most nodes that are made in one call; 1 unless given. They must not need each other. */
  together?: number;
  /**
   * Fills the folders of these nodes, and returns a result for each: counts and metrics, which their manifests keep; or the error of a
   * node that failed alone, which is thrown once the others have come to be. A maker may keep a device or a model open between calls.
   */
  make(nodes: readonly Making[], work: Work): Promise<(Record<string, unknown> | Error)[]>;
  /** Closes what was kept open. */
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
   * A folder for checkpoints, made by the first who writes there. It belongs to the key and outlives a killed process. Other
   * processes may write there at the same time, so files in it are written aside and renamed.
   */
  scratch: string;
  /** Gives the folder of a node that it needs. */
  path(need: string): string;
  /** Gives the manifest of a node that it needs. */
  manifest(need: string): Manifest;
  /** Tells what is known of a file that was just written, so that nobody has to read it again. */
  wrote(file: string, note: FileNote): void;
}

/** Tells what is known of files that were just written into the folder of a node, or into `inside` it. */
export function noteAll(
  { wrote }: Pick<Making, "wrote">,
  records: Readonly<Record<string, FileNote>>,
  inside = "",
): void {
  for (const [file, record] of Object.entries(records)) wrote(inside + file, record);
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

/** Splits a need into the name of its node and the beginning of the names of the files that it reads. */
export function splitNeed(need: string): { name: string; start: string } {
  const colon = need.indexOf(":");
  return colon < 0 ? { name: need, start: "" } : { name: need.slice(0, colon), start: need.slice(colon + 1) };
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

/** A node that must be there as it is, whatever it was made of. */
export function givenNode(name: string): Node {
  return { name, needs: [], settings: {}, revision: 0, maker: GIVEN, given: true };
}

/**
 * Makes nodes of a stage. Something that settings name for them may not be here. Then the nodes of these names count as they lie in the
 * run, if what it was made of `isRecorded`.
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
