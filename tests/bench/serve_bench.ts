/**
 * How many tokens a second does a server write as more clients ask at once? Starts `deno task serve` on a run and asks one of its experts
 * for texts; with `--load` it sends mixed requests for so many seconds, with room for half of the experts, and compares every answer
 * with the one that is computed alone.
 *
 *   deno task bench:serve [--experts 4] [--tokens 48] [--load SECONDS]
 *
 * Without a run of one's own it makes one of random weights, as large as experts of the preset tiny.
 */

import { type ModelConfig, openMixture, resolveConfiguration, trainTokenizer } from "../../mod.ts";
import { saveCheckpoint } from "../../pipeline/checkpoints/mod.ts";
import { anyWeights } from "../pipeline/model/support.ts";
import { taskCommand } from "../tasks/support.ts";
import { benchFlags } from "./flags.ts";

const PREFIX = 16;
const ROUTER: ModelConfig = { vocabulary: 512, hidden: 16, layers: 2, heads: 2, context: 128 };
const EXPERT: ModelConfig = { vocabulary: 512, hidden: 64, layers: 4, heads: 4, context: 128 };
const CLIENTS = [1, 2, 4, 8, 16];

/** Makes a run of random weights. */
async function makeRun(run: string, experts: number): Promise<void> {
  const words =
    "the sea ship shore anchor harbour and of to in a wind salt crew deck tide mast rope gull storm".split(
      " ",
    );
  async function* documents() {
    await Promise.resolve();
    for (let i = 0; i < 400; i++) {
      yield { text: words.map((_, j) => words[(i * j + i) % 20] + i).join(" "), source: "" };
    }
  }
  const tokenizer = await trainTokenizer(documents(), {
    vocabularySize: 512,
    sample: 1e5,
    scratch: `${run}/scratch`,
  });
  const notes = { tokenizer: tokenizer.sha256, eos: tokenizer.eos };
  for (let i = 0; i < experts; i++) {
    const two = String(i).padStart(2, "0");
    await saveCheckpoint(`${run}/routers/router-${two}`, ROUTER, anyWeights(ROUTER, `router ${i}`), {
      ...notes,
      prefix: PREFIX,
    });
    await saveCheckpoint(`${run}/experts/expert-${two}`, EXPERT, anyWeights(EXPERT, `expert ${i}`), notes);
  }
  await Deno.writeTextFile(`${run}/tokenizer.json`, tokenizer.json);
  const { vocabulary: vocabularySize, hidden, layers, heads, context: sequenceLength } = EXPERT;
  const shape = { expertHidden: hidden, expertLayers: layers, expertHeads: heads };
  const flags = { experts, prefix: PREFIX, vocabularySize, sequenceLength, ...shape };
  await Deno.writeTextFile(
    `${run}/config.json`,
    JSON.stringify({ configuration: resolveConfiguration({ flags }), versions: {} }),
  );
}

interface Answer {
  choices: { text: string; routing: { expert: number } }[];
  usage: { completion_tokens: number };
}

/** Asks for a text; gives null where the server is full. */
async function ask(url: string, body: Record<string, unknown>): Promise<Answer | null> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (response.status === 429) return null;
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

/** Starts a server; gives its address and its process. */
async function start(run: string, args: string[]): Promise<{ url: string; process: Deno.ChildProcess }> {
  const process = taskCommand("serve", ["--run", run, "--port", "0", "--json", ...args], { stderr: "null" })
    .spawn();
  let out = "";
  for await (const text of process.stdout.pipeThrough(new TextDecoderStream())) {
    out += text;
    if (out.includes("}")) break;
  }
  const { url } = JSON.parse(out);
  while (!await fetch(`${url}/health`).then((response) => response.body?.cancel().then(() => response.ok))) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { url, process };
}

/** Resident memory of a process, in MiB. */
async function residentOf(pid: number): Promise<number> {
  const { stdout } = await new Deno.Command("ps", { args: ["-o", "rss=", "-p", String(pid)] }).output();
  return Number(new TextDecoder().decode(stdout)) / 1024;
}

/** Tokens a second against the number of clients. */
async function throughput(run: string, tokens: number): Promise<void> {
  const { url, process } = await start(run, []);
  const request = (seed: number) => ({
    model: "expert-0",
    prompt: "the sea and the ship",
    max_tokens: tokens,
    seed,
  });
  await ask(url, request(0));
  console.log("clients  tokens/s  beside one");
  let one = NaN;
  for (const clients of CLIENTS) {
    let written = 0;
    const began = performance.now();
    await Promise.all(Array.from({ length: clients }, async (_, client) => {
      for (let i = 0; i < 3; i++) {
        const { usage } = (await ask(url, request(100 * client + i)))!;
        written += usage.completion_tokens;
      }
    }));
    const rate = written / (performance.now() - began) * 1000;
    if (clients === 1) one = rate;
    console.log(
      `${String(clients).padStart(7)}  ${rate.toFixed(0).padStart(8)}  ${
        (rate / one).toFixed(1).padStart(10)
      }`,
    );
  }
  process.kill("SIGTERM");
  await process.status;
}

/** Mixed requests of 64 clients: no error but 429, every answer as alone, memory level at the end. */
async function load(run: string, experts: number, seconds: number): Promise<void> {
  const mixture = await openMixture({ run });
  const lease = await mixture.lease(0);
  const memory = Math.ceil((experts / 2 + 0.5) * lease.value.bytes);
  lease[Symbol.dispose]();
  mixture.close();
  const { url, process } = await start(run, ["--memory", String(memory), "--queue", "48"]);
  const known = new Map<number, Promise<Answer>>(); // what each request gets when nothing else is asked for
  const requestOf = (i: number) => ({
    ...{
      model: i % 3 === 0 ? "mixture" : `expert-${i % experts}`,
      prompt: `the ${"sea and ship ".repeat(1 + i % 4)}${i}`,
    },
    ...{ max_tokens: 1 + i % 24, seed: i, temperature: i % 5 / 2 },
  });
  const different = 96;
  for (let i = 0; i < different; i++) known.set(i, Promise.resolve((await ask(url, requestOf(i)))!));
  const [began, counts, resident] = [
    performance.now(),
    { answered: 0, refused: 0, wrong: 0 },
    [] as number[],
  ];
  const past = () => (performance.now() - began) / 1000;
  const watching = (async () => {
    while (past() < seconds) {
      resident.push(await residentOf(process.pid));
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  })();
  await Promise.all(Array.from({ length: 64 }, async (_, client) => {
    for (let turn = 0; past() < seconds; turn++) {
      const i = (client * 31 + turn * 7) % different;
      const answer = await ask(url, requestOf(i));
      if (answer === null) {
        counts.refused++;
        await new Promise((resolve) => setTimeout(resolve, 50));
        continue;
      }
      counts.answered++;
      if (JSON.stringify(answer.choices) !== JSON.stringify((await known.get(i)!).choices)) counts.wrong++;
    }
  }));
  await watching;
  const [first, last] = [resident[Math.floor(resident.length / 5)], resident.at(-1)!];
  console.log(
    `${counts.answered} answered, ${counts.refused} told to come again, ${counts.wrong} not as alone`,
  );
  console.log(`memory ${first.toFixed(0)} MiB after a fifth of the time, ${last.toFixed(0)} MiB at the end`);
  process.kill("SIGTERM");
  await process.status;
  if (counts.wrong > 0 || counts.answered === 0) Deno.exit(1);
}

if (import.meta.main) {
  const flags = benchFlags("Measures how a server's tokens a second grow with its clients.", {
    experts: 4,
    tokens: 48,
    load: ["no", "10", "60", "300"].reverse(),
  });
  const run = await Deno.makeTempDir();
  try {
    await makeRun(run, flags.experts);
    if (flags.load === "no") await throughput(run, flags.tokens);
    else await load(run, flags.experts, Number(flags.load));
  } finally {
    await Deno.remove(run, { recursive: true });
  }
}
