import { inFolder } from "../../tasks/support.ts";
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { loadCheckpoint, saveCheckpoint } from "../../../pipeline/checkpoints/checkpoint.ts";
import { InputError } from "../../../kernels/errors.ts";
import { sha256 } from "../../../pipeline/run/files.ts";
import { CONFIG, NOTES, WEIGHTS, writeConfig, writeTensors } from "./support.ts";

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

Deno.test("saveCheckpoint() refuses weights that 16 bits cannot hold, and writes nothing then", async () => {
  await inFolder(async (folder) => {
    const name = "gpt_neox.final_layer_norm.bias";
    for (const [dtype, fits, beyond] of [["F16", 65_519, -65_520], ["BF16", 3.389e38, 3.4e38]] as const) {
      const holding = (value: number) => new Map(WEIGHTS).set(name, WEIGHTS.get(name)!.with(5, value));
      const error = await assertRejects(
        () => saveCheckpoint(`${folder}/${dtype}`, CONFIG, holding(beyond), {}, dtype),
        InputError,
      );
      assertEquals(
        error.message,
        `Cannot write the model of "${folder}/${dtype}" with saveDtype ${dtype.toLowerCase()} as its weights must fit: ` +
          `tensor "${name}" holds ${Math.fround(beyond)}; write it with saveDtype f32`,
      );
      await assertRejects(() => Deno.stat(`${folder}/${dtype}`), Deno.errors.NotFound);
      await saveCheckpoint(`${folder}/${dtype}`, CONFIG, holding(fits), {}, dtype);
      await loadCheckpoint(`${folder}/${dtype}`); // whose weights must be numbers
    }
  });
});

Deno.test("loadCheckpoint() refuses missing tensors, wrong shapes, what is no number and an untied head by the tensor's name", async () => {
  await inFolder(async (folder) => {
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
    await Deno.writeTextFile(`${path}.index.json`, "{}");
    const parted = await assertRejects(() => loadCheckpoint(folder), InputError);
    assertStringIncludes(parted.message, ": its weights lie in several files; save it as one file");
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
