import { assert } from "@std/assert";
import { openGpu } from "../kernels/device/gpu.ts";
import { loadCheckpoint } from "../pipeline/model/checkpoints/checkpoint.ts";
import { createScorer } from "../pipeline/model/scorer.ts";
import type { Configuration } from "../pipeline/settings/configuration.ts";
import { derive } from "../pipeline/run/derive.ts";
import { trainExperts } from "../pipeline/run/models.ts";
import { partition } from "../pipeline/run/partition.ts";
import { loadTokenizer } from "../pipeline/text/tokenizer.ts";
import { copiesCorpus, secretLine, writeCorpus } from "./pipeline/run/copies_support.ts";
import { inFolder } from "./tasks/support.ts";

const DOCUMENTS = 300;
const SECRETS = 20;
/** Secrets that a true one is ranked among, itself included. */
const RANKED = 100;
const EXPERTS = 2;

const SETTINGS: Partial<Configuration> = {
  vocabularySize: 400,
  sequenceLength: 48,
  prefix: 24,
  experts: EXPERTS,
  holdout: 0.05,
  routerHidden: 16,
  routerLayers: 1,
  rounds: 4,
  roundSequences: 128,
  routerBatch: 8,
  expertHidden: 48,
  expertLayers: 2,
  expertHeads: 4,
  expertBatch: 16,
  expertSteps: 500,
  expertWarmup: 50,
  expertRate: 0.006,
};

/**
 * Ranks the secrets of the corpus in a model, each among others that no text has. Gives how far the
 * mean rank is from that of chance, in standard errors: far below zero where secrets are known.
 */
async function measureRanks(model: string, tokenizerFile: string): Promise<number> {
  const { config, weights } = await loadCheckpoint(model);
  const tokenizer = await loadTokenizer(tokenizerFile);
  const lines = Array.from(
    { length: SECRETS * RANKED },
    (_, i) => secretLine(i % RANKED === 0 ? i / RANKED : 1_000 + i),
  );
  const ids = await tokenizer.encode(lines);
  const length = Math.max(...ids.map(({ length }) => length));
  const tokens = new Uint16Array(lines.length * length);
  ids.forEach((row, i) => tokens.set(row, i * length));
  const gpu = await openGpu();
  const scorer = createScorer(gpu, { config, models: [weights], batch: 100, length });
  const nll = await scorer.score(tokens, length, Uint32Array.from(ids, ({ length }) => length));
  scorer.close();
  gpu.close();
  const ranks = Array.from({ length: SECRETS }, (_, secret) => {
    const [own, ...others] = nll.subarray(secret * RANKED, (secret + 1) * RANKED);
    return 1 + others.filter((other) => other < own).length;
  });
  const mean = ranks.reduce((a, b) => a + b) / SECRETS;
  const deviation = Math.sqrt((RANKED ** 2 - 1) / 12 / SECRETS);
  return (mean - (RANKED + 1) / 2) / deviation;
}

Deno.test("experts know secrets that stood in their text; once these and their copies are forgotten no expert, router or tuned expert does", () =>
  inFolder(async (folder) => {
    await writeCorpus(`${folder}/texts`, copiesCorpus(DOCUMENTS, SECRETS));
    const flags = { ...SETTINGS, input: [`${folder}/texts`] };
    const [all, less, tuned] = ["all", "less", "tuned"].map((name) => `${folder}/${name}`);
    await partition({ run: all, sources: { flags } });
    await trainExperts([...Array(EXPERTS).keys()], { run: all });
    const forget = { paths: ["secret/*"] };
    await derive({ run: less, from: all, forget, copies: { forget: true } });
    const pairs = Array.from(
      { length: 60 },
      (_, i) => JSON.stringify({ prompt: `the code of ${i % 7} is`, response: ` not for ${i}` }),
    );
    await Deno.writeTextFile(`${folder}/pairs.jsonl`, pairs.join("\n"));
    await derive({ run: tuned, from: less, tune: [`${folder}/pairs.jsonl`] });
    const measured = async (run: string, kind: "experts/expert" | "partitioner/router") => {
      const found: number[] = [];
      for (let i = 0; i < EXPERTS; i++) {
        found.push(await measureRanks(`${run}/${kind}-0${i}`, `${all}/tokenizer.json`));
      }
      console.log(run.split("/").at(-1), kind, found.map((z) => z.toFixed(2)).join(" "));
      return found;
    };
    const before = await measured(all, "experts/expert");
    assert(Math.max(...before) < -2.5, `experts must know the secrets of their text: ${before}`);
    const after = [
      ...await measured(less, "experts/expert"),
      ...await measured(less, "partitioner/router"),
      ...await measured(tuned, "experts/expert"),
    ];
    assert(after.every((z) => Math.abs(z) <= 2.5), `ranks must be those of chance: ${after}`);
  }));
