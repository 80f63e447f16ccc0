/**
 * Does the memory of the streaming stages grow with the corpus? Runs tokenize, score, assign and split over a corpus and
 * over ten times as much, each stage in a process of its own, and prints the peak resident memory of both.
 *
 *   deno task bench:memory [--scale 8] [--last split]     MiB of text in the smaller corpus, last stage to run
 *
 * The tasks that tokenize fix glibc's `MALLOC_MMAP_THRESHOLD_` at its default: otherwise it rises as large blocks are
 * freed, and blocks of tokens then lie among the small ones of the tokenizers library and hold their pages.
 */

import process from "node:process";
import { defaultCorpus, runOneStage, type Sources } from "../../mod.ts";
import { benchFlags } from "./flags.ts";

const STAGES = ["corpus", "tokenizer", "tokenize", "train-routers", "score", "assign", "split"];
const MEASURED = ["tokenize", "score", "assign", "split"];

/** Small routers and a short prefix: the memory of scoring does not depend on them, its time does. */
const FLAGS = {
  experts: 2,
  prefix: 8,
  routerHidden: 8,
  routerLayers: 1,
  routerHeads: 1,
  rounds: 1,
  chunk: 4096,
  shardSequences: 2048,
};

/** Words that no other copy has, one for every 100 characters: new text never stops bringing some. */
function newWords(copy: number, characters: number): string {
  return Array.from(
    { length: characters / 100 },
    (_, i) => (copy * 10_000 + i).toString(36).replace(/[0-9]/g, (digit) => "ABCDEFGHIJ"[Number(digit)]),
  ).join(" ");
}

/** Writes `mib` MiB of copies of the embedded corpus, each with words of its own, as JSON lines. */
async function writeCorpus(path: string, mib: number): Promise<void> {
  const texts: string[] = [];
  for await (const { text } of defaultCorpus({ characters: 200_000 })) texts.push(text);
  const file = await Deno.open(path, { write: true, create: true, truncate: true });
  const writer = file.writable.getWriter();
  const encoder = new TextEncoder();
  let written = 0;
  for (let i = 0; written < mib * 2 ** 20; i++) {
    const text = texts[i % texts.length];
    const line = encoder.encode(JSON.stringify({ text: `${newWords(i, text.length)}. ${text}` }) + "\n");
    await writer.write(line);
    written += line.length;
  }
  await writer.close();
}

/**
 * Runs this file in a process of its own with the flags and variables of `task`, and returns its peak resident memory in
 * KiB. A process cannot show less than the one that started it had reached, so this one must stay small.
 */
async function child(task: string, args: string[]): Promise<number> {
  const { env, flags } = await taskSettings(task);
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", ...flags, import.meta.filename!, "--child", ...args],
    env,
    stdout: "piped",
    stderr: "inherit",
  });
  const { success, stdout } = await command.output();
  if (!success) throw new Error(`Cannot measure as ${args.join(" ")} must succeed: it failed`);
  return Number(new TextDecoder().decode(stdout).trim().split("\n").at(-1));
}

/** The flags and the environment that the task itself runs with, so that what is measured is what a user gets. */
async function taskSettings(task: string): Promise<{ env: Record<string, string>; flags: string[] }> {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));
  const words = (tasks[task].command as string).split(" ");
  return {
    env: Object.fromEntries(words.slice(0, words.indexOf("deno")).map((word) => word.split("="))),
    flags: words.filter((word) => /^--(v8-flags|allow)/.test(word)),
  };
}

if (import.meta.main) {
  if (Deno.args[0] === "--child") {
    const [, stage, run, input] = Deno.args;
    if (stage === "write") await writeCorpus(run, Number(input));
    else {
      const sources = { flags: { ...FLAGS, input: [input] } } as Sources;
      await runOneStage({ stage, run, sources });
    }
    console.log(process.resourceUsage().maxRSS);
    Deno.exit(0);
  }
  const { scale, last } = benchFlags(
    "Measures the peak memory of the streaming stages, on so many MiB of text and ten times as much.",
    { scale: 8, last: MEASURED },
  );
  const folder = await Deno.makeTempDir();
  try {
    const peaks = new Map<string, number[]>();
    for (const times of [1, 10]) {
      const input = `${folder}/${times}.jsonl`;
      await child("corpus", ["write", input, `${scale * times}`]);
      for (const stage of STAGES.slice(0, STAGES.indexOf(last) + 1)) {
        const peak = await child(stage, [stage, `${folder}/run-${times}`, input]);
        if (MEASURED.includes(stage)) peaks.set(stage, [...peaks.get(stage) ?? [], peak]);
      }
    }
    console.log(`peak resident memory, MiB   ${scale} MiB of text   ${scale * 10} MiB   ratio`);
    for (const [stage, [small, large]] of peaks) {
      const mib = (kib: number) => (kib / 1024).toFixed(0).padStart(13);
      console.log(`${stage.padEnd(26)} ${mib(small)} ${mib(large)}   ${(large / small).toFixed(2)}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
