/**
 * Checks a run after the fact: that every file of its nodes is what its manifest says, and that
 * nodes are made of one another. Also that rows are where they belong, and that counts are those of
 * the rows. Each file is read once: rows are compared while it is hashed.
 *
 * @module
 */

import { ExplainedError, InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { listBegun, SCRATCH } from "../graph/folder.ts";
import {
  hashFiles,
  type Manifest,
  NAMES,
  nodesIn,
  partNode,
  readManifest,
  SEQUENCES,
  splitNeed,
  TOKENIZER,
  TOKENIZER_FILE,
} from "../graph/node.ts";
import { MANIFEST } from "../graph/schema.ts";
import { CONFIGURATION_BACK, readRunConfiguration } from "../graph/configuration.ts";
import { checkRunFolder, hashFile, isMissing, oneLine, shortHash } from "../graph/files.ts";
import { describeNodes } from "../graph/describe.ts";
import { Walk } from "../graph/walk.ts";
import { type Configuration, defaultConfiguration, FIELDS } from "../settings/configuration.ts";
import { listCheckpoints } from "../training/resume.ts";
import { compareParts } from "../stages/verify_rows.ts";
import { INDEX, PART_INDEX } from "../stages/documents.ts";
import type { Problem } from "./partition.ts";
import { type ExpertPart, partIn } from "../stages/parts.ts";
import { wholeGraph } from "./plan.ts";
import { MODEL_FOLDERS, nodeFolders, OF_A_MODEL } from "./settings.ts";
import { EXPORT } from "../stages/exported.ts";

/**
 * What {@linkcode verifyRun} found: files whose size and hash were checked, and their bytes;
 * training and held-out sequences that were found in the shards of one expert.
 */
export interface VerifyReport
  extends Record<"files" | "bytes" | "trainSequences" | "testSequences", number> {
  /** Training sequences of each expert `[E]`, or of each of the `parts`. */
  loads: number[];
  /**
   * The experts whose parts are there, where they are there without the run that they come from.
   */
  parts?: number[];
  /** What is wrong; nothing if the list is empty. Of each part's rows the first. */
  problems: Problem[];
}

/** How far {@linkcode verifyRun} has come: bytes of files, or rows, so far, and of how many. */
export interface VerifyProgress extends Record<"done" | "total", number> {
  /** What is being checked: rows while their files are hashed, then all other files. */
  phase: "files" | "rows";
}

/**
 * Verifies a run, or parts of single experts that were copied out of one. Of a partition it checks
 * that every token row is unchanged in the shards of exactly one expert, the one that it was
 * assigned to; that costs are those of the scores and proofs are true; that loads are balanced
 * where the method balances; and that counts are those of the rows. Rows are held by block. Throws
 * an `InputError` where the folder is no run.
 */
export async function verifyRun(
  run: string,
  onProgress: (progress: VerifyProgress) => void = () => {},
): Promise<VerifyReport> {
  await checkRunFolder(run);
  const verification = new Verification(run, onProgress);
  await verification.verify();
  return verification.report;
}

class Verification {
  readonly report: VerifyReport = {
    files: 0,
    bytes: 0,
    trainSequences: 0,
    testSequences: 0,
    loads: [],
    problems: [],
  };
  readonly #nodes = new Map<string, Manifest>();
  readonly #found: (Omit<Problem, "remedy"> & { remedy?: Text })[] = [];
  #configuration?: Configuration;

  constructor(readonly run: string, readonly onProgress: (progress: VerifyProgress) => void) {
  }

  async verify(): Promise<void> {
    await this.#readNodes();
    await this.#checkCheckpoints();
    const parts: ExpertPart[] = [];
    for (const [name, manifest] of this.#nodes) {
      if (!/^partition\/expert-/.test(name)) continue;
      await this.#attempt(
        `${name}/${MANIFEST}`,
        () => Promise.try(() => parts.push(partIn(name, manifest))),
      );
    }
    parts.sort((a, b) => a.expert - b.expert);
    const isAlone = parts.length > 0 && !this.#nodes.has(SEQUENCES);
    if (isAlone) this.report.parts = parts.map(({ expert }) => expert);
    const { experts = parts.length } = this.#configuration ?? {};
    const ownParts = isAlone ? parts : parts.filter(({ expert }) => expert < experts);
    if (!isAlone) {
      this.#checkNeeds(experts);
      this.#checkModels();
    }
    const problems = this.#found;
    const isWhole = ownParts.length > 0 && !problems.some(({ file }) => file.endsWith(MANIFEST));
    const count = problems.length;
    const ended = isWhole && await this.#compare(ownParts, isAlone).catch((error) => ({ error }));
    const byRow = problems.splice(count);
    await this.#hashFiles();
    if (problems.length === count) { // the rows of damaged files say nothing of others
      problems.push(...byRow);
      if (ended) await this.#attempt("partition", () => Promise.reject(ended.error));
      if (!isAlone) await this.#checkSettings();
    }
    await this.#mend();
  }

  async #compare(parts: readonly ExpertPart[], alone: boolean): Promise<void> {
    const { run, report } = this;
    const remake = say`remove "${run}/partition" and run ${task("partition", { run })}`;
    const { train, test } = await compareParts({
      run,
      parts,
      alone,
      manifests: this.#nodes,
      lineage: {
        tokenizer: this.#nodes.get(TOKENIZER)?.files[TOKENIZER_FILE].sha256,
        sequenceLength: this.#configuration?.sequenceLength,
      },
      problem: (place, fact) => this.#problem(place, fact, remake),
      onRows: (done, total) => this.onProgress({ phase: "rows", done, total }),
    });
    const sum = (loads: number[]) => loads.reduce((a, b) => a + b, 0);
    Object.assign(report, { trainSequences: sum(train), testSequences: sum(test), loads: train });
  }

  /** Notes a problem. Its remedy is found once all are known, unless it is given. */
  #problem(file: string, violation: Text, remedy?: Text): void {
    const path = file.startsWith(`${this.run}/`) ? file.slice(this.run.length + 1) : file;
    this.#found.push({ file: path, what: violation, ...remedy ? { remedy } : {} });
  }

  async #mend(): Promise<void> {
    if (this.#found.length === 0) return;
    const { findRemedy } = await import("./output.ts");
    for (const { file, what, remedy } of this.#found) {
      const isCopied = this.report.parts && /^(partition|tokenizer)\b/.test(file);
      const mended = !isCopied && remedy ||
        await findRemedy(this.run, file, this.#configuration ?? defaultConfiguration());
      this.report.problems.push({ file, what, remedy: mended });
    }
  }

  /** Makes a check that fails one of the problems. */
  async #attempt<Result>(file: string, check: () => Promise<Result>): Promise<Result | undefined> {
    try {
      return await check();
    } catch (error) {
      if (!(error instanceof ExplainedError)) throw error;
      this.#problem(error.where ?? file, error.what, error.remedy);
    }
  }

  async #readNodes(): Promise<void> {
    const read = await this.#attempt("config.json", () => readRunConfiguration(this.run));
    this.#configuration = read?.configuration;
    for (const folder of [...nodeFolders(), EXPORT]) {
      for await (const name of nodesIn(this.run, folder)) {
        const file = `${name}/${MANIFEST}`;
        const manifest = await this.#attempt(file, () => readManifest(`${this.run}/${name}`));
        if (!manifest) continue;
        this.#nodes.set(name, manifest);
        if (manifest.name !== name && folder !== EXPORT) {
          this.#problem(file, `it must be of this folder: it is of "${manifest.name}"`);
        }
      }
    }
    if (read === null && this.#nodes.size === 0) {
      throw new InputError(
        `Cannot verify "${this.run}" as it must be a run folder: nothing is made there`,
        {
          where: this.run,
          remedy: say`name the folder that ${task("partition")} wrote`,
        },
      );
    }
    if (read === null) {
      this.#problem("config.json", "it must be there: it is not", CONFIGURATION_BACK);
    }
  }

  /** Checks the states from which trainings would go on. */
  async #checkCheckpoints(): Promise<void> {
    for (const { path: folder, isDirectory } of await listBegun(this.run, SCRATCH)) {
      for (const path of isDirectory ? await listCheckpoints(folder) : []) {
        await this.#attempt(path, async () => {
          const { checkTrainerState } = await import("../model/checkpoints/trainer_state.ts");
          await checkTrainerState(path);
          this.report.files++;
          this.report.bytes += (await Deno.stat(path)).size;
        });
      }
    }
  }

  /** Checks that everything that the partition is made of is there, and is what it was made of. */
  #checkNeeds(experts: number): void {
    const parts = Array.from({ length: experts }, (_, expert) => partNode(expert, experts));
    const wanted = new Set([INDEX, PART_INDEX, NAMES, ...parts]);
    for (const name of wanted) {
      const manifest = this.#nodes.get(name);
      const file = `${name}/${MANIFEST}`;
      if (!manifest) {
        const isKnown = this.#found.some((problem) => problem.file === file);
        if (!isKnown) this.#problem(file, "it must be there: it is missing");
        continue;
      }
      for (const [need, sha256] of Object.entries(manifest.inputs)) {
        const { name, start } = splitNeed(need);
        wanted.add(name);
        const manifest = this.#nodes.get(name);
        if (manifest && hashFiles(manifest, start) !== sha256) {
          this.#problem(file, `it must be made of what is there now: "${name}" has changed`);
        }
      }
    }
  }

  /** Checks that what is there was made by the settings of `config.json`. */
  async #checkSettings(): Promise<void> {
    if (!this.#configuration) return;
    const graph = await wholeGraph(this.run, this.#configuration, true).catch((error) => {
      if (error instanceof InputError) return []; // what settings name elsewhere is gone
      throw error;
    });
    for (
      const { node, state, because = "", manifest } of await describeNodes(
        new Walk(this.run, graph),
      )
    ) {
      const isOfRun = because in FIELDS && !OF_A_MODEL.includes(because);
      if (state !== "changed" || !isOfRun) continue;
      const [oldValue, newValue] = [manifest!, node].map(({ settings }) => settings[because]);
      if (oldValue === undefined || newValue === undefined) continue; // another version made it
      const violation = say`it must be made by the settings of config.json: ${
        setting(because)
      } is ${JSON.stringify(newValue)}, it was made with ${JSON.stringify(oldValue)}`;
      const file = `${node.name}/${MANIFEST}`;
      if (!this.#found.some((problem) => problem.file === file)) this.#problem(file, violation);
    }
  }

  /** Checks that no model was trained on another part than the one that is there. */
  #checkModels(): void {
    for (const [name, { inputs }] of this.#nodes) {
      const [folder, model] = name.split("/");
      if (!MODEL_FOLDERS.includes(folder)) continue;
      for (const [need, sha256] of Object.entries(inputs)) {
        const { name: part, start } = splitNeed(need);
        const trainedOn = part.startsWith("partition/") && this.#nodes.get(part);
        if (!trainedOn) continue;
        const file = `${name}/${MANIFEST}`;
        if (folder === "experts" && part !== `partition/${model}`) {
          this.#problem(file, `it must be trained on the part of its expert: it was on "${part}"`);
        } else if (hashFiles(trainedOn, start) !== sha256) {
          const violation = `it must be trained on the part that is there: "${part}" is another`;
          this.#problem(file, violation);
        }
      }
    }
  }

  /**
   * Hashes the files that were not read to their end, and compares them with what manifests say.
   */
  async #hashFiles(): Promise<void> {
    const files = [...this.#nodes].flatMap(([folder, { files }]) =>
      Object.entries(files).map(([name, { bytes, sha256 }]) => ({
        path: `${folder}/${name}`,
        bytes,
        sha256,
      }))
    );
    const bytesBefore = this.report.bytes;
    let total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { path, bytes, sha256 } of files) {
      const fact = await findFileDamage(`${this.run}/${path}`, bytes, sha256);
      // It goes once the routers are learned.
      if (fact === MISSING && /^rounds\/(.*\/)?\d+\/router-/.test(path)) {
        total -= bytes;
        continue;
      }
      if (fact !== undefined) this.#problem(path, fact);
      this.report.files++;
      this.report.bytes += bytes;
      this.onProgress({ phase: "files", done: this.report.bytes - bytesBefore, total });
    }
  }
}

const MISSING = "it must be there: it is missing";

/** Reports how a file differs from what its maker wrote. */
async function findFileDamage(
  path: string,
  bytes: number,
  sha256: string,
): Promise<string | undefined> {
  try {
    const { isFile, size } = await Deno.lstat(path);
    if (!isFile) return "it must be a file: it is a folder or a link";
    if (size !== bytes) return `it must have ${bytes} bytes: it has ${size}`;
    const actual = (await hashFile(path)).sha256;
    if (actual === sha256) return;
    return `its SHA-256 must be ${shortHash(sha256)}: it is ${
      shortHash(actual)
    }, the content changed`;
  } catch (error) {
    return isMissing(error) ? MISSING : `it must be readable: ${oneLine(error)}`;
  }
}
