/**
 * Measures what part of the processor time of `partition` and `evaluate` goes into checking the hashes of the files that they read: the
 * bytes that their manifests say were read and checked, by the speed of SHA-256 on this machine, over the time of the whole.
 *
 *   deno task bench:checks
 *
 * Fewer characters show only that it works: the share is that of the default corpus.
 */

import { createHash } from "node:crypto";
import process from "node:process";
import { evaluateRun, openGpu, partition, trainDense, trainExpert } from "../../mod.ts";
import { manifestNames, readManifest } from "../../pipeline/run/manifest.ts";
import { defaultConfiguration } from "../../pipeline/settings/configuration.ts";
import { benchFlags } from "./flags.ts";

const PIECE = new Uint8Array(2 ** 16); // what a read from a file brings
const PIECES = 4096;

/** Measures SHA-256, in bytes a second of processor time, in pieces as files are read. */
function hashRate(): number {
  const hash = createHash("sha256");
  const start = process.cpuUsage();
  for (let i = 0; i < PIECES; i++) hash.update(PIECE);
  hash.digest();
  return PIECES * PIECE.length / secondsSince(start);
}

function secondsSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1e6;
}

/** Counts the bytes that stages read and checked, by what their manifests say. */
async function bytesChecked(run: string, isWanted: (stage: string) => boolean): Promise<number> {
  let bytes = 0;
  for (const name of (await manifestNames(run)).filter(isWanted)) {
    for (const path of Object.keys((await readManifest(run, name))?.read ?? {})) {
      bytes += (await Deno.stat(`${run}/${path}`)).size;
    }
  }
  return bytes;
}

const { characters, steps } = benchFlags("Measures what part of partition and evaluate goes into hashes.", {
  characters: defaultConfiguration().corpusCharacters,
  steps: 8,
});
const folder = await Deno.makeTempDir();
const run = `${folder}/run`;
const gpu = await openGpu();
const rate = hashRate();
const tell = (what: string, bytes: number, seconds: number) => {
  const share = bytes / rate / seconds;
  console.log(
    `${what}: ${(bytes / 1e6).toFixed(1)} MB checked at ${(rate / 1e6).toFixed(0)} MB/s of SHA-256, ${
      (100 * share).toFixed(3)
    }% of ${seconds.toFixed(1)} s of processor time`,
  );
};
try {
  let start = process.cpuUsage();
  await partition({ run, gpu, sources: { flags: { corpusCharacters: characters } } });
  tell("partition", await bytesChecked(run, () => true), secondsSince(start));
  const flags = { expertSteps: steps, expertWarmup: 1 };
  for (const expert of [0, 1, 2, 3]) await trainExpert(expert, { run, gpu, sources: { flags } });
  await trainDense("batch", { run, gpu });
  start = process.cpuUsage();
  await evaluateRun({ run, gpu });
  tell("evaluate", await bytesChecked(run, (stage) => stage === "evaluate"), secondsSince(start));
} finally {
  gpu.close();
  await Deno.remove(folder, { recursive: true });
}
