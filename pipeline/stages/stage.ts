/**
 * What a stage is: it turns the settings and the text of a run, and what a task asks of it, into
 * nodes of the run's graph. The table of all stages is in `stages.ts`; nothing here knows a stage.
 *
 * @module
 */

import type { AdapterKind, Variants } from "../../kernels/device/variants.ts";
import type { Node } from "../graph/node.ts";
import type { Branch } from "../partition/tree/branches.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block } from "../text/blocks.ts";
import type { RunText } from "./text.ts";

/** The run, its settings and its text: what the nodes of a stage are made of. */
export interface GraphOf {
  /** Path of the run. */
  run: string;
  /** Resolved settings. */
  configuration: Configuration;
  /** What is known of the text. */
  text: RunText;
  /** Its blocks; none where the text is still to be unpacked. */
  blocks: readonly Block[];
  /** Whether its text is pairs of prompt and response. */
  prompts: boolean;
  /**
   * How blocks are grouped into shards: for so many experts, and with a new group at each of these
   * blocks. A derived run groups as the run before it did, and begins a group with added text.
   */
  grouped: { experts: number; starts: readonly number[] };
  /** Hashes of forgotten texts: a document with such a hash is refused. */
  away: readonly string[];
  /**
   * Whether a file or run outside this folder that settings name counts as unchanged if it is
   * missing.
   */
  recorded: boolean;
  /**
   * The branch of a tree whose rows alone are learned from, scored and assigned; its `experts` are
   * those of the configuration. Undefined for the rows of the whole run.
   */
  branch: Branch | undefined;
}

/** Gives the graph of a run of documents, of which nothing is derived or only recorded. */
export const graphOf = (
  parts: Pick<GraphOf, "run" | "configuration" | "text" | "blocks"> & Partial<GraphOf>,
): GraphOf => ({
  prompts: false,
  grouped: { experts: parts.configuration.experts, starts: [] },
  away: [],
  recorded: false,
  branch: undefined,
  ...parts,
});

/**
 * What making something takes: seconds, bytes of disk that stay, and bytes of memory at its peak,
 * on the device and apart from what every process takes.
 */
export type Estimate = Record<"seconds" | "diskBytes" | "memoryBytes", number>;

/** What an estimate goes by. */
export interface EstimateOf {
  /** Path of the run. */
  run: string;
  /** Resolved settings. */
  configuration: Configuration;
  /** Characters of the text, about; 0 where that is not known. */
  characters: number;
  /** Sequences that they make, about. */
  sequences: number;
  /** FLOP/s that the device reaches. */
  flops: number;
  /** What the device is: narrow models take a processor longer than their FLOPs tell. */
  kind?: AdapterKind;
  /** How the loss of training runs, where that is chosen. */
  loss?: Variants["loss"];
}

/** A stage of a run. What a task may ask of it is a `Request`. */
export interface Stage<Request extends object = object> {
  /** What it makes, in one sentence. */
  about: string;
  /** Names of the settings that its task takes. */
  settings: readonly (keyof Configuration)[];
  /** Whether it is not part of a partition and runs only when its own task is called. */
  onRequest?: true;
  /**
   * Whether it reads the text itself, which must be here then. Another stage on request is listed
   * without a look at the text, and with no blocks.
   */
  readsText?: true;
  /**
   * Lists its nodes, each after those that it needs. Nodes of other stages may be needed. Those of
   * a script's stage lie in a folder of the stage's name, or are it. A stage of a partition gets no
   * request.
   */
  nodes(graph: GraphOf, request: Request): readonly Node[] | Promise<readonly Node[]>;
  /** Estimates what making all of its nodes takes, or those that are requested. */
  estimate(workload: EstimateOf, request: Request): Estimate | Promise<Estimate>;
  /**
   * Lists what is asked of it in a run: what every run is to have, and what the manifests of its
   * nodes say. Default: one request without anything.
   */
  requests?(graph: GraphOf): readonly Request[] | Promise<readonly Request[]>;
}
