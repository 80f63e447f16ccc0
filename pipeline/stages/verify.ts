/**
 * Checks a partition after the fact: that every file is what its manifest says, that all of them belong together, and that
 * every sequence is where its scores put it.
 *
 * @module
 */

import { type Configuration, type Stage, STAGES } from "../settings/configuration.ts";
import { checkLineage, fromBatch, type Lineage, readArrow, type RecordBatch } from "../rows/arrow.ts";
import { CONFIGURATION_AGAIN, readRunConfiguration } from "./configuration.ts";
import { checkRunFolder, exists, type FileRecord, hashFile, shortHash } from "../run/files.ts";
import { commandOf, readManifest } from "../run/manifest.ts";
import { partsAlone } from "./parts_alone.ts";
import { assign } from "../partition/assignment/assign.ts";
import { equalRooms } from "../partition/assignment/assignment.ts";
import { ASSIGNMENTS } from "../partition/assignment/assignments.ts";
import { compareRows } from "../partition/compare_rows.ts";
import { identifyPartitioner, partitionerOfRun } from "../partition/partitioners.ts";
import { scoredShards, unclosed } from "./score_notes.ts";
import { expertFolder, type PartitionManifest, type PartManifest } from "../partition/split.ts";
import { chunkOf } from "./stages.ts";

/** Something that is wrong in a run folder. */
export interface VerifyProblem {
  /** The file, by its path in the run folder, with batch and row where it is a row that is wrong. */
  file: string;
  /** What must hold, and what is. */
  what: string;
  /** How to mend it. */
  remedy: string;
}

/** What {@linkcode verifyRun} found. */
export interface VerifyReport {
  /** Files whose size and hash were checked. */
  files: number;
  /** Their bytes. */
  bytes: number;
  /** Training sequences that were found in the shards of one expert. */
  trainSequences: number;
  /** Held-out sequences that were found in the shards of one expert. */
  testSequences: number;
  /** Training sequences of each expert `[E]`, or of each of the `parts`. */
  loads: number[];
  /** The experts whose parts are there, where they are there without the run that they come from. */
  parts?: number[];
  /** What is wrong; nothing if the list is empty. At most 100 of the rows. */
  problems: VerifyProblem[];
}

/** How far {@linkcode verifyRun} has come. */
export interface VerifyProgress {
  /** What is being checked. */
  phase: "files" | "rows";
  /** Bytes of files, or rows, so far. */
  done: number;
  /** Of how many. */
  total: number;
}

const MOST_ROW_PROBLEMS = 100;
const COPY_AGAIN = "copy the expert's folder, config.json and tokenizer.json again from their run";
const KINDS = ["train", "test"] as const;
/** Folders of shards, and the stages that alone write into them. */
const WRITERS = { tokens: "tokenize", scores: "score", assignments: "assign", partition: "split" } as const;

/** What is known while a run is verified. */
interface Verification {
  run: string;
  configuration?: Configuration;
  /** What the stages' manifests, and the notes of scored shards, say of every file, by its path in the run. */
  files: Map<string, FileRecord>;
  /** Stages of the partition that have run, as their manifests vouch. */
  ran: Set<Stage>;
  /** Whether the scores of every shard are there, though no manifest may close them yet. */
  allScored: boolean;
  report: VerifyReport;
  progress: (progress: VerifyProgress) => void;
  problem: (file: string, what: string, remedy?: string) => void;
  /** How to mend a file that is missing or cut short. */
  remade: string;
  /** How to mend what a check throws, unless its message says so itself. */
  thrown: (message: string) => { what: string; remedy: string };
}

/**
 * Verifies the partition in a run folder, or the parts of single experts that were copied out of one: size and hash of every
 * file that a manifest names, counts, that tokenizer, routers, S, M and E are the same everywhere; and, of a run, that every
 * token row is unchanged in the shards of exactly one expert, that this is the expert that assigning the scores again gives,
 * and that the loads are balanced. Memory does not grow with the corpus, but holds one chunk of the assignment.
 *
 * @throws {RangeError} if the folder isn't a run.
 */
export async function verifyRun(
  run: string,
  onProgress: (progress: VerifyProgress) => void = () => {},
): Promise<VerifyReport> {
  await checkRunFolder(run);
  if (!await exists(`${run}/manifests`) && !await exists(`${run}/partition`)) {
    throw new RangeError(
      `Cannot verify "${run}" as it must be a run folder: it holds no manifests and no partition; ` +
        `run deno task partition --run ${run} first`,
    );
  }
  const report: VerifyReport = {
    files: 0,
    bytes: 0,
    trainSequences: 0,
    testSequences: 0,
    loads: [],
    problems: [],
  };
  const alone = await partsAlone(run);
  const partition = `run deno task partition --run ${run}`;
  const again = alone.length > 0 ? COPY_AGAIN : `remove it and ${partition}`;
  const thrown: Verification["thrown"] = (message) => {
    if (alone.length > 0) return { what: message, remedy: COPY_AGAIN };
    const [, what = message, remedy = `remove the file that it names and ${partition}`] =
      /^(.*); ((?:remove|run|copy|set|name|choose) [^;]*)$/.exec(message.replace(/\s+/g, " ")) ?? [];
    return { what, remedy };
  };
  const problem: Verification["problem"] = (file, what, remedy = again) => {
    report.problems.push({
      file: file.startsWith(`${run}/`) ? file.slice(run.length + 1) : file,
      what,
      remedy,
    });
  };
  const verification: Verification = {
    run,
    files: new Map(),
    ran: new Set(),
    allScored: false,
    report,
    progress: onProgress,
    problem,
    remade: alone.length > 0 ? COPY_AGAIN : partition,
    thrown,
  };
  await attempt(verification, "config.json", async () => {
    verification.configuration = (await readRunConfiguration(run))?.configuration;
    if (verification.configuration) return;
    problem(
      "config.json",
      "it must be there: it is not",
      alone.length > 0 ? COPY_AGAIN : CONFIGURATION_AGAIN.replace("remove it and ", ""),
    );
  });
  const parts = new Map<number, PartManifest | undefined>();
  for (const expert of alone) {
    const file = `partition/${expertFolder(expert)}/manifest.json`;
    const read = async () => {
      const part: PartManifest = await readJson(`${run}/${file}`);
      if (Array.isArray(part?.files)) return part;
      throw new SyntaxError(`Cannot read "${run}/${file}" as it must name the shards: it does not`);
    };
    parts.set(expert, await attempt(verification, file, read));
  }
  await verifyFiles(verification, parts);
  if (alone.length > 0) {
    report.parts = alone;
    const lineage = await lineageOfRun(verification);
    if (lineage.tokenizer === undefined) problem("tokenizer.json", "it must be there: it is not");
    for (const [expert, part] of parts) {
      const folder = `partition/${expertFolder(expert)}`;
      if (part) await attempt(verification, folder, () => verifyPart(verification, folder, part, lineage));
    }
    return report;
  }
  const whole = await attempt(verification, "partition", () => readPartition(verification));
  if (whole) {
    await attempt(verification, "partition", () => verifyIdentity(verification, whole));
    for (const kind of KINDS) {
      await attempt(verification, `partition (${kind})`, () => verifyRows(verification, whole, kind));
    }
  }
  return report;
}

/**
 * Turns what a check throws into a problem, unless the file that it names has one already: the checks after it still say what
 * they can.
 */
async function attempt<T>(
  { run, report, problem, thrown }: Verification,
  file: string,
  check: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await check();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const isFile = (file: string) => /\.\w+$/.test(file);
    if (report.problems.some(({ file }) => isFile(file) && error.message.includes(`${run}/${file}`))) return;
    const { what, remedy } = thrown(error.message);
    problem(file, what, remedy);
  }
}

/**
 * Checks the files that manifests name, and that there are no others: of the stages or, where there are any, of the `parts`
 * that are alone; of those whose manifest cannot be read nothing is known.
 */
async function verifyFiles(verification: Verification, parts: Map<number, PartManifest | undefined>) {
  const { run, configuration, report, progress, problem, remade, ran, files: known } = verification;
  const remedies = new Map<string, string>();
  const unvouched: string[] = []; // a part's manifest, or all of a part whose manifest cannot be read
  for (const [expert, part] of parts) {
    const folder = `partition/${expertFolder(expert)}`;
    unvouched.push(part ? `${folder}/manifest.json` : `${folder}/`);
    for (const { name, bytes, sha256 } of part?.files ?? []) {
      known.set(`${folder}/${name}`, { bytes, sha256 });
    }
  }
  for (const stage of parts.size > 0 ? [] : STAGES) {
    const file = `manifests/${stage}.json`;
    await attempt(verification, file, async () => {
      const manifest = await readManifest(run, stage);
      if (manifest !== null) {
        ran.add(stage);
        Object.entries(manifest.outputs).forEach(([path, record]) => known.set(path, record));
      } else if (isNeeded(stage, configuration)) {
        const [fact, remedy = remade] = stage === "score" ? await verifyParts(verification) : ["it has not"];
        problem(file, `stage "${stage}" must have run: ${fact}`, remedy);
      }
    });
  }
  verification.allScored ||= ran.has("score");
  for (const stage of await laterStages(run)) {
    await attempt(verification, `manifests/${stage}.json`, async () => {
      const manifest = await readManifest(run, stage);
      Object.entries(manifest?.outputs ?? {}).forEach(([path, record]) => {
        known.set(path, record);
        remedies.set(path, `run ${commandOf(run, stage)}`);
      });
    });
  }
  const total = [...known.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  for (const [path, { bytes, sha256 }] of known) {
    const actual = await hashFile(`${run}/${path}`).catch((error: Error) => error);
    const remedy = remedies.get(path);
    if (actual instanceof Deno.errors.NotFound) {
      problem(path, "it must be there: it is missing", remedy ?? remade);
    } else if (actual instanceof Error) problem(path, `it must be readable: ${actual.message}`, remedy);
    else if (actual.bytes !== bytes) {
      problem(path, `it must have ${bytes} bytes: it has ${actual.bytes}`, remedy ?? remade);
    } else if (actual.sha256 !== sha256) {
      problem(
        path,
        `its SHA-256 must be ${shortHash(sha256)}: it is ${shortHash(actual.sha256)}, the content changed`,
        remedy && `${remedy} --force`,
      );
    }
    report.files++;
    report.bytes += bytes;
    progress({ phase: "files", done: report.bytes, total });
  }
  for (const [folder, stage] of Object.entries(WRITERS)) {
    if (parts.size === 0 && !ran.has(stage)) continue; // the stage is to run, and leaves nothing there but its own
    for await (const path of filesUnder(run, folder)) {
      if (unvouched.some((start) => path.startsWith(start))) continue;
      if (!known.has(path)) problem(path, "a manifest must name it: none does", "remove it");
    }
  }
}

/**
 * Finds what parts have scored before a manifest closes their stage, so that these files are checked as well; returns what is
 * the matter and how to go on.
 */
async function verifyParts(verification: Verification): Promise<[fact: string, remedy?: string]> {
  const { run, configuration, files } = verification;
  const parts = configuration && await scoredShards(run, configuration);
  const text = parts && unclosed(run, parts);
  if (!text) return ["it has not"];
  for (const [name, { bytes, sha256 }] of parts.scored) files.set(`scores/${name}`, { bytes, sha256 });
  verification.allScored = parts.scored.size === parts.shards;
  const [fact, remedy] = text.split("; ");
  return [fact, remedy];
}

/** Lists the stages after the partition that a run has manifests of. */
async function laterStages(run: string): Promise<string[]> {
  const found: string[] = [];
  if (!await exists(`${run}/manifests`)) return found;
  for await (const { name } of Deno.readDir(`${run}/manifests`)) {
    const stage = name.replace(/\.json$/, "");
    if (name.endsWith(".json") && commandOf(run, stage)) found.push(stage);
  }
  return found.sort();
}

/** Says whether a partition needs a stage: routers that exist are not trained. */
function isNeeded(stage: Stage, configuration?: Configuration): boolean {
  return stage !== "train-routers" || !configuration?.routers;
}

/** A partition's manifests. */
interface PartitionFiles {
  manifest: PartitionManifest;
  parts: PartManifest[];
}

/** Reads the partition's manifests, and checks that they belong together; none where no stage vouches for them. */
async function readPartition({ run, ran, problem }: Verification): Promise<PartitionFiles | undefined> {
  if (!ran.has("split")) return;
  const read = (path: string) => readJson(`${run}/partition/${path}`);
  const manifest: PartitionManifest = await read("manifest.json");
  if (!Array.isArray(manifest.parts)) {
    throw new SyntaxError(
      `Cannot read "${run}/partition/manifest.json" as it must name the experts: it does not`,
    );
  }
  const parts: PartManifest[] = [];
  for (const [expert, { sha256 }] of manifest.parts.entries()) {
    const path = `${expertFolder(expert)}/manifest.json`;
    const part: PartManifest = await read(path);
    const actual = await hashFile(`${run}/partition/${path}`);
    if (actual.sha256 !== sha256) {
      problem(
        `partition/${path}`,
        `its SHA-256 must be ${shortHash(sha256)}: it is ${shortHash(actual.sha256)}`,
      );
    }
    parts.push(part);
  }
  if (parts.length !== manifest.experts) {
    problem("partition/manifest.json", `it must name ${manifest.experts} experts: it names ${parts.length}`);
  }
  return { manifest, parts };
}

// deno-lint-ignore no-explicit-any -- what it holds is checked against the files
async function readJson(file: string): Promise<any> {
  if (!await exists(file)) throw new Error(`Cannot read "${file}" as it must be there: it is missing`);
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    throw new SyntaxError(`Cannot read "${file}" as it must be JSON: ${(error as Error).message}`);
  }
}

/** Gathers what the run's own files say of tokenizer, S, M and E, as far as they are there. */
async function lineageOfRun({ run, configuration }: Verification): Promise<Partial<Lineage>> {
  const lineage: Partial<Lineage> = {};
  if (await exists(`${run}/tokenizer.json`)) {
    lineage.tokenizer = (await hashFile(`${run}/tokenizer.json`)).sha256;
  }
  if (configuration === undefined) return lineage;
  const { sequenceLength, prefix, experts } = configuration;
  return { ...lineage, sequenceLength, prefix, experts };
}

/** Checks the rows of a part that is alone: their counts, and that tokenizer, S, M and E are those of its folder. */
async function verifyPart(
  { run, report, problem }: Verification,
  folder: string,
  part: PartManifest,
  lineage: Partial<Lineage>,
) {
  if (expertFolder(part.expert) !== folder.slice("partition/".length)) {
    problem(
      `${folder}/manifest.json`,
      `it must be in the folder of its expert: it is that of ${part.expert}`,
    );
  }
  for (const kind of KINDS) {
    const counts = new Map<string, ShardCounts>();
    const shards = part.files.filter(({ name }) => name.startsWith(`${kind}-`));
    const paths = shards.map(({ name }) => `${folder}/${name}`);
    for await (const _ of readCounted(run, paths, lineage, counts, "config.json"));
    const sequences = [...counts.values()].reduce((sum, { rows }) => sum + rows, 0);
    report[`${kind}Sequences`] += sequences;
    if (kind === "train") report.loads.push(sequences);
    if (sequences !== (part[kind]?.sequences ?? 0)) {
      problem(
        `${folder}/manifest.json`,
        `its ${kind} sequences must be ${sequences}: it says ${part[kind]?.sequences}`,
      );
    }
  }
}

/** Checks that tokenizer, routers, S, M and E of the partition are those of the run. */
async function verifyIdentity(verification: Verification, { manifest }: PartitionFiles) {
  const { run, configuration, report, problem } = verification;
  const isSaid = (start: string) => report.problems.some(({ file }) => file.startsWith(start));
  const actual = await lineageOfRun(verification);
  if (isSaid("tokenizer.json")) delete actual.tokenizer;
  if (configuration !== undefined) actual.method = configuration.method;
  const folder = configuration?.routers || await partitionerOfRun(run);
  if (!isSaid("routers/") && !isSaid("partitioner/")) {
    const found = await identifyPartitioner(folder);
    if (found.experts === manifest.experts) actual.routers = found.sha256;
    else problem(folder, `"${folder}" must be of ${manifest.experts} experts: it is of ${found.experts}`);
  }
  for (const [name, value] of Object.entries(actual)) {
    const said = manifest.lineage[name as keyof Lineage];
    if (said === value) continue;
    problem(
      "partition/manifest.json",
      `its ${name} must be that of the run: it is ${shortHash(String(said))}, in the run it is ${
        shortHash(String(value))
      }`,
      `run deno task partition --run ${run} --force`,
    );
  }
}

/** Checks the rows of one kind through all stages, their counts and loads. */
async function verifyRows(
  { run, configuration, files, ran, allScored, report, progress, problem }: Verification,
  { manifest, parts }: PartitionFiles,
  kind: "train" | "test",
) {
  const total = manifest[kind]?.sequences;
  if (total === undefined || !ran.has("tokenize")) return;
  const { sequenceLength, vocabulary, eos, tokenizer, prefix, experts, routers, method } = manifest.lineage;
  const ofTokens = { sequenceLength, vocabulary, eos, tokenizer };
  const ofScores = { ...ofTokens, prefix, experts, routers };
  const shards = (folder: string) =>
    [...files.keys()].filter((path) => path.startsWith(`${folder}/${kind}-`));
  const read = (folder: string, lineage: Partial<Lineage>) => readCounted(run, shards(folder), lineage);
  const counts = new Map<string, ShardCounts>();

  let found = 0;
  const loads = await compareRows(
    {
      tokens: read("tokens", ofTokens),
      assigned: !configuration || !allScored ? undefined : assign(() => read("scores", ofScores), {
        method: kind === "test" ? "argmax" : configuration.method,
        chunk: chunkOf(configuration),
        experts,
        prefix,
      }),
      assignments: kind === "train" && ran.has("assign") ? read("assignments", ofScores) : undefined,
      parts: parts.map(({ files }, expert) => {
        const names = files.map(({ name }) => name).filter((name) => name.startsWith(`${kind}-`));
        return readCounted(
          run,
          names.map((name) => `partition/${expertFolder(expert)}/${name}`),
          ofScores,
          counts,
        );
      }),
    },
    (place, what) => {
      problem(place, what, `remove ${run}/partition/manifest.json and run deno task partition --run ${run}`);
      return ++found < MOST_ROW_PROBLEMS;
    },
    (done) => progress({ phase: "rows", done, total }),
  );
  const sequences = loads.reduce((a, b) => a + b, 0);
  report[`${kind}Sequences`] = sequences;
  if (kind === "train") report.loads = loads;
  if (found >= MOST_ROW_PROBLEMS) return; // counts of half the rows say nothing
  if (sequences !== total) {
    problem("partition/manifest.json", `its ${kind} sequences must be ${sequences}: it says ${total}`);
  }
  for (const [expert, part] of parts.entries()) {
    const folder = `partition/${expertFolder(expert)}`;
    const file = `${folder}/manifest.json`;
    if (part[kind]?.sequences !== loads[expert]) {
      problem(file, `its ${kind} sequences must be ${loads[expert]}: it says ${part[kind]?.sequences}`);
    }
    const share = equalRooms(sequences, parts.length)[expert];
    if (kind === "train" && ASSIGNMENTS.get(method ?? "")?.balanced && loads[expert] !== share) {
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
  origin = "partition/manifest.json",
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

/** Lists the files under a folder of the run, by their paths in the run. */
async function* filesUnder(run: string, folder: string): AsyncGenerator<string> {
  if (!await exists(`${run}/${folder}`)) return;
  for await (const { name, isDirectory } of Deno.readDir(`${run}/${folder}`)) {
    if (isDirectory) yield* filesUnder(run, `${folder}/${name}`);
    else yield `${folder}/${name}`;
  }
}
