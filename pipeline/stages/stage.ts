/**
 * The seam of stages, which make a run folder. A stage says what it depends on, what its outputs depend on,
 * and how they are made, estimated and verified. Plan, run, status, verify, help and remedies ask the stages
 * and know no other list.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import type { Text } from "../../kernels/errors.ts";
import type { RunEvent } from "../run/events.ts";
import { type FileRecord, wholeName } from "../run/files.ts";
import type { Hold, LockOptions } from "../run/lock.ts";
import type { Manifest, StageIdentity } from "../run/manifest.ts";
import type { Vouched } from "../run/vouched.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Document } from "../text/readers.ts";
import type { Part } from "./notes.ts";

/** A run folder and the settings that hold in it. */
export interface RunContext {
  /** Run folder. */
  run: string;
  /** Resolved settings. */
  configuration: Configuration;
}

/** What a stage gets to work with. */
export interface Work extends RunContext {
  /** Whether stages run even if they are up to date. */
  force: boolean;
  /** Whether outputs are hashed, rather than trusted by their sizes, to find out whether they are whole. */
  check?: boolean;
  /** Other runs, from which stages that they have made from the same inputs are copied. */
  reuse?: readonly string[];
  /** Threads that turn text into tokens; 1 unless given. */
  workers?: number;
  /** Records of files. A stage reads files by them, and its manifest keeps what it read. */
  files: Vouched;
  /** Whether standard input, if it is an input, holds new text. */
  readStandardInput: boolean;
  /** Text that a script handed over; it is read where the settings say standard input. */
  documents?: ReadableStream<Document>;
  /** Opens the GPU on the first call, and returns the same one afterwards. */
  gpu(): Promise<Gpu>;
  /** Reads the manifest of a stage that this one needs; throws an `InputError` where it has not run on what is there now. */
  manifest(stage: string): Promise<Manifest>;
  /** Reads the manifest of a stage as it is; null where it has not run. */
  known(stage: string): Promise<Manifest | null>;
  /** Holds something in the run folder until it is released: see `lockRun`. */
  lock(name: string, options?: LockOptions): Promise<Hold>;
  /** Emits an event. */
  emit(event: RunEvent): void;
  /**
   * Waits for `ready`, and then writes the settings into the run's `config.json` if that is still due: where
   * work goes on side by side, and where settings differ from those of the run. Where `ready` fails,
   * `config.json` stays as it was. Returns the value of `ready`.
   */
  settle<Value>(ready: () => Promise<Value>): Promise<Value>;
  /** Ends the work. */
  signal?: AbortSignal;
}

/** What a stage made. */
export interface Made {
  /** Size and SHA-256 of every output, by its path in the run folder. */
  outputs: Record<string, FileRecord>;
  /** Counts and metrics. */
  result: Record<string, unknown>;
  /** Whether it was copied from another run instead. */
  copied?: boolean;
  /** Removes what is not needed any more once the manifest is written. */
  afterwards?(): Promise<void>;
}

/** The estimate of a stage. */
export interface Estimate {
  /** Time, in seconds. */
  seconds: number;
  /** Disk of its outputs, in bytes. */
  diskBytes: number;
  /** Peak memory beyond that of the runtime, in bytes. */
  memoryBytes: number;
}

/** The size of a corpus, before it is read. */
export interface CorpusSize {
  /** Characters of text. */
  characters: number;
  /** Sequences that they make. */
  sequences: number;
}

/** Something that is wrong in a run folder. */
export interface Problem {
  /** The file, by its path in the run folder; where a row is wrong, also batch and row. */
  file: string;
  /** What must be true, and what is. */
  what: Text;
  /** How to mend it. */
  remedy: Text;
}

/** A stage of a run. */
export interface Stage {
  /**
   * Its name, also that of its manifest and its events; equal to that of its kind, unless the kind has
   * several stages.
   */
  name: string;
  /** What it makes, in one sentence. */
  about: string;
  /** The task that runs it alone, and with which options. Default: the task of its name. */
  command?: { task: string; with?: Record<string, string | number> };
  /** Names of the stages that must have run before it. */
  needs: readonly string[];
  /** Names of stages that it takes into account where they have run. */
  uses?: readonly string[];
  /** Whether it is not part of a partition and runs only when its own task is called. */
  onRequest?: true;
  /** Whether a run is complete without it, so that later work does not wait for it. */
  optional?: true;
  /** Whether it can run if only its own input files are there, without the stages before it. */
  alone?: true;
  /** Whether it refuses to replace what other values made of the same inputs, unless that is accepted. */
  guards?: true;
  /** Names of the settings that its outputs depend on. */
  settings: readonly (keyof Configuration)[];
  /** Version of its results: to be raised when the bits that it makes from the same inputs change. */
  revision: number;
  /** Files and folders (with a final `/`) in the run folder that only this stage makes. */
  outputs: readonly string[];
  /**
   * Matches the names of all files that it makes, by their paths in the run folder, scratch files included.
   * Files with other names are never removed, unless a manifest of the stage lists them.
   */
  makes?: RegExp;
  /** Folders (ending in `/`) besides those of its outputs that its parts keep files in until it is closed. */
  keeps?: readonly string[];
  /**
   * Matches the names of files that its parts leave besides its outputs, by their paths in the run folder. They
   * go once its manifest is written: until then whoever closes the stage goes on from them.
   */
  ofParts?: RegExp;
  /** The settings' values as its manifest keeps them. Default: those of `settings`. */
  values?(
    context: RunContext & Pick<Partial<Work>, "gpu">,
  ): Promise<Record<string, unknown>> | Record<string, unknown>;
  /** Hashes of what it reads in the run folder, by name; `manifest` gives those of the stages that it needs or uses. */
  inputs(
    context: RunContext,
    manifest: ManifestReader,
  ): Promise<Record<string, string>> | Record<string, string>;
  /**
   * Hashes of what it reads outside the run folder, by name. Where only its state is asked for, these are
   * assumed to be unchanged.
   */
  external?(work: RunContext): Promise<Record<string, string>>;
  /** Whether it runs even if it is up to date. */
  again?(work: Work): boolean;
  /** Whether it has left something to go on from without a manifest, or is running. */
  begun?(run: string): Promise<boolean>;
  /** Checks everything before its outputs are touched, and returns the function that makes them. */
  prepare(work: Work, identity: StageIdentity, before: Manifest | null): Promise<Make> | Make;
  /**
   * Makes a share of its outputs beside processes that make other shares, and returns counts; a run without a
   * part closes the stage. Absent where a stage cannot be made in parts.
   */
  part?(work: Work, identity: StageIdentity, part: Part): Promise<Record<string, unknown>>;
  /** Throws an `InputError` where these settings rule out parts, before anything is touched. */
  checkPart?(): void;
  /** The most parts that it can be made in; any number unless given. */
  mostParts?: number;
  /** Names the stages whose files it, or one of its parts, reads. Default: those that it needs and uses. */
  reads?(identity: StageIdentity, part?: Part): readonly string[];
  /** Estimates it for a dry run, on a device of this kind that reaches so many FLOP/s. */
  estimate?(
    configuration: Configuration,
    corpus: CorpusSize,
    flops: number,
    kind?: AdapterKind,
  ): Estimate;
  /** Checks more than the hashes of its files. */
  verify?(verification: Verification): Promise<void>;
  /** Says how far it has come while no manifest closes it; `remedy` says how to go on. */
  unfinished?(context: RunContext): Promise<Unfinished | null>;
}

/** Makes a stage's outputs. */
export type Make = () => Promise<Made>;

/** Reads the manifest of a stage; null where it has not run. */
export type ManifestReader = (stage: string) => Promise<Manifest | null>;

/** How far a stage has come that is made in parts. */
export interface Unfinished {
  /** What has been made. */
  what: Text;
  /** How to go on. */
  remedy: Text;
  /** Whether only the manifest is missing. */
  complete: boolean;
  /** Records of the files that are there, by path in the run folder. */
  files: Record<string, FileRecord>;
}

/** What a stage's own checks see while a run is verified. */
export interface Verification extends RunContext {
  /** Records of all files, by their paths in the run folder. */
  files: ReadonlyMap<string, FileRecord>;
  /** Says whether a stage has run, according to its manifest. */
  ran(stage: string): boolean;
  /** Says whether a problem was found in a file whose path begins like this. */
  isWrong(start: string): boolean;
  /** Notes a problem. Default of the remedy: how the stage of the file makes it again. */
  problem(file: string, what: Text, remedy?: Text): void;
  /**
   * Runs a check. An error that explains itself becomes a problem of the file that it names, or of this one.
   */
  attempt<T>(file: string, check: () => Promise<T>): Promise<T | undefined>;
  /** Tells how many rows of how many were checked. */
  progress(done: number, total: number): void;
  /** Adds the sequences that were found in the shards of the experts. */
  found(kind: "train" | "test", loads: number[]): void;
}

/** Says whether a path in the run folder is that of a file which a stage makes, finished or not. */
export function isMadeBy({ makes, outputs }: Stage, path: string): boolean {
  return [path, wholeName(path) ?? ""].some((name) => outputs.includes(name) || makes?.test(name));
}

/** Lists the folders that a stage makes files in, by their paths without a slash at the end. */
export function foldersOf({ outputs, keeps = [] }: Stage): string[] {
  return [...outputs, ...keeps].filter((path) => path.endsWith("/")).map((path) => path.slice(0, -1));
}

/** A kind of stages, which implements a task of the graph: one stage, or one per model. */
export interface StageKind {
  /** What its task does, in one sentence. */
  about: string;
  /** The settings that its task takes. Default: those of its stages. */
  takes?: readonly (keyof Configuration)[];
  /** Its stages in a run with these settings; none where the settings make it unnecessary. */
  of(configuration: Configuration): readonly Stage[];
}

/** Makes the kind of a single stage. Its task takes these settings; by default those of the stage. */
export function oneStage(stage: Stage, takes: StageKind["takes"] = stage.settings): StageKind {
  return { about: stage.about, takes, of: () => [stage] };
}

/** Picks the values of settings. */
export function pickSettings(
  configuration: Configuration,
  names: readonly (keyof Configuration)[],
): Record<string, unknown> {
  return Object.fromEntries(names.map((name) => [name, configuration[name]]));
}
