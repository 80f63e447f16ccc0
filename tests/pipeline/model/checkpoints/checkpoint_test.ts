import { inFolder } from "../../../tasks/support.ts";
import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import {
  loadCheckpoint,
  loadRouters,
  routerFolder,
  routersHash,
  saveCheckpoint,
  saveModelFolder,
} from "../../../../pipeline/model/checkpoints/checkpoint.ts";
import { InputError } from "../../../../kernels/errors.ts";
import { sha256 } from "../../../../pipeline/graph/files.ts";
import { CONFIG, NOTES, WEIGHTS, writeConfig, writeTensors } from "./support.ts";
import { initialWeights, type Weights } from "../../../../pipeline/model/parameters.ts";

Deno.test("loadCheckpoint() gives back what saveCheckpoint() was given, bit for bit", () =>
  inFolder(async (folder) => {
    const records = await saveCheckpoint(`${folder}/deep/model`, CONFIG, WEIGHTS, NOTES);
    const hash = records["model.safetensors"].sha256;
    const loaded = await loadCheckpoint(`${folder}/deep/model`);
    assertEquals(loaded, {
      config: CONFIG,
      weights: WEIGHTS,
      notes: NOTES,
      sha256: hash,
      dtype: "F32",
    });
    assertEquals(hash, sha256(await Deno.readFile(`${folder}/deep/model/model.safetensors`)));
    assertEquals(await saveCheckpoint(`${folder}/again`, CONFIG, WEIGHTS, NOTES), records);
    const files = [...Deno.readDirSync(`${folder}/deep/model`)].map(({ name }) => name).sort();
    assertEquals(files, ["config.json", "model.safetensors"]);
  }));

Deno.test("loadCheckpoint() reads F16 and BF16 as the nearest values", () =>
  inFolder(async (folder) => {
    for (
      const [dtype, name, error] of [["F16", "float16", 2 ** -11], [
        "BF16",
        "bfloat16",
        2 ** -8,
      ]] as const
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
  }));

Deno.test("saveCheckpoint() refuses weights that 16 bits cannot hold, and writes nothing then", () =>
  inFolder(async (folder) => {
    const name = "gpt_neox.final_layer_norm.bias";
    for (
      const [dtype, fits, beyond] of [["F16", 65_519, -65_520], ["BF16", 3.389e38, 3.4e38]] as const
    ) {
      const holding = (value: number) =>
        new Map(WEIGHTS).set(name, WEIGHTS.get(name)!.with(5, value));
      const failing = () =>
        saveCheckpoint(`${folder}/${dtype}`, CONFIG, holding(beyond), {}, dtype);
      await assertRejects(
        failing,
        InputError,
        `tensor "${name}" holds ${Math.fround(beyond)}; write it with`,
      );
      await assertRejects(() => Deno.stat(`${folder}/${dtype}`), Deno.errors.NotFound);
      await saveCheckpoint(`${folder}/${dtype}`, CONFIG, holding(fits), {}, dtype);
      await loadCheckpoint(`${folder}/${dtype}`); // whose weights must be numbers
    }
  }));

Deno.test("loadCheckpoint() refuses missing tensors, wrong shapes, what is no number and an untied head by the tensor's name", () =>
  inFolder(async (folder) => {
    await writeConfig(folder, {});
    const bias = "gpt_neox.layers.1.mlp.dense_h_to_4h.bias";
    const head = WEIGHTS.get("gpt_neox.embed_in.weight")!.slice();
    head[131] += 1e-3;
    const holding = (values: Float32Array, ...shape: number[]) => ({ shape, values });
    const wanted = `must hold tensor "${bias}" of shape [48]`;
    const tied = "the output head must be tied to the embedding";
    const refused: [Parameters<typeof writeTensors>[1], string][] = [
      [{ [bias]: undefined }, `${wanted}: it is missing`],
      [{ [bias]: holding(new Float32Array(48), 1, 48) }, `${wanted}: its shape is [1,48]`],
      [{ "embed_out.weight": holding(head, 11, 12) }, tied],
      [{ "embed_out.weight": holding(head.slice(0, 3), 3) }, tied],
      ...[NaN, Infinity].map((value): typeof refused[number] => [
        { [bias]: holding(new Float32Array(48).fill(value, 47), 48) },
        `its weights must be numbers: tensor "${bias}" holds ${value} at place 47`,
      ]),
    ];
    for (const [tensors, fact] of refused) {
      await writeTensors(folder, tensors);
      const message = `Cannot load "${folder}/model.safetensors" as ${
        fact.startsWith("must") ? "it " : ""
      }${fact}`;
      await assertRejects(() => loadCheckpoint(folder), InputError, message);
    }

    await writeTensors(folder, {});
    await writeConfig(folder, { smalltalk: { sublayers: ["attention", "mlp", "mlp"] } });
    await assertRejects(() => loadCheckpoint(folder), InputError, "each may be there once");
    await writeConfig(folder, { vocab_size: 12 });
    await assertRejects(
      () => loadCheckpoint(folder),
      InputError,
      "of shape [12,12]: its shape is [11,12]",
    );
  }));

Deno.test("loadCheckpoint() takes a head of its own where the configuration says so or nothing, and needs it there", () =>
  inFolder(async (folder) => {
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
      await assertRejects(
        () => loadCheckpoint(folder),
        InputError,
        '"embed_out.weight" of shape [11,12]',
      );
    }
  }));

Deno.test("loadCheckpoint() reports which folder to name, or which file of a model is missing or damaged", () =>
  inFolder(async (run) => {
    const refused = async (folder: string, fact: string, where?: string) => {
      const error = await assertRejects(() => loadCheckpoint(folder), InputError, fact);
      assertMatch(error.message, /^\P{Cc}+$/u);
      if (where) assertEquals([error.where, error.remedy], [where, undefined]);
    };
    await Deno.writeTextFile(
      `${run}/config.json`,
      JSON.stringify({ configuration: {}, versions: {} }),
    );
    await refused(run, `it is a run folder; name a model in it, such as ${run}/dense, once`);
    for (const folder of ["dense", "experts/expert-03", "partitioner/router-00"]) {
      await refused(`${run}/${folder}`, ": no such file", `${run}/${folder}/config.json`);
    }
    const expert = `${run}/experts/expert-00`;
    const path = `${expert}/model.safetensors`;
    await saveCheckpoint(expert, CONFIG, WEIGHTS);
    await Deno.truncate(path, 1000);
    await refused(expert, `Cannot read "${path}"`, path);
    await Deno.remove(path);
    await refused(expert, path);
    await Deno.writeTextFile(`${path}.index.json`, "{}");
    await refused(expert, "must name the file of each tensor");
    await Deno.writeTextFile(`${path}.index.json`, '{"weight_map": {"a": "b.safetensors"}}');
    await refused(expert, `"${expert}/b.safetensors" must be there`);
    await Deno.remove(`${path}.index.json`);
    for (const text of ["", "{", "null", "[]", "5", '{\n "a":\n oops }', "\u0000"]) {
      await Deno.writeTextFile(`${expert}/config.json`, text);
      await refused(expert, `Cannot read "${expert}/config.json"`, `${expert}/config.json`);
    }
  }));

Deno.test("saveModelFolder() takes a tokenizer or the path of its file, to the same folder", () =>
  inFolder(async (folder) => {
    const model = { type: "BPE", vocab: { a: 0, b: 1, c: 2, "</s>": NOTES.eos }, merges: [] };
    const json = JSON.stringify({ added_tokens: [], model });
    await Deno.writeTextFile(`${folder}/tokenizer.json`, json);
    const save = (name: string, tokenizer: string | { json: string }, eos = NOTES.eos) =>
      saveModelFolder(`${folder}/${name}`, CONFIG, WEIGHTS, {
        notes: { ...NOTES, eos },
        tokenizer,
      });
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

Deno.test("loadRouters() gives back every router in order, and names the set by all weights", () =>
  inFolder(async (folder) => {
    const models = [5, 6, 7].map((seed) => initialWeights(CONFIG, seed));
    const hashes = await saveRouters(folder, models);
    await Deno.writeTextFile(`${folder}/notes.txt`, "other files may lie there");
    await Deno.mkdir(`${folder}/router-state`);
    const routers = await loadRouters(folder);
    assertEquals(routers, { config: CONFIG, models, notes: NOTES, sha256: routersHash(hashes) });
    assertNotEquals(routersHash([...hashes].reverse()), routers.sha256);
    assertNotEquals(routersHash(hashes.slice(0, 2)), routers.sha256);
  }));

Deno.test("loadRouters() reads more than a hundred routers in the order of their numbers", () =>
  inFolder(async (folder) => {
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
  }));

Deno.test("loadRouters() refuses missing folders, gaps and routers that differ", () =>
  inFolder(async (folder) => {
    const refused = (fact: string, where = folder) =>
      assertRejects(() => loadRouters(where), InputError, fact);
    await refused(
      `Cannot load routers as "${folder}/nowhere" must be a folder`,
      `${folder}/nowhere`,
    );
    await Deno.writeTextFile(`${folder}/file`, "");
    await refused("must be a folder", `${folder}/file`);
    await refused(
      "must hold router-00, router-01, …: it holds none; name the partitioner/ of a run",
    );
    await saveRouters(folder, [WEIGHTS, WEIGHTS]);
    await Deno.rename(`${folder}/router-01`, `${folder}/router-02`);
    await refused("must hold router-01: the next folder is router-02");
    await Deno.rename(`${folder}/router-02`, `${folder}/router-01`);
    await saveCheckpoint(`${folder}/router-01`, CONFIG, WEIGHTS, { ...NOTES, tokenizer: "other" });
    await refused(`"${folder}/router-01" differs from router-00`);
    const wider = { ...CONFIG, vocabulary: 12 };
    await saveCheckpoint(`${folder}/router-01`, wider, initialWeights(wider, 1), NOTES);
    await refused("differs from router-00");
    await Deno.remove(`${folder}/router-01/model.safetensors`);
    await refused(`${folder}/router-01/model.safetensors`);
  }));

async function saveRouters(folder: string, models: Weights[]) {
  const hashes: string[] = [];
  for (const [i, weights] of models.entries()) {
    const records = await saveCheckpoint(`${folder}/${routerFolder(i)}`, CONFIG, weights, NOTES);
    hashes.push(records["model.safetensors"].sha256);
  }
  return hashes;
}
