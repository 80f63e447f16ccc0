/**
 * Does the memory of the streaming stages grow with the corpus? Runs tokenize, score, assign and split over a corpus and
 * over ten times as much, each stage in a process of its own, and prints the peak resident memory of both.
 *
 *   deno task bench:memory [--scale 8] [--last split]     MiB of text in the smaller corpus, last stage to run
 *
 * Tokenizing fixes what glibc calls a large block (`returnLargeBlocks()`): otherwise that rises as large blocks are
 * freed, and blocks of tokens then lie among the small ones of the tokenizers library and hold their pages.
 */

import { fileURLToPath } from "node:url";
import type { Sources } from "../../mod.ts";
import { benchFlags } from "./flags.ts";
import { inProcess, runStageApart } from "./stage_process.ts";
import { columns } from "./text.ts";

const STAGES = ["corpus", "tokenizer", "tokenize", "train-routers", "score", "assign", "split"];
const MEASURED = ["tokenize", "score", "assign", "split"];

/** Small routers and a short prefix: the memory of scoring does not depend on them, its time does. */
const FLAGS = {
  ...{ experts: 2, prefix: 8, routerHidden: 8, routerLayers: 1, routerHeads: 1, rounds: 1 },
  ...{ chunk: 4096, shardSequences: 2048 },
};

const { scale, last } = benchFlags(
  "Measures the peak memory of the streaming stages, on so many MiB of text and ten times as much.",
  { scale: 8, last: { one: MEASURED } },
);
const folder = await Deno.makeTempDir();
try {
  const peaks = new Map<string, number[]>();
  for (const times of [1, 10]) {
    const input = `${folder}/${times}.jsonl`;
    const write = fileURLToPath(new URL("./many_texts.ts", import.meta.url));
    await inProcess(write, "corpus", [input, `${scale * times * 2 ** 20}`, "0"]);
    for (const stage of STAGES.slice(0, STAGES.indexOf(last) + 1)) {
      const sources = { flags: { ...FLAGS, input: [input] } } as Sources;
      const { peak } = await runStageApart({ stage, run: `${folder}/run-${times}`, sources });
      if (MEASURED.includes(stage)) peaks.set(stage, [...peaks.get(stage) ?? [], peak]);
    }
  }
  const rows = Array.from(peaks, ([stage, [small, large]]) => {
    const mib = (kib: number) => (kib / 1024).toFixed(0);
    return [stage, mib(small), mib(large), (large / small).toFixed(2)];
  });
  const head = ["peak resident memory, MiB", `${scale} MiB of text`, `${scale * 10} MiB`, "ratio"];
  console.log(columns([head, ...rows], "lrrr"));
} finally {
  await Deno.remove(folder, { recursive: true });
}
