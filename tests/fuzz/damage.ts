/**
 * Damages files of a finished run and lets whoever could use them work: each outcome must be the
 * undisturbed result, or an error that explains itself. Anything else is a failure: another result
 * without a word, the raw text of a library, a hang.
 *
 * @module
 */

import { basename } from "node:path";
import type { Gpu } from "../../kernels/device/gpu.ts";
import {
  askRun,
  evaluateRun,
  generate,
  partition,
  planPartition,
  report,
  runOneStage,
} from "../../mod.ts";
import { readStatus, trainDense, trainExpert, verifyRun } from "../../mod.ts";
import { compareRuns } from "../../pipeline/report/mod.ts";
import { readCost } from "../../pipeline/cost/mod.ts";
import { ExplainedError } from "../../kernels/mod.ts";
import { readRun } from "../../pipeline/report/read.ts";
import type { Configuration } from "../../pipeline/settings/configuration.ts";
import { randomBits } from "../../pipeline/random.ts";
import { hashFile, sha256 } from "../../pipeline/graph/files.ts";
import { canonical } from "../../pipeline/graph/schema.ts";
import {
  adoptExpert,
  cleanRun,
  exportModel,
  exportTexts,
  planExperts,
  planJobs,
  readTrainings,
  trainModels,
} from "../../pipeline/run/mod.ts";
import { switchTarget } from "../../pipeline/stages/mod.ts";
import { perform } from "../../tasks/cli/command.ts";
import { copyFolder, SMALL, smallCorpus, task, writeQuestions } from "../tasks/support.ts";

/** Settings of the trainings of the run that is damaged. */
const TRAINING: Partial<Configuration> = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 4,
  expertWarmup: 1,
  validateEvery: 2,
};

/** A finished run, and what is known of it. */
export interface Base {
  /** Its folder. */
  run: string;
  /** SHA-256 of every file, by path. */
  hashes: Map<string, string>;
  /** What each work came to there. */
  results: Map<string, unknown>;
}

const RESAMPLES = 5;
/** The zero-shot task that is asked, and how; its questions lie next to the run. */
const asked = (base: string) => ({
  tasks: ["arc_easy"],
  data: `${base}.data`,
  resamples: RESAMPLES,
});

/**
 * Makes a finished run in a folder: a partition, all models, an evaluation, a zero-shot task,
 * exports and a report.
 */
export async function makeBase(run: string, gpu: Gpu): Promise<void> {
  // What is read once only is kept in the run.
  const piped = ["--input", "-", "--format", "jsonl", "--run", run];
  const { code, err } = await task("partition", [...SMALL, ...piped], { input: smallCorpus() });
  if (code !== 0) throw new Error(err);
  const options = { run, gpu, sources: { flags: TRAINING }, checkpointEvery: 2 };
  for (const expert of [0, 1]) await trainExpert(expert, options);
  await trainDense("batch", options);
  await trainModels(() => [switchTarget()], options);
  await evaluateRun({ run, gpu, resamples: RESAMPLES });
  writeQuestions(`${run}.data`);
  await askRun({ run, gpu, ...asked(run) });
  await exportTexts({ run, to: "parquet", expert: 0, output: `${run}/export/parquet/expert-00` });
  await report({ run });
}

/** Reads a run that {@linkcode makeBase} made, and lets all work be done in copies of it. */
export async function openBase(run: string, gpu: Gpu): Promise<Base> {
  const base: Base = { run, hashes: await hashesOf(run), results: new Map() };
  for (const [name, work] of Object.entries(WORK)) {
    const copy = await Deno.makeTempDir(); // a killed process may leave it
    copyFolder(run, copy);
    base.results.set(name, await work(copy, gpu, base) ?? null);
    await Deno.remove(copy, { recursive: true });
  }
  return base;
}

async function continued(run: string, gpu: Gpu): Promise<string> {
  const generation = await generate({
    run,
    gpu,
    prompt: "The people of",
    maxNewTokens: 6,
    temperature: 0,
  });
  return (await Array.fromAsync(generation)).join("");
}

/** Tells what a report, a comparison and so on read, without the folder's name. */
async function reported(run: string): Promise<string> {
  const { name: _, path: __, run: ___, ...record } = await readRun(run);
  return JSON.stringify(record);
}

/** Lists the files of a run, by path, but for links and the one that holds times. */
export function listNodeFiles(run: string, folder = ""): string[] {
  return [...Deno.readDirSync(`${run}/${folder}`)].flatMap(({ name, isDirectory, isFile }) =>
    isDirectory
      ? listNodeFiles(run, `${folder}${name}/`)
      : isFile && name !== "timing.jsonl"
      ? [`${folder}${name}`]
      : []
  ).sort();
}

async function hashesOf(run: string): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  for (const path of listNodeFiles(run)) {
    hashes.set(path, (await hashFile(`${run}/${path}`)).sha256);
  }
  return hashes;
}

/** Stages that are made anew from what is there, each after its folders were removed. */
const REMADE: Record<string, string[]> = {
  tokenizer: ["tokenizer"],
  tokenize: ["tokens", "text/sequences", "text/index"],
  "train-routers": ["rounds", "partitioner"],
  score: ["scores"],
  assign: ["assignments"],
  split: ["partition"],
  "train-expert-00": ["experts/expert-00"],
  "train-expert-01": ["experts/expert-01"],
  "train-dense": ["dense"],
  "train-switch": ["switch"],
  evaluate: ["evaluation"],
  "zero-shot": ["zero-shot"],
};

/** Names the folder of a run's first block in a folder of blocks. */
export const blockIn = (run: string, folder: string): string =>
  `${folder}/${[...Deno.readDirSync(`${run}/${folder}`)][0].name}`;

/**
 * Does something in a run whose file may be damaged; gives what it came to, apart from what it
 * wrote into files of the run.
 */
type Work = (run: string, gpu: Gpu, base: Base) => Promise<unknown>;

/**
 * Reports what is in a value as text, without the names of the folders of the run and of the
 * undisturbed one.
 */
const withoutRunName = (value: unknown, run: string): string =>
  JSON.stringify(value).replaceAll(run, "RUN").replaceAll(basename(run), "RUN");

/** What may be done in a run whose file is damaged. */
export const WORK: Record<string, Work> = {
  verify: async (run) => (await verifyRun(run)).problems.map(({ file }) => file),
  partition: (run, gpu) => partition({ run, gpu }).then(() => {}),
  check: (run, gpu) => partition({ run, gpu, check: true }).then(() => {}),
  generate: continued,
  report: reported,
  compare: async (run, _, base) => {
    const comparison = await compareRuns({ runs: [run, base.run] });
    return withoutRunName({
      ...comparison,
      runs: comparison.runs.map((found) => ({ ...found, lacks: [] })),
    }, run);
  },
  cost: async (run) => withoutRunName(await readCost({ run, flops: 1, utilisation: 1 }), run),
  // What tells how a run stands may tell of what is damaged; of no other stages.
  plan: async (run) => (await planPartition({ run })).stages.map(({ stage }) => stage),
  "plan of experts": (run) => planExperts([0, 1], { run }).then(() => {}),
  jobs: (run) => planJobs({ run, parts: 2 }).then(() => {}),
  status: async (run) => {
    const { stages, unseen } = await readStatus(run);
    return unseen
      ? withoutRunName({ damaged: unseen }, run)
      : stages.map(({ stage }) => stage).join();
  },
  watch: async (run) => {
    const trainings = await readTrainings(run);
    return withoutRunName(
      trainings.map((training) => ({ ...training, updated: null, checkpoint: null })),
      run,
    );
  },
  clean: async (run) => withoutRunName((await cleanRun({ run, dryRun: true })).unfinished, run),
  "export text": async (run) =>
    (await exportTexts({ run, to: "text", expert: 1, output: `${run}/export/text/expert-01` }))
      .files,
  "export again": async (run) =>
    (await exportTexts({
      run,
      to: "parquet",
      expert: 0,
      output: `${run}/export/parquet/expert-00`,
    })).files,
  "export all": async (run) =>
    (await exportTexts({ run, to: "megatron", output: `${run}/export/megatron/all-text` })).files,
  "export model": async (run) =>
    (await exportModel({ run, expert: 1, output: `${run}/export/safetensors/expert-01` })).files,
  show: (run) =>
    performed("show", [`${run}/partition/expert-01/train-00000.arrow`, "--limit", "3"]),
  "score file": (run) =>
    performed(
      "score",
      [`${run}/${blockIn(run, "tokens")}/test.arrow`, "--routers", `${run}/partitioner`],
      "arrow",
    ),
  "assign file": (run) =>
    performed("assign", [`${run}/${blockIn(run, "scores")}/train.arrow`], "arrow"),
  "generate model": async (run, gpu) => {
    const more = { prompt: "The people of", maxNewTokens: 3, temperature: 0 };
    return (await Array.fromAsync(await generate({ model: `${run}/dense`, gpu, ...more }))).join(
      "",
    );
  },
  "zero-shot again": async (run, gpu, base) =>
    withoutRunName(await askRun({ run, gpu, ...asked(base.run) }), run),
  adopt: async (run, _, base) =>
    (await adoptExpert({ run, expert: 1, from: `${base.run}/experts/expert-00`, force: true }))
      .sha256,
  ...Object.fromEntries(
    Object.keys(REMADE).map((
      stage,
    ): [string, Work] => [stage, (...of) => remake(of[0], stage, of[1], of[2])]),
  ),
};

/**
 * Does a task as a command does, in this process; gives what it prints, or the hash of the file of
 * this ending that it writes.
 */
async function performed(name: string, args: string[], ending?: string): Promise<string> {
  const { TASK } = await import(`../../tasks/${name}.ts`);
  const output = ending && await Deno.makeTempFile({ suffix: `.${ending}` });
  const { log } = console;
  const printed: string[] = [];
  console.log = (text) => void printed.push(text);
  try {
    await perform(TASK, output ? [...args, "--output", output] : args, {
      signal: new AbortController().signal,
      onEvent() {},
      tell() {},
      print: (text) => void printed.push(text),
    });
    return output ? (await hashFile(output)).sha256 : printed.join("\n");
  } finally {
    console.log = log;
    if (output) await Deno.remove(output).catch(() => {});
  }
}

/** Removes what a stage made, and makes it again. */
async function remake(run: string, stage: string, gpu: Gpu, base: Base): Promise<void> {
  for (const folder of REMADE[stage]) {
    await Deno.remove(`${run}/${folder}`, { recursive: true }).catch(() => {});
  }
  const options = { run, gpu, checkpointEvery: 2 };
  if (stage.startsWith("train-expert")) await trainExpert(Number(stage.slice(-2)), options);
  else if (stage === "train-dense") await trainDense("batch", options);
  else if (stage === "train-switch") await trainModels(() => [switchTarget()], options);
  else if (stage === "zero-shot") await askRun({ run, gpu, ...asked(base.run) });
  else if (stage === "evaluate") await evaluateRun({ run, gpu, resamples: RESAMPLES });
  else await runOneStage({ ...options, stage });
}

/** How a file is damaged. */
export interface Damage {
  /** What happens to it. */
  kind: "flip" | "cut" | "swap" | "zeros" | "field";
  /** Its path in the folder. */
  file: string;
  /**
   * The bit, the length that is left, the file that takes its place, where zeros begin, or the
   * number of the field.
   */
  at: number | string;
  /** How many bytes become zeros; which other value a field gets. */
  size?: number;
}

/** Values that a field of JSON may get; undefined removes it. */
const VALUES = [
  undefined,
  null,
  -1,
  0,
  1e308,
  2 ** 53,
  "",
  "x",
  "../../../etc/passwd",
  [],
  {},
  true,
];

/** Gives the bytes of a file once it is damaged; a field of what is no JSON stays as it is. */
export function damaged(folder: string, { kind, file, at, size = 1 }: Damage): Uint8Array {
  if (kind === "swap") return Deno.readFileSync(`${folder}/${at}`);
  const bytes = Deno.readFileSync(`${folder}/${file}`);
  const from = Number(at);
  if (kind === "cut") return bytes.subarray(0, from);
  if (kind === "zeros") return bytes.fill(0, from, from + size);
  if (kind === "field") return withField(bytes, from, VALUES[size % VALUES.length]);
  bytes[Math.floor(from / 8)] ^= 1 << (from % 8);
  return bytes;
}

/**
 * Gives JSON, or the line of JSON lines that is picked with it, with another value of one of its
 * fields.
 */
function withField(bytes: Uint8Array, at: number, value: unknown): Uint8Array {
  const change = (text: string): string => {
    let fields = 0;
    let field = 0;
    JSON.parse(text, (_, old) => (fields++, old));
    return JSON.stringify(
      JSON.parse(text, (_, old) => field++ === at % fields ? value : old),
      null,
      2,
    ) ?? "";
  };
  const text = new TextDecoder().decode(bytes);
  const lines = text.split("\n");
  const line = at % lines.length;
  const tries = [
    () => change(text) + "\n",
    () => lines.with(line, change(lines[line]).replaceAll("\n", "")).join("\n"),
  ];
  for (const attempt of tries) {
    try {
      return new TextEncoder().encode(attempt());
    } catch {
      // It is no JSON.
    }
  }
  return bytes;
}

/** Gives the path of a file without its numbers: files of one kind have the same. */
export const withoutNumbers = (file: string): string => file.replaceAll(/\d+/g, "N");

const KINDS = ["flip", "flip", "flip", "flip", "cut", "swap", "zeros", "field", "field"] as const;

/**
 * Picks the damage of case `index` of a seed: a kind of file, one of these files of a folder, and
 * what happens to it.
 */
export function findFileDamage(
  folder: string,
  files: readonly string[],
  seed: number,
  index: number,
): Damage {
  const draw = (what: string, below: number) =>
    Number(randomBits(seed, `damage ${what}`, BigInt(index)) % BigInt(Math.max(1, below)));
  const kinds = [...Map.groupBy(files, withoutNumbers).values()];
  const alike = kinds[index % kinds.length];
  const file = alike[draw("file", alike.length)];
  const { size } = Deno.statSync(`${folder}/${file}`);
  const drawn = KINDS[draw("kind", KINDS.length)];
  const kind = drawn === "field" && !/\.jsonl?$/.test(file) ? "flip" : drawn;
  if (kind === "cut") return { kind, file, at: draw("length", size) };
  if (kind === "zeros") return { kind, file, at: draw("from", size), size: 1 + draw("size", 64) };
  if (kind === "field") {
    return { kind, file, at: draw("field", 2 ** 30), size: draw("value", VALUES.length) };
  }
  const others = alike.filter((other) => other !== file);
  if (kind === "swap" && others.length > 0) {
    return { kind, file, at: others[draw("other", others.length)] };
  }
  return { kind: "flip", file, at: draw("bit", 8 * size) };
}

/** What a case came to. */
export type Outcome = "refused" | "found" | "noticed" | "same" | "as stated";

/** Throws unless an error explains itself, on one line that is ours. */
export function checkExplained(error: unknown): void {
  if (!(error instanceof ExplainedError) || RAW.test(error.message) || /\n/.test(error.message)) {
    throw error;
  }
}

/** Whether two files hold equal JSON: a field that is written twice, say, is no damage. */
function isSameJson(...files: Uint8Array[]): boolean {
  try {
    const read = (bytes: Uint8Array) => new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return new Set(files.map((bytes) => canonical(JSON.parse(read(bytes))))).size === 1;
  } catch {
    return false; // one of them is none
  }
}

/**
 * Raw texts of libraries and of the runtime, which may reach a user inside a sentence of ours
 * alone.
 */
const RAW = /^(?!Cannot |verify: )/;

/**
 * Damages a copy of the run and does some work in it. Gives "refused", "found" (by verify),
 * "noticed" or "same", and throws where a file came to differ from the undisturbed one without a
 * word, or an error does not explain itself.
 */
export async function outcomeOf(
  base: Base,
  folder: string,
  damage: Damage,
  work: string,
  gpu: Gpu,
): Promise<Outcome> {
  const run = `${folder}/${crypto.randomUUID()}`;
  copyFolder(base.run, run);
  try {
    const bytes = damaged(base.run, damage);
    const own = sha256(bytes);
    const isSound = own === base.hashes.get(damage.file) ||
      isSameJson(bytes, Deno.readFileSync(`${base.run}/${damage.file}`));
    Deno.writeFileSync(`${run}/${damage.file}`, bytes);
    let result: unknown;
    try {
      result = await WORK[work](run, gpu, base) ?? null;
    } catch (error) {
      checkExplained(error);
      return "refused";
    }
    if (work === "verify" && !isSound) {
      if ((result as string[]).length > 0) return "found";
      throw new Error("verify found nothing");
    }
    const expected = base.results.get(work);
    const isOther = JSON.stringify(result) !== JSON.stringify(expected);
    if (isOther && /"damaged/.test(String(result))) return "noticed";
    if (isOther) throw new Error(`it came to ${differenceOf(result, expected)}`);
    const after = await hashesOf(run);
    for (const [path, hash] of base.hashes) {
      const now = after.get(path);
      // Who does not use it leaves it as it is.
      if (now === hash || path === damage.file && now === own) continue;
      // Of another device.
      if (path.endsWith("manifest.json") && madeOf(run, path) === madeOf(base.run, path)) continue;
      if (work === "adopt" && path.startsWith("experts/expert-01/")) continue; // it takes another's place
      throw new Error(`"${path}" differs`);
    }
    return "same";
  } finally {
    await Deno.remove(run, { recursive: true });
  }
}

/** Gives what a manifest says of its folder, whoever made that. */
function madeOf(run: string, manifest: string): string {
  const { key, files } = JSON.parse(Deno.readTextFileSync(`${run}/${manifest}`));
  return canonical({ key, files });
}

/** Shows where two results begin to differ. */
function differenceOf(...results: unknown[]): string {
  const [a, b] = results.map((value) => JSON.stringify(value) ?? "nothing");
  const at = Math.max(0, [...a].findIndex((letter, i) => letter !== b[i]) - 40);
  return `${a.slice(at, at + 100)} where ${b.slice(at, at + 100)} was expected`;
}
