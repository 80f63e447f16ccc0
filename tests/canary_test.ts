import { assert } from "@std/assert";
import { openGpu } from "../kernels/device/gpu.ts";
import { loadCheckpoint } from "../pipeline/model/checkpoints/checkpoint.ts";
import { createScorer } from "../pipeline/model/scorer.ts";
import { uniform } from "../pipeline/random.ts";
import type { Configuration } from "../pipeline/settings/configuration.ts";
import { derive } from "../pipeline/run/derive.ts";
import { trainExperts } from "../pipeline/run/models.ts";
import { partition } from "../pipeline/run/partition.ts";
import { loadTokenizer } from "../pipeline/text/tokenizer.ts";
import { inFolder } from "./tasks/support.ts";

const [CANARIES, COPIES, OTHERS, EXPERTS] = [20, 6, 1000, 3];

/** The secret of a number: ten random digits. */
const secret = (number: number): string =>
  "the code is " +
  Array.from({ length: 10 }, (_, i) => Math.floor(10 * uniform(5, `secret ${number}`, BigInt(i))))
    .join(" ");

/**
 * Writes documents of words, half of which are numbers so that the tokenizer knows digits, and the
 * canaries in a file of their own.
 */
async function writeTexts(folder: string): Promise<void> {
  const pick = (what: string, of: number) => Math.floor(of * uniform(9, what, 0n));
  for (let topic = 0; topic < EXPERTS; topic++) {
    const lines = Array.from({ length: 120 }, (_, document) => {
      const word = (i: number) =>
        i % 2 > 0
          ? pick(`${topic} ${document} ${i}`, 10)
          : `${"abc"[topic]}${"xyzuvw"[pick(`${document} ${i} ${topic}`, 6)]}`;
      return JSON.stringify({ text: Array.from({ length: 30 }, (_, i) => word(i)).join(" ") }) +
        "\n";
    });
    await Deno.writeTextFile(`${folder}/topic-${topic}.jsonl`, lines.join(""));
  }
  const secrets = Array.from(
    { length: CANARIES * COPIES },
    (_, i) => ({ text: secret(i % CANARIES) }),
  );
  await Deno.writeTextFile(
    `${folder}/secrets.jsonl`,
    secrets.map((line) => JSON.stringify(line) + "\n").join(""),
  );
}

/**
 * Computes the mean exposure of the canaries in a model, in bits (Carlini et al. 2019): log2 of how
 * many there are over a canary's rank.
 */
async function exposure(model: string, tokenizerFile: string): Promise<number> {
  const { config, weights } = await loadCheckpoint(model);
  const tokenizer = await loadTokenizer(tokenizerFile);
  const ids = await tokenizer.encode(Array.from({ length: OTHERS }, (_, i) => secret(i)));
  const length = Math.max(...ids.map(({ length }) => length));
  const tokens = new Uint16Array(OTHERS * length);
  const lengths = Uint32Array.from(ids, ({ length }) => length);
  ids.forEach((row, i) => tokens.set(row, i * length));
  const gpu = await openGpu();
  const scorer = createScorer(gpu, { config, models: [weights], batch: 100, length });
  const nll = await scorer.score(tokens, length, lengths);
  scorer.close();
  gpu.close();
  const sorted = [...nll].sort((a, b) => a - b);
  const bits = Array.from(
    { length: CANARIES },
    (_, i) => Math.log2(OTHERS / (1 + sorted.indexOf(nll[i]))),
  );
  return bits.reduce((a, b) => a + b) / CANARIES;
}

Deno.test("experts know secrets that stood in their text, and none does once the text is forgotten", () =>
  inFolder(async (folder) => {
    await writeTexts(folder);
    const topics = [`${folder}/topic-*.jsonl`];
    const shape = {
      vocabularySize: 280,
      sequenceLength: 48,
      prefix: 16,
      experts: EXPERTS,
      holdout: 0.05,
      blockBytes: 8000,
    };
    const routers = {
      routerHidden: 16,
      routerLayers: 1,
      rounds: 4,
      roundSequences: 64,
      routerBatch: 8,
      start: "ctbm",
    };
    const experts = {
      expertHidden: 48,
      expertLayers: 2,
      expertHeads: 4,
      expertBatch: 16,
      expertSteps: 400,
      expertWarmup: 40,
    };
    const flags = { ...shape, ...routers, ...experts, expertRate: 0.006 } as Partial<Configuration>;
    await partition({
      run: `${folder}/tokenizer`,
      sources: { flags: { ...flags, input: topics } },
    });
    const tokenizer = `${folder}/tokenizer/tokenizer.json`; // which has not seen the secrets
    const input = [`${folder}/secrets.jsonl`, ...topics];
    const all = [...Array(EXPERTS).keys()];
    await partition({ run: `${folder}/a`, sources: { flags: { ...flags, tokenizer, input } } });
    await trainExperts(all, { run: `${folder}/a` });
    await derive({ run: `${folder}/b`, from: `${folder}/a`, forget: { paths: ["secrets.jsonl"] } });
    const exposures = async (run: string) => {
      const bits: number[] = [];
      for (const expert of all) {
        bits.push(await exposure(`${run}/experts/expert-0${expert}`, tokenizer));
      }
      return bits;
    };
    const [before, after] = [await exposures(`${folder}/a`), await exposures(`${folder}/b`)];
    console.log(
      `exposure before ${before.map((bits) => bits.toFixed(2))}, after ${
        after.map((bits) => bits.toFixed(2))
      }`,
    );
    assert(Math.max(...before) > 5, `an expert must know the secrets: ${before}`);
    assert(Math.max(...after) < 2.4, `no expert may know them: ${after}`); // chance has a mean of 1.44 bits
  }));
