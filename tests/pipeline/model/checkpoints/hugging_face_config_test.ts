import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { loadCheckpoint } from "../../../../pipeline/model/checkpoints/checkpoint.ts";
import { huggingFaceConfig } from "../../../../pipeline/model/checkpoints/hugging_face_config.ts";
import { inFolder } from "../../../tasks/support.ts";
import { CONFIG, NOTES, WEIGHTS, writeConfig, writeTensors } from "./support.ts";

Deno.test("huggingFaceConfig() has the fields of a GPTNeoXForCausalLM of this architecture", () => {
  const fields = huggingFaceConfig(CONFIG, NOTES) as Record<string, unknown>;
  const expected = {
    architectures: ["GPTNeoXForCausalLM"],
    model_type: "gpt_neox",
    torch_dtype: "float32",
    vocab_size: 11,
    hidden_size: 12,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 48,
    max_position_embeddings: 16,
    eos_token_id: 3,
    tie_word_embeddings: true,
    use_parallel_residual: false,
    attention_bias: true,
    rotary_pct: 1,
    rotary_emb_base: 10_000,
    hidden_act: "gelu_pytorch_tanh",
    layer_norm_eps: 1e-5,
  };
  for (const [name, value] of Object.entries(expected)) assertEquals(fields[name], value, name);
});

Deno.test("loadCheckpoint() takes other writers' spellings of the same architecture", () =>
  inFolder(async (folder) => {
    await writeTensors(folder, {});
    const spellings: Record<string, unknown>[] = [
      { smalltalk: undefined },
      { hidden_act: "gelu_new" },
      { hidden_act: "gelu_fast" },
      { intermediate_size: undefined },
      { attention_bias: undefined },
      { layer_norm_eps: undefined },
      { rotary_emb_base: undefined },
      { rope_scaling: null },
      {
        rotary_pct: undefined,
        rotary_emb_base: undefined,
        rope_parameters: { rope_type: "default", rope_theta: 10_000, partial_rotary_factor: 1 },
      },
      { another_field: { of: ["some", "tool"] } },
    ];
    for (const fields of spellings) {
      await writeConfig(folder, fields);
      const { config, weights, notes } = await loadCheckpoint(folder);
      assertEquals([config, weights, notes], [CONFIG, WEIGHTS, {}], JSON.stringify(fields));
    }
    await writeConfig(folder, {});
    const embedding = { shape: [11, 12], values: WEIGHTS.get("gpt_neox.embed_in.weight")! };
    await writeTensors(folder, { "embed_out.weight": embedding });
    // A tied head may be stored twice.
    assertEquals((await loadCheckpoint(folder)).weights, WEIGHTS);
  }));

Deno.test("loadCheckpoint() refuses other architectures by the field's name and value", () =>
  inFolder(async (folder) => {
    await writeTensors(folder, {});
    const refused: [Record<string, unknown>, string][] = [
      [
        { model_type: "mistral" },
        'model_type must be "gpt_neox" or "llama" in this architecture: it is "mistral"',
      ],
      [{ model_type: undefined }, 'model_type must be "gpt_neox" or "llama"'],
      [
        { use_parallel_residual: true },
        "use_parallel_residual must be false in this architecture: it is true",
      ],
      [{ rotary_pct: 0.25 }, "rotary_pct must be 1 in this architecture: it is 0.25"],
      [{ rotary_pct: undefined }, "rotary_pct must be 1 in this architecture: it is 0.25"],
      [{ rotary_emb_base: 500_000 }, "rotary_emb_base must be 10000"],
      [{ layer_norm_eps: 1e-6 }, "layer_norm_eps must be 0.00001"],
      [
        { hidden_act: "relu" },
        'hidden_act must be gelu_pytorch_tanh or gelu_new or gelu_fast in this architecture: it is "relu"',
      ],
      [{ intermediate_size: 40 }, "intermediate_size must be 48 (4 × hidden_size)"],
      [{ hidden_size: undefined }, "hidden_size must be a number"],
      [{ num_attention_heads: 5 }, "hidden must be divisible by heads: hidden is 12, heads is 5"],
    ];
    for (const [fields, message] of refused) {
      await writeConfig(folder, fields);
      const error = await assertRejects(() => loadCheckpoint(folder), InputError, message);
      assert(error.message.includes(`${folder}/config.json`), error.message);
    }
  }));
