// Models of a run, as llama.cpp computes them.

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { basename } from "node:path";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { loadCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import type { Checkpoint } from "../../../pipeline/model/checkpoints/hugging_face_config.ts";
import { createDecoder } from "../../../pipeline/model/decoder.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import { normals } from "../../../pipeline/random.ts";
import { adoptExpert } from "../../../pipeline/run/adopt.ts";
import { exportModel } from "../../../pipeline/run/export.ts";
import { trainDense, trainExpert } from "../../../pipeline/run/models.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import { fromBatch, readShards } from "../../../pipeline/rows/arrow.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { largestIds } from "../../../pipeline/serving/sampling.ts";
import { llamaLogProbabilities } from "../model/llama_reference.ts";
import { askLlamaCpp, hasLlamaCpp } from "../model/checkpoints/gguf/llama_cpp.ts";
import { ignore, onGrowingDisk } from "../../disk.ts";
import { copyFolder, hashes } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

const SETTINGS = { sequenceLength: 96, vocabularySize: 320 };
const TRAINING = {
  expertHidden: 32,
  expertLayers: 2,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 30,
  expertWarmup: 5,
  expertRate: 0.01,
};
const PROMPTS = 20;
const PROMPT = 8; // tokens
const NEW_TOKENS = 64;

/** Reads held-out sequences of an expert's part, without padding. */
async function heldOut(run: string): Promise<number[][]> {
  const sequences: number[][] = [];
  for await (const batch of readShards([`${run}/partition/expert-00/test-00000.arrow`])) {
    const { rows, tokens, length } = fromBatch(batch);
    const width = tokens!.length / rows;
    for (let row = 0; row < rows; row++) {
      sequences.push([...tokens!.subarray(row * width, row * width + length[row])]);
    }
  }
  return sequences;
}

const gpu = await openGpu();

/** Scores the tokens of every sequence but the first, as `evaluate` does. */
async function scores({ config, weights }: Checkpoint, sequences: number[][]) {
  const length = Math.max(...sequences.map(({ length }) => length));
  const scorer = createScorer(gpu, { config, models: [weights], batch: sequences.length, length });
  const tokens = new Uint16Array(sequences.length * length);
  for (const [row, ids] of sequences.entries()) tokens.set(ids, row * length);
  const lengths = Uint32Array.from(sequences, ({ length }) => length);
  const { logProbability, starts } = await scorer.scoreTokens(tokens, length, lengths);
  scorer.close();
  return sequences.map((_, row) => [...logProbability.subarray(starts[row], starts[row + 1])]);
}

/** Continues prompts as `generate --temperature 0` does. */
async function continuations({ config, weights }: Checkpoint, prompts: number[][]) {
  const capacity = PROMPT + NEW_TOKENS;
  const decoder = createDecoder(gpu, { config, weights, capacity, slots: prompts.length });
  let next = prompts;
  const written: number[][] = prompts.map(() => []);
  for (let i = 0; i < NEW_TOKENS; i++) {
    const logits = await decoder.read(next.map((tokens, slot) => ({ slot, tokens })));
    next = logits.map((row) => largestIds(row, 1));
    for (const [slot, [token]] of next.entries()) written[slot].push(token);
  }
  decoder.close();
  return written;
}

/** The largest difference of two numbers at one place. */
const largestDifference = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * How far log-probabilities may be from ours, and perplexity as a share. For f32 llama.cpp's table
 * of GELU in f16 decides. With smaller types it also rounds what it multiplies weights by. Measured:
 * 3e-4, 8e-4, 7e-3, 2e-2; perplexity 6e-4.
 */
const TOLERANCES = {
  f32: { logProbability: 1e-3, perplexity: 1e-5 },
  f16: { logProbability: 1e-3, perplexity: 1e-3 },
  bf16: { logProbability: 2e-2, perplexity: 1e-2 },
  q8_0: { logProbability: 1e-1, perplexity: 1e-2 },
};
type SaveDtype = keyof typeof TOLERANCES;

/** Settings of models of either architecture, and the folders of models that are exported. */
const ARCHITECTURES: Record<string, { flags: Partial<Configuration>; folders: string[] }> = {
  "gpt-neox": { flags: TRAINING, folders: ["experts/expert-00", "dense", "partitioner/router-00"] },
  llama: {
    flags: {
      ...TRAINING,
      expertArchitecture: "llama",
      expertKvHeads: 1,
      expertHeadSize: 24,
      expertRopeTheta: 500_000,
    },
    folders: ["experts/expert-00"],
  },
};

for (const [architecture, { flags, folders }] of Object.entries(ARCHITECTURES)) {
  Deno.test({
    name:
      `exportModel() has llama.cpp compute models of ${architecture}'s shape as evaluate and generate do`,
    ignore: !hasLlamaCpp,
    fn: () =>
      withPartition(async (run) => {
        const sources = { flags };
        await trainExpert(0, { run, sources });
        if (folders.includes("dense")) await trainDense("batch", { run, sources });
        const sequences = await heldOut(run);
        const prompts = Array.from({ length: PROMPTS }, (_, i) => {
          const from = PROMPT * Math.floor(i / sequences.length);
          return sequences[i % sequences.length].slice(from, from + PROMPT);
        });
        for (const folder of folders) {
          const which = folder.startsWith("experts")
            ? { expert: 0 }
            : { model: `${run}/${folder}/` };
          const model = await loadCheckpoint(`${run}/${folder}`);
          const expected = (await scores(model, sequences)).flat();
          for (const saveDtype of Object.keys(TOLERANCES) as SaveDtype[]) {
            const output = `${run}/export/${saveDtype}`;
            const own = { ...which, run, output, saveDtype, to: "gguf" as const, force: true };
            const { files } = await exportModel(own);
            assertEquals(Object.keys(files), [`${basename(folder)}-${saveDtype}.gguf`]);
            const file = `${output}/${Object.keys(files)[0]}`;
            const isExact = saveDtype === "f32";
            const answer = await askLlamaCpp({ file, sequences, prompts: isExact ? prompts : [] });
            const what = `${folder} as ${saveDtype}`;
            const name = architecture.replace("-", "");
            assertStringIncludes(answer.description, name);
            assertStringIncludes(answer.description, saveDtype.toUpperCase());
            const found = answer.logProbabilities.flat();
            assertEquals(found.length, expected.length);
            const { logProbability, perplexity } = TOLERANCES[saveDtype];
            const off = largestDifference(expected, found);
            assert(off < logProbability, `${what}: a log-probability is off by ${off}`);
            const share = Math.abs(Math.exp(mean(expected) - mean(found)) - 1);
            assert(share < perplexity, `${what}: perplexity is off by ${share}`);
            if (isExact) {
              assertEquals(answer.continuations, await continuations(model, prompts), what);
            }
          }
        }
        assertEquals((await verifyRun(run)).problems, []);
      }, SETTINGS),
  });
}

Deno.test("exportModel() writes a GGUF file once, the same bytes again, and leaves nothing where it must not write", () =>
  withPartition(async (run) => {
    const model = `${run}/partitioner/router-00`;
    const options = { run, model, to: "gguf" as const, output: `${run}/../out` };
    assertEquals((await exportModel(options)).state, "done");
    const first = await hashes(options.output);
    assertEquals(Object.keys(first), ["manifest.json", "router-00-f16.gguf"]);
    assertEquals((await exportModel(options)).state, "up to date");
    const other = { ...options, saveDtype: "q8_0" as const };
    const text = 'whose saveDtype must be "q8_0": it is "f16"';
    await assertRejects(() => exportModel(other), InputError, text);
    assertEquals(await hashes(options.output), first);
    await exportModel({ ...other, force: true });
    assertEquals(Object.keys(await hashes(options.output)), [
      "manifest.json",
      "router-00-q8_0.gguf",
    ]);
    await exportModel({ ...options, force: true });
    assertEquals(await hashes(options.output), first);
    // The same weights with another tokenizer are another model.
    const changedModel = `${run}/../router-00`;
    copyFolder(model, changedModel);
    const tokenizer = `${changedModel}/tokenizer.json`;
    await Deno.writeTextFile(tokenizer, `${await Deno.readTextFile(tokenizer)}\n`);
    const changedOptions = { ...options, model: changedModel };
    await assertRejects(() => exportModel(changedOptions), InputError, "whose model must");

    const refused = async (folder: string, text: string) => {
      const output = `${run}/../refused`;
      await assertRejects(
        () => exportModel({ ...options, model: folder, output }),
        InputError,
        text,
      );
      for (const path of [output, `${output}.making`]) {
        await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
      }
    };
    const changed = async (name: string, change: (json: Record<string, unknown>) => void) => {
      const folder = `${run}/../changed-${name}`;
      copyFolder(model, folder);
      const json = JSON.parse(await Deno.readTextFile(`${folder}/${name}`));
      change(json);
      await Deno.writeTextFile(`${folder}/${name}`, JSON.stringify(json));
      return folder;
    };
    await refused(`${run}/../none`, "config.json");
    await refused(run, "it is a run folder");
    const cutter = await changed("tokenizer.json", (json) => json.pre_tokenizer = null);
    await refused(cutter, "its pre_tokenizer is null");
    const reordered = await changed("config.json", (json) => {
      json.smalltalk = { ...json.smalltalk as object, sublayers: ["mlp", "attention"] };
    });
    await refused(reordered, "its layers must be attention, mlp: they are mlp, attention");
    await Deno.remove(`${cutter}/tokenizer.json`);
    await refused(cutter, "tokenizer.json");
  }));

const LLAMA = {
  architectures: ["LlamaForCausalLM"],
  bos_token_id: 0,
  eos_token_id: 0,
  head_dim: 16,
  hidden_act: "silu",
  hidden_size: 32,
  intermediate_size: 88,
  max_position_embeddings: 128,
  model_type: "llama",
  num_attention_heads: 4,
  num_hidden_layers: 2,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 500_000,
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
  vocab_size: 336,
};

/** Draws the tensors of that model as bf16, by names and shapes of Hugging Face. */
function drawLlama(): { name: string; shape: number[]; halves: Uint16Array<ArrayBuffer> }[] {
  const { hidden_size: hidden, head_dim, vocab_size, intermediate_size: inner } = LLAMA;
  const [queries, keys] = [4 * head_dim, 2 * head_dim];
  const shapes: [name: string, shape: number[]][] = [
    ["model.embed_tokens", [vocab_size, hidden]],
    ["lm_head", [vocab_size, hidden]],
    ["model.norm", [hidden]],
  ];
  for (let layer = 0; layer < LLAMA.num_hidden_layers; layer++) {
    const scope = `model.layers.${layer}`;
    shapes.push(
      [`${scope}.input_layernorm`, [hidden]],
      [`${scope}.self_attn.q_proj`, [queries, hidden]],
      [`${scope}.self_attn.k_proj`, [keys, hidden]],
      [`${scope}.self_attn.v_proj`, [keys, hidden]],
      [`${scope}.self_attn.o_proj`, [hidden, queries]],
      [`${scope}.post_attention_layernorm`, [hidden]],
      [`${scope}.mlp.gate_proj`, [inner, hidden]],
      [`${scope}.mlp.up_proj`, [inner, hidden]],
      [`${scope}.mlp.down_proj`, [hidden, inner]],
    );
  }
  return shapes.map(([name, shape]) => {
    const drawn = normals(shape.reduce((a, b) => a * b), 5, name);
    const values = drawn.map((value) => shape.length === 1 ? 1 + value / 5 : value / 4);
    const bits = new Uint32Array(values.buffer);
    return { name: `${name}.weight`, shape, halves: Uint16Array.from(bits, (own) => own >>> 16) };
  });
}

/**
 * Writes that model as another trainer does, in two files with an index; gives its tensors by name.
 */
async function writeLlama(folder: string, run: string): Promise<Map<string, Float32Array>> {
  const tensors = drawLlama();
  await Deno.mkdir(folder);
  const weight_map: Record<string, string> = {};
  for (const [i, some] of [tensors.slice(0, 9), tensors.slice(9)].entries()) {
    const file = `model-0000${i + 1}-of-00002.safetensors`;
    const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
    let begin = 0;
    for (const { name, shape, halves } of some) {
      const end = begin + halves.byteLength;
      header[name] = { dtype: "BF16", shape, data_offsets: [begin, end] };
      weight_map[name] = file;
      begin = end;
    }
    const text = new TextEncoder().encode(JSON.stringify(header));
    const length = BigUint64Array.of(BigInt(text.length));
    const whole = new Blob([length, text, ...some.map(({ halves }) => halves)]);
    await Deno.writeFile(`${folder}/${file}`, await whole.bytes());
  }
  const texts = {
    "config.json": LLAMA,
    "model.safetensors.index.json": { metadata: {}, weight_map },
  };
  for (const [name, value] of Object.entries(texts)) {
    await Deno.writeTextFile(`${folder}/${name}`, JSON.stringify(value, null, 2));
  }
  await Deno.copyFile(`${run}/tokenizer/tokenizer.json`, `${folder}/tokenizer.json`);
  return new Map(tensors.map(({ name, halves }) => {
    const bits = Uint32Array.from(halves, (half) => half << 16);
    return [name, new Float32Array(bits.buffer)];
  }));
}

Deno.test({
  name:
    "a Llama of two bf16 files becomes an expert that scores as a plain f64 model does, and llama.cpp as well",
  ignore: !hasLlamaCpp,
  fn: () =>
    withPartition(async (run) => {
      const from = `${run}/../llama`;
      const tensors = await writeLlama(from, run);
      await adoptExpert({ run, expert: 1, from });
      const model = await loadCheckpoint(`${run}/experts/expert-01`);
      const sequences = (await heldOut(run)).slice(0, 4);
      const expected = sequences.flatMap((ids) => llamaLogProbabilities(LLAMA, tensors, ids));
      const found = (await scores(model, sequences)).flat();
      const off = largestDifference(expected, found);
      assert(off < 1e-4, `a log-probability is off by ${off}`);
      const output = `${run}/../gguf`;
      const { files } = await exportModel({
        run,
        expert: 1,
        to: "gguf",
        saveDtype: "f32",
        output,
      });
      const file = `${output}/${Object.keys(files)[0]}`;
      const prompts = sequences.map((ids) => ids.slice(0, PROMPT));
      const answer = await askLlamaCpp({ file, sequences, prompts });
      assertStringIncludes(answer.description, "llama");
      const theirs = largestDifference(expected, answer.logProbabilities.flat());
      assert(theirs < 1e-4, `a log-probability of llama.cpp is off by ${theirs}`);
      assertEquals(answer.continuations, await continuations(model, prompts));
    }, SETTINGS),
});

Deno.test({
  name:
    "exportModel() meets a full disk with one line, leaves nothing there, and goes on to a whole file",
  ignore,
  fn: () =>
    withPartition(async (run) => {
      const model = `${run}/partitioner/router-00`;
      let failures = 0;
      await onGrowingDisk(
        [4, 16, 24],
        async (folder) => {
          const output = `${folder}/out`;
          const { files } = await exportModel({ run, model, to: "gguf", output });
          const [[name, { bytes }]] = Object.entries(files);
          assertEquals((await Deno.stat(`${output}/${name}`)).size, bytes);
        },
        (error, folder) => {
          failures++;
          assert(error instanceof RunError, String(error));
          assertMatch(error.message, /^Cannot write "[^"\n]+" as the disk must have room for it: /);
          assertEquals([...Deno.readDirSync(folder)], []);
        },
      );
      assert(failures > 1, `it failed ${failures} times`);
    }),
});
