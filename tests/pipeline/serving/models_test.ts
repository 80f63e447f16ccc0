import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { saveCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { writeManifest } from "../../../pipeline/graph/mod.ts";
import { hashFile } from "../../../pipeline/graph/files.ts";
import { modelSource, runSource } from "../../../pipeline/serving/models.ts";
import { anyWeights } from "../model/support.ts";
import { byteTokenizer, EXPERT, inServingRun } from "./support.ts";

const tokenizer = await byteTokenizer();

Deno.test("modelSource() takes the tokenizer of the folder, or of the run that it lies in, and needs one", () =>
  inServingRun(1, async (run) => {
    const folder = `${run}/experts/expert-00`;
    for (const path of [`${folder}/tokenizer.json`, `${run}/tokenizer.json`]) {
      const source = await modelSource(folder);
      assertEquals([source.experts, (await source.tokenizer()).sha256], [1, tokenizer.sha256]);
      assertEquals((await source.load(0)).config, EXPERT);
      await Deno.remove(path);
    }
    const { where } = await assertRejects(
      () => modelSource(folder),
      InputError,
      "no tokenizer.json in it",
    );
    assertEquals(where, folder);
  }));

/**
 * Trains expert 0 as far as a run shows it: other weights, and a manifest that verifies its files.
 */
async function trainAnew(run: string, seed: string): Promise<string> {
  const folder = `${run}/experts/expert-00`;
  const files = await saveCheckpoint(folder, EXPERT, anyWeights(EXPERT, seed), {
    prefix: seed.length,
  });
  await writeManifest(folder, {
    key: seed,
    name: "experts/expert-00",
    revision: 1,
    settings: {},
    inputs: {},
    result: {},
    files,
  });
  return files["model.safetensors"].sha256;
}

Deno.test("runSource() reads what was made anew while it is open, and refuses what is damaged", () =>
  inServingRun(1, async (run) => {
    const first = await trainAnew(run, "first");
    const source = await runSource(run);
    assertEquals((await source.load(0)).sha256, first);
    const again = await trainAnew(run, "once again");
    assertEquals((await source.describe(0)).notes.prefix, "once again".length);
    assertEquals((await source.load(0)).sha256, again);
    const path = `${run}/experts/expert-00/model.safetensors`;
    const bytes = await Deno.readFile(path);
    bytes[bytes.length - 1] ^= 1;
    await Deno.writeFile(path, bytes);
    const actual = (await hashFile(path)).sha256.slice(0, 8);
    const error = await assertRejects(() => source.load(0), InputError, "must be as it was made");
    assertEquals(error.message.includes(actual), true, error.message);
  }));
