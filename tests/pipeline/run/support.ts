/**
 * A small run: text of three topics in files, blocks so small that every stage has ten or more, two
 * routers.
 */

import { type Gpu, openGpu } from "../../../kernels/device/gpu.ts";
import {
  makeAll,
  type MakeOptions,
  readManifest,
  Walk,
  type Work,
} from "../../../pipeline/graph/mod.ts";
import { partitionGraph } from "../../../pipeline/run/plan.ts";
import { partition } from "../../../pipeline/run/partition.ts";
import { chooseShare, type Part } from "../../../pipeline/run/run.ts";
import { uniform } from "../../../pipeline/random.ts";
import { sha256 } from "../../../pipeline/graph/files.ts";
import {
  type Configuration,
  defaultConfiguration,
  isDefault,
} from "../../../pipeline/settings/configuration.ts";
import { copyFolder, inFolder, lastingFolder, smallCorpus } from "../../tasks/support.ts";

/** Settings of a run of two experts that takes a second. */
export const SMALL_SETTINGS: Partial<Configuration> = {
  vocabularySize: 300,
  sequenceLength: 32,
  prefix: 16,
  experts: 2,
  shardSequences: 100,
  routerHidden: 8,
  routerLayers: 1,
  routerHeads: 2,
  rounds: 3,
  roundSequences: 32,
  routerBatch: 8,
  routerWarmup: 2,
  routerRate: 0.01,
  sourceField: "source",
};

/** Words of the topics of texts: of file i those of topic i modulo 3. */
export const TOPICS = [
  ["river", "stone", "water", "bridge", "valley", "rain", "forest", "green"],
  ["court", "judge", "law", "appeal", "sentence", "jury", "witness", "plea"],
  ["let", "const", "return", "function", "array", "index", "value", "string"],
];

/** Writes `files` files of text, some of them JSON lines, in a folder. */
export async function writeTexts(folder: string, files = 24): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  for (let file = 0; file < files; file++) {
    const words = TOPICS[file % TOPICS.length];
    const text = (from: number) =>
      Array.from(
        { length: 120 },
        (_, i) => words[Math.floor(uniform(7, `text ${file}`, BigInt(from + i)) * words.length)],
      ).join(" ");
    const lines = Array.from(
      { length: 6 },
      (_, i) => JSON.stringify({ text: text(1000 * i) }) + "\n",
    );
    const name = `${folder}/${String(file).padStart(2, "0")}`;
    if (file % 4 === 0) await Deno.writeTextFile(`${name}.jsonl`, lines.join(""));
    else await Deno.writeTextFile(`${name}.txt`, text(0));
  }
}

/** Settings of a small run of the text in a folder. */
export function smallSettings(text: string, more: Partial<Configuration> = {}): Configuration {
  return {
    ...defaultConfiguration(),
    input: [text],
    blockBytes: 2_500,
    vocabularySize: 300,
    sequenceLength: 32,
    shardSequences: 20,
    experts: 2,
    prefix: 16,
    routerHidden: 8,
    routerLayers: 1,
    rounds: 3,
    roundSequences: 32,
    routerBatch: 8,
    ...more,
  };
}

/**
 * Of the settings of a small run without routers those that are no defaults, as a user gives them.
 */
export function smallFlags(text: string): Partial<Configuration> {
  const small = smallSettings(text, { partitioner: "random", method: "balanced" });
  const isGiven = ([name, value]: [string, unknown]) =>
    name === "method" || !isDefault(name as keyof Configuration, value);
  return Object.fromEntries(Object.entries(small).filter(isGiven));
}

const partitions = new Map<string, Promise<string>>(); // by settings, each made once

/** Runs a test in a folder of its own with the partition of a small corpus in blocks, `run`. */
export async function withPartition(
  test: (run: string, flags: Partial<Configuration>) => Promise<void>,
  more: Partial<Configuration> = {},
): Promise<void> {
  const key = JSON.stringify(more);
  const flagsIn = (folder: string) => (
    { ...SMALL_SETTINGS, blockBytes: 9_000, input: [`${folder}/docs.jsonl`], ...more }
  );
  if (!partitions.has(key)) {
    partitions.set(
      key,
      (async () => {
        const folder = await lastingFolder();
        await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
        await partition({ run: `${folder}/run`, sources: { flags: flagsIn(folder) } });
        return folder;
      })(),
    );
  }
  const made = await partitions.get(key)!;
  await inFolder(async (folder) => {
    copyFolder(`${made}/run`, `${folder}/run`);
    await test(`${folder}/run`, flagsIn(made));
  });
}

let gpu: Promise<Gpu> | undefined; // what the runs of one test share
Deno.test.afterEach(async () => {
  (await gpu)?.close();
  gpu = undefined;
});

/** Makes what makers get to work with; events go to `events`. */
export function smallWork(run: string, events: unknown[] = []): Work {
  return {
    run,
    gpu: () => gpu ??= openGpu({}),
    workers: 1,
    emit: (event) => void events.push(event),
  };
}

/** Makes a small partition. */
export async function makeSmall(
  run: string,
  configuration: Configuration,
  { part, check, ...options }: Partial<MakeOptions> & { part?: Part; check?: boolean } = {},
): Promise<Walk> {
  const { nodes } = await partitionGraph(run, configuration, { keep: true });
  const mine = part && chooseShare(part, nodes);
  const walk = new Walk(run, nodes, { check });
  await makeAll(smallWork(run), walk, { task: "test", mine, ...options });
  return walk;
}

/** Hashes the files of a run's parts and partitioner, as their manifests tell. */
export async function rootHash(run: string, configuration: Configuration): Promise<string> {
  const { nodes } = await partitionGraph(run, configuration);
  const kept = nodes.filter(({ name }) => /^(partition|partitioner|tokenizer)/.test(name));
  const files = await Promise.all(
    kept.map(async ({ name }) => [name, (await readManifest(`${run}/${name}`))?.files]),
  );
  return sha256(JSON.stringify(files));
}
