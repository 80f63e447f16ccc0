/**
 * What does a server do? Without `--load`: tokens a second as more clients ask at once, the time to
 * the first token next to `generate` without its start-up, and the time to load an expert as large
 * as those of the preset small, which the wide corpus trains.
 *
 * With `--load`: 64 clients send completions, streams, chats and prompts to score for so many
 * minutes, to four experts with room for two, while others hang up, dawdle, send too much or what
 * is no request. Every answer is compared with the one that a mixture of its own computed alone. It
 * ends with code 1 where an answer differs, another expert answered, a request failed, or memory
 * grew by more than 10% since the first minute.
 *
 *   deno task bench:serve [--experts 4] [--tokens 48] [--load] [--minutes 5]
 *
 * All runs are made of random weights; an expert that writes has some 233 thousand.
 */

import { type ModelConfig, openMixture, resolveConfiguration } from "../../mod.ts";
import { loadCheckpoint } from "../../pipeline/model/mod.ts";
import { answer } from "../../pipeline/serving/mod.ts";
import { besiege, noCounts, prepareLoad } from "../pipeline/serving/server/load.ts";
import { metric, post, type Running, serving } from "../pipeline/serving/server/support.ts";
import { servingRun } from "../pipeline/serving/support.ts";
import { benchFlags } from "./flags.ts";
import { median } from "../../kernels/device/time.ts";

const SHAPES = {
  prefix: 16,
  router: { vocabulary: 512, hidden: 16, layers: 2, heads: 2, context: 128 },
  expert: { vocabulary: 512, hidden: 64, layers: 4, heads: 4, context: 128 },
};
const CLIENTS = [1, 2, 4, 8, 16];
const PROMPT = "the sea and the ship";

const since = (began: number) => performance.now() - began;
const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Resident memory of a process, in MiB. */
async function residentOf(pid: number): Promise<number> {
  const { stdout } = await new Deno.Command("ps", { args: ["-o", "rss=", "-p", String(pid)] })
    .output();
  return Number(new TextDecoder().decode(stdout)) / 1024;
}

/** Prints values under columns as wide as their names. */
const row = (names: readonly string[], values: readonly (string | number)[]) =>
  console.log(names.map((name, i) => String(values[i]).padStart(name.length)).join("  "));

/** Tokens a second against the number of clients. */
async function throughput({ url }: Running, tokens: number): Promise<void> {
  const write = async (seed: number): Promise<number> => {
    const body = { model: "expert-0", prompt: PROMPT, max_tokens: tokens, seed };
    const response = await post(`${url}/v1/completions`, body);
    const { usage, error } = await response.json();
    if (error) throw new Error(error.message);
    return usage.completion_tokens;
  };
  await write(0);
  const names = ["clients", "tokens/s", "against one"];
  row(names, names);
  let one = NaN;
  for (const clients of CLIENTS) {
    let written = 0;
    const began = performance.now();
    await Promise.all(Array.from({ length: clients }, async (_, client) => {
      for (let i = 0; i < 3; i++) {
        const count = await write(100 * client + i); // before it is added: others add meanwhile
        written += count;
      }
    }));
    const rate = written / since(began) * 1000;
    if (clients === 1) one = rate;
    row(names, [clients, rate.toFixed(0), (rate / one).toFixed(1)]);
  }
}

/**
 * Time to the first token of a resident expert, in turn by the server and by what `generate` does
 * once all is open.
 */
async function firstToken({ url, run }: Running, rounds: number): Promise<void> {
  const mixture = await openMixture({ run });
  using _lease = await mixture.lease(0); // it stays
  const [server, own]: number[][] = [[], []];
  for (let seed = 0; seed <= rounds; seed++) {
    let began = performance.now();
    const body = { model: "expert-0", prompt: PROMPT, max_tokens: 4, seed, stream: true };
    const response = await post(`${url}/v1/completions`, body);
    const reader = response.body!.getReader();
    await reader.read();
    server.push(since(began));
    while (!(await reader.read()).done);
    began = performance.now();
    const generation = await answer(mixture, { prompt: PROMPT, expert: 0, maxNewTokens: 4, seed });
    for await (const _text of generation) {
      own.push(since(began));
      break;
    }
    generation.close();
  }
  mixture.close();
  const [a, b] = [median(server.slice(1)), median(own.slice(1))];
  console.log(
    `time to the first token, medians of ${rounds}: server ${
      a.toFixed(1)
    } ms, generate without start-up ${b.toFixed(1)} ms, ratio ${
      (a / b).toFixed(2)
    } (aim: at most 1.3)`,
  );
}

/**
 * Time to load an expert as large as those of the preset small, from files that the system may have
 * in its cache.
 */
async function loading(folder: string, rounds: number): Promise<void> {
  const configuration = resolveConfiguration({ preset: "small" });
  const { vocabularySize: vocabulary, sequenceLength: context } = configuration;
  const { expertHidden: hidden, expertLayers: layers, expertHeads: heads } = configuration;
  const expert: ModelConfig = { vocabulary, hidden, layers, heads, context };
  await servingRun(folder, 2, { ...SHAPES, expert });
  const mixture = await openMixture({ run: folder, models: 1 });
  const [all, reading]: number[][] = [[], []];
  let bytes = 0;
  for (let i = 0; i <= rounds; i++) {
    let began = performance.now();
    const lease = await mixture.lease(i % 2);
    all.push(since(began));
    bytes = lease.value.bytes;
    lease[Symbol.dispose]();
    began = performance.now();
    await loadCheckpoint(`${folder}/experts/expert-0${i % 2}`);
    reading.push(since(began));
  }
  mixture.close();
  console.log(
    `loading an expert of the preset small (${
      (bytes / 2 ** 20).toFixed(1)
    } MiB on the device with its slots): ${
      median(all.slice(1)).toFixed(0)
    } ms, median of ${rounds}, of which reading its files takes ${
      median(reading.slice(1)).toFixed(0)
    } ms; the first one ${all[0].toFixed(0)} ms, as it opens the device (aim: at most 100)`,
  );
}

/** Mixed requests of 64 clients next to hostile ones. Returns whether all was right. */
async function underLoad(run: string, experts: number, minutes: number): Promise<boolean> {
  const load = await prepareLoad(run, { count: 192, experts });
  const key = "the key of this benchmark";
  await Deno.writeTextFile(`${run}/keys`, key);
  const args = ["--memory", String(load.memory), "--queue", "48", "--api-key-file", `${run}/keys`];
  let right = false;
  await serving(run, args, async ({ url, process, log }) => {
    const seconds = 60 * minutes;
    const began = performance.now();
    const past = () => since(began) / 1000;
    const counts = noCounts();
    const names = [
      "seconds",
      "answered",
      "asked to come again",
      "wrong expert",
      "not as alone",
      "errors",
    ];
    const all = [...names, "models loaded", "memory, MiB"];
    row(all, all);
    const resident: number[] = [];
    const watching = (async () => {
      const readings = Math.max(12, Math.round(12 * minutes));
      for (let i = 1; i <= readings; i++) {
        await wait(Math.max(0, 1000 * (seconds * i / readings - past())));
        resident.push(await residentOf(process.pid));
        const answered = Object.values(counts.answered).reduce((sum, count) => sum + count, 0);
        const loads = await metric(url, "smalltalk_model_loads");
        row(all, [
          ...[past().toFixed(0), answered, counts.refused, counts.wrongExpert, counts.different],
          ...[counts.errors.length, loads, resident.at(-1)!.toFixed(0)],
        ]);
      }
    })();
    const { hostile, wrong } = await besiege(url, load, { seconds, key, counts });
    await watching;
    console.log(`answered by kind: ${JSON.stringify(counts.answered)}`);
    for (const [does, outcomes] of hostile) {
      const reported = [...outcomes].map(([outcome, times]) => `${outcome} ×${times}`);
      console.log(`a client that ${does}: ${reported.join(", ")}`);
    }
    // Garbage lies until it is collected, so a level is the least of half a minute's readings.
    const level = (end: number) => Math.min(...resident.slice(Math.max(0, end - 6), end));
    const warm = Math.min(60 / seconds, 1 / 2);
    const [first, last] = [level(Math.ceil(warm * resident.length)), level(resident.length)];
    const growth = last / first - 1;
    console.log(
      `memory ${first.toFixed(0)} MiB after ${(warm * seconds).toFixed(0)} s, ${
        last.toFixed(0)
      } MiB at the end: ${(100 * growth).toFixed(1)}% more (${
        minutes > 1 ? "aim: at most 10%" : "not judged: a server grows in its first minute"
      })`,
    );
    const alive = await fetch(`${url}/health`).then(async (response) =>
      (await response.json()).status
    );
    if (/bug|TypeError|RangeError/.test(log())) wrong.push("the log tells of a bug");
    for (const error of wrong.slice(0, 10)) console.log(`wrong: ${error}`);
    const count = counts.wrongExpert + counts.different + wrong.length;
    right = alive === "ok" && count === 0 && (minutes <= 1 || growth <= 0.1) &&
      counts.answered.completion > 0;
  });
  return right;
}

if (import.meta.main) {
  const flags = benchFlags(
    "Measures a server: its speed, or with --load how it bears many clients and bad ones.",
    { experts: 4, tokens: 48, rounds: 25, load: false, minutes: 5 },
  );
  const folder = await Deno.makeTempDir();
  let right = true;
  try {
    await servingRun(`${folder}/run`, flags.experts, SHAPES);
    if (flags.load) right = await underLoad(`${folder}/run`, flags.experts, flags.minutes);
    else {
      await serving(`${folder}/run`, [], async (server) => {
        await throughput(server, flags.tokens);
        await firstToken(server, flags.rounds);
      });
      await loading(`${folder}/small`, flags.rounds);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  if (!right) Deno.exit(1);
}
