/**
 * Does one machine bear much text? Takes `--size` MiB of generated and repeated text from documents
 * to one folder of shards per expert, in parts, each process measured by itself, and scores
 * `--score` MiB of it by two routers. Scores for the split are made up: those of a seeded hash.
 *
 *   deno task bench:scale [--size 2048] [--score 200] [--parts 2] [--workers 2] [--vocab-size 32000] [--sequence-length 1024]
 *
 * Prints a table: what each stage took, the largest peak of its processes' memory, and the disk at
 * its peak next to the input, as a multiple of what all tokens take. It ends with code 1 where a
 * process took more than 600 MiB, or the disk held more than 3 times the tokens. `--parts 1` makes
 * each stage in one process.
 */

import { nodesIn, readManifest } from "../../pipeline/graph/mod.ts";
import type { Sources } from "../../mod.ts";
import { benchFlags } from "./flags.ts";
import { columns } from "./text.ts";
import { asTask, inProcess, runStageApart, type Stage } from "./stage_process.ts";

const MOST_MEMORY = 600 * 2 ** 10; // KiB
const MOST_DISK = 3; // times the tokens
const FILES = 4; // of text

const flags = benchFlags(
  "Takes much text through the stages in processes of their own, and measures these.",
  {
    size: 2048,
    score: 200,
    parts: 2,
    workers: 2,
    "vocab-size": 32_000,
    "sequence-length": 1024,
    experts: 4,
  },
);

/** What a stage took, in all its processes: seconds, KiB of memory, bytes of disk. */
type Row = { stage: string } & Record<"processes" | "seconds" | "memory" | "disk", number>;

const rows: Row[] = [];
const folder = await Deno.makeTempDir();

/** Adds up the files of a folder; those of several names count once. */
async function bytesIn(path: string, seen = new Set<number | null>()): Promise<number> {
  let bytes = 0;
  try {
    for await (const { name, isDirectory } of Deno.readDir(path)) {
      if (isDirectory) bytes += await bytesIn(`${path}/${name}`, seen);
      else {
        const { ino, size } = await Deno.lstat(`${path}/${name}`);
        bytes += seen.has(ino) ? 0 : size;
        seen.add(ino);
      }
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error; // gone meanwhile
  }
  return bytes;
}

/**
 * Does something while the disk that a folder takes is looked at again and again. Gives its peak.
 */
async function watchingDisk(run: string, work: () => Promise<void>): Promise<number> {
  let peak = 0;
  let ended = false;
  const watch = async () => {
    while (!ended) {
      peak = Math.max(peak, await bytesIn(run));
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  };
  const watched = watch();
  await work().finally(() => ended = true);
  await watched;
  return Math.max(peak, await bytesIn(run));
}

/** A run that is measured. */
interface Measured {
  run: string;
  /** Bytes of its text. */
  text: number;
  sources: Sources;
}

/** Runs a stage, or its parts one after another, and notes what that took. */
async function measure(
  name: string,
  stage: string,
  { run, sources }: Measured,
  parts = 1,
): Promise<void> {
  const row: Row = { stage: name, processes: parts, seconds: 0, memory: 0, disk: 0 };
  row.disk = await watchingDisk(run, async () => {
    for (let index = 1; index <= parts; index++) {
      const more: Partial<Stage> = parts > 1 ? { part: { index, of: parts } } : { sources };
      const { seconds, peak } = await runStageApart({
        stage,
        run,
        workers: flags.workers,
        ...more,
      });
      row.seconds += seconds;
      row.memory = Math.max(row.memory, peak);
    }
  });
  console.error(`${name}: ${row.seconds.toFixed(1)} s, ${Math.round(row.memory / 1024)} MiB`);
  rows.push(row);
}

/**
 * What the text of a run came to: bytes of its shards of tokens, and their number, padding left
 * out.
 */
type Tokens = Record<"bytes" | "count", number>;

/** Turns the text of a run into shards of tokens. */
async function tokenize(measured: Measured): Promise<Tokens> {
  const { run, sources } = measured;
  for (const stage of ["corpus", "tokenizer"]) await runStageApart({ stage, run, sources });
  if (flags.parts > 1) await measure("tokenize", "tokenize", measured, flags.parts);
  await measure(flags.parts > 1 ? "tokens closed" : "tokenize", "tokenize", measured);
  let bytes = 0;
  let count = 0;
  for await (const name of nodesIn(run, "tokens")) {
    const { files, result } = (await readManifest(`${run}/${name}`))!;
    for (const file of Object.values(files)) bytes += file.bytes;
    count += Number(result.tokens);
  }
  return { bytes, count };
}

/** Writes `bytes` of text as files, and returns how a run is made of it. */
async function measuredOf(name: string, bytes: number, settings: object): Promise<Measured> {
  const write = import.meta.resolve("./many_texts.ts");
  const input: string[] = [];
  let [text, copies] = [0, 0];
  for (let file = 0; file < FILES; file++) {
    input.push(`${folder}/${name}-${file}.jsonl`);
    copies += Number(
      await inProcess(write, await asTask("corpus"), [
        input[file],
        `${bytes / FILES}`,
        `${copies}`,
      ]),
    );
    text += (await Deno.stat(input[file])).size;
  }
  const tokenizer = `${folder}/tokenizer.json`;
  if (!await Deno.stat(tokenizer).catch(() => null)) {
    const make = import.meta.resolve("./large_tokenizer.ts");
    await inProcess(make, await asTask("tokenizer"), [
      tokenizer,
      input[0],
      `${flags["vocab-size"]}`,
    ]);
  }
  const own = { input, tokenizer, sequenceLength: flags["sequence-length"], ...settings };
  return { run: `${folder}/${name}`, text, sources: { flags: own } as Sources };
}

/** Splits text by made-up scores. Returns how many times the tokens the disk held at its peak. */
async function splitText(): Promise<number> {
  const measured = await measuredOf("split", 2 ** 20 * flags.size, {
    partitioner: "random",
    method: "balanced",
    experts: flags.experts,
    prefix: 16,
  });
  const tokens = await tokenize(measured);
  await runStageApart({ stage: "train-routers", run: measured.run, sources: measured.sources });
  await measure("scores made up", "score", measured);
  await measure("assign", "assign", measured);
  if (flags.parts > 1) await measure("split", "split", measured, flags.parts);
  await measure(flags.parts > 1 ? "split closed" : "split", "split", measured);
  print(`${mib(measured.text)} MiB of text in ${FILES} files`, rows, measured, tokens);
  await Deno.remove(measured.run, { recursive: true });
  for (const path of measured.sources.flags!.input!) await Deno.remove(path);
  return Math.max(...rows.map(({ disk }) => disk)) / tokens.bytes;
}

/** Scores text by two small routers; how it becomes tokens is measured at its full size alone. */
async function scoreText(): Promise<void> {
  const measured = await measuredOf("score", 2 ** 20 * flags.score, {
    experts: 2,
    prefix: 16,
    routerHidden: 32,
    routerLayers: 2,
    routerHeads: 2,
    rounds: 1,
    roundSequences: 64,
    routerBatch: 16,
  });
  const before = rows.length;
  const tokens = await tokenize(measured);
  rows.length = before;
  await runStageApart({ stage: "train-routers", run: measured.run, sources: measured.sources });
  await measure("score", "score", measured, flags.parts);
  const title = `${mib(measured.text)} MiB of text, two routers (H = 32, M = 16)`;
  print(title, rows.slice(before), measured, tokens);
}

const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(0);

/** Prints what stages took. */
function print(
  title: string,
  rows: readonly Row[],
  { text }: Measured,
  { bytes, count }: Tokens,
): void {
  console.log(`\n${title}: ${mib(bytes)} MiB of tokens`);
  const head = [
    "stage",
    "processes",
    "s",
    "MiB of text/s",
    "tokens/s",
    "memory, MiB",
    "disk, of the tokens",
  ];
  const reported = rows.map(({ stage, processes, seconds, memory, disk }) => [
    ...[stage, `${processes}`, seconds.toFixed(1), (text / 2 ** 20 / seconds).toFixed(1)],
    ...[Math.round(count / seconds).toLocaleString("en"), (memory / 1024).toFixed(0)],
    `${(disk / bytes).toFixed(2)}×`,
  ]);
  console.log(columns([head, ...reported], "lrrrrrr"));
}

let disk: number;
try {
  disk = await splitText();
  await scoreText();
} finally {
  await Deno.remove(folder, { recursive: true });
}
const memory = Math.max(...rows.map(({ memory }) => memory));
const within = memory <= MOST_MEMORY && disk <= MOST_DISK;
console.log(
  `\nlargest process: ${(memory / 1024).toFixed(0)} MiB of ${MOST_MEMORY / 1024}; ` +
    `disk at its peak: ${disk.toFixed(2)} of ${MOST_DISK} times the tokens${
      within ? "" : ": too much"
    }`,
);
Deno.exit(within ? 0 : 1);
