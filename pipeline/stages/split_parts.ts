/**
 * Parts of the stage `split`. A part writes the shards with some numbers, of all experts: experts fill at
 * about the same pace, so the rows of these shards lie in about the same share of the input. A note is kept
 * of every shard. The run without a part counts all rows, without reading their tokens, and writes the
 * manifests.
 *
 * @module
 */

import { say, task } from "../../kernels/errors.ts";
import { assignArgmax } from "../partition/assignment/argmax.ts";
import { expertFolder, type Shard } from "../partition/manifests.ts";
import {
  closeSplit,
  type ClosingInputs,
  type Partition,
  type Share,
  type SplitOptions,
  splitShare,
} from "./split_shares.ts";
import { fromBatch, readShards, type RecordBatch } from "../rows/arrow.ts";
import { joinScores } from "../rows/join.ts";
import { shardName } from "../rows/arrow.ts";
import { exists, filesUnder } from "../run/files.ts";
import { type Manifest, outputsUnder } from "../run/manifest.ts";
import {
  type FileNote,
  noteOf,
  notePath,
  type Part,
  readNote,
  shareOf,
  writeMissing,
  writeNote,
} from "./notes.ts";
import type { RunContext, Unfinished, Work } from "./stage.ts";
import { watchRows } from "./watch.ts";

/** Where the shards and their notes lie. */
const PLACE = { stage: "split", folder: "partition" };
const KINDS = ["train", "test"] as const;
type Kind = typeof KINDS[number];

/** The manifests of the stages that are read. */
export interface Sources {
  tokenize: Manifest;
  scores: Manifest;
  assignments: Manifest;
}

/** Lists the token shards of a kind, and the scores or assignments beside them. */
export function pathsOf(
  { tokenize, scores, assignments }: Sources,
  kind: Kind,
): Record<"tokens" | "scored", string[]> {
  return {
    tokens: outputsUnder(tokenize, `tokens/${kind}-`),
    scored: kind === "train"
      ? outputsUnder(assignments, "assignments/train-")
      : outputsUnder(scores, "scores/test-"),
  };
}

/** What is read and written of one kind. */
interface KindPlan {
  kind: Kind;
  tokens: string[];
  scored: string[];
  /** Sequences of each expert by shard that is read `[shards][E]`. */
  loads: number[][];
  /** Sequences of each expert `[E]`. */
  totals: number[];
  /** Number of shards of the expert that has most. */
  shards: number;
}

/** Counts the sequences of every expert in every shard that is read. */
async function planOf(work: Work, sources: Sources, kind: Kind): Promise<KindPlan> {
  const { experts, shardSequences } = work.configuration;
  const { tokens, scored } = pathsOf(sources, kind);
  const loads: number[][] = [];
  for (const path of scored) {
    const load = new Array<number>(experts).fill(0);
    for await (const batch of read(work, [path])) {
      const { nll, expert } = fromBatch(batch);
      for (const e of kind === "train" ? expert! : assignArgmax(nll!, experts)) load[e]++;
    }
    loads.push(load);
  }
  const totals = Array.from({ length: experts }, (_, e) => loads.reduce((sum, load) => sum + load[e], 0));
  const shards = scored.length === 0
    ? 0
    : Math.max(1, ...totals.map((rows) => Math.ceil(rows / shardSequences)));
  return { kind, tokens, scored, loads, totals, shards };
}

const read = ({ run, files, signal }: Work, paths: readonly string[]): ReadableStream<RecordBatch> =>
  watchRows({ signal }, readShards(paths.map((path) => `${run}/${path}`), files));

const join = (
  work: Work,
  tokens: readonly string[],
  scored: readonly string[],
): ReadableStream<RecordBatch> => joinScores(read(work, tokens), read(work, scored));

/** Names the shards of one number that the experts have, by their paths in the partition's folder. */
function filesOf({ kind, totals }: KindPlan, shard: number, shardSequences: number): string[] {
  return totals.flatMap((rows, expert) =>
    shard === 0 || shard * shardSequences < rows ? [`${expertFolder(expert)}/${shardName(kind, shard)}`] : []
  );
}

/** Writes the shards of a part. Returns its sequences, and how many shards of all parts are written, of how many. */
export async function splitPart(
  work: Work,
  sources: Sources,
  options: SplitOptions & { config: string },
  part: Part,
): Promise<Record<string, unknown>> {
  const plans = [];
  for (const kind of KINDS) plans.push(await planOf(work, sources, kind));
  let sequences = 0;
  for (const plan of plans) {
    const { from, to } = shareOf(part, plan.shards);
    const numbers = Array.from({ length: to - from }, (_, i) => from + i);
    sequences += await writeOwnShards(work, plan, numbers, options);
  }
  const notes = await Promise.all(plans.map((plan) => notesOf(work, plan, options)));
  const all = notes.flat();
  return { sequences, written: all.filter((note) => note !== null).length, shards: all.length };
}

/** Reads the notes of all shards of a kind, in their order. */
async function notesOf(
  { run }: RunContext,
  plan: KindPlan,
  { config, shardSequences }: SplitOptions & { config: string },
): Promise<(FileNote | null)[]> {
  const files = Array.from({ length: plan.shards }, (_, shard) => filesOf(plan, shard, shardSequences))
    .flat();
  return await Promise.all(files.map((file) => noteOf({ ...PLACE, run, file, key: config })));
}

/** Writes those shards of these numbers, and what lies between, that no note tells of. Returns how many sequences it wrote. */
async function writeOwnShards(
  work: Work,
  plan: KindPlan,
  numbers: readonly number[],
  options: SplitOptions & { config: string },
): Promise<number> {
  const { run } = work;
  const { kind } = plan;
  const { config, shardSequences } = options;
  const written = await writeMissing(work, {
    nameOf: (shard) => `${PLACE.stage}-${shardName(kind, shard)}`,
    async missing() {
      const missing: number[] = [];
      for (const shard of numbers) {
        for (const file of filesOf(plan, shard, shardSequences)) {
          if (await noteOf({ ...PLACE, run, file, key: config }) === null) missing.push(shard);
        }
      }
      return missing;
    },
    async write(first, last) {
      const [from, to] = [first, last + 1];
      const needed = neededOf(plan, from, to, shardSequences);
      const [tokens, scored] = [plan.tokens, plan.scored].map((paths) =>
        paths.slice(needed.begin, needed.end)
      );
      const share: Share = { from, to, before: needed.before };
      const shards = await splitShare(kind, join(work, tokens, scored), options, share);
      const { read: hashes } = work.files;
      const read = Object.fromEntries(tokens.flatMap((path) => path in hashes ? [[path, hashes[path]]] : []));
      for (const [expert, written] of shards.entries()) {
        for (const { name, ...note } of written) {
          await writeNote(run, PLACE.stage, `${expertFolder(expert)}/${name}`, {
            key: config,
            ...note,
            read,
          });
        }
      }
      return shards.flat().reduce((sum, { rows }) => sum + rows, 0);
    },
  });
  return written ?? 0;
}

/** Finds the shards to read for the shards of these numbers, and how many rows of each expert come before them. */
function neededOf(
  { loads, totals }: KindPlan,
  from: number,
  to: number,
  size: number,
): { begin: number; end: number; before: number[] } {
  let [begin, end] = [0, 0];
  const seen = totals.map(() => 0);
  let before = [...seen];
  loads.forEach((load, i) => {
    if (load.some((rows, e) => rows > 0 && seen[e] < to * size && seen[e] + rows > from * size)) {
      if (end === 0) [begin, before] = [i, [...seen]];
      end = i + 1;
    }
    load.forEach((rows, e) => seen[e] += rows);
  });
  return end === 0 ? { begin, end: 1, before } : { begin, end, before }; // without rows the first says how an empty one looks
}

/** Whether parts have left notes. */
export async function hasParts(run: string): Promise<boolean> {
  return await exists(`${run}/manifests/${PLACE.stage}`);
}

/** Writes what no part has written, and the manifests. */
export async function closeParts(
  work: Work,
  sources: Sources,
  options: SplitOptions & { config: string },
): Promise<Partition> {
  const inputs: Partial<Record<Kind, ClosingInputs>> = {};
  for (const kind of KINDS) {
    const plan = await planOf(work, sources, kind);
    if (plan.scored.length === 0) continue;
    await writeOwnShards(work, plan, Array.from({ length: plan.shards }, (_, shard) => shard), options);
    const files: Shard[][] = plan.totals.map(() => []);
    for (let shard = 0; shard < plan.shards; shard++) {
      for (const file of filesOf(plan, shard, options.shardSequences)) {
        const [folder, name] = file.split("/");
        const { rows, tokens = 0, bytes, sha256, read = {} } =
          (await noteOf({ ...PLACE, run: work.run, file, key: options.config }))!;
        work.files.note(read);
        files[Number(folder.slice("expert-".length))].push({ name, tokens, rows, bytes, sha256 });
      }
    }
    const first = await firstOf(work, plan);
    if (first) inputs[kind] = { first, rows: read(work, plan.scored), files };
  }
  return await closeSplit({ train: inputs.train!, test: inputs.test }, options);
}

/** Gives the first batch that has rows, with tokens; one without where there are none. */
async function firstOf(work: Work, { tokens, scored }: KindPlan): Promise<RecordBatch | undefined> {
  let first: RecordBatch | undefined;
  for await (const batch of join(work, tokens, scored)) {
    first = batch;
    if (batch.numRows > 0) break;
  }
  return first;
}

/** Names of the notes, by their paths in the run folder. */
export const MADE_NOTES = /^manifests\/split\/expert-\d{2,}\/(train|test)-\d{5,}\.arrow\.json$/;

/** Says how far the parts have come; null where none has begun. */
export async function unfinishedSplit({ run }: RunContext, key: string): Promise<Unfinished | null> {
  const files: Unfinished["files"] = {};
  for await (const path of filesUnder(run, `manifests/${PLACE.stage}`)) {
    if (!MADE_NOTES.test(path)) continue;
    const file = path.slice(`manifests/${PLACE.stage}/`.length, -".json".length);
    const note = await readNote(notePath(run, PLACE.stage, file)).catch(() => null);
    if (note?.key === key) files[`${PLACE.folder}/${file}`] = { bytes: note.bytes, sha256: note.sha256 };
  }
  const shards = Object.keys(files).length;
  if (shards === 0) return null;
  return {
    complete: false,
    what: `${shards} shards are written by parts so far`,
    remedy: say`run ${task("split", { run })} to write the others and close it, or their parts first`,
    files,
  };
}
