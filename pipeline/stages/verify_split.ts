/**
 * Checks the rows of a partition: that every sequence is where its scores put it, and that counts and lineage are true.
 *
 * @module
 */

import { say, task } from "../../kernels/errors.ts";
import { equalRooms } from "../partition/assignment/assignment.ts";
import { ASSIGNMENTS } from "../partition/assignment/assignments.ts";
import { assign } from "../partition/assignment/assign.ts";
import { compareRows } from "./compare_rows.ts";
import { identifyPartitioner, partitionerFolder } from "../partition/partitioners.ts";
import {
  expertFolder,
  type PartitionManifest,
  type PartManifest,
  readPart,
  readPartition,
  shardsIn,
} from "../partition/manifests.ts";
import { checkLineage, type Lineage } from "../rows/lineage.ts";
import { fromBatch, readArrow, type RecordBatch } from "../rows/arrow.ts";
import { exists, hashFile, shortHash } from "../run/files.ts";
import { outputsUnder } from "../run/manifest.ts";
import { chunkOf } from "./assign.ts";
import { splitPrefix } from "./learn.ts";
import type { Verification } from "./stage.ts";

const MOST_ROW_PROBLEMS = 100;
const KINDS = ["train", "test"] as const;
const FILE = "partition/manifest.json";

/** A partition's manifests. */
interface PartitionFiles {
  manifest: PartitionManifest;
  parts: PartManifest[];
}

/** Checks what the stage `split` made: its manifests, its lineage, and every row beside its tokens and scores. */
export async function verifySplit(verification: Verification): Promise<void> {
  const { attempt } = verification;
  const whole = await attempt("partition", () => readWhole(verification));
  if (!whole) return;
  await attempt("partition", () => verifyIdentity(verification, whole));
  for (const kind of KINDS) await attempt(`partition (${kind})`, () => verifyRows(verification, whole, kind));
}

/** Reads the partition's manifests, and checks that they belong together. */
async function readWhole({ run, problem }: Verification): Promise<PartitionFiles> {
  const manifest = await readPartition(`${run}/partition`);
  const parts: PartManifest[] = [];
  for (const [expert, { sha256 }] of manifest.parts.entries()) {
    const folder = `partition/${expertFolder(expert)}`;
    parts.push(await readPart(`${run}/${folder}`));
    const actual = await hashFile(`${run}/${folder}/manifest.json`);
    if (actual.sha256 === sha256) continue;
    problem(
      `${folder}/manifest.json`,
      `its SHA-256 must be ${shortHash(sha256)}: it is ${shortHash(actual.sha256)}`,
    );
  }
  if (parts.length !== manifest.experts) {
    problem(FILE, `it must name ${manifest.experts} experts: it names ${parts.length}`);
  }
  return { manifest, parts };
}

/** Gathers what the run's own files say of tokenizer, S, M and E, as far as they are there. */
async function lineageOfRun({ run, configuration }: Verification): Promise<Partial<Lineage>> {
  const { sequenceLength, experts } = configuration;
  const prefix = await splitPrefix(configuration).catch(() => undefined); // a part alone may lie without the partitioner
  const path = `${run}/tokenizer.json`;
  const tokenizer = await exists(path) ? { tokenizer: (await hashFile(path)).sha256 } : {};
  return { ...tokenizer, sequenceLength, prefix, experts };
}

/** Checks the rows of a part that is alone: their counts, and that tokenizer, S, M and E are those of its folder. */
export async function verifyPart(
  verification: Verification,
  folder: string,
  part: PartManifest,
): Promise<void> {
  const { run, problem, found } = verification;
  const file = `${folder}/manifest.json`;
  if (expertFolder(part.expert) !== folder.slice("partition/".length)) {
    problem(file, `it must be in the folder of its expert: it is that of ${part.expert}`);
  }
  const lineage = await lineageOfRun(verification);
  for (const kind of KINDS) {
    const counts = new Map<string, ShardCounts>();
    for await (const _ of readCounted(run, shardsOf(part, folder, kind), lineage, counts, "config.json"));
    const sequences = [...counts.values()].reduce((sum, { rows }) => sum + rows, 0);
    found(kind, [sequences]);
    if (sequences !== (part[kind]?.sequences ?? 0)) {
      problem(file, `its ${kind} sequences must be ${sequences}: it says ${part[kind]?.sequences}`);
    }
  }
}

const shardsOf = (part: PartManifest, folder: string, kind: "train" | "test"): string[] =>
  shardsIn(part, kind).map(({ name }) => `${folder}/${name}`);

/** Checks that tokenizer, partitioner, S, M and E of the partition are those of the run. */
async function verifyIdentity(verification: Verification, { manifest }: PartitionFiles): Promise<void> {
  const { run, configuration, isWrong, problem } = verification;
  const actual = await lineageOfRun(verification);
  if (isWrong("tokenizer.json")) delete actual.tokenizer;
  if (isWrong("config.json")) {
    for (const name of ["sequenceLength", "prefix", "experts"] as const) delete actual[name];
  } else actual.method = configuration.method;
  const folder = await partitionerFolder(run, configuration.routers);
  const { sha256, experts } = await identifyPartitioner(folder);
  if (experts !== manifest.experts) {
    problem("routers", `"${folder}" must hold ${manifest.experts} routers: it holds ${experts}`);
  } else if (!isWrong("routers/") && !isWrong("partitioner/")) actual.routers = sha256;
  for (const [name, value] of Object.entries(actual)) {
    const said = manifest.lineage[name as keyof Lineage];
    if (said === value) continue;
    problem(
      FILE,
      `its ${name} must be that of the run: it is ${shortHash(String(said))}, in the run it is ${
        shortHash(String(value))
      }`,
      say`run ${task("partition", { run, force: true })}`,
    );
  }
}

/** Checks the rows of one kind through all stages, their counts and loads. */
async function verifyRows(
  verification: Verification,
  { manifest, parts }: PartitionFiles,
  kind: "train" | "test",
): Promise<void> {
  const { run, configuration, files, ran, isWrong, problem, progress } = verification;
  const total = manifest[kind]?.sequences;
  if (total === undefined || !ran("tokenize")) return;
  const { sequenceLength, vocabulary, eos, tokenizer, prefix, experts, routers } = manifest.lineage;
  const ofTokens = { sequenceLength, vocabulary, eos, tokenizer };
  const ofScores = { ...ofTokens, prefix, experts, routers };
  const known = { outputs: Object.fromEntries(files) };
  const shards = (folder: string) => outputsUnder(known, `${folder}/${kind}-`);
  const read = (folder: string, lineage: Partial<Lineage>) => readCounted(run, shards(folder), lineage);
  const counts = new Map<string, ShardCounts>();
  const allScored = shards("scores").length === shards("tokens").length && !isWrong("config.json");

  let found = 0;
  const loads = await compareRows(
    {
      tokens: read("tokens", ofTokens),
      assigned: allScored
        ? assign(() => read("scores", ofScores), {
          method: kind === "test" ? "argmax" : configuration.method,
          chunk: chunkOf(configuration),
          experts,
          prefix,
        })
        : undefined,
      assignments: kind === "train" && ran("assign") ? read("assignments", ofScores) : undefined,
      parts: parts.map((part, expert) =>
        readCounted(run, shardsOf(part, `partition/${expertFolder(expert)}`, kind), ofScores, counts)
      ),
    },
    (place, what) => {
      problem(place, what, say`remove ${run}/${FILE} and run ${task("partition", { run })}`);
      return ++found < MOST_ROW_PROBLEMS;
    },
    (done) => progress(done, total),
  );
  const sequences = loads.reduce((a, b) => a + b, 0);
  verification.found(kind, loads);
  if (found >= MOST_ROW_PROBLEMS) return; // counts of half the rows say nothing
  if (sequences !== total) problem(FILE, `its ${kind} sequences must be ${sequences}: it says ${total}`);
  const balanced = kind === "train" && ASSIGNMENTS.get(String(manifest.lineage.method))?.balanced;
  for (const [expert, part] of parts.entries()) {
    const folder = `partition/${expertFolder(expert)}`;
    const file = `${folder}/manifest.json`;
    if (part[kind]?.sequences !== loads[expert]) {
      problem(file, `its ${kind} sequences must be ${loads[expert]}: it says ${part[kind]?.sequences}`);
    }
    const share = equalRooms(sequences, parts.length)[expert];
    if (balanced && loads[expert] !== share) {
      problem(
        file,
        `expert ${expert} must have ${share} of ${sequences} training sequences: it has ${loads[expert]}`,
      );
    }
    for (const { name, rows, tokens } of part.files) {
      const actual = counts.get(`${folder}/${name}`);
      if (actual === undefined || actual.rows === rows && actual.tokens === tokens) continue;
      problem(
        file,
        `${name} must have ${actual.rows} rows and ${actual.tokens} tokens: it says ${rows} and ${tokens}`,
      );
    }
  }
}

/** What a shard holds. */
interface ShardCounts {
  rows: number;
  tokens: number;
}

/** Reads shards one after another, checks their lineage, and counts what they hold. */
function readCounted(
  run: string,
  paths: string[],
  lineage: Partial<Lineage>,
  counts: Map<string, ShardCounts> = new Map(),
  origin = FILE,
): ReadableStream<RecordBatch> {
  return ReadableStream.from(async function* () {
    for (const path of paths) {
      const count = { rows: 0, tokens: 0 };
      counts.set(path, count);
      for await (const batch of readArrow(`${run}/${path}`)) {
        checkLineage(batch, lineage, `${run}/${origin}`);
        count.rows += batch.numRows;
        for (const tokens of fromBatch(batch).length) count.tokens += tokens;
        yield batch;
      }
    }
  }());
}
