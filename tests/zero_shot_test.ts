// What the LM Evaluation Harness makes of a model through the server is what the task reports of
// it, to the bit: both run as users run them, the server in a process of its own.

import { assert, assertEquals } from "@std/assert";
import { saveCheckpoint } from "../pipeline/model/checkpoints/checkpoint.ts";
import type { ZeroShotResult } from "../pipeline/evaluation/choices/results.ts";
import type { Tokenizer } from "../pipeline/text/tokenizer.ts";
import { anyWeights } from "./pipeline/model/support.ts";
import { post, serving } from "./pipeline/serving/server/support.ts";
import { noteFiles, writeManifest } from "../pipeline/graph/mod.ts";
import { expertFolder } from "../pipeline/graph/node.ts";
import { byteTokenizer, EXPERT, servingRun } from "./pipeline/serving/support.ts";
import { inFolder, ok, task } from "./tasks/support.ts";

const S = EXPERT.context;

/**
 * Questions that fit a context of 64 tokens with the continuations that the harness asks for, as it
 * makes them of documents.
 */
const REQUESTS = {
  piqa: [
    ["sea", "the ship and the sea", "the shore", 0],
    ["a naïve shore", "and the sea", "日本", 1],
    ["the ship 12", "the", "a ship and the shore", 0],
    ["and", "nothing", "the sea and the ship", 1],
    ["x".repeat(25), "y".repeat(20), "z", 0], // S tokens with the first choice
  ].map(([goal, sol1, sol2, label]) => ({
    doc: { goal, sol1, sol2, label },
    context: `Question: ${goal}\nAnswer:`,
    choices: [String(sol1), String(sol2)],
    gold: Number(label),
  })),
  lambada_openai: ["the sea and the ship 1", "and the shore", "naïve 日本 and"].map((text) => {
    const words = text.split(" ");
    return {
      doc: { text },
      context: words.slice(0, -1).join(" "),
      choices: words.slice(-1),
      gold: 0,
    };
  }),
  blimp: [["the sea and", "sea the and"], ["a ship", "ship a"]].map(([good, bad]) => ({
    doc: { sentence_good: good, sentence_bad: bad, UID: "order" },
    context: "",
    choices: [good, bad],
    gold: 0,
  })),
};

/** A context and a continuation in tokens: how the harness splits them. */
async function encodePair(tokenizer: Tokenizer, context: string, continuation: string) {
  if (context === "") {
    return { before: [tokenizer.eos], after: [...(await tokenizer.encode([continuation]))[0]] };
  }
  const spaces = context.length - context.trimEnd().length;
  if (spaces > 0) {
    continuation = context.slice(-spaces) + continuation;
    context = context.slice(0, -spaces);
  }
  const [whole, before] = await tokenizer.encode([context + continuation, context]);
  return { before: [...before], after: [...whole.slice(before.length)] };
}

/**
 * Makes a folder that serves a run: manifests say of its models, tokenizer and partitioner what
 * those of made ones say.
 */
async function runOfModels(
  run: string,
  experts: number,
  dense: Record<string, string> = {},
): Promise<Tokenizer> {
  await servingRun(run, experts);
  const tokenizer = await byteTokenizer();
  const { sha256, eos } = tokenizer;
  for (const [name, seed] of Object.entries(dense)) {
    await saveCheckpoint(`${run}/${name}`, EXPERT, anyWeights(EXPERT, seed), {
      tokenizer: sha256,
      eos,
    });
  }
  await Deno.mkdir(`${run}/tokenizer`);
  await Deno.rename(`${run}/tokenizer.json`, `${run}/tokenizer/tokenizer.json`);
  const models = Array.from(
    { length: experts },
    (_, expert) => `experts/${expertFolder(expert, 1)}`,
  );
  for (const name of ["tokenizer", "partitioner", ...models, ...Object.keys(dense)]) {
    const files = await noteFiles(`${run}/${name}`);
    const about = { settings: {}, inputs: {}, files, result: { tokenizer: sha256, eos } };
    await writeManifest(`${run}/${name}`, { key: name, name, revision: 1, ...about });
  }
  return tokenizer;
}

const asked: number[] = []; // lengths of prompts
/** Models of the server, and what the task calls them: dense-steps is an expert by another name. */
const ANSWERS = { mixture: "mixture", dense: "dense", "expert-01": "dense-steps" } as const;

/**
 * The log-likelihoods that the harness reads from a server, and whether a continuation is greedy.
 */
async function askServer(
  url: string,
  model: string,
  pairs: Awaited<ReturnType<typeof encodePair>>[],
): Promise<{ sum: number; greedy: boolean }[]> {
  const prompt = pairs.map(({ before, after }) => [...before, ...after]);
  asked.push(...prompt.map(({ length }) => length));
  const about = { temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true };
  const response = await post(`${url}/v1/completions`, { model, prompt, ...about });
  assertEquals(response.status, 200);
  const { choices } = await response.json();
  choices.sort((a: { index: number }, b: { index: number }) => a.index - b.index);
  return pairs.map(({ before }, i) => {
    const { token_logprobs: own, top_logprobs: top } = choices[i].logprobs;
    const values: number[] = own.slice(before.length, -1);
    const highest: number[] = top.slice(before.length, -1)
      .map((one: Record<string, number>) => Math.max(...Object.values(one)));
    let sum = 0;
    for (const value of values) sum += value;
    return { sum, greedy: values.every((value, j) => value === highest[j]) };
  });
}

/** What the harness says of a task by a model of a server. */
async function harness(
  tokenizer: Tokenizer,
  url: string,
  model: string,
  name: keyof typeof REQUESTS,
) {
  const answers: { acc: number; acc_norm: number; likelihood: number }[] = [];
  for (const { context, choices, gold } of REQUESTS[name]) {
    const pairs = await Promise.all(
      choices.map((choice) => encodePair(tokenizer, context, ` ${choice}`)),
    );
    const scored = await askServer(url, model, pairs);
    const best = (values: number[]) => values.indexOf(Math.max(...values));
    const sums = scored.map(({ sum }) => sum);
    answers.push({
      acc: Number(choices.length === 1 ? scored[0].greedy : best(sums) === gold),
      acc_norm: Number(best(sums.map((sum, i) => sum / Array.from(choices[i]).length)) === gold),
      likelihood: sums[gold],
    });
  }
  const mean = (field: keyof typeof answers[0]) =>
    answers.reduce((sum, answer) => sum + answer[field], 0) / answers.length;
  return {
    acc: mean("acc"),
    acc_norm: mean("acc_norm"),
    perplexity: Math.exp(-mean("likelihood")),
  };
}

Deno.test("the harness's requests to a server give the numbers of the task: the mixture, routed with the choice, and a named model", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    // The latter is an expert by another name.
    const dense = { dense: "dense", "dense-steps": "expert 1" };
    const tokenizer = await runOfModels(run, 3, dense);
    await Deno.mkdir(`${folder}/data`);
    for (const [name, requests] of Object.entries(REQUESTS)) {
      const lines = requests.map(({ doc }) => `${JSON.stringify(doc)}\n`).join("");
      await Deno.writeTextFile(`${folder}/data/${name}.jsonl`, lines);
    }
    const flags =
      `--run ${run} --data ${folder}/data --resamples 20 --route-with-choice --json --mix 2`;
    const { out } = await ok(task("zero-shot", flags.split(" ")));
    const results: ZeroShotResult[] = JSON.parse(out).results;
    assertEquals(results.map((result) => result.task), ["piqa", "lambada_openai", "blimp"]);
    assertEquals(results.map(({ cut }) => cut), [0, 0, 0]);
    assert(results[1].ways["top-2"]!.acc);
    assert(
      results.some(({ shares }) => shares.filter((share) => share > 0).length > 1),
      "several experts answer",
    );
    await serving(run, [], async ({ url }) => {
      for (const { task, ways } of results) {
        const name = task as keyof typeof REQUESTS;
        for (const [model, way] of Object.entries(ANSWERS)) {
          const expected = await harness(tokenizer, url, model, name);
          for (const [metric, { value }] of Object.entries(ways[way]!)) {
            assertEquals(
              value,
              expected[metric as keyof typeof expected],
              `${task} ${metric} of ${model}`,
            );
          }
        }
      }
      assertEquals(Math.max(...asked), S);
      // A prompt of S + 1 tokens the server cannot go on from.
      const { before, after } = await encodePair(tokenizer, "x".repeat(S - 2), " yz");
      assertEquals(before.length + after.length, S + 1);
      const prompt = [[...before, ...after]];
      const body = { model: "mixture", prompt, max_tokens: 1, logprobs: 1, echo: true };
      assertEquals((await post(`${url}/v1/completions`, body)).status, 400);
    });
  }));
