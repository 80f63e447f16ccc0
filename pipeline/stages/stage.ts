/**
 * The seam of stages: a stage turns settings and text into nodes of a run's graph. Plan, run, status and help ask the stages and know no
 * other list.
 *
 * @module
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import type { Node } from "../graph/node.ts";
import type { Branch } from "../partition/tree/branches.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block } from "../text/blocks.ts";
import type { Text } from "./text.ts";

/** What the nodes of a stage are made of. */
export interface GraphOf {
  /** Resolved settings. */
  configuration: Configuration;
  /** What is known of the text. */
  text: Text;
  /** Its blocks. */
  blocks: readonly Block[];
  /** Whether its text is pairs of prompt and response. */
  prompts?: boolean;
  /** How blocks are grouped, where the run derives from another one: for so many experts, and anew where text was added. */
  grouped?: { experts: number; starts: readonly number[] };
  /** Whether what settings name elsewhere is taken to be what the run was made of, where it is not here. */
  recorded?: boolean;
  /** The branch of a tree whose rows alone are learned from, scored and assigned; its `experts` are those of the configuration. */
  branch?: Branch;
}

/** The size of a corpus. */
export interface CorpusSize {
  /** Characters of text. */
  characters: number;
  /** Sequences that they make. */
  sequences: number;
}

/** What a stage takes. */
export interface Estimate {
  /** Time, in seconds. */
  seconds: number;
  /** Disk of its outputs, in bytes. */
  diskBytes: number;
  /** Peak memory beyond that of the runtime, in bytes. */
  memoryBytes: number;
}

/** How fast a device is. */
export interface Speed {
  /** FLOP/s that it reaches. */
  flops: number;
  /** What it is: narrow models take a processor longer than their FLOPs tell. */
  kind?: AdapterKind;
}

/** A stage of a run. */
export interface Stage {
  /** What it makes, in one sentence. */
  about: string;
  /** Names of the settings that its task takes. */
  settings: readonly (keyof Configuration)[];
  /** Whether it is not part of a partition and runs only when its own task is called. */
  onRequest?: true;
  /**
   * Lists its nodes, each after those that it needs. Nodes of other stages may be needed. Those of a script's stage lie in a folder of
   * the stage's name, or are it.
   */
  nodes?(of: GraphOf): readonly Node[] | Promise<readonly Node[]>;
  /** Estimates what it takes on a device. */
  estimate?(configuration: Configuration, size: CorpusSize, speed: Speed): Estimate;
}
