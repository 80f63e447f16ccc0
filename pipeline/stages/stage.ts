/**
 * The seam of stages: what a run folder is made by. A stage says what it stands on, what its outputs depend on, and how they
 * are made, estimated and verified; plan, run, status, verify, help and remedies ask it and know no other list.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
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

/** What a stage is told while it works. */
export interface Work extends RunContext {
  /** Whether stages run even where they are up to date. */
  force: boolean;
  /** Whether outputs are hashed to find out whether they are whole, rather than believed by their sizes. */
  check?: boolean;
  /** Other runs, which stages that they have made of the same inputs are taken from. */
  reuse?: readonly string[];
  /** What manifests say of files; a stage reads by it, and its manifest keeps what it read. */
  files: Vouched;
  /** Whether standard input, where it is an input, holds new text. */
  readStandardInput: boolean;
  /** Text that was handed over and is read where the settings say standard input. */
  documents?: ReadableStream<Document>;
  /** Opens the GPU on the first call, and returns the same one afterwards. */
  gpu(): Promise<Gpu>;
  /** Reads the manifest of a stage that this one needs; throws an `InputError` where it has not run on what is there now. */
  manifest(stage: string): Promise<Manifest>;
  /** Reads the manifest of a stage as it is; null where it has not run. */
  known(stage: string): Promise<Manifest | null>;
  /** Holds something in the run folder until it is released: see `lockRun`. */
  lock(name: string, options?: LockOptions): Promise<Hold>;
  /** Tells what happens. */
  emit(event: RunEvent): void;
  /**
   * Writes the settings into the run's `config.json`, where work that goes on side by side has held that back; those that differ from
   * the run's once what they are for is `ready`, which is returned: where that fails, `config.json` stays as it was.
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
}

/** What a stage is estimated to take. */
export interface Estimate {
  /** Time, in seconds. */
  seconds: number;
  /** Disk of its outputs, in bytes. */
  diskBytes: number;
  /** Memory at its peak beyond the runtime's own, in bytes. */
  memoryBytes: number;
}

/** What is known of a corpus before it is read. */
export interface CorpusSize {
  /** Characters of text. */
  characters: number;
  /** Sequences that they make. */
  sequences: number;
}

/** Something that is wrong in a run folder. */
export interface Problem {
  /** The file, by its path in the run folder, with batch and row where it is a row that is wrong. */
  file: string;
  /** What must hold, and what is. */
  what: Text;
  /** How to mend it. */
  remedy: Text;
}

/** A stage of a run. */
export interface Stage {
  /** Its name: that of its manifest, of its events, and of its kind unless the kind has several. */
  name: string;
  /** What it makes, in one sentence. */
  about: string;
  /** The task that runs it alone, and with which options. Default: the task of its name. */
  command?: { task: string; with?: Record<string, string | number> };
  /** Names of the stages that must have run before it. */
  needs: readonly string[];
  /** Names of stages that it takes into account where they have run. */
  uses?: readonly string[];
  /** Whether a partition leaves it out: it runs when its own task is called. */
  onRequest?: true;
  /** Whether a run is complete without it: what comes next does not wait for it. */
  optional?: true;
  /** Whether it can run where its own input files lie without the stages before it. */
  alone?: true;
  /** Names of the settings that its outputs depend on. */
  settings: readonly (keyof Configuration)[];
  /** Version of its results: it grows when the bits that it makes from the same inputs change. */
  revision: number;
  /** Files, and folders (ending in `/`), that it alone makes in the run folder. */
  outputs: readonly string[];
  /**
   * Names of all files that it makes, by their paths in the run folder, scratch files among them. What has another name is
   * never removed, unless a manifest of the stage lists it.
   */
  makes?: RegExp;
  /** The settings' values as its manifest keeps them. Default: those of `settings`. */
  values?(
    context: RunContext & Pick<Partial<Work>, "gpu">,
  ): Promise<Record<string, unknown>> | Record<string, unknown>;
  /** Hashes of what it reads in the run folder, by name; `manifest` gives those of the stages that it needs or uses. */
  inputs(
    context: RunContext,
    manifest: ManifestReader,
  ): Promise<Record<string, string>> | Record<string, string>;
  /** Hashes of what it reads outside the run folder, by name; where only its state is asked for, these are taken to be as they were. */
  external?(work: RunContext): Promise<Record<string, string>>;
  /** Whether it runs although it is up to date. */
  again?(work: Work): boolean;
  /** Whether it has left something to go on from without a manifest, or is at work. */
  begun?(run: string): Promise<boolean>;
  /** Checks what must hold before its outputs are touched, and returns what makes them. */
  prepare(work: Work, identity: StageIdentity, before: Manifest | null): Promise<Make> | Make;
  /**
   * Makes a share of its outputs beside processes that make others, and returns counts; a run without a part closes the stage. Absent
   * where it cannot be made in parts.
   */
  part?(work: Work, identity: StageIdentity, part: Part): Promise<Record<string, unknown>>;
  /** Names the stages whose files it, or one of its parts, reads. Default: those that it needs and uses. */
  reads?(identity: StageIdentity, part?: Part): readonly string[];
  /** Estimates it, for dry runs, on a device that reaches so many FLOP/s. */
  estimate?(configuration: Configuration, corpus: CorpusSize, flops: number): Estimate;
  /** Checks more than its files' hashes. */
  verify?(verification: Verification): Promise<void>;
  /** Says how far it has come before a manifest closes it; `remedy` how to go on. */
  unfinished?(context: RunContext): Promise<Unfinished | null>;
}

/** Makes a stage's outputs. */
export type Make = () => Promise<Made>;

/** Reads the manifest of a stage; null where it has not run. */
export type ManifestReader = (stage: string) => Promise<Manifest | null>;

/** How far a stage has come that parts of it work at. */
export interface Unfinished {
  /** What is there. */
  what: Text;
  /** How to go on. */
  remedy: Text;
  /** Whether only the manifest is missing. */
  complete: boolean;
  /** What is known of the files that are there, by path in the run folder. */
  files: Record<string, FileRecord>;
}

/** What a stage's own checks see while a run is verified. */
export interface Verification extends RunContext {
  /** What manifests say of every file, by its path in the run folder. */
  files: ReadonlyMap<string, FileRecord>;
  /** Whether a stage has run, as its manifest vouches. */
  ran(stage: string): boolean;
  /** Whether a problem was found in a file whose path begins so. */
  isWrong(start: string): boolean;
  /** Notes a problem; the remedy is how the file's stage makes it again, unless given. */
  problem(file: string, what: Text, remedy?: Text): void;
  /** Runs a check; an error that explains itself becomes a problem of its file, or of this one. */
  attempt<T>(file: string, check: () => Promise<T>): Promise<T | undefined>;
  /** Tells how many rows of how many were checked. */
  progress(done: number, total: number): void;
  /** Takes the sequences that were found in the experts' shards. */
  found(kind: "train" | "test", loads: number[]): void;
}

/** Whether a path in the run folder is that of a file which a stage makes, or of one that it has not finished. */
export function isMadeBy({ makes, outputs }: Stage, path: string): boolean {
  return [path, wholeName(path) ?? ""].some((name) => outputs.includes(name) || makes?.test(name));
}

/** What implements a task of the graph: one stage, or one per model. */
export interface StageKind {
  /** What its task does, in one sentence. */
  about: string;
  /** The settings that its task takes. Default: those of its stages. */
  takes?: readonly (keyof Configuration)[];
  /** Its stages in a run with these settings; none where they make it unnecessary. */
  of(configuration: Configuration): readonly Stage[];
}

/** Makes the kind of a single stage; its task takes these settings, those of the stage unless given. */
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
