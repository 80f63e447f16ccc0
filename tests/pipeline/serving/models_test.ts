import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { checkShape, checkTokenizer, modelSource, runSource } from "../../../pipeline/serving/models.ts";
import { inFolder } from "../../tasks/support.ts";
import { byteTokenizer, EXPERT, PREFIX, servingRun } from "./support.ts";

const tokenizer = await byteTokenizer();

Deno.test("runSource() says what a run's config.json says, and does without one", async () => {
  await inFolder(async (run) => {
    await servingRun(run, 2);
    const source = await runSource(run);
    const { hidden, layers, heads } = EXPERT;
    assertEquals([source.experts, source.prefix, source.shape], [2, PREFIX, { hidden, layers, heads }]);
    assertEquals(await source.identity!(), tokenizer.sha256);
    assertEquals((await source.tokenizer()).sha256, tokenizer.sha256);
    assertEquals(source.name(1), `"${run}/experts/expert-01"`);
    assertEquals((await source.describe(1)).config, (await source.load(1)).config);
    await Deno.remove(`${run}/config.json`);
    const bare = await runSource(run);
    assertEquals([bare.experts, bare.prefix], [undefined, undefined]);
    await Deno.remove(`${run}/tokenizer.json`);
    assertEquals(await bare.identity!(), undefined);
    const { where } = await assertRejects(() => bare.tokenizer(), InputError, "must be there: it is not");
    assertEquals(where, `${run}/tokenizer.json`);
  });
});

Deno.test("modelSource() takes the tokenizer of the folder, or of the run that it lies in, and needs one", async () => {
  await inFolder(async (run) => {
    await servingRun(run, 1);
    const folder = `${run}/experts/expert-00`;
    for (const path of [`${folder}/tokenizer.json`, `${run}/tokenizer.json`]) {
      const source = await modelSource(folder);
      assertEquals([source.experts, (await source.tokenizer()).sha256], [1, tokenizer.sha256]);
      assertEquals((await source.load(0)).config, EXPERT);
      await Deno.remove(path);
    }
    const { where } = await assertRejects(() => modelSource(folder), InputError, "no tokenizer.json in it");
    assertEquals(where, folder);
  });
});

Deno.test("checkTokenizer() and checkShape() tell what differs with both values, and take what is not said", () => {
  checkTokenizer("dense", "ab12", "ab12");
  checkTokenizer("dense", undefined, "ab12");
  checkTokenizer("dense", "ab12", undefined);
  assertThrows(
    () => checkTokenizer("dense", "ab12", "cd34"),
    InputError,
    "it is ab12, that of the run is cd34",
  );
  const own = { config: EXPERT, notes: {} };
  checkShape(own, { ...EXPERT }, "dense");
  checkShape(own, { heads: undefined }, "dense");
  for (const field of ["vocabulary", "hidden", "layers", "heads", "context"] as const) {
    const message = `dense as it must have the shape of expert 0: ${field} is ${
      EXPERT[field]
    }, that of expert 0 is 5`;
    assertThrows(() => checkShape(own, { [field]: 5 }, "dense"), InputError, message);
  }
});
