import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  huggingFaceConfig,
  loadCheckpoint,
  loadRouters,
  routerFolder,
  routersHash,
  saveCheckpoint,
  saveModelFolder,
} from "../../../pipeline/checkpoints/checkpoint.ts";
import { InputError } from "../../../kernels/errors.ts";
import { type ModelConfig, parameterSpecs } from "../../../pipeline/model/shape.ts";
import { initialWeights, type Weights } from "../../../pipeline/model/parameters.ts";
import { encodeSafetensors, type HostTensor } from "../../../pipeline/checkpoints/safetensors.ts";
import { sha256 } from "../../../pipeline/run/files.ts";

const CONFIG: ModelConfig = { vocabulary: 11, hidden: 12, layers: 2, heads: 2, context: 16 };
const NOTES = { tokenizer: "abc", prefix: 8, eos: 3 };
const WEIGHTS = initialWeights(CONFIG, 1);

/** Runs `body` in a fresh folder that goes away afterwards. */
async function inFolder(body: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Writes weights as any tool might: with these tensors changed, added or (undefined) left out. */
async function writeTensors(folder: string, changes: Record<string, HostTensor | undefined>) {
  const tensors = new Map<string, HostTensor>(
    parameterSpecs(CONFIG).map(({ name, shape }) => [name, { shape, values: WEIGHTS.get(name)! }]),
  );
  for (const [name, tensor] of Object.entries(changes)) {
    if (tensor) tensors.set(name, tensor);
    else tensors.delete(name);
  }
  const file = await Deno.open(`${folder}/model.safetensors`, { write: true, create: true, truncate: true });
  for (const part of encodeSafetensors(tensors)) await file.write(part);
  file.close();
}

async function writeConfig(folder: string, changes: Record<string, unknown>) {
  const fields: Record<string, unknown> = { ...huggingFaceConfig(CONFIG), ...changes };
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(fields));
}

Deno.test("loadCheckpoint() gives back what saveCheckpoint() was given, bit for bit", async () => {
  await inFolder(async (folder) => {
    const hash = await saveCheckpoint(`${folder}/deep/model`, CONFIG, WEIGHTS, NOTES);
    const loaded = await loadCheckpoint(`${folder}/deep/model`);
    assertEquals(loaded, { config: CONFIG, weights: WEIGHTS, notes: NOTES, sha256: hash, dtype: "F32" });
    assertEquals(hash, sha256(await Deno.readFile(`${folder}/deep/model/model.safetensors`)));
    assertEquals(await saveCheckpoint(`${folder}/again`, CONFIG, WEIGHTS, NOTES), hash);
    const files = [...Deno.readDirSync(`${folder}/deep/model`)].map(({ name }) => name).sort();
    assertEquals(files, ["config.json", "model.safetensors"]);
  });
});

Deno.test("loadCheckpoint() reads F16 and BF16 as the nearest values", async () => {
  await inFolder(async (folder) => {
    for (
      const [dtype, name, error] of [["F16", "float16", 2 ** -11], ["BF16", "bfloat16", 2 ** -8]] as const
    ) {
      await saveCheckpoint(folder, CONFIG, WEIGHTS, {}, dtype);
      assertEquals(JSON.parse(await Deno.readTextFile(`${folder}/config.json`)).torch_dtype, name);
      for (const [tensor, values] of (await loadCheckpoint(folder)).weights) {
        const exact = WEIGHTS.get(tensor)!;
        const far = values.findIndex((value, i) =>
          Math.abs(value - exact[i]) > error * Math.abs(exact[i]) + 2 ** -25
        );
        assertEquals(far, -1, `${tensor} [${far}]`);
      }
    }
  });
});

Deno.test("huggingFaceConfig() has the fields of a GPTNeoXForCausalLM of this architecture", () => {
  const fields = huggingFaceConfig(CONFIG, NOTES) as Record<string, unknown>;
  const expected = {
    architectures: ["GPTNeoXForCausalLM"],
    model_type: "gpt_neox",
    vocab_size: 11,
    hidden_size: 12,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 48,
    max_position_embeddings: 16,
    use_parallel_residual: false,
    rotary_pct: 1,
    rotary_emb_base: 10_000,
    tie_word_embeddings: true,
    attention_bias: true,
    hidden_act: "gelu_pytorch_tanh",
    layer_norm_eps: 1e-5,
    eos_token_id: 3,
    torch_dtype: "float32",
  };
  for (const [name, value] of Object.entries(expected)) assertEquals(fields[name], value, name);
});

Deno.test("loadCheckpoint() takes other writers' spellings of the same architecture", async () => {
  await inFolder(async (folder) => {
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
    assertEquals((await loadCheckpoint(folder)).weights, WEIGHTS); // a tied head may be stored twice
  });
});

Deno.test("loadCheckpoint() refuses other architectures by the field's name and value", async () => {
  await inFolder(async (folder) => {
    await writeTensors(folder, {});
    const refused: [Record<string, unknown>, string][] = [
      [{ model_type: "llama" }, 'model_type must be "gpt_neox" in this architecture: it is "llama"'],
      [{ model_type: undefined }, 'model_type must be "gpt_neox"'],
      [
        { use_parallel_residual: true },
        "use_parallel_residual must be false in this architecture: it is true",
      ],
      [
        { use_parallel_residual: undefined },
        "use_parallel_residual must be false in this architecture: it is true",
      ],
      [{ rotary_pct: 0.25 }, "rotary_pct must be 1 in this architecture: it is 0.25"],
      [{ rotary_pct: undefined }, "rotary_pct must be 1 in this architecture: it is 0.25"],
      [{ rotary_emb_base: 500_000 }, "rotary_emb_base must be 10000"],
      [
        { tie_word_embeddings: "no" },
        'tie_word_embeddings must be true or false in this architecture: it is "no"',
      ],
      [{ attention_bias: false }, "attention_bias must be true"],
      [{ layer_norm_eps: 1e-6 }, "layer_norm_eps must be 0.00001"],
      [
        { hidden_act: "relu" },
        'hidden_act must be gelu_pytorch_tanh or gelu_new or gelu_fast in this architecture: it is "relu"',
      ],
      [{ hidden_act: undefined }, 'it is "gelu"'], // the exact one, by erf
      [
        { rope_scaling: { type: "linear", factor: 2 } },
        'rope_type must be "default" in this architecture: it is "linear"',
      ],
      [{ intermediate_size: 40 }, "intermediate_size must be 48 (4 × hidden_size)"],
      [{ hidden_size: undefined }, "hidden_size must be a number"],
      [{ vocab_size: "11" }, 'vocab_size must be a number in this architecture: it is "11"'],
      [{ num_hidden_layers: JSON.parse('{"toString":1}') }, "num_hidden_layers must be a number"],
      [{ num_attention_heads: 5 }, "hidden must be divisible by heads: hidden is 12, heads is 5"],
      [{ num_attention_heads: 4 }, "hidden / heads must be even"],
      [{ max_position_embeddings: 0 }, "context is 0"],
    ];
    for (const [fields, message] of refused) {
      await writeConfig(folder, fields);
      const error = await assertRejects(() => loadCheckpoint(folder), Error, message);
      assert(error instanceof InputError || error instanceof InputError);
      assertMatch(error.message, /^Cannot \P{Cc}+$/u);
      assert(error.message.includes(`${folder}/config.json`), error.message);
    }
  });
});

Deno.test("loadCheckpoint() refuses missing tensors, wrong shapes and an untied head by the tensor's name", async () => {
  await inFolder(async (folder) => {
    await writeConfig(folder, {});
    const bias = "gpt_neox.layers.1.mlp.dense_h_to_4h.bias";
    await writeTensors(folder, { [bias]: undefined });
    const path = `${folder}/model.safetensors`;
    let error: Error = await assertRejects(() => loadCheckpoint(folder), InputError);
    assertEquals(
      error.message,
      `Cannot load "${path}" as it must hold tensor "${bias}" of shape [48]: it is missing`,
    );

    await writeTensors(folder, { [bias]: { shape: [1, 48], values: new Float32Array(48) } });
    error = await assertRejects(() => loadCheckpoint(folder), InputError);
    assertEquals(
      error.message,
      `Cannot load "${path}" as it must hold tensor "${bias}" of shape [48]: its shape is [1,48]`,
    );

    const head = { shape: [11, 12], values: WEIGHTS.get("gpt_neox.embed_in.weight")!.slice() };
    head.values[131] += 1e-3;
    await writeTensors(folder, { "embed_out.weight": head });
    error = await assertRejects(() => loadCheckpoint(folder), InputError, "must be tied to the embedding");
    assert(error.message.includes(path) && error.message.includes("embed_out.weight"), error.message);

    await writeTensors(folder, {});
    await writeConfig(folder, { vocab_size: 12 });
    await assertRejects(
      () => loadCheckpoint(folder),
      InputError,
      "of shape [12,12]: its shape is [11,12]",
    );
  });
});

Deno.test("loadCheckpoint() takes a head of its own where the configuration says so or nothing, and needs it there", async () => {
  await inFolder(async (folder) => {
    const values = WEIGHTS.get("gpt_neox.embed_in.weight")!.map((value) => value + 1);
    const head = { shape: [11, 12], values };
    for (const tie_word_embeddings of [false, undefined]) {
      await writeConfig(folder, { tie_word_embeddings });
      await writeTensors(folder, { "embed_out.weight": head });
      const { config, weights } = await loadCheckpoint(folder);
      assertEquals(config, { ...CONFIG, untied: true });
      assertEquals(weights.get("embed_out.weight"), values);
      await saveCheckpoint(`${folder}/again`, config, weights);
      assertEquals((await loadCheckpoint(`${folder}/again`)).weights, weights);
      await writeTensors(folder, {});
      await assertRejects(() => loadCheckpoint(folder), InputError, '"embed_out.weight" of shape [11,12]');
    }
  });
});

Deno.test("loadCheckpoint() says which folder to name, or which file of a model is missing or damaged", async () => {
  await inFolder(async (run) => {
    const refusal = (folder: string) => assertRejects(() => loadCheckpoint(folder), InputError);
    const message = async (folder: string) => (await refusal(folder)).message;
    await Deno.writeTextFile(`${run}/config.json`, JSON.stringify({ configuration: {}, versions: {} }));
    assertStringIncludes(
      await message(run),
      `it is a run folder; name a model in it, such as ${run}/dense, once`,
    );
    assertStringIncludes(await message(run), "or use the whole run with run");
    for (const folder of ["dense", "experts/expert-03", "partitioner/router-00"]) {
      const { message, where, remedy } = await refusal(`${run}/${folder}`);
      assert(message.endsWith(": no such file"), message);
      assertEquals([where, remedy], [`${run}/${folder}/config.json`, undefined]);
    }

    const expert = `${run}/experts/expert-00`;
    await saveCheckpoint(expert, CONFIG, WEIGHTS);
    assertStringIncludes(await message(run), `such as ${expert}, or`);
    assertStringIncludes(await message(`${run}/experts`), `name a model in it, such as ${expert}`);
    assertStringIncludes(
      await message(`${expert}/config.json`),
      `as a model is a folder of config.json and model.safetensors: "${expert}/config.json" is a file`,
    );
    for (const name of ["model.safetensors", "config.json"]) {
      await Deno.writeTextFile(`${expert}/${name}`, "{");
      const { where, remedy } = await refusal(expert);
      assertEquals([where, remedy], [`${expert}/${name}`, undefined]);
    }
  });
});

Deno.test("loadCheckpoint() refuses damaged and missing files by their path", async () => {
  await inFolder(async (folder) => {
    const missing = await assertRejects(() => loadCheckpoint(`${folder}/nowhere`), InputError);
    assertEquals(
      missing.message,
      `Cannot load a checkpoint as "${folder}/nowhere/config.json" must be there, as a model is a folder of config.json and ` +
        "model.safetensors: no such file",
    );
    await saveCheckpoint(folder, CONFIG, WEIGHTS);
    const path = `${folder}/model.safetensors`;
    await Deno.truncate(path, 1000);
    await assertRejects(() => loadCheckpoint(folder), InputError, `Cannot read "${path}"`);
    await Deno.remove(path);
    await assertRejects(() => loadCheckpoint(folder), InputError, path);
    for (const text of ["", "{", "null", "[]", "5", '{\n "a":\n oops }', "\u0000"]) {
      await Deno.writeTextFile(`${folder}/config.json`, text);
      const error = await assertRejects(
        () => loadCheckpoint(folder),
        InputError,
        `Cannot read "${folder}/config.json"`,
      );
      assertMatch(error.message, /^\P{Cc}+$/u);
    }
    await assertRejects(() => loadCheckpoint(`${folder}/config.json`), InputError, "must be there");
  });
});

async function saveRouters(folder: string, models: Weights[]) {
  const hashes: string[] = [];
  for (const [i, weights] of models.entries()) {
    hashes.push(await saveCheckpoint(`${folder}/${routerFolder(i)}`, CONFIG, weights, NOTES));
  }
  return hashes;
}

Deno.test("loadRouters() gives back every router in order, and names the set by all weights", async () => {
  await inFolder(async (folder) => {
    const models = [5, 6, 7].map((seed) => initialWeights(CONFIG, seed));
    const hashes = await saveRouters(folder, models);
    await Deno.writeTextFile(`${folder}/notes.txt`, "other files may lie there");
    await Deno.mkdir(`${folder}/router-state`);
    const routers = await loadRouters(folder);
    assertEquals(routers, { config: CONFIG, models, notes: NOTES, sha256: routersHash(hashes) });
    assertNotEquals(routersHash([...hashes].reverse()), routers.sha256);
    assertNotEquals(routersHash(hashes.slice(0, 2)), routers.sha256);
  });
});

Deno.test("loadRouters() reads more than a hundred routers in the order of their numbers", async () => {
  await inFolder(async (folder) => {
    const config = { ...CONFIG, vocabulary: 2, hidden: 2, layers: 1, heads: 1 };
    const first = initialWeights(config, 1);
    const embedding = "gpt_neox.embed_in.weight";
    for (let i = 0; i < 102; i++) {
      const weights = new Map([...first, [embedding, new Float32Array(4).fill(i)]]);
      await saveCheckpoint(`${folder}/${routerFolder(i)}`, config, weights);
    }
    const { models } = await loadRouters(folder);
    assertEquals(
      models.map((weights) => weights.get(embedding)![0]),
      Array.from({ length: 102 }, (_, i) => i),
    );
  });
});

Deno.test("loadRouters() refuses missing folders, gaps and routers that differ", async () => {
  await inFolder(async (folder) => {
    await assertRejects(
      () => loadRouters(`${folder}/nowhere`),
      InputError,
      `Cannot load routers as "${folder}/nowhere" must be a folder`,
    );
    await Deno.writeTextFile(`${folder}/file`, "");
    await assertRejects(() => loadRouters(`${folder}/file`), InputError, "must be a folder");
    await assertRejects(
      () => loadRouters(folder),
      InputError,
      "must hold router-00, router-01, …: it holds none; name the partitioner/ of a run",
    );
    await saveRouters(`${folder}/routers`, [WEIGHTS]);
    await assertRejects(() => loadRouters(folder), InputError, `it holds none; name ${folder}/routers`);
    await saveRouters(folder, [WEIGHTS, WEIGHTS]);
    await Deno.rename(`${folder}/router-01`, `${folder}/router-02`);
    await assertRejects(
      () => loadRouters(folder),
      InputError,
      "must hold router-01: the next folder is router-02",
    );
    await Deno.rename(`${folder}/router-02`, `${folder}/router-01`);
    await saveCheckpoint(`${folder}/router-01`, CONFIG, WEIGHTS, { ...NOTES, tokenizer: "other" });
    await assertRejects(
      () => loadRouters(folder),
      InputError,
      `"${folder}/router-01" differs from router-00`,
    );
    const wider = { ...CONFIG, vocabulary: 12 };
    await saveCheckpoint(`${folder}/router-01`, wider, initialWeights(wider, 1), NOTES);
    await assertRejects(() => loadRouters(folder), InputError, "differs from router-00");
    await Deno.remove(`${folder}/router-01/model.safetensors`);
    await assertRejects(() => loadRouters(folder), InputError, `${folder}/router-01/model.safetensors`);
  });
});

Deno.test("saveModelFolder() takes a tokenizer or the path of its file, to the same folder", () =>
  inFolder(async (folder) => {
    const model = { type: "BPE", vocab: { a: 0, b: 1, c: 2, "</s>": NOTES.eos }, merges: [] };
    const json = JSON.stringify({ added_tokens: [], model });
    await Deno.writeTextFile(`${folder}/tokenizer.json`, json);
    const save = (name: string, tokenizer: string | { json: string }, eos = NOTES.eos) =>
      saveModelFolder(`${folder}/${name}`, CONFIG, WEIGHTS, { notes: { ...NOTES, eos }, tokenizer });
    const records = await save("a", `${folder}/tokenizer.json`);
    assertEquals(await save("b", { json }), records);
    assertEquals(await Deno.readTextFile(`${folder}/b/tokenizer.json`), json);
    const settings = JSON.parse(await Deno.readTextFile(`${folder}/b/tokenizer_config.json`));
    assertEquals([settings.eos_token, settings.model_max_length], ["</s>", CONFIG.context]);
    await assertRejects(
      () => save("c", { json }, 4),
      InputError,
      "end-of-document token: it has no token of id 4",
    );
  }));
