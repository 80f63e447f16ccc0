import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  loadCheckpoint,
  saveCheckpoint,
} from "../../../../pipeline/model/checkpoints/checkpoint.ts";
import {
  encodeSafetensors,
  type SafetensorsDtype,
} from "../../../../pipeline/model/checkpoints/safetensors.ts";
import { type ModelConfig, parameterSpecs } from "../../../../pipeline/model/shape.ts";
import { inFolder } from "../../../tasks/support.ts";
import { anyWeights } from "../support.ts";

const CONFIG: ModelConfig = {
  vocabulary: 11,
  hidden: 12,
  layers: 2,
  heads: 4,
  context: 16,
  architecture: "llama",
  keyHeads: 2,
  headSize: 6,
  intermediate: 20,
  ropeTheta: 500_000,
  normEpsilon: 1e-6,
};

/** Writes the tensors of a model into two files with an index. */
async function writeShards(folder: string, config: ModelConfig, dtype: SafetensorsDtype = "F32") {
  const weights = anyWeights(config, "llama");
  const specs = parameterSpecs(config);
  const half = Math.ceil(specs.length / 2);
  const weightMap: Record<string, string> = {};
  for (const [i, part] of [specs.slice(0, half), specs.slice(half)].entries()) {
    const name = `model-0000${i + 1}-of-00002.safetensors`;
    const tensors = new Map(
      part.map(({ name, shape }) => [name, { shape: [...shape], values: weights.get(name)! }]),
    );
    await Deno.writeFile(
      `${folder}/${name}`,
      ReadableStream.from(encodeSafetensors(tensors, { dtype })),
    );
    for (const { name: tensor } of part) weightMap[tensor] = name;
  }
  const index = { metadata: { total_size: 1 }, weight_map: weightMap };
  await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, JSON.stringify(index));
  return weights;
}

/** Changes fields of a folder's config.json. */
async function change(folder: string, fields: Record<string, unknown>) {
  const path = `${folder}/config.json`;
  const before = JSON.parse(await Deno.readTextFile(path));
  await Deno.writeTextFile(path, JSON.stringify({ ...before, ...fields }));
}

Deno.test("loadCheckpoint() reads what saveCheckpoint() writes of Llama's shape, tied and untied", () =>
  inFolder(async (folder) => {
    for (const config of [CONFIG, { ...CONFIG, untied: true } as const]) {
      const weights = anyWeights(config, "saved");
      await saveCheckpoint(folder, config, weights);
      const loaded = await loadCheckpoint(folder);
      assertEquals(JSON.stringify(loaded.config), JSON.stringify(config));
      assertEquals(loaded.weights, weights);
    }
    const fields = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
    assertEquals(fields.architectures, ["LlamaForCausalLM"]);
    assertEquals(
      [fields.num_key_value_heads, fields.head_dim, fields.intermediate_size, fields.rope_theta],
      [2, 6, 20, 500_000],
    );
  }));

Deno.test("loadCheckpoint() reads Llama's tensors from several files with an index, and what fields that are missing mean", () =>
  inFolder(async (folder) => {
    const plain = { ...CONFIG, keyHeads: 4, headSize: 3 * 2, ropeTheta: 10_000 };
    await saveCheckpoint(folder, plain, anyWeights(plain, "first"));
    await Deno.remove(`${folder}/model.safetensors`);
    const weights = await writeShards(folder, plain);
    await change(folder, {
      num_key_value_heads: undefined,
      rope_theta: undefined,
      attention_bias: undefined,
      mlp_bias: undefined,
      sliding_window: null,
      rope_scaling: null,
      rms_norm_eps: undefined,
    });
    const loaded = await loadCheckpoint(folder);
    assertEquals(loaded.config, plain);
    assertEquals(loaded.weights, weights);
    await Deno.truncate(`${folder}/model-00002-of-00002.safetensors`, 100);
    await assertRejects(() => loadCheckpoint(folder), InputError, "model-00002-of-00002");
  }));

Deno.test("loadCheckpoint() refuses what Llama's shape does not have, in one line that names it", () =>
  inFolder(async (folder) => {
    const refused: [Record<string, unknown>, string][] = [
      [{ rope_scaling: { rope_type: "llama3", factor: 8 } }, 'rope_type must be "default"'],
      [{ rope_scaling: { type: "linear", factor: 2 } }, 'it is "linear"'],
      [{ sliding_window: 4096 }, "sliding_window must be left out"],
      [{ attention_bias: true }, "attention_bias must be false"],
      [{ mlp_bias: true }, "mlp_bias must be false"],
      [{ hidden_act: "gelu" }, "hidden_act must be silu"],
      [{ num_key_value_heads: 3 }, "heads must be divisible by key-value heads"],
      [{ head_dim: 5 }, "head size must be even"],
      [{ intermediate_size: 22 }, "intermediate size must be a multiple of 4"],
    ];
    for (const [fields, reason] of refused) {
      await saveCheckpoint(folder, CONFIG, anyWeights(CONFIG, "refused"));
      await change(folder, fields);
      const error = await assertRejects(() => loadCheckpoint(folder), InputError, reason);
      assertEquals(error.message.includes("\n"), false);
    }
    await saveCheckpoint(folder, CONFIG, anyWeights(CONFIG, "refused"));
    const norm = "model.layers.0.self_attn.q_norm.weight";
    const tensors = new Map(
      parameterSpecs(CONFIG).map((
        { name, shape },
      ) => [name, { shape: [...shape], values: anyWeights(CONFIG, "refused").get(name)! }]),
    );
    tensors.set(norm, { shape: [6], values: new Float32Array(6).fill(1) });
    await Deno.writeFile(
      `${folder}/model.safetensors`,
      ReadableStream.from(encodeSafetensors(tensors)),
    );
    await assertRejects(() => loadCheckpoint(folder), InputError, `it holds "${norm}"`);
  }));
