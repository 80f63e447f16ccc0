/**
 * Checks a run after the fact: that every file is what its manifest says, that no other file lies among them, that the stages
 * of a partition stand on one another, and what each stage checks of its own.
 *
 * @module
 */

import { basename, dirname } from "node:path";
import { ExplainedError, InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { expertFolder, type PartManifest, readPart } from "../partition/manifests.ts";
import {
  checkRunFolder,
  exists,
  type FileRecord,
  filesUnder,
  hashFile,
  oneLine,
  shortHash,
} from "../run/files.ts";
import { isPages, liesIn, type Manifest, manifestNames, PAGES, readManifest } from "../run/manifest.ts";
import { type Configuration, defaultConfiguration } from "../settings/configuration.ts";
import { CONFIGURATION_BACK, readRunConfiguration } from "../run/configuration.ts";
import { checkCheckpoint, listCheckpoints } from "../training/resume.ts";
import { againCommandOf } from "./command.ts";
import { NOTE, readNote as readNoteOfExport } from "./export_folder.ts";
import { type Graph, graphOf } from "./graph.ts";
import { partitionRemedy, partsAlone } from "./parts_alone.ts";
import { readNote } from "./notes.ts";
import type { Problem, Verification } from "./stage.ts";
import { statesOf } from "./state.ts";
import { verifyPart } from "./verify_split.ts";

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
  problems: Problem[];
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

const EXPORT_AGAIN = say`export it again, with ${setting("force")}`;
const COPY_AGAIN = "copy the expert's folder, config.json and tokenizer.json again from their run";

/**
 * Verifies a run folder, or the parts of single experts that were copied out of one: size and hash of every file that a manifest
 * names, that the partition's stages are up to date, and what each stage checks: of a partition, that tokenizer, partitioner, S, M and E
 * are the same everywhere, that every token row is unchanged in the shards of exactly one expert, that this is the expert that
 * assigning the scores again gives, and that the loads are balanced. Memory does not grow with the corpus, but holds one chunk
 * of the assignment. Throws an `InputError` where the folder is no run.
 */
export async function verifyRun(
  run: string,
  onProgress: (progress: VerifyProgress) => void = () => {},
): Promise<VerifyReport> {
  await checkRunFolder(run);
  const partition = say`run ${task("partition", { run })}`;
  if (!await exists(`${run}/manifests`) && !await exists(`${run}/partition`)) {
    throw new InputError(
      `Cannot verify "${run}" as it must be a run folder: it holds no manifests and no partition`,
      { where: run, remedy: await partitionRemedy(run) },
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
  const collector = collectorOf(run, report, alone.length > 0);
  const { problem, again } = collector;
  const read = await collector.attempt("config.json", async () => {
    const existing = await readRunConfiguration(run);
    const mended = alone.length > 0 ? COPY_AGAIN : CONFIGURATION_BACK;
    if (!existing) problem("config.json", "it must be there: it is not", mended);
    return existing;
  });
  const configuration = read?.configuration;
  const files = new Map<string, FileRecord>();
  const manifests = new Map<string, Manifest>();
  const verification: Verification = {
    run,
    configuration: configuration ?? defaultConfiguration(),
    files,
    ran: (stage) => manifests.has(stage),
    isWrong: (start) => report.problems.some(({ file }) => file.startsWith(start)),
    problem,
    attempt: collector.attempt,
    progress: (done, total) => onProgress({ phase: "rows", done, total }),
    found(kind, loads) {
      report[`${kind}Sequences`] += loads.reduce((a, b) => a + b, 0);
      if (kind === "train") report.loads.push(...loads);
    },
  };
  const graph = graphOf(verification.configuration);
  const remedyOf = (path: string): Remedies => {
    if (alone.length > 0 && path.startsWith("partition/")) {
      return { missing: COPY_AGAIN, changed: COPY_AGAIN };
    }
    if (path.startsWith("export/")) return { missing: EXPORT_AGAIN, changed: EXPORT_AGAIN };
    for (const [name, pages] of Object.entries<readonly string[]>(PAGES)) {
      if (!pages.includes(path)) continue;
      const remake = say`run ${task(name, { run })}`;
      return { missing: remake, changed: remake };
    }
    const maker = graph.maker(path);
    if (!maker?.onRequest) return { missing: partition, changed: again };
    const made = manifests.get(maker.name);
    return {
      missing: say`run ${againCommandOf(maker, run, made)}`,
      changed: say`run ${againCommandOf(maker, run, made, { force: true })}`,
    };
  };
  const hashing = () => {
    const onBytes = (done: number, total: number) => onProgress({ phase: "files", done, total });
    return verifyFiles(run, files, report, remedyOf, problem, onBytes);
  };
  if (alone.length > 0) {
    report.parts = alone;
    const parts = await readParts(verification, alone, files);
    const trained = graph.stages.filter(({ onRequest }) => onRequest);
    await readStages(verification, { ...graph, stages: trained }, manifests, files, configuration);
    await readExports(verification, files);
    await hashing();
    await verifyParts(verification, parts);
    await verifyNotes(verification, graph);
    return report;
  }
  await readStages(verification, graph, manifests, files, configuration);
  await readExports(verification, files);
  await hashing();
  await verifyFolders(verification, graph);
  await verifyNotes(verification, graph);
  for (const stage of graph.stages) {
    if (manifests.has(stage.name)) await stage.verify?.(verification);
  }
  return report;
}

/** Collects what is wrong in a run, or in parts that lie alone; these can only be copied again. */
function collectorOf(run: string, { problems }: VerifyReport, isAlone: boolean) {
  const partition = say`run ${task("partition", { run })}`;
  const again = isAlone ? COPY_AGAIN : say`remove it and ${partition}`;
  const inRun = (path: string) => path.startsWith(`${run}/`) ? path.slice(run.length + 1) : path;
  const problem: Verification["problem"] = (file, what, remedy = again) => {
    problems.push({ file: inRun(file), what, remedy });
  };
  /** A check that fails says so of its file, unless that file has a problem already: the checks after it still say what they can. */
  const attempt: Verification["attempt"] = async (file, check) => {
    try {
      return await check();
    } catch (error) {
      if (!(error instanceof ExplainedError)) throw error;
      const where = error.where && inRun(error.where);
      if (where && problems.some(({ file }) => file === where)) return;
      const remedy = error.remedy ?? say`remove the file that it names and ${partition}`;
      const isCopied = isAlone && !/^(manifests|export)\//.test(file); // what was made here is made again
      problem(file, error.what, isCopied ? COPY_AGAIN : remedy);
    }
  };
  return { problem, attempt, again };
}

/** Names files that lie among the outputs of a partition's stages and that no manifest names. */
async function verifyFolders({ run, ran, files, problem }: Verification, graph: Graph): Promise<void> {
  const clean = say`run ${task("clean", { run })}`;
  for (const { name, outputs, onRequest, ofParts } of graph.stages) {
    if (onRequest || !ran(name)) continue; // a stage that is to run leaves nothing there but its own
    let left: string | undefined;
    for (const folder of outputs.filter((output) => output.endsWith("/"))) {
      for await (const path of filesUnder(run, folder.slice(0, -1))) {
        if (files.has(path)) continue;
        if (ofParts?.test(path)) left = path;
        else problem(path, "a manifest must name it: none does", "remove it");
      }
    }
    if (left !== undefined) problem(left, `what parts of "${name}" left must be gone: it is there`, clean);
  }
}

/** Reads the manifests of all stages, and says which stages of a partition have not run or are out of date. */
async function readStages(
  verification: Verification,
  graph: Graph,
  manifests: Map<string, Manifest>,
  files: Map<string, FileRecord>,
  configuration: Configuration | undefined,
): Promise<void> {
  const { run, attempt, problem } = verification;
  const remedy = say`run ${task("partition", { run })}`;
  const states = statesOf(verification, graph);
  for (const name of await manifestNames(run)) {
    if (graph.get(name)) continue; // trainings that compare rates, and stages of other settings
    await attempt(`manifests/${name}.json`, async () => {
      const { outputs = {} } = await readManifest(run, name) ?? {};
      const isPage = isPages(name);
      if (!isPage && !name.startsWith("search-")) return;
      for (const [path, record] of Object.entries(outputs)) {
        if (!isPage || await exists(`${run}/${path}`)) files.set(path, record); // a page may be removed
      }
    });
  }
  for (const stage of graph.stages) {
    const file = `manifests/${stage.name}.json`;
    await attempt(file, async () => {
      const manifest = await readManifest(run, stage.name);
      if (manifest !== null) {
        manifests.set(stage.name, manifest);
        Object.entries(manifest.outputs).forEach(([path, record]) => files.set(path, record));
      }
      if (stage.onRequest || configuration === undefined) return;
      const { state, because, cause, unfinished } = await states.of(stage);
      Object.entries(unfinished?.files ?? {}).forEach(([path, record]) => files.set(path, record));
      if (state === "missing") {
        problem(
          file,
          say`stage "${stage.name}" must have run: ${because ?? "it has not"}`,
          unfinished?.remedy ?? remedy,
        );
      } else if (state === "out of date" && !cause) {
        problem(file, say`stage "${stage.name}" must be up to date: ${because!}`, remedy);
      }
    });
  }
}

/** Takes what the notes of exports in the run say of their files. */
async function readExports({ run, attempt }: Verification, files: Map<string, FileRecord>): Promise<void> {
  for await (const path of filesUnder(run, "export")) {
    if (basename(path) !== NOTE) continue;
    const folder = dirname(path);
    await attempt(path, async () => {
      const note = await readNoteOfExport(`${run}/${folder}`);
      if (!note?.complete) return;
      for (const [name, record] of Object.entries(note.files)) files.set(`${folder}/${name}`, record);
    });
  }
}

/** Checks what a run keeps for itself that no manifest names: notes of scored shards, and states to resume from. */
async function verifyNotes({ run, problem }: Verification, graph: Graph): Promise<void> {
  const unneeded = "remove it: what it stands for is made again";
  const check = async (path: string, read: (path: string) => Promise<unknown>) => {
    try {
      await read(`${run}/${path}`);
    } catch (error) {
      if (error instanceof ExplainedError) problem(path, error.what, unneeded);
      else if ((error as { code?: string }).code === undefined) throw error;
      else problem(path, `it must be readable: ${oneLine(error)}`, `make it readable, or ${unneeded}`); // a folder, for instance
    }
  };
  for (const { name, outputs } of graph.stages) {
    for await (const path of filesUnder(run, `manifests/${name}`)) await check(path, readNote);
    for (const folder of outputs.filter((output) => output.endsWith("/"))) {
      for (const path of await listCheckpoints(`${run}/${folder}checkpoints`)) {
        await check(path.slice(run.length + 1), checkCheckpoint);
      }
    }
  }
}

/** How a file is mended that is missing or cut short, and one whose content changed. */
interface Remedies {
  missing: Text;
  changed: Text;
}

/** Checks size and hash of every file that is known. */
async function verifyFiles(
  run: string,
  files: ReadonlyMap<string, FileRecord>,
  report: VerifyReport,
  remedyOf: (path: string) => Remedies,
  problem: Verification["problem"],
  progress: (done: number, total: number) => void,
): Promise<void> {
  const home = await Deno.realPath(run);
  const total = [...files.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  for (const [path, { bytes, sha256 }] of files) {
    const inside = await liesIn(home, `${run}/${path}`) || !await exists(`${run}/${path}`);
    const actual = inside
      ? await hashFile(`${run}/${path}`).catch((error: Error) => error)
      : new Error("it is a link out of the run");
    const { missing, changed } = remedyOf(path);
    if (actual instanceof Deno.errors.NotFound) problem(path, "it must be there: it is missing", missing);
    else if (actual instanceof InputError) problem(path, "it must be a file: it is a folder", changed);
    else if (actual instanceof Error) problem(path, `it must be readable: ${oneLine(actual)}`, changed);
    else if (actual.bytes !== bytes) {
      problem(path, `it must have ${bytes} bytes: it has ${actual.bytes}`, missing);
    } else if (actual.sha256 !== sha256) {
      problem(
        path,
        `its SHA-256 must be ${shortHash(sha256)}: it is ${shortHash(actual.sha256)}, the content changed`,
        changed,
      );
    }
    report.files++;
    report.bytes += bytes;
    progress(report.bytes, total);
  }
}

/** Reads what the parts say of their files that lie without their run. A part whose manifest cannot be read is left out. */
async function readParts(
  { run, attempt }: Verification,
  alone: readonly number[],
  files: Map<string, FileRecord>,
): Promise<Map<string, PartManifest>> {
  const parts = new Map<string, PartManifest>();
  for (const expert of alone) {
    const folder = `partition/${expertFolder(expert)}`;
    const part = await attempt(`${folder}/manifest.json`, () => readPart(`${run}/${folder}`));
    if (!part) continue;
    for (const { name, bytes, sha256 } of part.files) files.set(`${folder}/${name}`, { bytes, sha256 });
    parts.set(folder, part);
  }
  return parts;
}

/** Checks the parts of experts that lie without their run. */
async function verifyParts(verification: Verification, parts: ReadonlyMap<string, PartManifest>) {
  const { run, attempt, problem, files } = verification;
  for (const [folder, part] of parts) {
    for await (const path of filesUnder(run, folder)) {
      if (path === `${folder}/manifest.json` || files.has(path)) continue;
      problem(path, "a manifest must name it: none does", "remove it");
    }
    await attempt(folder, () => verifyPart(verification, folder, part));
  }
  if (!await exists(`${run}/tokenizer.json`)) problem("tokenizer.json", "it must be there: it is not");
}
