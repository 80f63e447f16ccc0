/**
 * Tells what a server pays when fewer experts fit than there are: clients ask eight experts, as
 * large as those of the preset small, in a random order, and there is memory for one, two, four, or
 * all. Prints tokens per second, latencies, and how many requests loaded an expert; then how long a
 * request takes alone, if all go to one expert, and if each goes to the next.
 * Weights are random: what they say costs as much.
 *
 *   deno run -A tests/studies/memory.ts FOLDER [REQUESTS [CLIENTS [TOKENS]]]      96, 4, 32
 */

import { resolveConfiguration } from "../../mod.ts";
import { median } from "../../kernels/device/time.ts";
import type { ModelConfig } from "../../pipeline/model/shape.ts";
import { uniform } from "../../pipeline/random.ts";
import { metric, post, serving } from "../pipeline/serving/server/support.ts";
import { servingRun } from "../pipeline/serving/support.ts";

const [run, requests = "96", clients = "4", tokens = "32"] = Deno.args;
const EXPERTS = 8;
const HELD = [EXPERTS, 4, 2, 1];
const ROUNDS = 6;

const settings = resolveConfiguration({ preset: "small" });
const { vocabularySize: vocabulary, sequenceLength: context } = settings;
const { expertHidden: hidden, expertLayers: layers, expertHeads: heads } = settings;
const expert: ModelConfig = { vocabulary, hidden, layers, heads, context };
const router: ModelConfig = { vocabulary, hidden: 16, layers: 2, heads: 2, context };
await servingRun(run, EXPERTS, { expert, router, prefix: 16 });

const expertOf = (request: number) =>
  Math.floor(EXPERTS * uniform(0, "which expert a request asks", request));

/** Asks an expert, and gives how long that took, in ms. */
async function askOne(url: string, expert: number, seed: number): Promise<number> {
  const began = performance.now();
  const response = await post(`${url}/v1/completions`, {
    model: `expert-${expert}`,
    prompt: "the sea and the ship",
    max_tokens: Number(tokens),
    seed,
  });
  const { error } = await response.json();
  if (error) throw new Error(error.message);
  return performance.now() - began;
}

/** Gives the median time of requests, one after another, to experts in turn. */
async function inTurn(url: string, experts: readonly number[]): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const expert of experts) times.push(await askOne(url, expert, round));
  }
  return Math.round(median(times));
}

/** Sends all requests, each client one after another, and gives how long each took, in ms. */
async function ask(url: string): Promise<number[]> {
  const times: number[] = [];
  let next = 0;
  const client = async () => {
    while (next < Number(requests)) {
      const request = next++;
      times.push(await askOne(url, expertOf(request), request));
    }
  };
  await Promise.all(Array.from({ length: Number(clients) }, client));
  return times;
}

let bytes = 0; // that an expert takes on the device
for (const room of HELD) {
  const limit = room === EXPERTS ? [] : ["--memory", String(Math.ceil(room * bytes))];
  await serving(run, limit, async ({ url }) => {
    await ask(url); // compiles what is needed, and fills the memory
    const held = await metric(url, "smalltalk_models_held");
    bytes ||= await metric(url, "smalltalk_model_bytes") / held;
    const before = await metric(url, "smalltalk_model_loads");
    const began = performance.now();
    const times = (await ask(url)).sort((a, b) => a - b);
    const seconds = (performance.now() - began) / 1000;
    const loads = await metric(url, "smalltalk_model_loads") - before;
    console.log(JSON.stringify({
      held,
      memory: held * bytes,
      tokensPerSecond: +(times.length * Number(tokens) / seconds).toFixed(1),
      medianMs: Math.round(median(times)),
      slowestTenthMs: Math.round(times[Math.floor(0.9 * times.length)]),
      loads,
      shareThatLoads: +(loads / times.length).toFixed(3),
      oneExpertMs: await inTurn(url, [0]),
      allInTurnMs: await inTurn(url, [...Array(EXPERTS).keys()]),
    }));
  });
}
