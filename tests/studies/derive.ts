/**
 * Tells what it costs, and what it is worth, to teach a mixture a source that it lacked. A run
 * reads the wide corpus without one source. Then the source is added to it (`add`), or gets an
 * expert of its own (`new expert`). Next to them stand the same experts and a dense model that
 * learn all of it from the start (`whole`), and the dense model that goes on over the source with
 * as much old text (`dense`). All have the tokenizer of the first, so that their perplexities per
 * token compare. Takes an hour; what is made is not made again.
 *
 *   deno run -A tests/studies/derive.ts FOLDER [SOURCE] [SEED] [CHARACTERS] [STEPS]      solidity, 0, 1500000 of a source, 768
 */

import { derive, evaluateRun, partition, trainDense, trainExpert } from "../../mod.ts";
import { hashFiles, readManifest, writeManifest } from "../../pipeline/graph/node.ts";
import { copyFolder } from "../tasks/support.ts";
import { embeddedCorpus } from "../../pipeline/text/corpora/corpus.ts";
import type { Configuration } from "../../pipeline/settings/configuration.ts";
import { needConfiguration } from "../../pipeline/stages/parts.ts";

const [folder, source = "solidity", seed = "0", characters = "1500000", steps = "768", config] =
  Deno.args;
const REPLAY = 0.5;
const OTHER_REPLAYS = [0.2, 2 / 3]; // shares of old text: a quarter as much as new, twice as much
const TENTH = 3 / 10; // times the rate of the run, of which derived experts take a third

/** Writes the texts: all others, the source, and of the others about as much as the source has. */
const files = {
  old: `${folder}/old.jsonl`,
  new: `${folder}/new.jsonl`,
  replay: `${folder}/replay.jsonl`,
};
const documents = await Array.fromAsync(embeddedCorpus("wide", Number(characters)));
const [old, added] = [(own: string) => own !== source, (own: string) => own === source]
  .map((wanted) => documents.filter((document) => wanted(document.source!)));
const length = (of: typeof documents) => of.reduce((sum, { text }) => sum + text.length, 0);
const every = Math.ceil(length(old) / length(added) / (REPLAY / (1 - REPLAY)));
await Deno.mkdir(folder, { recursive: true });
const texts = { old, new: added, replay: old.filter((_, i) => i % every === 0) };
for (const [name, own] of Object.entries(texts)) {
  const lines = own.map(({ text, source }) => `${JSON.stringify({ text, source })}\n`);
  await Deno.writeTextFile(files[name as keyof typeof files], lines.join(""));
}

const settings: Partial<Configuration> = {
  ...config && JSON.parse(await Deno.readTextFile(config)),
  sourceField: "source",
  seed: Number(seed),
  expertSteps: Number(steps),
};
const inRun = (name: string) => `${folder}/${name}-${seed}`;

/** Makes a run with experts, and the dense model of E times the batch. */
async function make(
  name: string,
  input: string[],
  more: Partial<Configuration> = {},
): Promise<void> {
  const run = inRun(name);
  const flags = { ...settings, ...more, input };
  const { experts } = await partition({ run, sources: { preset: "small", flags } });
  for (const { expert } of experts) await trainExpert(expert, { run });
  await trainDense("batch", { run });
}

/** Gives the tokens that models of a run were trained on there, once each time they were seen. */
async function trainedTokens(name: string, models: string[]): Promise<number> {
  let sum = 0;
  for (const model of models) {
    const manifest = await readManifest(`${inRun(name)}/${model}`);
    sum += Number(manifest!.result.tokens);
  }
  return sum;
}

/** Prints the perplexities of a run: of the source, and of all others together. */
async function score(
  name: string,
  models: Partial<Record<"mixture" | "dense", string>>,
  tokens: number,
) {
  const { sources, experts } = await evaluateRun({ run: inRun(name) });
  for (const [way, called] of Object.entries(models) as ["mixture" | "dense", string][]) {
    const perplexity = (own: typeof sources) => {
      const total = own.reduce((sum, { tokens }) => sum + tokens, 0);
      return Math.exp(
        own.reduce((sum, { tokens, perplexity }) => sum + tokens * Math.log(perplexity[way]!), 0) /
          total,
      );
    };
    const [others, own] = [
      sources.filter((one) => one.source !== source),
      sources.filter((one) => one.source === source),
    ];
    console.log(JSON.stringify({
      seed,
      called,
      experts,
      tokens,
      others: perplexity(others),
      ...own.length > 0 && { own: perplexity(own), shares: own[0].shares },
    }));
  }
}

const [EXPERTS, FIVE] = [4, 5].map((count) =>
  Array.from({ length: count }, (_, expert) => `experts/expert-0${expert}`)
);
await make("first", [files.old]);
await score(
  "first",
  { mixture: "mixture without the source", dense: "dense without the source" },
  await trainedTokens("first", EXPERTS),
);
const tokenizer = `${inRun("first")}/tokenizer.json`;
await make("whole", [files.old, files.new], { tokenizer });
await score(
  "whole",
  { mixture: "mixture from the start", dense: "dense from the start" },
  await trainedTokens("whole", EXPERTS),
);

await derive({ run: inRun("add"), from: inRun("first"), add: [files.new], replay: REPLAY });
await derive({ run: inRun("expert"), from: inRun("first"), newExpert: [files.new] });
const tokens = await trainedTokens("add", EXPERTS);
// The dense model goes on for as many tokens as the experts did, at their share of the rate.
const { expertRate, expertBatch, sequenceLength } = await needConfiguration(inRun("first"));
const more = Math.max(1, Math.round(tokens / (4 * expertBatch * sequenceLength)));
await partition({
  run: inRun("dense"),
  sources: {
    preset: "small",
    flags: {
      ...settings,
      input: [files.new, files.replay],
      tokenizer,
      routers: `${inRun("first")}/partitioner`,
      init: `${inRun("first")}/dense`,
      expertRate: expertRate / 3,
      expertSteps: more,
      expertWarmup: Math.floor(more / 5),
    },
  },
});
await trainDense("batch", { run: inRun("dense") });
// To be evaluated next to the mixture it must say that it learned from the text there.
const model = `${inRun("add")}/dense`;
copyFolder(`${inRun("dense")}/dense`, model);
const there = hashFiles((await readManifest(`${inRun("add")}/text/sequences`))!);
const { made, ...own } = (await readManifest(model))!;
await writeManifest(model, { ...own, inputs: { ...own.inputs, "text/sequences": there } }, made);
await score("add", { mixture: "mixture, source added", dense: "dense that went on" }, tokens);
await score(
  "expert",
  { mixture: "mixture, new expert" },
  await trainedTokens("expert", FIVE.slice(4)),
);
for (const replay of OTHER_REPLAYS) {
  const name = `add-replay-${replay.toFixed(2)}`;
  await derive({ run: inRun(name), from: inRun("first"), add: [files.new], replay });
  const called = `mixture, source added with ${replay.toFixed(2)} of old text`;
  await score(name, { mixture: called }, await trainedTokens(name, EXPERTS));
}
const slow = inRun("add-tenth");
await derive({ run: slow, from: inRun("first"), add: [files.new], replay: REPLAY, noTrain: true });
for (const expert of EXPERTS.keys()) {
  await trainExpert(expert, { run: slow, sources: { flags: { expertRate: TENTH * expertRate } } });
}
await score(
  "add-tenth",
  { mixture: "mixture, source added at a tenth of the rate" },
  await trainedTokens("add-tenth", EXPERTS),
);
