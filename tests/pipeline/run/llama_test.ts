import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { loadCheckpoint, saveModelFolder } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import {
  encodeSafetensors,
  type SafetensorsDtype,
} from "../../../pipeline/model/checkpoints/safetensors.ts";
import { initialWeights, type Weights } from "../../../pipeline/model/parameters.ts";
import { type ModelConfig, parameterSpecs } from "../../../pipeline/model/shape.ts";
import { loadCheckpointConfig } from "../../../pipeline/model/checkpoints/hugging_face_config.ts";
import { readCost } from "../../../pipeline/cost/mod.ts";
import { adoptExpert } from "../../../pipeline/run/adopt.ts";
import { derive } from "../../../pipeline/run/derive.ts";
import { evaluateRun } from "../../../pipeline/run/evaluate_run.ts";
import { planExperts } from "../../../pipeline/run/estimate.ts";
import { exportModel } from "../../../pipeline/run/export.ts";
import { trainDense, trainExpert } from "../../../pipeline/run/models.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import { askRun } from "../../../pipeline/run/zero_shot.ts";
import { generate } from "../../../pipeline/serving/mod.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const GPT_NEOX = {
  expertHidden: 16,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 2,
};
const LLAMA = { ...GPT_NEOX, expertArchitecture: "llama", expertKvHeads: 1 } as const;
/** Another size than the run's, heads wider than H / heads, an output head that is not tied. */
const FOREIGN: ModelConfig = {
  vocabulary: 320,
  hidden: 24,
  layers: 2,
  heads: 3,
  context: 64,
  architecture: "llama",
  keyHeads: 1,
  headSize: 10,
  intermediate: 40,
  ropeTheta: 500_000,
  normEpsilon: 1e-6,
  untied: true,
};

/** Writes a checkpoint as another trainer does: in two files with an index, and without our notes. */
async function writeForeign(
  folder: string,
  run: string,
  dtype: SafetensorsDtype,
  more: { fields?: Record<string, unknown>; tensor?: string; config?: ModelConfig } = {},
) {
  const { config = FOREIGN } = more;
  const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
  const weights = initialWeights(config, 7);
  const notes = { eos: tokenizer.eos };
  await Deno.mkdir(folder, { recursive: true });
  await saveModelFolder(folder, config, weights, { notes, tokenizer, dtype });
  if (more.tensor) weights.set(more.tensor, new Float32Array(2));
  await divideFile(folder, config, weights, dtype);
  const path = `${folder}/config.json`;
  const { smalltalk: _, ...fields } = JSON.parse(await Deno.readTextFile(path));
  await Deno.writeTextFile(path, JSON.stringify({ ...fields, ...more.fields }));
}

/** Writes weights into two files with an index, in place of the one that a checkpoint has. */
async function divideFile(
  folder: string,
  config: ModelConfig,
  weights: Weights,
  dtype: SafetensorsDtype = "F32",
) {
  await Deno.remove(`${folder}/model.safetensors`);
  const shapes = new Map(parameterSpecs(config).map(({ name, shape }) => [name, [...shape]]));
  const tensors = [...weights].map(([name, values]) =>
    [name, { shape: shapes.get(name) ?? [values.length], values }] as const
  );
  const half = Math.floor(tensors.length / 2);
  const weightMap: Record<string, string> = {};
  for (const [i, part] of [tensors.slice(0, half), tensors.slice(half)].entries()) {
    const file = `model-0000${i + 1}-of-00002.safetensors`;
    await Deno.writeFile(
      `${folder}/${file}`,
      ReadableStream.from(encodeSafetensors(new Map(part), { dtype })),
    );
    for (const [name] of part) weightMap[name] = file;
  }
  const index = JSON.stringify({ metadata: {}, weight_map: weightMap });
  await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, index);
}

/** Evaluates a run, asks it, and lets it answer. */
async function useMixture(run: string) {
  const { scores } = await evaluateRun({ run, resamples: 10 });
  assert(scores.mixture!.perplexity > 1);
  const prompt = { run, prompt: "sail wave", maxNewTokens: 4 };
  assert((await Array.fromAsync(await generate(prompt))).length > 0);
  const data = `${run}/../data`;
  await Deno.mkdir(data);
  const question = { goal: "sail wave", sol1: "gull shore", sol2: "mast deck", label: 1 };
  await Deno.writeTextFile(`${data}/piqa.jsonl`, JSON.stringify(question));
  await askRun({ run, resamples: 10, data });
}

Deno.test("experts of both shapes are evaluated, asked and answer in one mixture, routed by Llama's", () =>
  withPartition(async (run) => {
    const { config } = await loadCheckpoint(`${run}/partitioner/router-00`);
    assertEquals([config.architecture, config.intermediate], ["llama", 32]);
    const options = { run, sources: { flags: GPT_NEOX } };
    await trainExpert(0, options);
    const from = `${run}/../foreign`;
    await writeForeign(from, run, "F32");
    await adoptExpert({ run, expert: 1, from });
    await trainDense("batch", options);
    await useMixture(run);
  }, { routerArchitecture: "llama", routerKvHeads: 1 }));

Deno.test("a mixture of Llama's shape is estimated, trained, evaluated, asked and answers, next to a dense model", () =>
  withPartition(async (run) => {
    const options = { run, sources: { flags: { ...LLAMA, expertUntied: true } } };
    const estimate = await planExperts([0], options);
    assert(estimate.seconds > 0 && estimate.memoryBytes > 0);
    for (const expert of [0, 1]) await trainExpert(expert, options);
    const { config } = await loadCheckpoint(`${run}/experts/expert-01`);
    assertEquals([config.keyHeads, config.untied], [1, true]);
    await trainDense("batch", options);
    await useMixture(run);
  }));

Deno.test("adoptExpert() takes a foreign Llama folder in f32, f16 and bf16, in files with an index", () =>
  withPartition(async (run) => {
    for (const dtype of ["F32", "F16", "BF16"] as const) {
      const from = `${run}/../foreign-${dtype}`;
      await writeForeign(from, run, dtype);
      const before = await hashes(from);
      const adopted = await adoptExpert({ run, expert: 1, from, force: true });
      assertEquals(adopted.shape, FOREIGN);
      assertEquals(await hashes(from), before);
      const { config, weights } = await loadCheckpoint(`${run}/experts/expert-01`);
      assertEquals(config, FOREIGN);
      assertEquals(weights, (await loadCheckpoint(from)).weights);
    }
  }));

Deno.test("adoptExpert() refuses folders that it does not support in one line that names why, and changes nothing", () =>
  withPartition(async (run) => {
    const refused: [Parameters<typeof writeForeign>[3], string][] = [
      [{ fields: { rope_scaling: { rope_type: "llama3", factor: 8 } } }, "rope_type must be"],
      [{ fields: { sliding_window: 4096 } }, "sliding_window must be left out"],
      [{ tensor: "model.layers.0.self_attn.q_norm.weight" }, "self_attn.q_norm.weight"],
      [{ fields: { attention_bias: true } }, "attention_bias must be false"],
      [{ fields: { mlp_bias: true } }, "mlp_bias must be false"],
      [{ config: { ...FOREIGN, vocabulary: 290 } }, "its vocabulary must hold"],
    ];
    const before = await hashes(run);
    for (const [i, [more, reason]] of refused.entries()) {
      const from = `${run}/../refused-${i}`;
      await writeForeign(from, run, "F32", more);
      const adopting = () => adoptExpert({ run, expert: 1, from });
      const { message } = await assertRejects(adopting, InputError, reason);
      assert(!message.includes("\n"));
    }
    assertEquals(await hashes(run), before);
  }));

Deno.test("a mixture of both shapes is tuned, split, written for other tools and costed, each expert in its own shape", () =>
  withPartition(async (run) => {
    const folder = `${run}/..`;
    await trainExpert(0, { run, sources: { flags: GPT_NEOX } });
    await writeForeign(`${folder}/foreign`, run, "BF16");
    await adoptExpert({ run, expert: 1, from: `${folder}/foreign` });
    const architectures = (of: string, experts: number) =>
      Promise.all(Array.from({ length: experts }, async (_, expert) => {
        const { config } = await loadCheckpointConfig(`${of}/experts/expert-0${expert}`);
        return config.architecture;
      }));

    const lines = Array.from({ length: 40 }, (_, i) => {
      const prompt = `${i % 2 === 0 ? "sail wave gull" : "const return import"} ${i}`;
      return `${JSON.stringify({ prompt, response: " storm" })}\n`;
    });
    await Deno.writeTextFile(`${folder}/pairs.jsonl`, lines.join(""));
    const tuned = `${folder}/tuned`;
    await derive({ run: tuned, from: run, tune: [`${folder}/pairs.jsonl`] });
    assertEquals(await architectures(tuned, 2), [undefined, "llama"]);
    const split = `${folder}/split`;
    await derive({ run: split, from: run, splitExpert: 1 });
    assertEquals(await architectures(split, 3), [undefined, "llama", "llama"]);
    for (const derived of [tuned, split]) {
      const { scores } = await evaluateRun({ run: derived, resamples: 10 });
      assert(scores.mixture!.perplexity > 1);
      assertEquals((await verifyRun(derived)).problems, []);
    }

    await exportModel({ run, expert: 1, untie: true, output: `${folder}/untied` });
    const { weights } = await loadCheckpoint(`${folder}/untied`);
    assertEquals(weights, (await loadCheckpoint(`${run}/experts/expert-01`)).weights);
    const { parameters } = await readCost({ run, flops: 1, utilisation: 1 });
    assert(parameters.expert > 0);
  }));

/** Settings of models of either shape that begin from a checkpoint, and what is refused then. */
const BEGINNING = {
  llama: {
    flags: LLAMA,
    refused: [
      [{ ...LLAMA, expertKvHeads: 2 }, "key-value heads"],
      [GPT_NEOX, "architecture"],
    ],
  },
  "gpt-neox": { flags: GPT_NEOX, refused: [[LLAMA, "architecture"]] },
} as const;

for (const [name, { flags, refused }] of Object.entries(BEGINNING)) {
  Deno.test(`experts and dense models begin from one checkpoint of ${name}'s shape, and refuse another shape by its sizes`, () =>
    withPartition(async (run) => {
      await trainDense("batch", { run, sources: { flags } });
      const init = `${run}/../seed`;
      await Deno.rename(`${run}/dense`, init);
      const still = { ...flags, init, expertRate: 1e-9, expertWarmup: 0 };
      const sources = { flags: still };
      const seed = await loadCheckpoint(init);
      await divideFile(init, seed.config, seed.weights);
      for (const expert of [0, 1]) await trainExpert(expert, { run, sources });
      await trainDense("batch", { run, sources });
      for (const folder of ["experts/expert-00", "experts/expert-01", "dense"]) {
        const { weights } = await loadCheckpoint(`${run}/${folder}`);
        for (const [name, values] of seed.weights) {
          const moved = Math.max(
            ...weights.get(name)!.map((value, i) => Math.abs(value - values[i])),
          );
          assert(moved < 1e-7, `${name} of ${folder} moved by ${moved}`);
        }
      }
      for (const [others, size] of refused) {
        const given: Partial<Configuration> = {
          expertArchitecture: "gpt-neox",
          expertKvHeads: 0,
          ...others,
          init,
        };
        const training = () => trainExpert(0, { run, force: true, sources: { flags: given } });
        await assertRejects(training, InputError, `${size} must be that of the model to train`);
      }
    }));
}
