import { pathToFileURL } from "node:url";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { readGoldenCase } from "../../../pipeline/doctor/golden_case.ts";
import { inFolder, ROOT } from "../../tasks/support.ts";

Deno.test("readGoldenCase() reads a model, its batch and its steps, and a Switch model's experts", () => {
  const { config, settings, batch, expected, tensors, json } = readGoldenCase("tiny");
  const { vocab_size, hidden_size } = expected.config;
  assertEquals([config.vocabulary, config.hidden, config.sublayers], [vocab_size, hidden_size, undefined]);
  assertEquals(batch.tokens.length, batch.lengths.length * config.context);
  assertEquals([settings.beta1, settings.beta2], expected.adamw.betas);
  const weights = tensors("model-00.safetensors");
  assertEquals(weights.get("gpt_neox.embed_in.weight")!.length, vocab_size * hidden_size);
  assert("ensemble" in (json("spans.json") as object));
  for (const name of ["roomy", "tight"]) {
    const { config, expected } = readGoldenCase(`switch/${name}`);
    assertEquals(config.sublayers, ["attention", "switch"]);
    assertEquals(config.switch!.experts, expected.experts!);
  }
});

Deno.test("readGoldenCase() refuses a case that there is not", () => {
  assertThrows(() => readGoldenCase("none"), Deno.errors.NotFound);
});

Deno.test("readGoldenCase() reads the files of a project whose path has spaces and letters beyond ASCII", () =>
  inFolder(async (folder) => {
    await Deno.symlink(ROOT, `${folder}/a ü`);
    const there = await import(String(pathToFileURL(`${folder}/a ü/pipeline/doctor/golden_case.ts`)));
    assertEquals(
      there.readGoldenCase("tiny").tensors("model-00.safetensors"),
      readGoldenCase("tiny").tensors("model-00.safetensors"),
    );
  }));
