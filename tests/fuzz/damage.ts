/**
 * Damages files of a finished run and lets whoever could use them work: each outcome must be the undisturbed result, or an error that
 * explains itself. Anything else is a failure: another result without a word, the raw text of a library, a hang.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import {
  evaluateRun,
  generate,
  partition,
  runOneStage,
  trainDense,
  trainExpert,
  verifyRun,
} from "../../mod.ts";
import { ExplainedError } from "../../kernels/mod.ts";
import { readRun } from "../../pipeline/report/read.ts";
import type { Configuration } from "../../pipeline/settings/configuration.ts";
import { randomBits } from "../../pipeline/random.ts";
import { hashFile, sha256 } from "../../pipeline/run/files.ts";
import { manifestPath, readManifest } from "../../pipeline/run/manifest.ts";
import { SMALL, smallCorpus, task } from "../tasks/support.ts";

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
  /** What `generate` wrote. */
  text: string;
  /** What a report would tell. */
  told: string;
}

const RESAMPLES = 5;

/** Makes a finished run in a folder: a partition, its experts, a dense model and an evaluation. */
export async function makeBase(run: string, gpu: Gpu): Promise<Base> {
  const piped = ["--input", "-", "--format", "jsonl", "--run", run]; // what is read once only is kept in the run
  const { code, err } = await task("partition", [...SMALL, ...piped], { input: smallCorpus() });
  if (code !== 0) throw new Error(err);
  const options = { run, gpu, sources: { flags: TRAINING }, checkpointEvery: 2 };
  for (const expert of [0, 1]) await trainExpert(expert, options);
  await trainDense("batch", options);
  await evaluateRun({ run, gpu, resamples: RESAMPLES });
  return { run, hashes: await hashesOf(run), text: await continued(run, gpu), told: await told(run) };
}

async function continued(run: string, gpu: Gpu): Promise<string> {
  const generation = await generate({ run, gpu, prompt: "The people of", maxNewTokens: 6, temperature: 0 });
  return (await Array.fromAsync(generation)).join("");
}

async function told(run: string): Promise<string> {
  const { name: _, path: __, ...record } = await readRun(run);
  return JSON.stringify(record);
}

/** Lists the files of a run, by path, but for the one that holds times. */
export function filesOf(run: string, folder = ""): string[] {
  return [...Deno.readDirSync(`${run}/${folder}`)].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesOf(run, `${folder}${name}/`) : name === "timing.jsonl" ? [] : [`${folder}${name}`]
  ).sort();
}

async function hashesOf(run: string): Promise<Map<string, string>> {
  const hashes = new Map<string, string>();
  for (const path of filesOf(run)) hashes.set(path, (await hashFile(`${run}/${path}`)).sha256);
  return hashes;
}

/** Copies a folder. */
export function copyFolder(from: string, to: string): void {
  Deno.mkdirSync(to, { recursive: true });
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) copyFolder(`${from}/${name}`, `${to}/${name}`);
    else Deno.copyFileSync(`${from}/${name}`, `${to}/${name}`);
  }
}

/** Stages that are made anew from what is there, each after its manifest and its files were removed. */
const REMADE = [
  "tokenizer",
  "tokenize",
  "train-routers",
  "score",
  "assign",
  "split",
  "train-expert-00",
  "train-expert-01",
  "train-dense",
  "evaluate",
] as const;

/** What may be done in a run whose file is damaged; gives what it came to. */
export const WORK: Record<string, (run: string, gpu: Gpu) => Promise<unknown>> = {
  verify: async (run) => (await verifyRun(run)).problems.map(({ file }) => file),
  partition: (run, gpu) => partition({ run, gpu }),
  check: (run, gpu) => partition({ run, gpu, check: true }),
  generate: continued,
  report: told,
  ...Object.fromEntries(REMADE.map((stage) => [stage, (run: string, gpu: Gpu) => remake(run, stage, gpu)])),
};

/** Removes what a stage made, and makes it again. */
async function remake(run: string, stage: string, gpu: Gpu): Promise<void> {
  const manifest = await readManifest(run, stage);
  for (const path of Object.keys(manifest?.outputs ?? {})) {
    await Deno.remove(`${run}/${path}`).catch(() => {});
  }
  if (stage === "score") await Deno.remove(`${run}/manifests/score`, { recursive: true });
  await Deno.remove(manifestPath(run, stage));
  const options = { run, gpu, checkpointEvery: 2 };
  const [, expert] = /^train-expert-(\d+)$/.exec(stage) ?? [];
  if (expert !== undefined) await trainExpert(Number(expert), options);
  else if (stage === "train-dense") await trainDense("batch", options);
  else if (stage === "evaluate") await evaluateRun({ run, gpu, resamples: RESAMPLES });
  else await runOneStage({ ...options, stage });
}

/** How a file is damaged. */
export interface Damage {
  /** What happens to it. */
  kind: "flip" | "cut" | "swap";
  /** Its path in the run. */
  file: string;
  /** The bit, the length that is left, or the file that takes its place. */
  at: number | string;
}

/** Gives the bytes of a file once it is damaged. */
function damaged(run: string, { kind, file, at }: Damage): Uint8Array {
  if (kind === "swap") return Deno.readFileSync(`${run}/${at}`);
  const bytes = Deno.readFileSync(`${run}/${file}`);
  if (kind === "cut") return bytes.subarray(0, Number(at));
  bytes[Math.floor(Number(at) / 8)] ^= 1 << (Number(at) % 8);
  return bytes;
}

/** Gives the kind of a file: its path without numbers. */
export const kindOf = (file: string): string => file.replaceAll(/\d+/g, "N");

/** Picks the damage of case `index` of a seed: a kind of file, one of its files, and what happens to it. */
export function damageOf({ run, hashes }: Base, seed: number, index: number): Damage {
  const draw = (what: string, below: number) =>
    Number(randomBits(seed, `damage ${what}`, BigInt(index)) % BigInt(Math.max(1, below)));
  const kinds = Map.groupBy(hashes.keys(), kindOf);
  const files = [...kinds.values()][index % kinds.size];
  const file = files[draw("file", files.length)];
  const { size } = Deno.statSync(`${run}/${file}`);
  const others = files.filter((other) => hashes.get(other) !== hashes.get(file));
  const kind = (["flip", "flip", "flip", "cut", "swap"] as const)[draw("kind", 5)];
  if (kind === "swap" && others.length > 0) return { kind, file, at: others[draw("other", others.length)] };
  if (kind === "cut") return { kind, file, at: draw("length", size) };
  return { kind: "flip", file, at: draw("bit", 8 * size) };
}

/** Raw texts of libraries and of the runtime, which may reach a user inside a sentence of ours alone. */
const RAW = /^(?!Cannot |verify: )/;

/**
 * Damages a copy of the run and does some work in it. Gives "refused", "found" (by verify), or "same", and throws where a file came to
 * differ from the undisturbed one without a word, or an error does not explain itself.
 */
export async function outcomeOf(
  base: Base,
  folder: string,
  damage: Damage,
  work: string,
  gpu: Gpu,
): Promise<"refused" | "found" | "same"> {
  const run = `${folder}/${crypto.randomUUID()}`;
  copyFolder(base.run, run);
  try {
    Deno.writeFileSync(`${run}/${damage.file}`, damaged(run, damage));
    let result: unknown;
    try {
      result = await WORK[work](run, gpu);
    } catch (error) {
      if (!(error instanceof ExplainedError) || RAW.test(error.message) || /\n/.test(error.message)) {
        throw error;
      }
      return "refused";
    }
    if (work === "verify") {
      if ((result as string[]).length > 0) return "found";
      throw new Error("verify found nothing");
    }
    if (work === "generate" && result !== base.text) throw new Error(`generate wrote ${result}`);
    if (work === "report" && result !== base.told) throw new Error("the report tells something else");
    const after = await hashesOf(run);
    for (const [path, hash] of base.hashes) {
      const own = after.get(path);
      if (own === hash || path === damage.file && own === damagedHash(base, damage)) continue;
      if (path.includes("/checkpoints/")) continue; // those of a training that went on are others
      throw new Error(`"${path}" differs`);
    }
    return "same";
  } finally {
    await Deno.remove(run, { recursive: true });
  }
}

/** Gives the hash of the damaged file: whoever does not use it leaves it as it is. */
function damagedHash({ run }: Base, damage: Damage): string {
  return sha256(damaged(run, damage));
}
